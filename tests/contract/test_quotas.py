"""One suite over every implementation of Quotas."""

from collections.abc import AsyncIterator, Iterator, Mapping

import pytest

from sandbox_service.domain.tenancy import Held, Quotas
from tests.contract.quota_places import (
    InMemory,
    Place,
    granted,
    held_by,
    opened_in_redis,
    refusal_of,
    stored,
    stored_by,
)
from tests.support.fakes import SteppedClock
from tests.support.redis_server import RedisServer

DAY_S = 86_400
HOLDS = [(Held.SESSIONS, "sessions"), (Held.EXECUTIONS, "executions")]


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture(params=["memory", "redis"])
async def place(request: pytest.FixtureRequest, clock: SteppedClock) -> AsyncIterator[Place]:
    if request.param == "memory":
        yield InMemory(clock)
        return
    server: RedisServer = request.getfixturevalue("redis")
    async with opened_in_redis(server.url, clock) as place:
        yield place


@pytest.mark.parametrize(("held", "limit"), HOLDS)
async def test_a_tenant_holds_up_to_its_limit_and_again_after_a_release(
    place: Place, held: Held, limit: str
) -> None:
    quotas = await place.make(**{limit: 2})
    await quotas.claim("a", held, "one")
    await quotas.claim("a", held, "two")
    assert (await refusal_of(quotas.claim("a", held, "three"))).code == held.value
    quotas.release("a", held, "one")
    await quotas.claim("a", held, "three")


@pytest.mark.parametrize(("held", "limit"), HOLDS)
async def test_one_name_holds_once_and_is_given_back_once(
    place: Place, held: Held, limit: str
) -> None:
    quotas = await place.make(**{limit: 2})
    await quotas.claim("a", held, "one")
    await quotas.claim("a", held, "one")
    await quotas.claim("a", held, "two")
    for _ in range(3):
        quotas.release("a", held, "one")
    await quotas.claim("a", held, "three")
    await refusal_of(quotas.claim("a", held, "four"))
    quotas.release("a", held, "never claimed")
    await refusal_of(quotas.claim("a", held, "four"))


async def test_one_tenants_use_is_not_anothers(place: Place) -> None:
    quotas = await place.make(sessions=1, executions=1, stored_bytes=10, requests_per_s=0.1)
    for tenant in ("a", "b", "1:a", "ä b\n:"):
        await quotas.claim(tenant, Held.SESSIONS, "same name")
        await quotas.claim(tenant, Held.EXECUTIONS, "same name")
        await quotas.store(tenant, 10)
        await quotas.admit(tenant)
        await refusal_of(quotas.admit(tenant))


async def test_without_limits_nothing_is_refused(place: Place) -> None:
    quotas = await place.make()
    for number in range(50):
        await quotas.admit("a")
        await quotas.claim("a", Held.EXECUTIONS, str(number))
    await quotas.store("a", 1 << 60)
    quotas.spend_cpu("a", 1e9)
    await quotas.require_cpu("a")


async def test_a_limit_of_nothing_lets_nothing_through(place: Place) -> None:
    quotas = await place.make(sessions=0, cpu_seconds_per_day=0)
    await refusal_of(quotas.claim("a", Held.SESSIONS, "one"))
    await refusal_of(quotas.require_cpu("a"))


async def test_the_service_runs_so_many_sessions_and_no_more(place: Place) -> None:
    quotas = await place.make(max_sessions=3, tenants="a", sessions=3)
    for name in ("one", "two"):
        await quotas.claim("a", Held.SESSIONS, name)
    await quotas.claim("b", Held.SESSIONS, "three")
    refusal = await refusal_of(quotas.claim("a", Held.SESSIONS, "four"))
    assert (refusal.code, refusal.retry_after_s) == ("session_limit", 10)
    assert refusal.message == "This service runs at most 3 sessions at once."
    await quotas.claim("a", Held.SESSIONS, "two")
    await quotas.claim("a", Held.EXECUTIONS, "four")
    quotas.release("b", Held.SESSIONS, "three")
    await quotas.claim("a", Held.SESSIONS, "four")
    assert (await refusal_of(quotas.claim("a", Held.SESSIONS, "five"))).code == "quota_sessions"


