"""The seams to what is kept: sessions, executions and their events, who works on what. Six methods at most each.

Two implementations of each: this process's memory, with a log on disk, and Redis, shared by replicas.
A *replica* is one service process. Every method of the Redis ones raises StoreUnavailable.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from sandbox_service.domain.values import (
    ExecutionEvent,
    ExecutionRecord,
    SandboxRef,
    SessionRecord,
)


@dataclass(frozen=True, slots=True)
class SessionQuery:
    """`after` is the id of the last session of the page before."""

    tenant: str | None = None
    statuses: frozenset[str] | None = None
    limit: int = 20
    after: str | None = None


class SessionStore(Protocol):
    """Session records. Every write is atomic and checks the revision it is based on."""

    async def create(self, record: SessionRecord) -> SessionRecord:
        """Keep a new record. Raises Conflict when the id exists."""
        ...

    async def get(self, session_id: str) -> SessionRecord | None: ...

    async def replace(self, record: SessionRecord) -> SessionRecord:
        """Write `record` if the stored revision is `record.revision`; returns it with the next revision.

        Raises Conflict when it was changed or removed in between.
        """
        ...

    async def list(self, query: SessionQuery) -> Sequence[SessionRecord]:
        """Newest first, by (created_at, id)."""
        ...

    async def due(
        self, before: datetime, ended_before: datetime, limit: int
    ) -> Sequence[SessionRecord]:
        """Live records with `expires_at` up to `before`, ended ones with `ended_at` up to `ended_before`."""
        ...

    async def delete(self, session_id: str) -> None:
        """Remove the record with all its executions and their events. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """A replica's exclusive right to `name`. A later grant has a higher `token`, and fences this one off."""

    name: str
    token: int


class Replicas(Protocol):
    """Which service processes live, and what each alone may do."""

    @property
    def id(self) -> str:
        """This replica: fresh with each start of the process."""
        ...

    async def beat(self) -> None:
        """Say that this replica lives, for the lease's time from now on."""
        ...

    async def alive(self) -> frozenset[str]:
        """The replicas that live, this one among them."""
        ...

    async def acquire(self, name: str) -> Lease | None:
        """The right to `name`; the same lease again if it is ours, None while another live replica has it."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give it back, if it is still ours."""
        ...

    async def leave(self) -> None:
        """Be no longer alive: others take over what was ours at once."""
        ...


class Mark(StrEnum):
    """What was done to an execution from outside while it waited or ran."""

    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    KILLED = "killed"


class ExecutionStore(Protocol):
    """Executions of sessions, oldest first; how many and how much of them is bounded by `StoreBounds`."""

    async def accept(
        self, session: SessionRecord, execution: ExecutionRecord, queue_length: int
    ) -> Lease | None:
        """Write `session` as `SessionStore.replace` does and queue the execution, in one step.

        Returns the right to work on the session's queue if no live replica has it, None otherwise. An id
        that is known already changes nothing. Raises Conflict, and RateLimited `queue_full` when
        `queue_length` executions wait behind the one that runs.
        """
        ...

    async def get(self, session_id: str, execution_id: str) -> ExecutionRecord | None: ...

    async def list(
        self, session_id: str, limit: int | None = None, after: str | None = None
    ) -> Sequence[ExecutionRecord]:
        """Of those that are kept, the first `limit` behind `after`. Raises NotFound for an unknown `after`."""
        ...

    async def mark(self, session_id: str, execution_id: str | None, mark: Mark) -> str | None:
        """Note `mark` on an execution that is not final; None means the one that runs.

        Returns its id if it runs, None if it does not.
        """
        ...

    async def marks(self, session_id: str, execution_id: str) -> frozenset[Mark]: ...

    async def attend(self, session_id: str, execution_id: str, seconds: float) -> float:
        """Note that a caller waits for it for so many seconds from now; 0 only asks.

        Returns for how many seconds from now one is said to wait; 0 when nobody is.
        """
        ...


