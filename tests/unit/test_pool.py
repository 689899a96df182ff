"""The warm pool: claimed once, refilled, grown and shrunk, drained."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from sandbox_service.domain.values import MIB, Template
from sandbox_service.sessions.metrics import Metrics
from sandbox_service.sessions.pool import PoolSize, WarmPool, target_size
from sandbox_service.sessions.provisioning import Provisioner
from tests.support.fakes import ConnectsToTheDead, FailsFirstStarts, InstantBackend, SteppedClock

TEMPLATE = Template()
LIMITS = TEMPLATE.limits


def make_pool(backend: InstantBackend, floor: int = 2, ceiling: int = 6) -> WarmPool:
    provisioner = Provisioner(backend, timeout_s=5, concurrency=2)
    size = PoolSize(floor, ceiling)
    return WarmPool(TEMPLATE, size, provisioner, backend, SteppedClock(), Metrics())


@asynccontextmanager
async def running(pool: WarmPool):
    task = asyncio.create_task(pool.run())
    try:
        yield pool
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def settle(pool: WarmPool, count: int) -> None:
    async with asyncio.timeout(5):
        while pool.ready_count != count:
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("floor", "ceiling", "claims", "target"),
    [(2, 8, 0, 2), (2, 8, 3, 5), (2, 8, 50, 8), (0, 8, 0, 0), (0, 0, 9, 0), (4, 2, 0, 4)],
)
def test_the_target_follows_demand_between_floor_and_ceiling(floor, ceiling, claims, target):
    assert target_size(PoolSize(floor, ceiling), claims) == target


async def test_each_sandbox_is_claimed_once():
    backend = InstantBackend()
    async with running(make_pool(backend, floor=4, ceiling=4)) as pool:
        await settle(pool, 4)
        claims = await asyncio.gather(*(pool.claim(LIMITS) for _ in range(4)))
    ids = [claim.ref.sandbox_id for claim in claims]
    assert len(set(ids)) == 4


async def test_an_empty_pool_is_a_miss():
    assert await make_pool(InstantBackend()).claim(LIMITS) is None


async def test_a_claim_is_followed_by_a_refill():
    async with running(make_pool(InstantBackend(), floor=2, ceiling=2)) as pool:
        await settle(pool, 2)
        assert await pool.claim(LIMITS) is not None
        await settle(pool, 2)


async def test_a_burst_grows_the_pool():
    async with running(make_pool(InstantBackend(), floor=2, ceiling=6)) as pool:
        await settle(pool, 2)
        for _ in range(3):
            await pool.claim(LIMITS)
        await settle(pool, 5)


async def test_a_failed_start_leaves_nothing_and_is_tried_again():
    backend = FailsFirstStarts(failures=3)
    async with running(make_pool(backend, floor=1, ceiling=1)) as pool:
        await settle(pool, 1)
    assert len(backend.running) == 1


async def test_other_limits_are_applied_to_a_warm_sandbox():
    backend = InstantBackend()
    asked = LIMITS.model_copy(update={"memory_bytes": 512 * MIB})
    async with running(make_pool(backend, floor=1, ceiling=1)) as pool:
        await settle(pool, 1)
        claimed = await pool.claim(asked)
    assert backend.resized[claimed.ref.sandbox_id] == asked


async def test_another_workspace_size_is_a_miss_and_keeps_the_warm_one():
    async with running(make_pool(InstantBackend(), floor=1, ceiling=1)) as pool:
        await settle(pool, 1)
        assert await pool.claim(LIMITS.model_copy(update={"workspace_bytes": 5 * MIB})) is None
        assert pool.ready_count == 1


async def test_a_dead_sandbox_is_not_handed_out():
    backend = ConnectsToTheDead()
    pool = make_pool(backend, floor=1, ceiling=1)
    async with running(pool):
        await settle(pool, 1)
    dead = set(backend.running)
    assert await pool.claim(LIMITS) is None
    assert not dead & set(backend.running)


async def test_draining_stops_everything_that_is_held():
    backend = InstantBackend()
    pool = make_pool(backend, floor=3, ceiling=3)
    async with running(pool):
        await settle(pool, 3)
    await pool.drain()
    assert backend.running == {}
    assert pool.sandbox_ids == frozenset()
