"""Answers that flow: server-sent events and files, stopped when the caller hangs up."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sandbox_service.api.answers import dumps
from sandbox_service.api.drain import Drain
from sandbox_service.domain.errors import ServiceError, ShuttingDown
from sandbox_service.domain.json_values import escaped_line_breaks
from sandbox_service.domain.ports import FileStream

logger = logging.getLogger(__name__)

T = TypeVar("T")

KEEPALIVE = b": keep-alive\n\n"
FAREWELL_S = 1.0


def sse_frame(event: str, data: Any, event_id: int | None = None) -> bytes:
    """One server-sent event; its data is one line of JSON, also for who splits lines as Unicode does."""
    number = b"" if event_id is None else b"id: %d\n" % event_id
    text = escaped_line_breaks(dumps(data))
    return b"%sevent: %s\ndata: %s\n\n" % (number, event.encode(), text)


async def hang_up(receive: Receive) -> None:
    """Returns when the caller has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def while_connected(work: Coroutine[Any, Any, T], receive: Receive) -> T | None:
    """What `work` returns; None when the caller hung up first, and `work` was cancelled."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(hang_up(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        await _cancelled(task)
        await _cancelled(gone)


async def _cancelled(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task


async def with_keepalive(
    frames: AsyncIterator[bytes], interval_s: float
) -> AsyncGenerator[bytes, None]:
    """The frames as they come, and a comment whenever none came for `interval_s`."""
    waiting: asyncio.Task[bytes] | None = None
    try:
        while True:
            waiting = waiting or asyncio.create_task(_next(frames))
            await asyncio.wait({waiting}, timeout=interval_s)
            if not waiting.done():
                yield KEEPALIVE
                continue
            done, waiting = waiting, None
            try:
                frame = done.result()
            except StopAsyncIteration:
                return
            yield frame
    finally:
        if waiting is not None:
            await _cancelled(waiting)


async def _next(frames: AsyncIterator[bytes]) -> bytes:
    return await anext(frames)


class EventStream(Response):
    """Server-sent events; `on_hang_up` runs when the caller leaves before the end.

    A reader that takes nothing for `pace.stall_timeout_s` is dropped; so is everybody when the process
    stops, who then get `farewell(reason)` as the last frame.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        pace: "Pace",
        farewell: Callable[[str], bytes],
        on_hang_up: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self._frames = frames
        self._pace = pace
        self._farewell = farewell
        self._on_hang_up = on_hang_up
        self._is_complete = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            async with self._pace.drain.until_ended():
                await while_connected(self._pump(send), receive)
        except ShuttingDown:
            await self._end(send, "shutting_down")
        except SlowReader:
            self._pace.note_dropped("event_stream", scope)
            await self._end(send, "slow_reader")
        finally:
            await self._frames.aclose()
        if not self._is_complete and self._on_hang_up is not None:
            await self._on_hang_up()

    async def _pump(self, send: Send) -> None:
        async for frame in with_keepalive(self._frames, self._pace.keepalive_s):
            await self._pace.send(send, frame)
        self._is_complete = True
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _end(self, send: Send, reason: str) -> None:
        """The farewell, for who still takes it; the cell goes on."""
        self._is_complete = True
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await send({"type": "http.response.body", "body": self._farewell(reason)})


class SlowReader(Exception):
    """A caller that has taken nothing for too long."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long flowing answers wait, for what: one for the whole API. `on_drop` counts dropped readers."""

    keepalive_s: float = 10.0
    stall_timeout_s: float = 60.0
    drain: Drain = field(default_factory=Drain)
    on_drop: Callable[[], None] = lambda: None

    async def send(self, send: Send, body: bytes) -> None:
        """Pass on a piece of a body. Raises SlowReader when the caller does not take what came before."""
        try:
            async with asyncio.timeout(self.stall_timeout_s):
                await send({"type": "http.response.body", "body": body, "more_body": True})
        except TimeoutError:
            raise SlowReader from None

    def note_dropped(self, what: str, scope: Scope) -> None:
        self.on_drop()
        request_id = scope["state"]["request_id"]
        logger.warning("reader_dropped what=%s reason=slow_reader request=%s", what, request_id)


class Download(Response):
    """Bytes from an open source, passed on as they come. Errors of opening it are the answer's."""

    def __init__(
        self,
        source: AbstractAsyncContextManager[FileStream],
        headers: dict[str, str],
        pace: Pace,
        media_type: str = "application/octet-stream",
        status: int = 200,
    ) -> None:
        super().__init__(None, status, headers, media_type)
        del self.headers["content-length"]
        self._source = source
        self._pace = pace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._source as stream:
            if stream.size >= 0:
                self.headers["content-length"] = str(stream.size)
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b""})
                return
            await while_connected(self._pump(stream, scope, send), receive)

    async def _pump(self, stream: FileStream, scope: Scope, send: Send) -> None:
        """Sends what was announced, no more; less breaks the connection, so that it shows."""
        left = stream.size
        try:
            async for chunk in stream.chunks:
                piece = chunk if stream.size < 0 else chunk[:left]
                left -= len(piece)
                await self._pace.send(send, piece)
        except SlowReader:
            self._pace.note_dropped("download", scope)
            return
        except ServiceError as error:
            logger.warning(
                "download_broken request=%s code=%s", scope["state"]["request_id"], error.code
            )
            return
        if stream.size < 0 or left == 0:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
