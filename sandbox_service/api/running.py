"""One execution on its way to the caller: waited for, or followed as it runs."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from sandbox_service.api.endpoint import recheck
from sandbox_service.api.errors import error_body, internal_error, request_id_of
from sandbox_service.api.presenter import Json, Presenter
from sandbox_service.api.services import Executions, Services
from sandbox_service.api.streams import EventStream, sse_frame, while_connected
from sandbox_service.domain.beside import running_beside
from sandbox_service.domain.errors import ServiceError, TooLarge
from sandbox_service.domain.values import ExecutionEvent, ExecutionRecord

logger = logging.getLogger(__name__)

Extra = Callable[[ExecutionEvent], Awaitable[Json]]
"""What an event carries besides its own data."""


def check_code(code: str, max_bytes: int) -> None:
    """Raises TooLarge before anything is opened for code that cannot run."""
    size = len(code) if code.isascii() else len(code.encode())
    if size > max_bytes:
        raise TooLarge(f"code is {size} bytes; the limit is {max_bytes}.", param="code")


def wants_stream(request: Request, asked: bool | None) -> bool:
    """What the body says, else what the Accept header asks for."""
    if asked is not None:
        return asked
    return "text/event-stream" in request.headers.get("accept", "")


async def _nothing(event: ExecutionEvent) -> Json:
    return {}


class Attendance:
    """Says again and again that somebody waits for an execution, if it is cancelled when nobody does."""

    def __init__(self, executions: Executions, every_s: float) -> None:
        self._executions = executions
        self._every_s = every_s

    @asynccontextmanager
    async def of(self, record: ExecutionRecord) -> AsyncIterator[None]:
        """As long as the block lasts."""
        if record.status.is_final or not record.terms.cancel_on_disconnect:
            yield
            return
        async with running_beside(self._say(record)):
            yield

    async def once(self, record: ExecutionRecord) -> None:
        """For who asks now and then."""
        if not record.status.is_final and record.terms.cancel_on_disconnect:
            with suppress(ServiceError):
                await self._executions.attend(record)

    async def over(
        self, record: ExecutionRecord, frames: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        """The same frames, for as long as they are read."""
        async with self.of(record), aclosing(frames):
            async for frame in frames:
                yield frame

    async def _say(self, record: ExecutionRecord) -> None:
        while True:
            with suppress(ServiceError):  # it holds for longer than one of these is missed
                await self._executions.attend(record)
            await asyncio.sleep(self._every_s)


class Runner:
    """Takes accepted executions to their callers."""

    def __init__(self, services: Services, presenter: Presenter) -> None:
        self._executions = services.executions
        self._present = presenter
        self._pace = services.pace
        self._attendance = Attendance(services.executions, services.settings.return_s / 3)

    async def finish(
        self, request: Request, record: ExecutionRecord, *, cancel_on_disconnect: bool
    ) -> ExecutionRecord:
        """The finished execution. Raises SandboxLost when we failed it, ShuttingDown, and what `recheck` does."""
        async with self._pace.drain.until_ended(), self._attendance.of(record):
            waiting = self._executions.wait(record.tenant, record.session_id, record.id)
            finished: ExecutionRecord | None
            if cancel_on_disconnect:
                finished = await while_connected(waiting, request.receive)
            else:
                finished = await waiting
        if finished is None:
            await self.cancel(record)
            raise ClientDisconnect
        recheck(request)
        return finished

    async def note_asked(self, record: ExecutionRecord) -> None:
        """Somebody looks how far it has come, and so waits for it."""
        await self._attendance.once(record)

    async def cancel(self, record: ExecutionRecord) -> None:
        await self._executions.cancel(record.tenant, record.session_id, record.id)

    def stream(
        self,
        request: Request,
        record: ExecutionRecord,
        *,
        after: int = 0,
        extra: Extra = _nothing,
        on_hang_up: Callable[[], Awaitable[None]] | None = None,
    ) -> Response:
        """The execution's events above `after`, as they come."""
        frames = _Frames(self._executions, self._present, request, record, after, extra)
        attended = self._attendance.over(record, frames.all())
        return EventStream(attended, self._pace, frames.farewell, on_hang_up)


class _Frames:
    """The frames of one stream; knows how far it has come."""

    def __init__(
        self,
        executions: Executions,
        presenter: Presenter,
        request: Request,
        record: ExecutionRecord,
        after: int,
        extra: Extra,
    ) -> None:
        self._executions = executions
        self._present = presenter
        self._request = request
        self._record = record
        self._last_id = after
        self._extra = extra

    async def all(self) -> AsyncGenerator[bytes, None]:
        """Once the stream has begun there is no status to send: a failure is an `error` event."""
        record, request = self._record, self._request
        events = self._executions.events(record.tenant, record.session_id, record.id, self._last_id)
        try:
            async for event in events:
                recheck(request)
                data = {**self._present.event(event, request), **await self._extra(event)}
                yield sse_frame(event.type, data, event.id)
                self._last_id = event.id
        except ServiceError as error:
            yield sse_frame("error", error_body(error, request_id_of(request)))
        except Exception:
            logger.exception("stream_failed execution=%s", record.id)
            yield sse_frame("error", error_body(internal_error(), request_id_of(request)))

    def farewell(self, reason: str) -> bytes:
        """Says why the stream ends before the execution does, and where to go on."""
        record = self._record
        path = f"/v1/sessions/{record.session_id}/executions/{record.id}/events"
        resume = {"reason": reason, "last_event_id": self._last_id, "events_url": path}
        return sse_frame("stream.interrupted", resume)
