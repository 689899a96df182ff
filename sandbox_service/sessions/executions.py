"""Executions: accepted into a session's queue, readable on every replica until retention ends."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from sandbox_service.domain.errors import Conflict, NotFound, SandboxLost, ServiceError, TooLarge
from sandbox_service.domain.ids import new_id
from sandbox_service.domain.requests import ExecuteCode
from sandbox_service.domain.stores import Lease, Mark, Stores
from sandbox_service.domain.tenancy import CALLER
from sandbox_service.domain.values import (
    ExecutionEvent,
    ExecutionRecord,
    ExecutionStatus,
    ExecutionTerms,
    KernelStamp,
    SessionRecord,
)
from sandbox_service.sessions.journal import read_events
from sandbox_service.sessions.lines import SandboxLines
from sandbox_service.sessions.oversight import Oversight
from sandbox_service.sessions.records import SessionRecords
from sandbox_service.sessions.terms import check_range, touched
from sandbox_service.sessions.workers import Workers

SHORTEST_TIMEOUT_S = 0.1


@dataclass(frozen=True, slots=True)
class ExecutionBounds:
    max_code_bytes: int
    queue_length: int
    return_s: float = 30.0


class ExecutionService:
    """Accepts and shows executions of live sessions; a worker on some replica runs them."""

    def __init__(
        self,
        stores: Stores,
        records: SessionRecords,
        lines: SandboxLines,
        workers: Workers,
        bounds: ExecutionBounds,
        oversight: Oversight,
    ) -> None:
        self._stores = stores
        self._records = records
        self._lines = lines
        self._workers = workers
        self._bounds = bounds
        self._oversight = oversight

    async def submit(
        self,
        tenant: str,
        session_id: str,
        request: ExecuteCode,
        execution_id: str | None = None,
    ) -> ExecutionRecord:
        """Accept an execution at the end of the session's queue; once, if `execution_id` is given.

        Raises NotFound, SessionGone, TooLarge (code), InvalidRequest (timeout_s), RateLimited (queue full,
        or the tenant's quota), ShuttingDown.
        """
        self._check_size(request.code)
        if execution_id is not None:
            await self._records.owned(tenant, session_id)
            known = await self._stores.executions.get(session_id, execution_id)
            if known is not None:
                return known
        self._workers.require_open()
        session = await self._records.live(tenant, session_id)
        queued = self._queued(session, request, execution_id or new_id("exec"))
        await self._oversight.claim_execution(queued)
        try:
            lease = await self._accept(session, queued)
        except ServiceError:
            await self._oversight.release_execution(queued)
            raise
        if lease is not None:
            self._workers.start(lease)
        return queued

    async def _accept(self, session: SessionRecord, queued: ExecutionRecord) -> Lease | None:
        """Queue it and count activity in one step, so that the session cannot expire in between."""
        while True:
            closing = {"is_closing": session.is_closing or queued.terms.close_session}
            active = touched(session.model_copy(update=closing), self._records.clock.now())
            try:
                return await self._stores.executions.accept(
                    active, queued, self._bounds.queue_length
                )
            except Conflict:
                session = await self._records.live(session.tenant, session.id)

    def _check_size(self, code: str) -> None:
        size = len(code.encode("utf-8", "replace"))
        if size > self._bounds.max_code_bytes:
            raise TooLarge(
                f"code is {size} bytes; the limit is {self._bounds.max_code_bytes}.", param="code"
            )

    def _queued(
        self, session: SessionRecord, request: ExecuteCode, execution_id: str
    ) -> ExecutionRecord:
        caller = CALLER.get()
        terms = ExecutionTerms(
            timeout_s=_timeout(request, session),
            output_bytes=session.limits.output_bytes,
            cpus=session.limits.cpus,
            key_id=caller.key_id,
            address=caller.address,
            close_session=request.close_session,
            cancel_on_disconnect=request.cancel_on_disconnect,
        )
        return ExecutionRecord(
            id=execution_id,
            session_id=session.id,
            tenant=session.tenant,
            status=ExecutionStatus.QUEUED,
            created_at=self._records.clock.now(),
            code=request.code,
            terms=terms,
            kernel=KernelStamp(epoch=session.epoch, state="kept"),
            session_expires_at=session.expires_at,
        )

    async def wait(self, tenant: str, session_id: str, execution_id: str) -> ExecutionRecord:
        """The final record, once there is one. Raises SandboxLost when we failed it."""
        with self._stores.journals.watch(execution_id) as news:
            record = await self.get(tenant, session_id, execution_id)
            while not record.status.is_final:
                await news.wait_final()
                record = await self.get(tenant, session_id, execution_id)
        if record.status is ExecutionStatus.LOST:
            raise SandboxLost(record.notices[-1])
        return record

    async def get(self, tenant: str, session_id: str, execution_id: str) -> ExecutionRecord:
        await self._records.owned(tenant, session_id)
        record = await self._stores.executions.get(session_id, execution_id)
        if record is None:
            raise NotFound(f"No execution {execution_id}.", param="execution_id")
        return record

    async def events(
        self, tenant: str, session_id: str, execution_id: str, after: int = 0
    ) -> AsyncIterator[ExecutionEvent]:
        """Events above `after`, as they come, up to execution.completed."""
        record = await self.get(tenant, session_id, execution_id)
        async for event in read_events(self._stores.journals, record, after):
            yield event

    async def history(
        self, tenant: str, session_id: str, limit: int | None = None, after: str | None = None
    ) -> Sequence[ExecutionRecord]:
        """The session's executions, oldest first. Raises NotFound, also for an unknown `after`."""
        await self._records.owned(tenant, session_id)
        return await self._stores.executions.list(session_id, limit, after)

    async def attend(self, record: ExecutionRecord) -> None:
        """Note that its caller waits for it, for a while; what nobody waits for any more is cancelled."""
        await self._stores.executions.attend(record.session_id, record.id, self._bounds.return_s)

    async def cancel(self, tenant: str, session_id: str, execution_id: str) -> None:
        """Interrupt the execution if it runs, drop it if it waits; a finished one stays as it is."""
        session = await self._records.owned(tenant, session_id)
        mark = self._stores.executions.mark
        if await mark(session_id, execution_id, Mark.CANCELLED) is not None:
            line = await self._lines.to(session)
            await line.sandbox.kernel.interrupt(execution_id)


def _timeout(request: ExecuteCode, session: SessionRecord) -> float:
    longest = session.limits.execution_timeout_s
    if request.timeout_s is None:
        return longest
    check_range("timeout_s", request.timeout_s, lowest=SHORTEST_TIMEOUT_S, highest=longest)
    return request.timeout_s
