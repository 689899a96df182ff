"""The scripted model as an HTTP server; a model's name is the name of its script."""

import asyncio
import json
import re
import socket
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from runner.scripted_model.protocols import CHAT, CONTENTS, MESSAGES, RESPONSES, Frames, Protocol
from runner.scripted_model.scripts import reply_of, script_names
from runner.scripted_model.transcript import BadRequest

Json = dict[str, Any]
PATHS = {"/v1/chat/completions": CHAT, "/v1/responses": RESPONSES, "/v1/messages": MESSAGES}
KEPT_REQUESTS = 100
GOOGLE_PATH = re.compile(r"/v1(beta)?/models/(?P<model>[^/:]+):(?P<call>(streamG|g)enerateContent)")


class _QuietServer(uvicorn.Server):
    """A server inside another program, to which signals belong."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it came: its path, and its JSON body."""

    path: str
    body: Json


class Refused(Exception):
    """An HTTP status with an error body, worded as endpoints do."""

    def __init__(
        self, status: int, message: str, param: str | None = None, protocol: Protocol = CHAT
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = protocol.refusal(status, message, param)


class ScriptedModel:
    """The ASGI application. `sent` keeps the latest requests that a model was asked with.

    `/v1/models`, `/v1/chat/completions`, `/v1/responses`, `/v1/messages`, and
    `/v1beta/models/<model>:generateContent` with its streamed form.
    """

    def __init__(self) -> None:
        self.sent: deque[Sent] = deque(maxlen=KEPT_REQUESTS)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = await _read(receive)
        try:
            await self._answer(scope["method"], scope["path"], body, send)
        except Refused as refused:
            await _send_json(send, refused.status, refused.body)

    async def _answer(self, method: str, path: str, body: bytes, send: Any) -> None:
        if (method, path) == ("GET", "/v1/models"):
            models = [
                {"id": name, "object": "model", "owned_by": "script"} for name in script_names()
            ]
            await _send_json(send, 200, {"object": "list", "data": models})
            return
        protocol, of_path = _route(method, path)
        asked = {**_parsed(body), **of_path}
        self.sent.append(Sent(path, asked))
        await _complete(protocol, asked, send)


application = ScriptedModel()


@asynccontextmanager
async def serving(model: ScriptedModel = application) -> AsyncIterator[str]:
    """Run the server on a free loopback port; yields its base URL, which ends with `/v1`.

    Clients of Anthropic and Google take it without that: `url.removesuffix("/v1")`.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(model, lifespan="off", log_config=None, timeout_graceful_shutdown=5)
    server = _QuietServer(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        await task
        listener.close()


def _route(method: str, path: str) -> tuple[Protocol, Json]:
    """The protocol that is spoken, and what of the request its path says. Raises Refused."""
    if method == "POST" and path in PATHS:
        return PATHS[path], {}
    google = GOOGLE_PATH.fullmatch(path)
    if method == "POST" and google:
        return CONTENTS, {"model": google["model"], "stream": google["call"] != "generateContent"}
    raise Refused(404, f"Invalid URL ({method} {path})")


async def _complete(protocol: Protocol, asked: Json, send: Any) -> None:
    script = asked.get("model")
    if not isinstance(script, str) or script not in script_names():
        raise Refused(404, f"The model {script!r} does not exist", "model", protocol)
    try:
        transcript = protocol.transcript_of(asked)
    except BadRequest as error:
        raise Refused(400, str(error), error.param, protocol) from error
    reply = reply_of(script, transcript)
    if asked.get("stream"):
        await _send_stream(send, protocol.frames(script, reply, asked))
    else:
        await _send_json(send, 200, protocol.whole(script, reply))


def _parsed(body: bytes) -> Json:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise Refused(400, f"We could not parse the JSON body of your request: {error}") from error
    if not isinstance(value, dict):
        raise Refused(400, "The body must be a JSON object")
    return value


async def _read(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def _send_json(send: Any, status: int, value: Json) -> None:
    await _send_start(send, status, b"application/json")
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})


async def _send_stream(send: Any, frames: Frames) -> None:
    await _send_start(send, 200, b"text/event-stream")
    for line in frames:
        await send({"type": "http.response.body", "body": line, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _send_start(send: Any, status: int, media_type: bytes) -> None:
    headers = [(b"content-type", media_type)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
