"""How a session ends, whoever ends it: the record first, then its executions, then its sandbox."""

import asyncio
import logging

from sandbox_service.domain.errors import ServiceError
from sandbox_service.domain.ports import SandboxBackend
from sandbox_service.domain.values import ExecutionStatus, SandboxRef, SessionRecord, SessionStatus
from sandbox_service.sessions.journal import Journal, ended_without_running
from sandbox_service.sessions.live import LiveSession
from sandbox_service.sessions.metrics import Metrics
from sandbox_service.sessions.oversight import Oversight
from sandbox_service.sessions.records import SessionRecords

logger = logging.getLogger(__name__)


class SessionEnder:
    """Ends sessions. Idempotent: every step may have been done before."""

    def __init__(
        self,
        records: SessionRecords,
        backend: SandboxBackend,
        live: dict[str, LiveSession],
        metrics: Metrics,
        oversight: Oversight,
    ) -> None:
        self._records = records
        self._oversight = oversight
        self._backend = backend
        self._live = live
        self._metrics = metrics

    async def end(self, session_id: str, status: SessionStatus) -> SessionRecord:
        """Mark the session as ended, end what it ran, and stop its sandbox."""
        record = await self._records.end(session_id, status)
        try:
            await self._stop(record)
        finally:
            self._oversight.release_session(record)
        return record

    async def _stop(self, record: SessionRecord) -> None:
        live = self._live.pop(record.id, None)
        if live is not None:
            self._metrics.sessions_ended.labels(record.status.value).inc()
            self._oversight.session_ended(record)
            await self._close(live, record.status)
        if record.sandbox is not None:
            await self.stop_sandbox(record.sandbox)

    async def _close(self, live: LiveSession, status: SessionStatus) -> None:
        if live.worker is not None and live.worker is not asyncio.current_task():
            live.worker.cancel()
            await asyncio.gather(live.worker, return_exceptions=True)
        _end_executions(live, status)
        await live.sandbox.close()

    async def stop_sandbox(self, ref: SandboxRef) -> None:
        """Stop it; what the engine refuses now, the reaper finds later by its labels."""
        try:
            await self._backend.stop(ref)
        except ServiceError as error:
            logger.warning("sandbox_stop_failed sandbox=%s reason=%s", ref.sandbox_id, error.code)


def _end_executions(live: LiveSession, status: SessionStatus) -> None:
    ended_as = ExecutionStatus.LOST if status is SessionStatus.LOST else ExecutionStatus.INTERRUPTED
    notice = f"The session ended ({status.value}) before the execution had finished."
    journals: list[Journal] = [] if live.current is None else [live.current.journal]
    while not live.queue.empty():
        journals.append(live.queue.get_nowait().journal)
    for journal in journals:
        journal.finish(ended_without_running(journal.record, ended_as, notice))
