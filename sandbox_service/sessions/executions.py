"""Executions: accepted into a session's queue, run one at a time in order, readable until retention ends."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from sandbox_service.domain.errors import (
    NotFound,
    RateLimited,
    SandboxLost,
    ServiceError,
    TooLarge,
)
from sandbox_service.domain.ids import new_id
from sandbox_service.domain.requests import ExecuteCode
from sandbox_service.domain.tenancy import CALLER
from sandbox_service.domain.values import (
    ExecutionEvent,
    ExecutionRecord,
    ExecutionStatus,
    KernelStamp,
    SessionRecord,
    SessionStatus,
)
from sandbox_service.sessions.ending import SessionEnder
from sandbox_service.sessions.history import ExecutionHistory
from sandbox_service.sessions.journal import Journal, ended_without_running
from sandbox_service.sessions.live import LiveSession, QueuedExecution
from sandbox_service.sessions.metrics import Metrics
from sandbox_service.sessions.oversight import Oversight
from sandbox_service.sessions.records import SessionRecords, gone
from sandbox_service.sessions.revival import Reviver
from sandbox_service.sessions.run import Run, RunTools
from sandbox_service.sessions.terms import check_range

logger = logging.getLogger(__name__)

SHORTEST_TIMEOUT_S = 0.1


@dataclass(frozen=True, slots=True)
class ExecutionBounds:
    max_code_bytes: int
    queue_length: int


class ExecutionService:
    """Accepts, runs and shows executions of live sessions."""

    def __init__(
        self,
        live: dict[str, LiveSession],
        tools: RunTools,
        ender: SessionEnder,
        reviver: Reviver,
        history: ExecutionHistory,
        bounds: ExecutionBounds,
        metrics: Metrics,
        oversight: Oversight,
    ) -> None:
        self._live = live
        self._oversight = oversight
        self._tools = tools
        self._ender = ender
        self._reviver = reviver
        self._history = history
        self._bounds = bounds
        self._metrics = metrics

    @property
    def _records(self) -> SessionRecords:
        return self._tools.records

    async def submit(self, tenant: str, session_id: str, request: ExecuteCode) -> ExecutionRecord:
        """Accept an execution at the end of the session's queue.

        Raises NotFound, SessionGone, TooLarge (code), InvalidRequest (timeout_s), RateLimited (queue full,
        or the tenant's quota).
        """
        self._check_size(request.code)
        session = await self._records.live(tenant, session_id)
        timeout_s = _timeout(request, session)
        queued = _queued(session, request.code, self._tools)
        await self._oversight.claim_execution(queued)
        try:
            self._enqueue(queued, session, timeout_s)
        except ServiceError:
            self._oversight.release_execution(queued)
            raise
        return queued

    def _enqueue(self, record: ExecutionRecord, session: SessionRecord, timeout_s: float) -> None:
        live = self._live.get(session.id)
        if live is None:
            raise gone(session.model_copy(update={"status": SessionStatus.LOST}))
        if live.queue.qsize() >= self._bounds.queue_length:
            raise RateLimited(
                f"The session's queue is full ({self._bounds.queue_length} executions).",
                code="queue_full",
                retry_after_s=1,
            )
        limits, caller = session.limits, CALLER.get()
        journal = Journal(
            record, lambda final: self._oversight.execution_ended(final, limits, caller)
        )
        self._history.add(journal)
        live.queue.put_nowait(QueuedExecution(journal, timeout_s, limits.output_bytes))
        self._metrics.executions_queued.inc()

    def _check_size(self, code: str) -> None:
        size = len(code.encode("utf-8", "replace"))
        if size > self._bounds.max_code_bytes:
            raise TooLarge(
                f"code is {size} bytes; the limit is {self._bounds.max_code_bytes}.", param="code"
            )

    async def wait(self, tenant: str, session_id: str, execution_id: str) -> ExecutionRecord:
        """The final record, once there is one. Raises SandboxLost when we failed it."""
        record = await (await self._journal(tenant, session_id, execution_id)).wait()
        if record.status is ExecutionStatus.LOST:
            raise SandboxLost(record.notices[-1])
        return record

    async def get(self, tenant: str, session_id: str, execution_id: str) -> ExecutionRecord:
        return (await self._journal(tenant, session_id, execution_id)).record

    async def events(
        self, tenant: str, session_id: str, execution_id: str, after: int = 0
    ) -> AsyncIterator[ExecutionEvent]:
        """Events above `after`, as they come, up to execution.completed."""
        journal = await self._journal(tenant, session_id, execution_id)
        async for event in journal.events(after):
            yield event

    async def history(self, tenant: str, session_id: str) -> Sequence[ExecutionRecord]:
        """The session's executions, oldest first."""
        await self._records.owned(tenant, session_id)
        return self._history.records(session_id)

    async def cancel(self, tenant: str, session_id: str, execution_id: str) -> None:
        """Interrupt the execution if it runs, drop it if it waits; a finished one stays as it is."""
        await self._journal(tenant, session_id, execution_id)
        live = self._live.get(session_id)
        if live is None:
            return
        for item in list(live.queue._queue):  # type: ignore[attr-defined]
            if item.journal.record.id == execution_id:
                item.is_cancelled = True
        if live.current is not None and live.current.journal.record.id == execution_id:
            live.current.was_interrupted = True
            await live.sandbox.kernel.interrupt()

    async def work(self, live: LiveSession) -> None:
        """Run the session's queue until it is cancelled or the sandbox is lost."""
        while True:
            item = await live.queue.get()
            live.current = item
            try:
                await self._run(live, item)
            except ServiceError as error:
                if not await self._recover(live, item, error):
                    return
            finally:
                self._metrics.executions_queued.dec()
            live.current = None

    async def _run(self, live: LiveSession, item: QueuedExecution) -> None:
        if item.is_cancelled:
            notice = "The execution was cancelled before it started."
            interrupted = ExecutionStatus.INTERRUPTED
            item.journal.finish(ended_without_running(item.journal.record, interrupted, notice))
            return
        try:
            await Run(live, item, self._tools)()
        except (ServiceError, asyncio.CancelledError):
            raise
        except Exception as error:
            logger.exception("execution_failed execution=%s", item.journal.record.id)
            raise SandboxLost("The service failed while it ran the execution.") from error
        self._count(item.journal.record)

    def _count(self, record: ExecutionRecord) -> None:
        self._metrics.executions.labels(record.status.value).inc()
        if record.duration_s is not None:
            self._metrics.execution_seconds.observe(record.duration_s)
        self._metrics.artifact_bytes.inc(sum(artifact.size for artifact in record.artifacts))

    async def _recover(self, live: LiveSession, item: QueuedExecution, error: ServiceError) -> bool:
        """Go on with a new sandbox if memory took the old one; end the session otherwise."""
        try:
            session = await self._reviver.revive(live)
        except ServiceError as failure:
            session, error = None, failure
        if session is None:
            await self._lose(live, item, error)
            return False
        item.journal.finish(_out_of_memory(item.journal.record, session))
        self._count(item.journal.record)
        return True

    async def _lose(self, live: LiveSession, item: QueuedExecution, error: ServiceError) -> None:
        """The sandbox cannot be used further: end this execution with the reason, then the session."""
        logger.warning("sandbox_lost session=%s reason=%s", live.session_id, error.message)
        record = item.journal.record
        item.journal.finish(ended_without_running(record, ExecutionStatus.LOST, error.message))
        await self._ender.end(live.session_id, SessionStatus.LOST)

    async def _journal(self, tenant: str, session_id: str, execution_id: str) -> Journal:
        await self._records.owned(tenant, session_id)
        journal = self._history.find(session_id, execution_id)
        if journal is None:
            raise NotFound(f"No execution {execution_id}.", param="execution_id")
        return journal


def _timeout(request: ExecuteCode, session: SessionRecord) -> float:
    longest = session.limits.execution_timeout_s
    if request.timeout_s is None:
        return longest
    check_range("timeout_s", request.timeout_s, lowest=SHORTEST_TIMEOUT_S, highest=longest)
    return request.timeout_s


def _queued(session: SessionRecord, code: str, tools: RunTools) -> ExecutionRecord:
    return ExecutionRecord(
        id=new_id("exec"),
        session_id=session.id,
        tenant=session.tenant,
        status=ExecutionStatus.QUEUED,
        created_at=tools.clock.now(),
        code=code,
        kernel=KernelStamp(epoch=session.epoch, state="kept"),
        session_expires_at=session.expires_at,
    )


def _out_of_memory(record: ExecutionRecord, session: SessionRecord) -> ExecutionRecord:
    """The result of an execution whose whole sandbox went for want of memory."""
    ended_at = session.last_active_at
    notice = (
        "The sandbox was killed because the memory limit was reached and a fresh one was started; "
        "variables and the files in /mnt/data are gone."
    )
    return record.model_copy(
        update={
            "status": ExecutionStatus.OUT_OF_MEMORY,
            "notices": [*record.notices, notice],
            "duration_s": (ended_at - (record.started_at or ended_at)).total_seconds(),
            "kernel": KernelStamp(epoch=session.epoch, state="reset"),
            "session_expires_at": session.expires_at,
        }
    )
