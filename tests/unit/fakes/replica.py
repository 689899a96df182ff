"""The session room of one service process, over memory and a backend that is a fake."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sandbox_service.domain.ports import ChangedFile, NoMeter, SandboxMeter, WorkspaceFiles
from sandbox_service.domain.quota_rules import LimitsOf
from sandbox_service.domain.requests import ExecuteCode, OpenSession
from sandbox_service.domain.stores import Stores
from sandbox_service.domain.tenancy import Held
from sandbox_service.domain.values import (
    ArtifactRecord,
    ExecutionEvent,
    ExecutionRecord,
    SessionRecord,
    Template,
)
from sandbox_service.files.artifacts import ArtifactOwner, Collected
from sandbox_service.sessions.adoption import Adoption
from sandbox_service.sessions.ending import SessionEnder
from sandbox_service.sessions.executions import ExecutionBounds, ExecutionService
from sandbox_service.sessions.finishing import Finisher
from sandbox_service.sessions.leader import Leader
from sandbox_service.sessions.lines import SandboxLines
from sandbox_service.sessions.metrics import Metrics
from sandbox_service.sessions.oversight import Oversight
from sandbox_service.sessions.pool import PoolSize, WarmPool
from sandbox_service.sessions.provisioning import Provisioner, StartTerms
from sandbox_service.sessions.reaper import Reaper
from sandbox_service.sessions.records import SessionRecords
from sandbox_service.sessions.removals import Removals
from sandbox_service.sessions.revival import Reviver
from sandbox_service.sessions.run import RunTools
from sandbox_service.sessions.service import SessionService, SessionTerms
from sandbox_service.sessions.source import SandboxSource
from sandbox_service.sessions.workers import Workers
from sandbox_service.tenants.quotas import MemoryQuotas, SharedRoom
from sandbox_service.tenants.records import TenantLimits
from tests.support.fakes import InstantBackend, SteppedClock
from tests.support.turns import others_run
from tests.unit.fakes.api_fakes import MemoryAudit

TENANT = "first"
TERMS = SessionTerms(60, 1, 600, 600, 600)
TEMPLATES = {"python": Template()}


class KeepsRecordsOnly:
    """Artifacts whose bytes nobody fetches; counts how often each path was collected."""

    def __init__(self, clock: SteppedClock) -> None:
        self._clock = clock
        self.collected: list[str] = []

    async def collect(
        self, files: WorkspaceFiles, changed: Sequence[ChangedFile], owner: ArtifactOwner
    ) -> Collected:
        self.collected += [file.path for file in changed]
        return Collected(tuple(self._record(file, owner) for file in changed))

    async def sweep(self) -> int:
        return 0

    def _record(self, file: ChangedFile, owner: ArtifactOwner) -> ArtifactRecord:
        return ArtifactRecord(
            id=f"art_{file.path}",
            tenant=owner.tenant,
            session_id=owner.session_id,
            execution_id=owner.execution_id,
            path=file.path,
            size=file.size,
            media_type="text/plain",
            sha256="",
            created_at=self._clock.now(),
            expires_at=self._clock.now(),
        )


class GivesBackLate(MemoryQuotas):
    """What is given back is there for others once it was flushed, as over Redis."""

    def __init__(self, limits_of: LimitsOf, room: SharedRoom, clock: SteppedClock) -> None:
        super().__init__(limits_of, room, clock)
        self._late: list[tuple[str, Held, str]] = []

    def release(self, tenant: str, held: Held, holder: str) -> None:
        self._late.append((tenant, held, holder))

    async def flush(self) -> None:
        while self._late:
            super().release(*self._late.pop())


@dataclass
class Replica:
    """One process. Two of them over the same stores stand for one and the one that follows it."""

    stores: Stores
    backend: InstantBackend
    clock: SteppedClock = field(default_factory=SteppedClock)
    limits: TenantLimits = field(default_factory=TenantLimits)
    start_timeout_s: float = 5
    pool_size: PoolSize | None = None
    queue_length: int = 8
    meter: SandboxMeter = field(default_factory=NoMeter)

    def __post_init__(self) -> None:
        stores, backend, clock = self.stores, self.backend, self.clock
        self.metrics, self.audit = Metrics(), MemoryAudit()
        self.quotas = GivesBackLate(lambda tenant: self.limits, SharedRoom(8, frozenset), clock)
        self.oversight = Oversight(clock, self.quotas, self.audit, meter=self.meter)
        self.records = SessionRecords(stores.sessions, clock)
        self.lines = SandboxLines(backend)
        self.leader = Leader(stores.replicas)
        self.adoption = Adoption(stores.sessions, backend, clock)
        self.artifacts = KeepsRecordsOnly(clock)
        self.finisher = Finisher(stores.journals, self.metrics, self.oversight)
        self.ender = SessionEnder(
            self.records,
            stores.work,
            Removals(backend),
            self.lines,
            self.finisher,
            self.metrics,
            self.oversight,
        )
        self.provisioner = Provisioner(
            backend, StartTerms(self.start_timeout_s, 2, wait_s=self.start_timeout_s)
        )
        self.pools = {} if self.pool_size is None else {"python": self._pool(self.pool_size)}
        self.source = SandboxSource(self.records, self.provisioner, backend, self.pools, TEMPLATES)
        self.reviver = Reviver(
            self.records,
            backend,
            self.lines,
            self.source,
            self.ender,
            self.adoption,
            self.oversight,
        )
        self.workers = self._make_workers()
        self.executions = ExecutionService(
            stores,
            self.records,
            self.lines,
            self.workers,
            ExecutionBounds(1000, self.queue_length),
            self.oversight,
        )
        self.sessions = self._make_sessions()
        self.reaper = self._make_reaper()

    def _pool(self, size: PoolSize) -> WarmPool:
        return WarmPool(
            TEMPLATES["python"],
            size,
            self.stores.pool,
            self.leader,
            self.provisioner,
            self.backend,
            self.backend,
            self.clock,
            self.metrics,
        )

    def _make_workers(self) -> Workers:
        tools = RunTools(
            self.stores,
            self.records,
            self.backend,
            self.lines,
            self.artifacts,  # type: ignore[arg-type]
            self.clock,
            interrupt_grace_s=0.01,
            oversight=self.oversight,
        )
        return Workers(tools, self.reviver, self.ender, self.finisher, self.metrics)

    def _make_sessions(self) -> SessionService:
        return SessionService(
            self.stores,
            self.records,
            self.lines,
            self.source,
            self.ender,
            self.workers,
            self.adoption,
            TEMPLATES,
            TERMS,
            self.metrics,
            self.oversight,
        )

    def _make_reaper(self) -> Reaper:
        return Reaper(
            self.stores,
            self.records,
            self.leader,
            self.backend,
            self.ender,
            self.adoption,
            list(self.pools.values()),
            self.artifacts,  # type: ignore[arg-type]
            self.quotas,
            self.metrics,
            self.oversight,
        )

    async def open(self) -> SessionRecord:
        return await self.sessions.open(TENANT, OpenSession())

    async def submit(
        self, session: SessionRecord, code: str = "1", **asked: bool
    ) -> ExecutionRecord:
        request = ExecuteCode(code=code, **asked)
        return await self.executions.submit(TENANT, session.id, request)

    async def wait(self, execution: ExecutionRecord) -> ExecutionRecord:
        """The final record, within a time that no test needs."""
        async with asyncio.timeout(60):
            return await self.executions.wait(TENANT, execution.session_id, execution.id)

    async def events(self, execution: ExecutionRecord, after: int = 0) -> list[ExecutionEvent]:
        """All there will be, in order."""
        told = self.executions.events(TENANT, execution.session_id, execution.id, after)
        async with asyncio.timeout(60):
            return [event async for event in told]

    async def dies(self) -> None:
        """As after `kill -9`: nothing is given back, and nothing more is done."""
        tasks = list(self.workers._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.stores.replicas.leave()  # what its lease's end does

    async def aclose(self) -> None:
        await self.sessions.aclose()
        await self.workers.aclose()
        await self.lines.aclose()


@asynccontextmanager
async def replica_on(
    stores: Stores, backend: InstantBackend, **parts: object
) -> AsyncIterator[Replica]:
    """A replica that is closed at the end of the block."""
    replica = Replica(stores, backend, **parts)  # type: ignore[arg-type]
    try:
        yield replica
    finally:
        await replica.aclose()


async def until(is_so: Callable[[], object]) -> None:
    """Let other tasks run until `is_so()` is true."""
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0)


async def running(
    replica: Replica, session: SessionRecord, code: str = "held", **asked: bool
) -> ExecutionRecord:
    """An execution that runs, all its text so far told, and has run for a while."""
    execution = await replica.submit(session, code, **asked)
    told = replica.executions.events(TENANT, session.id, execution.id)
    expected = 1 + (replica.backend.cells[code].waits_after or 0)
    async with asyncio.timeout(60):
        for _ in range(expected):
            await anext(told)
    await told.aclose()
    await others_run()
    return execution


def text_of(execution: ExecutionRecord) -> str:
    return "".join(node.get("text", "") for node in execution.outputs)