async def test_requests_pass_at_their_rate_with_a_burst_of_two_seconds(place: Place) -> None:
    quotas = await place.make(requests_per_s=1)
    for _ in range(2):
        await quotas.admit("a")
    refusal = await refusal_of(quotas.admit("a"))
    assert refusal.code == "rate_requests"
    assert 0 < refusal.retry_after_s <= 1
    await place.rest(refusal.retry_after_s)
    await quotas.admit("a")
    await refusal_of(quotas.admit("a"))


async def test_quiet_time_saves_up_no_more_than_the_burst(place: Place) -> None:
    quotas = await place.make(requests_per_s=10)
    for _ in range(20):
        await quotas.admit("a")
    await place.rest(2.5)
    assert 20 <= await granted([quotas.admit("a") for _ in range(100)]) < 100


async def test_stored_bytes_are_refused_whole_and_counted_when_they_go(place: Place) -> None:
    quotas = await place.make(stored_bytes=100)
    await quotas.store("a", 60)
    assert (await refusal_of(quotas.store("a", 41))).code == "quota_stored_bytes"
    await quotas.store("a", 40)
    quotas.discard("a", 50)
    await quotas.store("a", 50)
    await refusal_of(quotas.store("a", 1))
    quotas.discard("a", 1000)
    assert await granted([quotas.store("a", 100)]) == 1


async def test_a_meter_counts_what_it_has_advanced_whoever_reads_it(place: Place) -> None:
    """From the first reading on; read twice, or late, it counts nothing twice."""
    quotas = await place.make(cpu_seconds_per_day=10)
    for total_s in (100, 104, 104, 102, 109):
        quotas.meter_cpu("a", "box_1", total_s)
    quotas.meter_cpu("a", "box_2", 1000)
    await quotas.require_cpu("a")
    quotas.meter_cpu("a", "box_2", 1001)
    await refusal_of(quotas.require_cpu("a"))
    await quotas.require_cpu("b")


async def test_cpu_seconds_are_there_again_the_next_day(place: Place, clock: SteppedClock) -> None:
    quotas = await place.make(cpu_seconds_per_day=10)
    clock.advance(6 * 3600)
    quotas.spend_cpu("a", 9)
    await quotas.require_cpu("a")
    quotas.spend_cpu("a", 2)
    refusal = await refusal_of(quotas.require_cpu("a"))
    assert (refusal.code, refusal.retry_after_s) == ("quota_cpu_seconds", DAY_S - 6 * 3600)
    clock.advance(DAY_S - 6 * 3600)
    await quotas.require_cpu("a")


async def claims(quotas: Quotas, tenant: str, count: int) -> int:
    """How many of `count` sessions the tenant gets."""
    names = [f"{tenant}-{number}" for number in range(count)]
    return await granted([quotas.claim(tenant, Held.SESSIONS, name) for name in names])


async def test_the_last_quarter_is_kept_for_tenants_with_little(place: Place) -> None:
    quotas = await place.make(max_sessions=16, tenants="abcd")
    assert await claims(quotas, "a", 100) == 12
    refusal = await refusal_of(quotas.claim("a", Held.SESSIONS, "more"))
    assert refusal.code == "quota_sessions"
    assert "kept for other tenants" in refusal.message
    assert [await claims(quotas, tenant, 100) for tenant in "bcd"] == [1, 1, 1]


async def test_a_tenant_alone_has_all_of_it(place: Place) -> None:
    quotas = await place.make(max_sessions=16, tenants="a")
    assert await claims(quotas, "a", 17) == 16


