"""Executions, their queues and their events in this process's memory."""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from sandbox_service.domain.errors import LeaseLost, NotFound, RateLimited
from sandbox_service.domain.ports import Clock
from sandbox_service.domain.stores import EventPage, Lease, Mark
from sandbox_service.domain.values import (
    ExecutionEvent,
    ExecutionRecord,
    ExecutionStatus,
    SessionRecord,
)
from sandbox_service.store.events import gap_before
from sandbox_service.store.memory.ledger import KeptExecution
from sandbox_service.store.memory.sessions import replace_session
from sandbox_service.store.memory.tables import Tables
from sandbox_service.store.news import Watch

RETRY_QUEUE_S = 1.0


class MemoryExecutionStore:
    """Each method runs without awaiting, so each is atomic."""

    def __init__(self, tables: Tables, clock: Clock) -> None:
        self._tables = tables
        self._clock = clock

    async def accept(
        self, session: SessionRecord, execution: ExecutionRecord, queue_length: int
    ) -> Lease | None:
        tables = self._tables
        if self._kept(session.id, execution.id) is not None:
            return None
        if len(tables.queues.get(session.id, ())) > queue_length:
            raise queue_full(queue_length)
        replace_session(tables, session)
        history = tables.history(session.id)
        queue = tables.queues.setdefault(session.id, deque())
        history[execution.id] = KeptExecution(execution)
        queue.append(execution.id)
        tables.put_execution(history[execution.id])
        self._trim(history)
        return None if session.id in tables.leases else tables.grant(session.id)

    async def get(self, session_id: str, execution_id: str) -> ExecutionRecord | None:
        kept = self._kept(session_id, execution_id)
        return None if kept is None else kept.record

    async def list(
        self, session_id: str, limit: int | None = None, after: str | None = None
    ) -> Sequence[ExecutionRecord]:
        history = self._tables.executions.get(session_id, OrderedDict())
        if after is not None and after not in history:
            raise not_in_history(after)
        ids = iter(history)
        if after is not None:
            next(one for one in ids if one == after)
        return [history[one].record for one in islice(ids, limit)]

    async def mark(self, session_id: str, execution_id: str | None, mark: Mark) -> str | None:
        kept = self._kept(session_id, execution_id or self._first(session_id))
        if kept is None or kept.record.status.is_final:
            return None
        is_running = kept.record.status is ExecutionStatus.RUNNING
        if is_running or execution_id is not None:
            kept.marks.add(mark)
            self._tables.note_marks(kept)
        return kept.record.id if is_running else None

    async def marks(self, session_id: str, execution_id: str) -> frozenset[Mark]:
        kept = self._kept(session_id, execution_id)
        return frozenset() if kept is None else frozenset(kept.marks)

    async def attend(self, session_id: str, execution_id: str, seconds: float) -> float:
        kept, now = self._kept(session_id, execution_id), self._clock.monotonic()
        if kept is None:
            return 0.0
        kept.attended_until = max(kept.attended_until, now + seconds)
        return max(0.0, kept.attended_until - now)

    def _kept(self, session_id: str, execution_id: str) -> KeptExecution | None:
        return self._tables.find_execution(session_id, execution_id)

    def _first(self, session_id: str) -> str:
        queue = self._tables.queues.get(session_id)
        return queue[0] if queue else ""

    def _trim(self, history: OrderedDict[str, KeptExecution]) -> None:
        length = self._tables.bounds.history_length
        while len(history) > length:
            oldest = next(iter(history.values()))
            if not oldest.record.status.is_final:
                return
            self._tables.forget_execution(oldest)


def queue_full(queue_length: int) -> RateLimited:
    return RateLimited(
        f"The session's queue is full ({queue_length} executions).",
        code="queue_full",
        retry_after_s=RETRY_QUEUE_S,
    )


def not_in_history(execution_id: str) -> NotFound:
    return NotFound(f"No execution {execution_id}.", param="after")


class MemoryWorkQueues:
    """The right to a session's queue, in the one process there is."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def head(self, lease: Lease) -> ExecutionRecord | None:
        require_lease(self._tables, lease)
        queue = self._tables.queues.get(lease.name)
        if queue:
            return self._tables.executions[lease.name][queue[0]].record
        del self._tables.leases[lease.name]
        self._tables.queues.pop(lease.name, None)
        return None

    async def seize(self, session_id: str) -> Lease:
        return self._tables.grant(session_id)

    async def take_over(self) -> Sequence[Lease]:
        tables = self._tables
        free = [
            name for name, queue in tables.queues.items() if queue and name not in tables.leases
        ]
        return [tables.grant(name) for name in free]

    async def give_up(self, lease: Lease) -> None:
        if self._tables.leases.get(lease.name) == lease:
            del self._tables.leases[lease.name]

    async def waiting(self, session_id: str) -> Sequence[str]:
        return list(self._tables.queues.get(session_id, ()))


class MemoryJournals:
    """The events of executions, as many as are kept."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._watches: defaultdict[str, set[Watch]] = defaultdict(set)

    async def write(
        self, lease: Lease, record: ExecutionRecord, events: Sequence[ExecutionEvent]
    ) -> bool:
        """The same final record written again, after an answer was lost, is True again."""
        require_lease(self._tables, lease)
        kept = self._tables.find_execution(record.session_id, record.id)
        if kept is None:
            raise NotFound(f"No execution {record.id}.", param="execution_id")
        if kept.record.status.is_final:
            return kept.record == record
        is_new_state = record.status is not kept.record.status
        kept.record = record
        fresh = (event for event in events if event.id > kept.last_id)
        kept.add_events(fresh, self._tables.bounds.event_bytes)
        if record.status.is_final:
            self._tables.queues[record.session_id].remove(record.id)
        if is_new_state:
            self._tables.put_execution(kept)
        else:
            self._tables.make_room(kept)
        self._tell(record)
        return record.status.is_final

    async def read(self, session_id: str, execution_id: str, after: int, limit: int) -> EventPage:
        kept = self._tables.find_execution(session_id, execution_id)
        if kept is None:
            raise NotFound(f"No execution {execution_id}.", param="execution_id")
        first = max(0, after - kept.dropped)
        events = [
            kept.events[index] for index in range(first, min(first + limit, len(kept.events)))
        ]
        page = [*gap_before(after, kept.dropped), *events]
        return EventPage(page, kept.record.status.is_final, kept.last_id)

    @contextmanager
    def watch(self, execution_id: str) -> Iterator[Watch]:
        watch = Watch()
        self._watches[execution_id].add(watch)
        try:
            yield watch
        finally:
            self._watches[execution_id].discard(watch)
            if not self._watches[execution_id]:
                del self._watches[execution_id]

    def _tell(self, record: ExecutionRecord) -> None:
        for watch in self._watches.get(record.id, ()):
            watch.tell(is_final=record.status.is_final)


def require_lease(tables: Tables, lease: Lease) -> None:
    if tables.leases.get(lease.name) != lease:
        raise LeaseLost(f"Another has the right to {lease.name} now.")
