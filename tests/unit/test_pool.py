"""The warm pool: claimed once, refilled, grown and shrunk, drained."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from sandbox_service.domain.errors import EngineUnavailable
from sandbox_service.domain.stores import Stores
from sandbox_service.domain.values import MIB, Limits, SandboxRef, Template
from sandbox_service.sessions.leader import Leader
from sandbox_service.sessions.metrics import Metrics
from sandbox_service.sessions.pool import PoolSize, WarmPool, target_size
from sandbox_service.sessions.provisioning import Provisioner, StartTerms
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.memory import open_memory_stores
from tests.support.fakes import (
    ConnectsToTheDead,
    FailsFirstStarts,
    FakeSandbox,
    InstantBackend,
    NeverReady,
    SteppedClock,
)

TEMPLATE = Template()
LIMITS = TEMPLATE.limits
CLOCK = SteppedClock()


class NeverLeads(Leader):
    """A replica beside the one that leads."""

    async def leads(self) -> bool:
        return False


class KeepsLines(InstantBackend):
    """Keeps every line that was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[FakeSandbox] = []

    async def connect(self, ref: SandboxRef) -> FakeSandbox:
        self.lines.append(FakeSandbox())
        return self.lines[-1]


@pytest.fixture
def stores() -> Iterator[Stores]:
    with open_memory_stores(StoreBounds(), clock=CLOCK) as stores:
        yield stores


def make_pool(
    stores: Stores,
    backend: InstantBackend,
    floor: int = 2,
    ceiling: int = 6,
    leader: type[Leader] = Leader,
) -> WarmPool:
    return WarmPool(
        TEMPLATE,
        PoolSize(floor, ceiling),
        stores.pool,
        leader(stores.replicas),
        Provisioner(backend, StartTerms(timeout_s=5, concurrency=2, wait_s=5)),
        backend,
        backend,
        CLOCK,
        Metrics(),
    )


@asynccontextmanager
async def running(pool: WarmPool) -> AsyncIterator[WarmPool]:
    task = asyncio.create_task(pool.run())
    try:
        yield pool
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def settle(stores: Stores, count: int) -> None:
    async with asyncio.timeout(60):
        while len(await stores.pool.ready("python")) != count:
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("floor", "ceiling", "claims", "target"),
    [(2, 8, 0, 2), (2, 8, 3, 5), (2, 8, 50, 8), (0, 8, 0, 0), (0, 0, 9, 0), (4, 2, 0, 4)],
)
def test_the_target_follows_demand_between_floor_and_ceiling(floor, ceiling, claims, target):
    assert target_size(PoolSize(floor, ceiling), claims) == target


async def test_each_sandbox_is_claimed_once(stores: Stores) -> None:
    backend = InstantBackend()
    async with running(make_pool(stores, backend, floor=4, ceiling=4)) as pool:
        await settle(stores, 4)
        claims = await asyncio.gather(*(pool.claim(LIMITS) for _ in range(4)))
    ids = [claim.ref.sandbox_id for claim in claims]
    assert len(set(ids)) == 4


async def test_an_empty_pool_is_a_miss(stores: Stores) -> None:
    assert await make_pool(stores, InstantBackend()).claim(LIMITS) is None


async def test_a_claim_is_followed_by_a_refill(stores: Stores) -> None:
    async with running(make_pool(stores, InstantBackend(), floor=2, ceiling=2)) as pool:
        await settle(stores, 2)
        assert await pool.claim(LIMITS) is not None
        await settle(stores, 2)


async def test_a_burst_grows_the_pool(stores: Stores) -> None:
    async with running(make_pool(stores, InstantBackend(), floor=2, ceiling=6)) as pool:
        await settle(stores, 2)
        for _ in range(3):
            await pool.claim(LIMITS)
        await settle(stores, 5)


async def test_a_failed_start_leaves_nothing_and_is_tried_again(stores: Stores) -> None:
    backend = FailsFirstStarts(failures=3)
    async with running(make_pool(stores, backend, floor=1, ceiling=1)):
        await settle(stores, 1)
    assert len(backend.running) == 1


async def test_other_limits_are_applied_to_a_warm_sandbox(stores: Stores) -> None:
    backend = InstantBackend()
    asked = LIMITS.model_copy(update={"memory_bytes": 512 * MIB})
    async with running(make_pool(stores, backend, floor=1, ceiling=1)) as pool:
        await settle(stores, 1)
        claimed = await pool.claim(asked)
    assert backend.resized[claimed.ref.sandbox_id] == asked


class RefusesOtherLimits(InstantBackend):
    """Its engine keeps a sandbox at the limits that it has."""

    async def resize(self, ref: SandboxRef, limits: Limits) -> bool:
        return limits == self.running[ref.sandbox_id].limits


class NeverResizes(InstantBackend):
    """A runtime whose sandboxes are never to be asked."""

    def can_resize(self, template: Template) -> bool:
        return False


