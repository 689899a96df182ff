"""Quotas of several replicas over one Redis, and what can go wrong on the way to it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace

import pytest

from sandbox_service.domain.errors import RateLimited, StoreUnavailable
from sandbox_service.domain.tenancy import Held
from tests.contract.quota_places import (
    InRedis,
    granted,
    held_by,
    opened_in_redis,
    refusal_of,
    stored,
    stored_by,
)
from tests.support.fakes import SteppedClock
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
async def shared(redis: RedisServer) -> AsyncIterator[InRedis]:
    async with opened_in_redis(redis.url, SteppedClock()) as place:
        yield place


async def test_two_hundred_claims_over_four_connections_get_twenty(shared: InRedis) -> None:
    replicas = [await shared.make(tenants="a", sessions=20) for _ in range(4)]
    calls = [replicas[n % 4].claim("a", Held.SESSIONS, str(n)) for n in range(200)]
    assert await granted(calls) == 20
    assert {await held_by(replica, "a") for replica in replicas} == {20}


async def test_the_cap_of_all_sessions_holds_over_replicas_and_tenants(shared: InRedis) -> None:
    replicas = [await shared.make(max_sessions=20, tenants="abcd") for _ in range(4)]
    calls = [replicas[n % 4].claim("abcd"[n // 4 % 4], Held.SESSIONS, str(n)) for n in range(200)]
    early = await granted(calls)
    assert early >= 15
    newcomers = [replicas[n % 4].claim(f"new-{n}", Held.SESSIONS, "one") for n in range(40)]
    assert early + await granted(newcomers) == 20
    refusal = await refusal_of(replicas[0].claim("last", Held.SESSIONS, "one"))
    assert refusal.code == "session_limit"


async def test_a_rate_and_stored_bytes_hold_over_replicas(shared: InRedis) -> None:
    limits = {"requests_per_s": 10, "stored_bytes": 1000}
    replicas = [await shared.make(**limits) for _ in range(4)]
    assert 20 <= await granted([replicas[n % 4].admit("a") for n in range(200)]) < 100
    assert await granted([replicas[n % 4].store("a", 10) for n in range(200)]) == 100


async def test_what_one_replica_gave_back_another_has_once_it_was_flushed(shared: InRedis) -> None:
    one, two = [await shared.make(executions=1, cpu_seconds_per_day=1) for _ in range(2)]
    await one.claim("a", Held.EXECUTIONS, "one")
    one.release("a", Held.EXECUTIONS, "one")
    one.spend_cpu("a", 1)
    await one.flush()
    await two.claim("a", Held.EXECUTIONS, "two")
    await refusal_of(two.require_cpu("a"))


CLAIMANT = """
import asyncio, sys
from sandbox_service.domain.quota_rules import SharedRoom, TenantLimits
from sandbox_service.domain.tenancy import Held
from sandbox_service.domain.clock import SystemClock
from sandbox_service.store.redis.connection import open_redis
from sandbox_service.store.redis.quotas import RedisQuotas

async def main():
    async with open_redis(sys.argv[1]) as connection:
        room = SharedRoom(100, lambda: frozenset("a"))
        quotas = RedisQuotas(connection, sys.argv[2], lambda tenant: TenantLimits(), room, SystemClock())
        for number in range(5):
            await quotas.claim("a", Held.SESSIONS, str(number))
        await quotas.store("a", 500)
        print("claimed", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_claims_of_a_process_that_was_killed_are_gone_after_a_settlement(
    shared: InRedis,
) -> None:
    quotas = await shared.make(tenants="a", sessions=5, stored_bytes=500)
    claimant = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLAIMANT, shared.url, shared.prefix, stdout=asyncio.subprocess.PIPE
    )
    assert claimant.stdout is not None
    assert await claimant.stdout.readline() == b"claimed\n"
    os.kill(claimant.pid, signal.SIGKILL)
    await claimant.wait()
    await refusal_of(quotas.claim("a", Held.SESSIONS, "mine"))
    await quotas.settle(Held.SESSIONS, {"a": ["0"]}, 0)
    assert await held_by(quotas, "a") == 1
    await quotas.claim("a", Held.SESSIONS, "mine")
    await refusal_of(quotas.store("a", 1))
    await asyncio.sleep(0.2)
    await quotas.load_stored(stored(), quiet_s=0.1)
    await quotas.store("a", 500)


