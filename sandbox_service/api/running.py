"""One execution on its way to the caller: waited for, or followed as it runs."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from sandbox_service.api.endpoint import recheck
from sandbox_service.api.errors import error_body, internal_error, request_id_of
from sandbox_service.api.presenter import Json, Presenter
from sandbox_service.api.services import Services
from sandbox_service.api.streams import EventStream, sse_frame, while_connected
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


class Runner:
    """Takes accepted executions to their callers."""

    def __init__(self, services: Services, presenter: Presenter) -> None:
        self._executions = services.executions
        self._present = presenter
        self._keepalive_s = services.settings.keepalive_s

    async def finish(
        self, request: Request, record: ExecutionRecord, *, cancel_on_disconnect: bool
    ) -> ExecutionRecord:
        """The finished execution. Raises SandboxLost when we failed it."""
        waiting = self._executions.wait(record.tenant, record.session_id, record.id)
        if not cancel_on_disconnect:
            return await waiting
        finished = await while_connected(waiting, request.receive)
        if finished is None:
            await self.cancel(record)
            raise ClientDisconnect
        return finished

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
        frames = self._frames(request, record, after, extra)
        return EventStream(frames, self._keepalive_s, on_hang_up)

    async def _frames(
        self, request: Request, record: ExecutionRecord, after: int, extra: Extra
    ) -> AsyncGenerator[bytes, None]:
        """Once the stream has begun there is no status to send: a failure is an `error` event."""
        events = self._executions.events(record.tenant, record.session_id, record.id, after)
        try:
            async for event in events:
                recheck(request)
                data = {**self._present.event(event, request), **await extra(event)}
                yield sse_frame(event.type, data, event.id)
        except ServiceError as error:
            yield sse_frame("error", error_body(error, request_id_of(request)))
        except Exception:
            logger.exception("stream_failed execution=%s", record.id)
            yield sse_frame("error", error_body(internal_error(), request_id_of(request)))
