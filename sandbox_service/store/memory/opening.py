"""The memory stores, put together."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sandbox_service.domain.clock import SystemClock
from sandbox_service.domain.ports import Clock
from sandbox_service.domain.stores import Demand, Lease, Stores
from sandbox_service.domain.values import SandboxRef
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.memory.executions import (
    MemoryExecutionStore,
    MemoryJournals,
    MemoryWorkQueues,
)
from sandbox_service.store.memory.once import MemoryOnceStore
from sandbox_service.store.memory.sessions import MemorySessionStore
from sandbox_service.store.memory.tables import Tables

CLAIMS_KEPT = 1000


@contextmanager
def open_memory_stores(
    bounds: StoreBounds, path: Path | None = None, clock: Clock | None = None
) -> Iterator[Stores]:
    """The stores over one memory; `path` is the log's, None means that nothing outlives the process.

    Raises StoreInUse when another process has that log.
    """
    tables = Tables(bounds, path)
    clock = clock or SystemClock()
    try:
        yield Stores(
            sessions=MemorySessionStore(tables),
            executions=MemoryExecutionStore(tables, clock),
            work=MemoryWorkQueues(tables),
            journals=MemoryJournals(tables),
            replicas=OnlyReplica(tables),
            pool=MemoryPoolStore(tables, clock),
            once=MemoryOnceStore(tables, clock),
        )
    finally:
        tables.close()


class OnlyReplica:
    """The one process there is: every right is its own."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @property
    def id(self) -> str:
        return self._tables.replica

    async def beat(self) -> None:
        self._tables.heal()

    async def alive(self) -> frozenset[str]:
        return frozenset({self.id})

    async def acquire(self, name: str) -> Lease | None:
        return self._tables.leases.get(name) or self._tables.grant(name)

    async def release(self, lease: Lease) -> None:
        if self._tables.leases.get(lease.name) == lease:
            del self._tables.leases[lease.name]

    async def leave(self) -> None:
        self._tables.leases.clear()


class MemoryPoolStore:
    """The ready sandboxes, first in first out."""

    def __init__(self, tables: Tables, clock: Clock) -> None:
        self._tables = tables
        self._clock = clock
        self._claims: dict[str, deque[float]] = {}

    async def add(self, template: str, ref: SandboxRef) -> None:
        if ref not in self._tables.pools[template]:
            self._tables.pools[template].append(ref)
            self._tables.note_pool(template)

    async def take(self, template: str) -> SandboxRef | None:
        if not self._tables.pools[template]:
            return None
        ref = self._tables.pools[template].popleft()
        self._tables.note_pool(template)
        return ref

    async def ready(self, template: str) -> Sequence[SandboxRef]:
        return list(self._tables.pools[template])

    async def note_claim(self, template: str) -> None:
        claims = self._claims.setdefault(template, deque(maxlen=CLAIMS_KEPT))
        claims.append(self._clock.monotonic())

    async def demand(self, template: str, window_s: float) -> Demand:
        now = self._clock.monotonic()
        claims = self._claims.get(template, deque())
        recent = sum(at >= now - window_s for at in claims)
        return Demand(recent, now - claims[-1] if claims else None)
