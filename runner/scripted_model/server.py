"""The scripted model as an HTTP server; a model's name is the name of its script."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from runner.scripted_model.completions import chunks, completion
from runner.scripted_model.scripts import SCRIPTS, reply_of
from runner.scripted_model.transcript import BadRequest, read_transcript
from runner.tool import NAME

Json = dict[str, Any]


class _QuietServer(uvicorn.Server):
    """A server inside another program, to which signals belong."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Refused(Exception):
    """An HTTP status with an error body, worded as endpoints do."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        kind = "invalid_request_error"
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": None}}


async def application(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI application: `/v1/models` and `/v1/chat/completions`."""
    if scope["type"] != "http":
        return
    body = await _read(receive)
    try:
        await _answer(f"{scope['method']} {scope['path']}", body, send)
    except Refused as refused:
        await _send_json(send, refused.status, refused.body)


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """Run the server on a free loopback port; yields its base URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        application, lifespan="off", log_config=None, timeout_graceful_shutdown=5
    )
    server = _QuietServer(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        await task
        listener.close()


async def _answer(request: str, body: bytes, send: Any) -> None:
    if request == "GET /v1/models":
        models = [{"id": name, "object": "model", "owned_by": "script"} for name in SCRIPTS]
        await _send_json(send, 200, {"object": "list", "data": models})
    elif request == "POST /v1/chat/completions":
        await _complete(_parsed(body), send)
    else:
        raise Refused(404, f"Invalid URL ({request})")


async def _complete(asked: Json, send: Any) -> None:
    script = asked.get("model")
    if not isinstance(script, str) or script not in SCRIPTS:
        raise Refused(404, f"The model {script!r} does not exist", "model")
    _check_tools(asked)
    try:
        transcript = read_transcript(asked)
    except BadRequest as error:
        raise Refused(400, str(error), error.param) from error
    reply = reply_of(script, transcript)
    if not asked.get("stream"):
        await _send_json(send, 200, completion(script, reply))
        return
    with_usage = bool((asked.get("stream_options") or {}).get("include_usage"))
    await _send_stream(send, chunks(script, reply, with_usage=with_usage))


def _parsed(body: bytes) -> Json:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise Refused(400, f"We could not parse the JSON body of your request: {error}") from error
    if not isinstance(value, dict):
        raise Refused(400, "The body must be a JSON object")
    return value


def _check_tools(asked: Json) -> None:
    """The scripts can call one tool only, so a request must offer it."""
    tools = asked.get("tools")
    if not isinstance(tools, list) or not tools:
        raise Refused(400, "'tools' must be a non-empty array", "tools")
    functions = [tool.get("function") or {} for tool in tools if tool.get("type") == "function"]
    for function in functions:
        if not isinstance(function.get("parameters"), dict):
            raise Refused(400, "a function tool needs 'parameters'", "tools")
    if NAME not in [function.get("name") for function in functions]:
        raise Refused(400, f"the scripts need a tool named {NAME}", "tools")


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


async def _send_stream(send: Any, values: Any) -> None:
    await _send_start(send, 200, b"text/event-stream")
    for value in values:
        line = f"data: {json.dumps(value)}\n\n".encode()
        await send({"type": "http.response.body", "body": line, "more_body": True})
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


async def _send_start(send: Any, status: int, media_type: bytes) -> None:
    headers = [(b"content-type", media_type)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
