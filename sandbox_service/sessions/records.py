"""Changes to session records: read, decide, write, and again when another writer was first."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sandbox_service.domain.clock import SystemClock
from sandbox_service.domain.errors import Conflict, LeaseLost, NotFound, NotYours, SessionGone
from sandbox_service.domain.ports import Clock
from sandbox_service.domain.stores import SessionStore
from sandbox_service.domain.values import LIVE_STATUSES, SessionRecord, SessionStatus
from sandbox_service.sessions.terms import is_due, touched

Change = Callable[[SessionRecord], SessionRecord]


@dataclass(frozen=True, slots=True)
class Ended:
    """A session as it is after an end; `is_ours` is False when it had ended before, or lives on."""

    record: SessionRecord
    is_ours: bool


class SessionRecords:
    """The session store, as the rest of this room uses it."""

    def __init__(self, store: SessionStore, clock: Clock | None = None) -> None:
        self.store = store
        self.clock = clock or SystemClock()

    async def owned(self, tenant: str, session_id: str) -> SessionRecord:
        """The tenant's session, live or ended. Raises NotFound, also for another tenant's."""
        record = await self.store.get(session_id)
        if record is None or record.tenant != tenant:
            kind = NotFound if record is None else NotYours
            raise kind(f"No session {session_id}.", param="session_id")
        return record

    async def live(self, tenant: str, session_id: str) -> SessionRecord:
        """The tenant's session, ready for use. Raises NotFound, SessionGone, Conflict while starting.

        One that is due lives until a sweep ends it: the sweep knows whether the clock has jumped.
        """
        record = await self.owned(tenant, session_id)
        require_live(record)
        if record.status is SessionStatus.STARTING:
            raise Conflict(f"Session {session_id} is still starting.", code="session_starting")
        return record

    async def change(self, session_id: str, change: Change) -> SessionRecord:
        """Apply `change` to the newest record until it is written. Raises NotFound."""
        while True:
            record = await self.store.get(session_id)
            if record is None:
                raise NotFound(f"No session {session_id}.", param="session_id")
            changed = change(record)
            if changed is record:
                return record
            try:
                return await self.store.replace(changed)
            except Conflict:
                continue

    async def touch(self, session_id: str) -> SessionRecord:
        """Count activity now. Raises SessionGone when the session ended in between."""
        now = self.clock.now()

        def extend(record: SessionRecord) -> SessionRecord:
            require_live(record)
            return touched(record, now)

        return await self.change(session_id, extend)

    async def after_kernel_seen(self, session_id: str, incarnation: int) -> SessionRecord:
        """Count activity, and raise the epoch by the kernels that were lost since the one seen last."""
        now = self.clock.now()

        def change(record: SessionRecord) -> SessionRecord:
            lost = max(0, incarnation - record.incarnation)
            seen = {"epoch": record.epoch + lost, "incarnation": record.incarnation + lost}
            return touched(record, now).model_copy(update=seen)

        return await self.change(session_id, change)

    async def end(self, session_id: str, status: SessionStatus, now: datetime) -> Ended:
        """Mark the session as ended `now`; one that already ended stays as it is.

        An expiry ends it only while it is due and nothing runs in it.
        """
        is_ours = False

        def finish(record: SessionRecord) -> SessionRecord:
            nonlocal is_ours
            is_spared = status is SessionStatus.EXPIRED and not is_due(record, now)
            is_ours = record.status in LIVE_STATUSES and not is_spared
            ended = {"status": status, "ended_at": now}
            return record.model_copy(update=ended) if is_ours else record

        return Ended(await self.change(session_id, finish), is_ours)


def require_same_opening(current: SessionRecord, ours: SessionRecord) -> None:
    """For who works on a record for long, and may have been stopped meanwhile. Raises LeaseLost.

    Under the same id another replica may have opened the session, or moved it to another sandbox.
    """
    if (current.opening, current.status, current.sandbox) != (
        ours.opening,
        ours.status,
        ours.sandbox,
    ):
        raise LeaseLost(f"Another replica works on session {ours.id} now.")


def require_live(record: SessionRecord) -> None:
    if record.status not in LIVE_STATUSES:
        raise gone(record)


def gone(record: SessionRecord) -> SessionGone:
    reason = {
        SessionStatus.EXPIRED: "expired",
        SessionStatus.CLOSED: "was closed",
        SessionStatus.LOST: "lost its sandbox",
    }[record.status]
    return SessionGone(
        f"Session {record.id} {reason}; its variables and files are gone. Open a new one.",
        code=f"session_{record.status.value}",
        param="session_id",
    )