class WorkQueues(Protocol):
    """The right to run a session's executions, in order: held by one replica while there are any."""

    async def head(self, lease: Lease) -> ExecutionRecord | None:
        """The first execution that is not final; None when there is none, and the lease was given back.

        Raises LeaseLost.
        """
        ...

    async def seize(self, session_id: str) -> Lease:
        """Take the right from whoever has it: for the end of a session."""
        ...

    async def take_over(self) -> Sequence[Lease]:
        """The rights of replicas that are no longer alive, where executions wait or run."""
        ...

    async def give_up(self, lease: Lease) -> None:
        """Let others take over, with the queue as it is."""
        ...

    async def waiting(self, session_id: str) -> Sequence[str]:
        """The ids of the executions that wait or run, in order."""
        ...


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in order, and whether the execution has ended; if so and nothing follows, it is over.

    `last_id` is the number of the latest event there is.
    """

    events: Sequence[ExecutionEvent]
    is_final: bool
    last_id: int


class News(Protocol):
    """Tells a reader when an execution's journal may have grown."""

    def clear(self) -> None:
        """From now on wait for what is new. Call before reading."""
        ...

    async def wait(self) -> None:
        """Return when there may be something new, at the latest after a while."""
        ...

    async def wait_final(self) -> None:
        """Return when the execution may have ended, at the latest after a while."""
        ...


class Journals(Protocol):
    """The numbered events of executions, written by who has the lease, read by anybody."""

    async def write(
        self, lease: Lease, record: ExecutionRecord, events: Sequence[ExecutionEvent]
    ) -> bool:
        """Keep `record` and those events whose number is above the last one kept, in one step.

        With a final record the execution leaves the queue. True if this made it final; a record that is
        final already never changes. The number of events kept is bounded: the oldest give way to a gap.
        Raises LeaseLost.
        """
        ...

    async def read(self, session_id: str, execution_id: str, after: int, limit: int) -> EventPage:
        """Events with a number above `after`, a gap first if some of those are no longer kept."""
        ...

    def watch(self, execution_id: str) -> AbstractContextManager[News]: ...


@dataclass(frozen=True, slots=True)
class Demand:
    """How often a pool was asked of late; `last_age_s` is None when it never was."""

    claims: int
    last_age_s: float | None


class PoolStore(Protocol):
    """The warm sandboxes that are ready, of each template; shared by all replicas."""

    async def add(self, template: str, ref: SandboxRef) -> None: ...

    async def take(self, template: str) -> SandboxRef | None:
        """Take one out for good; None when there is none."""
        ...

    async def ready(self, template: str) -> Sequence[SandboxRef]: ...

    async def note_claim(self, template: str) -> None:
        """Count one claim, now."""
        ...

    async def demand(self, template: str, window_s: float) -> Demand: ...


@dataclass(frozen=True, slots=True)
class OnceEntry:
    """What is known of a request with an idempotency key: the ids it was given, and that it was done.

    `content` is the digest of what it uploaded, which is known when it is done; `mark` names the entry itself.
    """

    fingerprint: str
    ids: Mapping[str, str]
    is_done: bool = False
    content: str = ""
    mark: str = field(default="", compare=False)


class OnceStore(Protocol):
    """Requests that must take effect once, by tenant and idempotency key, for a retention time."""

    async def begin(
        self, tenant: str, key: str, fingerprint: str, ids: Mapping[str, str]
    ) -> OnceEntry:
        """The entry of that key: the one there is, else a new one made of the arguments."""
        ...

    async def done(self, tenant: str, key: str, content: str = "") -> None:
        """Note that the request has taken effect; the first `content` that is noted counts."""
        ...

    async def give_back(self, tenant: str, key: str, entry: OnceEntry) -> None:
        """The request was refused: the key is free again, unless the same request came twice.

        Of two, one may take effect though the other is refused.
        """
        ...


@dataclass(frozen=True, slots=True)
class Stores:
    """All that one service keeps, over one connection or one memory."""

    sessions: SessionStore
    executions: ExecutionStore
    work: WorkQueues
    journals: Journals
    replicas: Replicas
    pool: PoolStore
    once: OnceStore
