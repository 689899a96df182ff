"""One suite over every implementation of Quotas."""

from collections.abc import Callable

import pytest

from sandbox_service.domain.errors import RateLimited
from sandbox_service.domain.tenancy import Held
from sandbox_service.tenants.quotas import MemoryQuotas, SharedRoom
from sandbox_service.tenants.records import TenantLimits
from tests.support.fakes import SteppedClock

DAY_S = 86_400
Make = Callable[..., MemoryQuotas]


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture(params=["memory"])
def make(request: pytest.FixtureRequest, clock: SteppedClock) -> Make:
    """Quotas with the given limits for every tenant."""

    def make_quotas(max_sessions: int = 100, tenants: str = "ab", **limits: float) -> MemoryQuotas:
        room = SharedRoom(max_sessions, lambda: frozenset(tenants))
        chosen = TenantLimits.model_validate(limits)
        return MemoryQuotas(lambda tenant: chosen, room, clock)

    return make_quotas


async def refusal_of(call) -> RateLimited:
    with pytest.raises(RateLimited) as refusal:
        await call
    assert refusal.value.retry_after_s is not None
    assert refusal.value.retry_after_s > 0
    return refusal.value


HOLDS = [(Held.SESSIONS, "sessions"), (Held.EXECUTIONS, "executions")]


@pytest.mark.parametrize(("held", "limit"), HOLDS)
async def test_a_tenant_holds_up_to_its_limit_and_again_after_a_release(
    make: Make, held: Held, limit: str
) -> None:
    quotas = make(**{limit: 2})
    await quotas.claim("a", held, "one")
    await quotas.claim("a", held, "two")
    assert (await refusal_of(quotas.claim("a", held, "three"))).code == held.value
    quotas.release("a", held, "one")
    await quotas.claim("a", held, "three")


@pytest.mark.parametrize(("held", "limit"), HOLDS)
async def test_one_name_holds_once_and_is_given_back_once(
    make: Make, held: Held, limit: str
) -> None:
    quotas = make(**{limit: 2})
    await quotas.claim("a", held, "one")
    await quotas.claim("a", held, "one")
    await quotas.claim("a", held, "two")
    for _ in range(3):
        quotas.release("a", held, "one")
    await quotas.claim("a", held, "three")
    await refusal_of(quotas.claim("a", held, "four"))
    quotas.release("a", held, "never claimed")
    await refusal_of(quotas.claim("a", held, "four"))


async def test_one_tenants_use_is_not_anothers(make: Make) -> None:
    quotas = make(sessions=1, executions=1, stored_bytes=10, requests_per_s=1)
    for tenant in ("a", "b"):
        await quotas.claim(tenant, Held.SESSIONS, "same name")
        await quotas.claim(tenant, Held.EXECUTIONS, "same name")
        await quotas.store(tenant, 10)
        await quotas.admit(tenant)


async def test_without_limits_nothing_is_refused(make: Make) -> None:
    quotas = make()
    for number in range(50):
        await quotas.admit("a")
        await quotas.claim("a", Held.EXECUTIONS, str(number))
    await quotas.store("a", 1 << 60)
    quotas.spend_cpu("a", 1e9)
    await quotas.require_cpu("a")


async def test_a_limit_of_nothing_lets_nothing_through(make: Make) -> None:
    quotas = make(sessions=0, cpu_seconds_per_day=0)
    await refusal_of(quotas.claim("a", Held.SESSIONS, "one"))
    await refusal_of(quotas.require_cpu("a"))


async def test_requests_pass_at_their_rate_with_a_burst_of_two_seconds(
    make: Make, clock: SteppedClock
) -> None:
    quotas = make(requests_per_s=5)
    for _ in range(10):
        await quotas.admit("a")
    refusal = await refusal_of(quotas.admit("a"))
    assert refusal.code == "rate_requests"
    assert refusal.retry_after_s == pytest.approx(0.2)
    clock.advance(0.2)
    await quotas.admit("a")
    await refusal_of(quotas.admit("a"))


async def test_quiet_time_saves_up_no_more_than_the_burst(make: Make, clock: SteppedClock) -> None:
    quotas = make(requests_per_s=5)
    clock.advance(1000)
    for _ in range(10):
        await quotas.admit("a")
    await refusal_of(quotas.admit("a"))


async def test_stored_bytes_are_refused_whole_and_counted_when_they_go(make: Make) -> None:
    quotas = make(stored_bytes=100)
    await quotas.store("a", 60)
    assert (await refusal_of(quotas.store("a", 41))).code == "quota_stored_bytes"
    await quotas.store("a", 40)
    quotas.discard("a", 50)
    await quotas.store("a", 50)
    await refusal_of(quotas.store("a", 1))


async def test_cpu_seconds_are_there_again_the_next_day(make: Make, clock: SteppedClock) -> None:
    quotas = make(cpu_seconds_per_day=10)
    clock.advance(6 * 3600)
    quotas.spend_cpu("a", 9)
    await quotas.require_cpu("a")
    quotas.spend_cpu("a", 2)
    refusal = await refusal_of(quotas.require_cpu("a"))
    assert (refusal.code, refusal.retry_after_s) == ("quota_cpu_seconds", DAY_S - 6 * 3600)
    clock.advance(DAY_S - 6 * 3600)
    await quotas.require_cpu("a")


async def claims(quotas: MemoryQuotas, tenant: str, count: int) -> int:
    """How many of `count` sessions the tenant gets."""
    got = 0
    for number in range(count):
        try:
            await quotas.claim(tenant, Held.SESSIONS, f"{tenant}-{number}")
        except RateLimited:
            continue
        got += 1
    return got


async def test_the_last_quarter_is_kept_for_tenants_with_little(make: Make) -> None:
    quotas = make(max_sessions=16, tenants="abcd")
    assert await claims(quotas, "a", 100) == 12
    assert [await claims(quotas, tenant, 100) for tenant in "bcd"] == [1, 1, 1]


async def test_a_tenant_alone_has_all_of_it(make: Make) -> None:
    quotas = make(max_sessions=16, tenants="a")
    assert await claims(quotas, "a", 16) == 16
