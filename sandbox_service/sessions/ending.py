"""How a session ends, whoever ends it: the record first, then its executions, then its sandbox."""

import logging

from sandbox_service.domain.errors import Conflict, LeaseLost, NotFound
from sandbox_service.domain.stores import Lease, WorkQueues
from sandbox_service.domain.values import (
    LIVE_STATUSES,
    ExecutionStatus,
    SandboxRef,
    SessionRecord,
    SessionStatus,
)
from sandbox_service.sessions.finishing import Finisher
from sandbox_service.sessions.lines import SandboxLines
from sandbox_service.sessions.metrics import Metrics
from sandbox_service.sessions.oversight import Oversight
from sandbox_service.sessions.records import SessionRecords
from sandbox_service.sessions.removals import Removals

logger = logging.getLogger(__name__)


class SessionEnder:
    """Ends sessions, on any replica. Idempotent: every step may have been done before."""

    def __init__(
        self,
        records: SessionRecords,
        work: WorkQueues,
        removals: Removals,
        lines: SandboxLines,
        finisher: Finisher,
        metrics: Metrics,
        oversight: Oversight,
    ) -> None:
        self._records = records
        self._work = work
        self._removals = removals
        self._lines = lines
        self._finisher = finisher
        self._metrics = metrics
        self._oversight = oversight

    async def end(self, session_id: str, status: SessionStatus) -> SessionRecord:
        """Mark the session as ended, end what it ran, and stop its sandbox.

        A session that should expire and was used in between stays as it is. Raises NotFound.
        """
        ended = await self._records.end(session_id, status, self._records.clock.now())
        record = ended.record
        if record.status in LIVE_STATUSES:
            return record
        try:
            await self._end_its_executions(record)
            await self._oversight.read_meter(record.tenant, record.sandbox)
            await self._lines.close(session_id)
            for ref in record.sandboxes:
                await self._stop_ended(record, ref)
        finally:
            await self._oversight.release_session(record)
        if ended.is_ours:
            self._metrics.sessions_ended.labels(record.status.value).inc()
            self._oversight.session_ended(record)
        return record

    async def _end_its_executions(self, record: SessionRecord) -> None:
        """Whoever runs them loses the right to before: nothing is written behind an end."""
        if record.pending:
            try:
                await self.end_executions(await self._work.seize(record.id), record.status)
            except (LeaseLost, NotFound):
                logger.info("session_ended_by_two session=%s", record.id)

    async def end_executions(self, lease: Lease, status: SessionStatus) -> None:
        """End whatever waits or runs in a session that has ended. Raises LeaseLost."""
        is_lost = status is SessionStatus.LOST
        ended_as = ExecutionStatus.LOST if is_lost else ExecutionStatus.INTERRUPTED
        notice = f"The session ended ({status.value}) before the execution had finished."
        while (execution := await self._work.head(lease)) is not None:
            await self._finisher.end(lease, execution, ended_as, notice)

    async def drop_unopened(self, record: SessionRecord) -> None:
        """Undo an opening whose replica is gone: nobody was told of the session.

        Of several that come to it one does it; under the same id the session may be opened anew right after.
        """
        # Who has read an older revision lets go of it.
        try:
            await self._records.store.replace(record)
        except Conflict:
            return
        for ref in record.sandboxes:
            await self.stop_sandbox(ref)
        await self._records.store.delete(record.id)
        await self._oversight.release_session(record)

    async def stop_sandbox(self, ref: SandboxRef) -> None:
        """Stop it; what the engine refuses now, the reaper finds later by its labels."""
        await self._removals.now(ref)

    async def _stop_ended(self, record: SessionRecord, ref: SandboxRef) -> None:
        """One that is idle can wait while others start; what still runs a cell is stopped at once."""
        if record.pending:
            await self._removals.now(ref)
        else:
            await self._removals.late(ref)
