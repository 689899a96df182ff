"""HTTP as the agent needs it: a request with a bounded body, answers, and the error table."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_STATUS = {
    "invalid_request": 400,
    "invalid_name": 400,
    "unauthenticated": 401,
    "not_found": 404,
    "not_a_file": 409,
    "kernel_unavailable": 503,
    "workspace_full": 507,
}


class AgentError(Exception):
    """An answer other than success, by one of the protocol's codes."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = _STATUS[code]


class Hangup(Exception):
    """The client went away in the middle of its request."""


class Request:
    """One request: its parts, its body, and the way to answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: bytes = scope["raw_path"]
        self.query: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self._has_more = True
        self._receive = receive
        self._send = send

    def argument(self, name: str) -> str | None:
        """The value of a query argument."""
        return dict(parse_qsl(self.query.decode("latin-1"))).get(name)

    async def body(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises Hangup when it does not arrive whole."""
        while self._has_more:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise Hangup
            self._has_more = event.get("more_body", False)
            if chunk := event.get("body", b""):
                yield chunk

    async def read_object(self, limit_bytes: int) -> dict[str, Any]:
        """The body as a JSON object of at most `limit_bytes`. Raises AgentError."""
        body = bytearray()
        async for chunk in self.body():
            body += chunk
            if len(body) > limit_bytes:
                raise AgentError("invalid_request", f"the body is over {limit_bytes} bytes")
        try:
            value = json.loads(body)
        except ValueError:
            raise AgentError("invalid_request", "the body is not JSON") from None
        if not isinstance(value, dict):
            raise AgentError("invalid_request", "the body is not a JSON object")
        return value

    async def gone(self) -> None:
        """Return when the client has gone away."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def start(self, status: int, media_type: bytes, length: int | None = None) -> None:
        """Begin the answer; pieces follow, and `end` when their length was not said."""
        headers = [(b"content-type", media_type)]
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def piece(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self, body: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def answer(self, value: object, status: int = 200) -> None:
        """Answer with a JSON value."""
        body = json.dumps(value).encode()
        await self.start(status, b"application/json", len(body))
        await self.end(body)

    async def answer_error(self, error: AgentError) -> None:
        """Answer with an error, after letting the rest of the body run out."""
        async for _ in self.body():
            pass
        value = {"error": {"code": error.code, "message": str(error)}}
        await self.answer(value, error.status)
