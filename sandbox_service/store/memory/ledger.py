"""How many bytes each session and tenant has in memory, and what of them gives way first."""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from sandbox_service.domain.stores import Mark
from sandbox_service.domain.values import ExecutionEvent, ExecutionRecord
from sandbox_service.store.bounds import FULL_JOURNALS, KEPT_EVENTS, StoreBounds, without_outputs
from sandbox_service.store.encoding import to_json

EVENT_BYTES = 64
"""What an event costs beside its payload."""

Key = tuple[str, str]
"""Session and execution."""


@dataclass(slots=True)
class KeptExecution:
    """An execution with the events that are kept of it; `dropped` counts the oldest, which are not."""

    record: ExecutionRecord
    events: deque[ExecutionEvent] = field(default_factory=deque)
    dropped: int = 0
    marks: set[Mark] = field(default_factory=set)
    attended_until: float = float("-inf")
    record_bytes: int = 0
    event_bytes: int = 0
    _sizes: deque[int] = field(default_factory=deque)

    @property
    def key(self) -> Key:
        return self.record.session_id, self.record.id

    @property
    def bytes(self) -> int:
        return self.record_bytes + self.event_bytes

    @property
    def last_id(self) -> int:
        return self.dropped + len(self.events)

    @property
    def steps_taken(self) -> int:
        """How far it has given way: 0 with events, 1 with outputs, 2 when only the bare record is left."""
        if len(self.events) > 1:
            return 0
        return 1 if self.record.outputs else 2

    def add_events(self, events: Iterable[ExecutionEvent], bound_bytes: int) -> None:
        for event in events:
            size = _size(event)
            self.events.append(event)
            self._sizes.append(size)
            self.event_bytes += size
        while len(self.events) > KEPT_EVENTS:
            self._drop_first()
        while self.event_bytes > bound_bytes and len(self.events) > 1:
            self._drop_first()

    def keep_last_event(self) -> None:
        while len(self.events) > 1:
            self._drop_first()

    def give_up_outputs(self) -> None:
        self.record = without_outputs(self.record)
        self.events[-1] = ExecutionEvent(self.last_id, "execution.completed", self.record)

    def _drop_first(self) -> None:
        self.events.popleft()
        self.event_bytes -= self._sizes.popleft()
        self.dropped += 1


def _size(event: ExecutionEvent) -> int:
    """A record is counted by itself."""
    if isinstance(event.payload, ExecutionRecord):
        return EVENT_BYTES
    return EVENT_BYTES + len(to_json(event.payload))


@dataclass(slots=True)
class _Scope:
    """What one session or tenant has; its ended executions by the steps that they took, oldest first."""

    bytes: int = 0
    queues: tuple[OrderedDict[Key, None], ...] = field(
        default_factory=lambda: (OrderedDict(), OrderedDict(), OrderedDict())
    )

    def first_but(self, key: Key) -> Key | None:
        return next((one for queue in self.queues for one in queue if one != key), None)

    def remove(self, key: Key) -> None:
        for queue in self.queues:
            queue.pop(key, None)


class Ledger:
    """Sums by session and by tenant, exact after every change that it is told of."""

    def __init__(self, bounds: StoreBounds) -> None:
        self._bounds = bounds
        self._sessions: defaultdict[str, _Scope] = defaultdict(_Scope)
        self._tenants: defaultdict[str, _Scope] = defaultdict(_Scope)
        self._counted: dict[Key, int] = {}

    def update(self, kept: KeptExecution) -> None:
        """Count the execution as it is now."""
        change = kept.bytes - self._counted.get(kept.key, 0)
        self._counted[kept.key] = kept.bytes
        for scope in self._scopes(kept.record):
            scope.bytes += change
            if kept.record.status.is_final:
                scope.remove(kept.key)
                scope.queues[kept.steps_taken][kept.key] = None

    def remove(self, kept: KeptExecution) -> None:
        size = self._counted.pop(kept.key, 0)
        for scope in self._scopes(kept.record):
            scope.bytes -= size
            scope.remove(kept.key)
        self._drop_empty(kept.record)

    def next_to_give_way(self, newest: ExecutionRecord) -> Key | None:
        """The execution that must take its next step; None when all is within its bounds."""
        session, tenant = self._scopes(newest)
        spared = newest.session_id, newest.id
        first = None
        if session.bytes > self._bounds.session_bytes or len(session.queues[0]) > FULL_JOURNALS:
            first = session.first_but(spared)
        if first is None and tenant.bytes > self._bounds.tenant_bytes:
            first = tenant.first_but(spared)
        return first

    def _scopes(self, record: ExecutionRecord) -> tuple[_Scope, _Scope]:
        return self._sessions[record.session_id], self._tenants[record.tenant]

    def _drop_empty(self, record: ExecutionRecord) -> None:
        for scopes, name in ((self._sessions, record.session_id), (self._tenants, record.tenant)):
            if scopes[name].bytes == 0:
                del scopes[name]
