"""The end of executions, whoever brings it about: the final record, and what is counted and written down."""

from dataclasses import dataclass

from sandbox_service.domain.patience import patiently
from sandbox_service.domain.stores import Journals, Lease
from sandbox_service.domain.values import ExecutionEvent, ExecutionRecord, ExecutionStatus
from sandbox_service.sessions.journal import ALL, ended_from_outside
from sandbox_service.sessions.metrics import Metrics
from sandbox_service.sessions.oversight import Oversight


@dataclass(frozen=True, slots=True)
class Finished:
    """A final record; `is_ours` is False when somebody else had ended the execution before."""

    record: ExecutionRecord
    is_ours: bool


class Finisher:
    """Ends executions that did not run to their end, and takes note of each end once, over all replicas."""

    def __init__(self, journals: Journals, metrics: Metrics, oversight: Oversight) -> None:
        self._journals = journals
        self._metrics = metrics
        self._oversight = oversight

    async def end(
        self,
        lease: Lease,
        record: ExecutionRecord,
        status: ExecutionStatus,
        notice: str,
        **changes: object,
    ) -> None:
        """Write that the execution ended like this, with the output that it showed. Raises LeaseLost."""
        final = await ended_from_outside(self._journals, record, status, notice)
        final = final.model_copy(update=changes)

        await self._oversight.release_execution(final)

        async def write() -> bool:
            page = await self._journals.read(record.session_id, record.id, ALL, 1)
            event = ExecutionEvent(page.last_id + 1, "execution.completed", final)
            return await self._journals.write(lease, final, [event])

        self.note(Finished(final, await patiently(write)))

    def note(self, finished: Finished) -> None:
        """Count and audit the end, if this replica made it."""
        if not finished.is_ours:
            return
        record = finished.record
        self._oversight.execution_ended(record)
        self._metrics.executions.labels(record.status.value).inc()
        if record.duration_s is not None:
            self._metrics.execution_seconds.observe(record.duration_s)
        self._metrics.artifact_bytes.inc(sum(artifact.size for artifact in record.artifacts))