class HangsAtOtherLimits(InstantBackend):
    """Its engine stops answering in the middle of a change."""

    async def resize(self, ref: SandboxRef, limits: Limits) -> bool:
        raise EngineUnavailable("the engine does not answer")


@pytest.mark.parametrize(
    ("backend", "left"), [(RefusesOtherLimits, 3), (NeverResizes, 3), (HangsAtOtherLimits, 2)]
)
async def test_limits_that_are_refused_cost_the_pool_nothing(
    stores: Stores, backend: type[InstantBackend], left: int
) -> None:
    """The claim is a miss. Only a sandbox of which nobody knows what limits it has now is stopped."""
    engine = backend()
    async with running(make_pool(stores, engine, floor=3, ceiling=3)):
        await settle(stores, 3)
    beside = make_pool(stores, engine)
    assert await beside.claim(LIMITS.model_copy(update={"cpus": 2.0})) is None
    assert len(engine.running) == len(await stores.pool.ready("python")) == left
    assert (await beside.claim(LIMITS)) is not None


async def test_another_workspace_size_is_a_miss_and_keeps_the_warm_one(stores: Stores) -> None:
    async with running(make_pool(stores, InstantBackend(), floor=1, ceiling=1)) as pool:
        await settle(stores, 1)
        assert await pool.claim(LIMITS.model_copy(update={"workspace_bytes": 5 * MIB})) is None
        assert len(await stores.pool.ready("python")) == 1


async def test_a_dead_sandbox_is_not_handed_out(stores: Stores) -> None:
    backend = ConnectsToTheDead()
    pool = make_pool(stores, backend, floor=1, ceiling=1)
    async with running(pool):
        await settle(stores, 1)
    dead = set(backend.running)
    assert await pool.claim(LIMITS) is None
    assert not dead & set(backend.running)


async def test_draining_stops_everything_that_is_held(stores: Stores) -> None:
    backend = InstantBackend()
    pool = make_pool(stores, backend, floor=3, ceiling=3)
    async with running(pool):
        await settle(stores, 3)
    await pool.drain()
    assert backend.running == {}
    assert await pool.sandbox_ids() == frozenset()


async def test_what_is_being_made_belongs_to_the_pool(stores: Stores) -> None:
    """So that no reaper takes it for an orphan."""
    backend = NeverReady()
    pool = make_pool(stores, backend, floor=1, ceiling=1)
    async with running(pool):
        async with asyncio.timeout(60):
            while not backend.running:
                await asyncio.sleep(0)
        assert await pool.sandbox_ids() == frozenset(backend.running)
    assert await pool.sandbox_ids() == frozenset()


async def test_only_the_leader_fills_the_pool_and_every_replica_takes_from_it(
    stores: Stores,
) -> None:
    backend = InstantBackend()
    leading = make_pool(stores, backend, floor=2, ceiling=2)
    other = make_pool(stores, backend, floor=2, ceiling=2, leader=NeverLeads)
    async with running(other):
        for _ in range(50):
            await asyncio.sleep(0)
        assert backend.started_count == 0
        async with running(leading):
            await settle(stores, 2)
        claims = await asyncio.gather(*(pool.claim(LIMITS) for pool in (leading, other)))
        assert len({claim.ref.sandbox_id for claim in claims}) == 2


async def test_a_line_to_what_another_replica_took_is_closed(stores: Stores) -> None:
    backend = KeepsLines()
    leading = make_pool(stores, backend, floor=1, ceiling=1)
    other = make_pool(stores, backend, floor=1, ceiling=1, leader=NeverLeads)
    async with running(leading):
        await settle(stores, 1)
        warm = backend.lines[0]
        assert await other.claim(LIMITS) is not None
        leading._demand.set()  # what the next look, a second later, does
        async with asyncio.timeout(60):
            while not warm.is_closed:
                await asyncio.sleep(0)
    assert not backend.lines[1].is_closed


async def test_what_the_engine_runs_no_more_is_taken_out(stores: Stores) -> None:
    backend = InstantBackend()
    pool = make_pool(stores, backend, floor=3, ceiling=3)
    async with running(pool):
        await settle(stores, 3)
    gone, *there = [ref.sandbox_id for ref in await stores.pool.ready("python")]
    await pool.drop_missing(frozenset(there))
    assert [ref.sandbox_id for ref in await stores.pool.ready("python")] == there
    assert gone not in backend.running


async def test_a_pool_that_closes_leaves_its_sandboxes_to_the_next_process(stores: Stores) -> None:
    backend = KeepsLines()
    pool = make_pool(stores, backend, floor=2, ceiling=2)
    async with running(pool):
        await settle(stores, 2)
    await pool.aclose()
    assert all(line.is_closed for line in backend.lines)
    assert len(backend.running) == 2
    assert await make_pool(stores, backend).claim(LIMITS) is not None
