"""Events that stand for others. Pure."""

from collections.abc import Sequence

from sandbox_service.domain.values import ExecutionEvent


def gap_before(after: int, dropped: int) -> Sequence[ExecutionEvent]:
    """For a reader who has the events up to `after` when the first `dropped` are no longer kept."""
    if after >= dropped:
        return ()
    payload = {"from_id": after + 1, "to_id": dropped, "reason": "journal_overflow"}
    return (ExecutionEvent(dropped, "gap", payload),)
