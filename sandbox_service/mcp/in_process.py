"""Requests to the service from inside it, as if they came over the network, and streamed.

The tools go through the REST interface with the caller's key, so that keys, scopes, tenants, quotas
and the audit log hold without a second place that has to think of them. A second connection to
ourselves would do too; inside the process the audit log sees the caller's address and not ours,
links begin as the caller's do, and it does not matter where and how the service listens.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import anyio
import httpx
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from starlette.types import ASGIApp, Message, Scope

from sandbox_service.domain.requests import WITHOUT_JSON

MOST_ANSWER_BYTES = 96 * 1024 * 1024
"""Of one answer: a sandbox whose agent lies about a file's size must not fill our memory."""
CHUNKS_AHEAD = 8

# The running tasks, which nothing else holds once the caller has gone.
_running: set["asyncio.Task[None]"] = set()


class InProcessTransport(httpx.AsyncBaseTransport):
    """An httpx transport to an ASGI application, on behalf of the caller of an `outer` request."""

    def __init__(self, app: ASGIApp, outer: Scope) -> None:
        self._app = app
        self._outer = outer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        exchange = _Exchange(request)
        task = asyncio.create_task(exchange.run(self._app, self._scope(request)))
        _running.add(task)
        task.add_done_callback(_running.discard)
        try:
            start = await asyncio.shield(exchange.start)
        except BaseException:
            exchange.hang_up()
            raise
        return httpx.Response(start["status"], headers=start["headers"], stream=exchange)

    def _scope(self, request: httpx.Request) -> Scope:
        outer = self._outer
        own = [(name.lower(), value) for name, value in request.headers.raw]
        host = [pair for pair in outer["headers"] if pair[0] == b"host"]
        request_id = outer.get("state", {}).get("request_id", "").encode()
        kept = {"type", "asgi", "http_version", "scheme", "root_path", "client", "server"}
        return {
            **{name: value for name, value in outer.items() if name in kept},
            "method": request.method,
            "path": request.url.path,
            "raw_path": request.url.raw_path.partition(b"?")[0],
            "query_string": request.url.query,
            "headers": [
                *host,
                (b"x-request-id", request_id),
                *(pair for pair in own if pair[0] != b"host"),
            ],
            "extensions": {},
            "state": {WITHOUT_JSON: True},
        }


class _Exchange(httpx.AsyncByteStream):
    """One request and its answer, whose body is read as the application sends it."""

    def __init__(self, request: httpx.Request) -> None:
        self.start: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        assert isinstance(request.stream, httpx.AsyncByteStream)
        self._request_body = aiter(request.stream)
        self._is_sent = False
        self._gone = asyncio.Event()
        self._is_complete = False
        sender, receiver = anyio.create_memory_object_stream[bytes](CHUNKS_AHEAD)
        self._sender: MemoryObjectSendStream[bytes] = sender
        self._receiver: MemoryObjectReceiveStream[bytes] = receiver

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Call the application. It answers for its own failures."""
        try:
            await app(scope, self._receive, self._send)
        finally:
            self._sender.close()
            if self._gone.is_set():
                self.start.cancel()
            elif not self.start.done():
                self.start.set_exception(httpx.RemoteProtocolError("there was no answer"))

    def hang_up(self) -> None:
        """Tell the application that nobody reads on; it ends by itself."""
        self._gone.set()
        self._receiver.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        async for chunk in self._receiver:
            received += len(chunk)
            if received > MOST_ANSWER_BYTES:
                raise httpx.ReadError(f"the answer is larger than {MOST_ANSWER_BYTES} bytes")
            yield chunk
        if not self._is_complete:
            raise httpx.RemoteProtocolError("the answer ended early")

    async def aclose(self) -> None:
        self.hang_up()

    async def _receive(self) -> Message:
        if not self._is_sent:
            chunk = await anext(self._request_body, None)
            self._is_sent = chunk is None
            return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.start.set_result(message)
            return
        if message.get("body"):
            # A caller that has gone is no fault of the application's: `receive` tells it.
            with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await self._sender.send(message["body"])
        if not message.get("more_body", False):
            self._is_complete = True
            self._sender.close()
            self._gone.set()