async def test_cancelled_claims_poison_nothing_and_hold_nothing(shared: InRedis) -> None:
    """Cancelled at every moment of their way, two hundred times, with others beside them."""
    quotas = await shared.make(tenants="ab")
    for round_number in range(40):
        tasks = [
            asyncio.create_task(quotas.claim("a", Held.SESSIONS, f"{round_number}-{n}"))
            for n in range(5)
        ]
        await asyncio.sleep(round_number % 20 * 0.0002)
        for task in tasks:
            task.cancel()
        await quotas.claim("b", Held.SESSIONS, str(round_number))
        assert await held_by(quotas, "b") == round_number + 1
        for number, task in enumerate(tasks):
            if not (await asyncio.gather(task, return_exceptions=True))[0]:
                quotas.release("a", Held.SESSIONS, f"{round_number}-{number}")
    await quotas.claim("b", Held.SESSIONS, "behind all releases")
    assert await held_by(quotas, "a") == 0


async def test_what_is_given_back_counts_once_however_often_its_sending_is_cut_off(
    shared: InRedis,
) -> None:
    enough, tight = [await shared.make_idle(cpu_seconds_per_day=limit) for limit in (200.5, 200)]
    for number in range(200):
        enough.spend_cpu("a", 1)
        task = asyncio.create_task(enough.require_cpu("a"))
        await asyncio.sleep(number % 20 * 0.0002)
        task.cancel()
    await enough.require_cpu("a")
    await refusal_of(tight.require_cpu("a"))


async def test_when_redis_was_emptied_what_is_stored_is_counted_anew(shared: InRedis) -> None:
    replicas = [await shared.make(stored_bytes=100) for _ in range(3)]
    for replica in replicas:
        await replica.load_stored(stored(a=60))
    await (await shared.connection()).command("FLUSHALL")
    assert await granted([replica.store("a", 20) for replica in replicas]) == 2
    assert await stored_by(replicas[0], "a") == 100


async def test_several_replicas_that_start_at_once_count_what_is_stored_once(
    shared: InRedis,
) -> None:
    replicas = [await shared.make(stored_bytes=100) for _ in range(4)]
    await asyncio.gather(*(replica.load_stored(stored(a=60, b=5)) for replica in replicas))
    assert await stored_by(replicas[0], "a") == 60
    await replicas[1].store("a", 40)
    await replicas[2].load_stored(stored(a=60, b=5))
    assert await stored_by(replicas[3], "a") == 100


async def test_while_redis_is_away_nothing_is_claimed_and_what_is_given_back_waits(
    redis: RedisServer, shared: InRedis
) -> None:
    quotas = await shared.make(sessions=1, requests_per_s=1)
    await quotas.claim("a", Held.SESSIONS, "one")
    redis.kill()
    for call in (
        quotas.claim("a", Held.SESSIONS, "two"),
        quotas.store("a", 1),
        quotas.settle(Held.SESSIONS, {}, 0),
    ):
        with pytest.raises(StoreUnavailable):
            await call
    for _ in range(10):
        await quotas.admit("a")
    quotas.release("a", Held.SESSIONS, "one")
    redis.start()
    await until_granted(lambda: quotas.claim("a", Held.SESSIONS, "two"))
    await refusal_of(quotas.claim("a", Held.SESSIONS, "three"))


async def test_a_claim_that_a_hung_redis_grants_too_late_is_given_back(
    redis: RedisServer, shared: InRedis
) -> None:
    quotas, other = [await shared.make(sessions=1) for _ in range(2)]
    await quotas.claim("a", Held.SESSIONS, "one")
    quotas.release("a", Held.SESSIONS, "one")
    await other.claim("b", Held.SESSIONS, "one")
    redis.pause()
    try:
        with pytest.raises(StoreUnavailable):
            await quotas.claim("a", Held.SESSIONS, "two")
        await quotas.admit("a")
    finally:
        redis.resume()
    await until_granted(lambda: quotas.claim("a", Held.SESSIONS, "three"))
    assert await held_by(quotas, "a") == 1


async def until_granted(call: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                return await call()
            except (StoreUnavailable, RateLimited):
                await asyncio.sleep(0.05)


async def test_what_does_not_fit_the_queue_is_forgotten_and_settled_later(
    shared: InRedis,
) -> None:
    quotas = await replace(shared, queue_length=10).make()
    for number in range(25):
        await quotas.claim("a", Held.SESSIONS, str(number))
    for number in range(25):
        quotas.release("a", Held.SESSIONS, str(number))
    await quotas.claim("b", Held.SESSIONS, "behind the releases")
    assert await held_by(quotas, "a") == 15
    await quotas.settle(Held.SESSIONS, {}, 0)
    assert await held_by(quotas, "a") == 0
