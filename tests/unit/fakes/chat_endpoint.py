"""A chat completions endpoint on a loopback port that answers what a test tells it to."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: chunks are sent as a stream, anything else as JSON."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def streamed(*chunks: Json) -> Answer:
    """The chunks of a stream."""
    return Answer(list(chunks))


def text_chunk(text: str) -> Json:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


def refused(status: int, message: str, code: str | None = None, **headers: str) -> Answer:
    """An error body as endpoints word it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"error": {"message": message, "type": "invalid_request_error", "code": code}}
    return Answer(body, status, named)


def whole(message: Json) -> Json:
    """A reply that is not streamed."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return {"id": "x", "choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}


@dataclass
class ChatEndpoint:
    """Answers each request by `respond`, and keeps what was asked."""

    respond: Callable[[Json], Answer]
    requests: list[Json] = field(default_factory=list)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Listen while the block lasts; yields the base URL."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._complete)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(await request.json())
        answer = self.respond(self.requests[-1])
        if not isinstance(answer.body, list):
            return web.json_response(answer.body, status=answer.status, headers=answer.headers)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for chunk in answer.body:
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response