@pytest.mark.parametrize(("held", "limit"), HOLDS)
async def test_settled_is_what_is_there_whatever_the_limits(
    place: Place, held: Held, limit: str
) -> None:
    quotas = await place.make(**{limit: 1})
    await quotas.claim("a", held, "leaked")
    await quotas.claim("b", held, "leaked")
    await quotas.settle(held, {"a": ["one", "two"], "c": {"three"}}, 0)
    assert [await held_by(quotas, tenant, held) for tenant in "abc"] == [2, 0, 1]
    await quotas.claim("a", held, "one")
    await refusal_of(quotas.claim("a", held, "four"))
    quotas.release("a", held, "one")
    quotas.release("a", held, "two")
    await quotas.claim("a", held, "four")
    await quotas.settle(held, {}, 0)
    assert [await held_by(quotas, tenant, held) for tenant in "abc"] == [0, 0, 0]


async def test_settling_sessions_leaves_executions_alone(place: Place) -> None:
    quotas = await place.make()
    await quotas.claim("a", Held.EXECUTIONS, "one")
    await quotas.settle(Held.SESSIONS, {"a": ["two"]}, 0)
    assert await held_by(quotas, "a", Held.EXECUTIONS) == 1


async def test_a_claim_whose_record_is_still_being_written_is_not_settled_away(
    place: Place,
) -> None:
    quotas = await place.make()
    await quotas.claim("a", Held.SESSIONS, "leaked")
    await quotas.settle(Held.SESSIONS, {"a": ["adopted"]}, 60)
    await place.rest(1.5)
    await quotas.claim("a", Held.SESSIONS, "being written")
    await quotas.settle(Held.SESSIONS, {}, 1)
    assert await held_by(quotas, "a") == 1
    quotas.release("a", Held.SESSIONS, "being written")
    await quotas.settle(Held.SESSIONS, {}, 1)
    assert await held_by(quotas, "a") == 0


async def test_what_was_released_in_the_meantime_is_not_brought_back(place: Place) -> None:
    quotas = await place.make()
    await quotas.claim("a", Held.SESSIONS, "ended")
    quotas.release("a", Held.SESSIONS, "ended")
    quotas.release("a", Held.SESSIONS, "ended in another process")
    stale = {"a": ["ended", "ended in another process", "there"]}
    await quotas.settle(Held.SESSIONS, stale, 60)
    assert await held_by(quotas, "a") == 1
    await quotas.claim("a", Held.SESSIONS, "ended")
    await quotas.settle(Held.SESSIONS, stale, 60)
    assert await held_by(quotas, "a") == 2


async def test_counting_begins_with_what_is_stored_already(place: Place) -> None:
    quotas = await place.make(stored_bytes=100)
    await quotas.load_stored(stored(a=90))
    await refusal_of(quotas.store("a", 11))
    await quotas.store("a", 10)
    await quotas.store("b", 100)


async def test_bytes_that_a_killed_process_counted_ahead_are_given_back_when_it_is_quiet(
    place: Place,
) -> None:
    quotas = await place.make(stored_bytes=100)
    await quotas.load_stored(stored(a=10, b=10))
    await quotas.store("a", 50)
    await quotas.store("c", 50)
    await quotas.load_stored(stored(a=10, b=20), quiet_s=60)
    assert [await stored_by(quotas, tenant) for tenant in "abc"] == [60, 20, 50]
    await place.rest(0.3)
    await quotas.load_stored(stored(a=10, b=20), quiet_s=0.1)
    assert [await stored_by(quotas, tenant) for tenant in "abc"] == [10, 20, 0]


async def test_what_is_stored_while_the_catalog_is_read_is_counted(place: Place) -> None:
    quotas = await place.make(stored_bytes=100)
    await quotas.load_stored(stored(a=10, b=10))
    await place.rest(1.1)

    async def slow() -> Mapping[str, int]:
        await place.rest(0.01)
        await quotas.store("a", 50)
        quotas.discard("b", 10)
        return {"a": 10, "b": 10}

    await quotas.load_stored(slow, quiet_s=1)
    await quotas.claim("a", Held.SESSIONS, "behind the discard")
    assert [await stored_by(quotas, tenant) for tenant in "ab"] == [60, 0]
