"""Quotas of tenants in this process's memory: exact in one process, gone with it."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from sandbox_service.domain.errors import RateLimited
from sandbox_service.domain.ports import Clock
from sandbox_service.domain.tenancy import Held
from sandbox_service.tenants.bucket import TokenBucket
from sandbox_service.tenants.records import TenantLimits

RETRY_SESSIONS_S = 10.0
RETRY_EXECUTIONS_S = 1.0
RETRY_STORED_S = 60.0
BURST_S = 2.0


@dataclass(frozen=True, slots=True)
class SharedRoom:
    """How many sessions all tenants may have together, and who they are."""

    max_sessions: int
    tenants: Callable[[], frozenset[str]]


@dataclass(slots=True)
class _Use:
    """What one tenant uses now."""

    held: dict[Held, set[str]] = field(default_factory=lambda: {held: set() for held in Held})
    stored_bytes: int = 0
    cpu_day: date = date.min
    cpu_seconds: float = 0.0
    bucket: TokenBucket | None = None


def leaves_room(held: int, held_by_all: int, room: SharedRoom) -> bool:
    """Whether a tenant that has `held` sessions may open one more without locking the others out.

    With several tenants, the last quarter of all sessions is for those that have less than an
    equal share of that quarter.
    """
    last_quarter, tenants = room.max_sessions // 4, len(room.tenants())
    is_free_for_all = held_by_all < room.max_sessions - last_quarter
    return is_free_for_all or tenants < 2 or held < last_quarter / tenants


class MemoryQuotas:
    """Quotas over dictionaries. Each method runs without awaiting, so each is atomic.

    `limits_of` gives a tenant's limits at the moment of the call.
    """

    def __init__(
        self, limits_of: Callable[[str], TenantLimits], room: SharedRoom, clock: Clock
    ) -> None:
        self._limits_of = limits_of
        self._room = room
        self._clock = clock
        self._uses: defaultdict[str, _Use] = defaultdict(_Use)

    def load_stored(self, sizes: Mapping[str, int]) -> None:
        """Start from what is stored already, in bytes by tenant."""
        for tenant, size_bytes in sizes.items():
            self._uses[tenant].stored_bytes = size_bytes

    async def admit(self, tenant: str) -> None:
        rate = self._limits_of(tenant).requests_per_s
        if rate is None:
            return
        use, now_s = self._uses[tenant], self._clock.monotonic()
        if use.bucket is None or use.bucket.rate != rate:
            use.bucket = TokenBucket(rate, max(1.0, rate * BURST_S), now_s)
        wait_s = use.bucket.take(now_s)
        if wait_s > 0:
            raise _refusal("rate_requests", f"at most {rate:g} requests per second", wait_s)

    async def claim(self, tenant: str, held: Held, holder: str) -> None:
        holders = self._uses[tenant].held[held]
        if holder not in holders:
            self._require(tenant, held, len(holders))
            holders.add(holder)

    def _require(self, tenant: str, held: Held, count: int) -> None:
        limits = self._limits_of(tenant)
        if held is Held.EXECUTIONS:
            if limits.executions is not None and count >= limits.executions:
                what = f"at most {limits.executions} executions waiting or running at once"
                raise _refusal(held.value, what, RETRY_EXECUTIONS_S)
            return
        if limits.sessions is not None and count >= limits.sessions:
            what = f"at most {limits.sessions} live sessions"
            raise _refusal(held.value, what, RETRY_SESSIONS_S)
        if not leaves_room(count, self._held_by_all(held), self._room):
            what = f"{count} live sessions now: the others are kept for other tenants"
            raise _refusal(held.value, what, RETRY_SESSIONS_S)

    def _held_by_all(self, held: Held) -> int:
        return sum(len(use.held[held]) for use in self._uses.values())

    def release(self, tenant: str, held: Held, holder: str) -> None:
        self._uses[tenant].held[held].discard(holder)

    def held(self, tenant: str, held: Held) -> int:
        """How many the tenant holds now."""
        return len(self._uses[tenant].held[held])

    def stored(self, tenant: str) -> int:
        """How many bytes of the tenant are stored now."""
        return self._uses[tenant].stored_bytes

    async def store(self, tenant: str, size_bytes: int) -> None:
        limit, use = self._limits_of(tenant).stored_bytes, self._uses[tenant]
        if limit is not None and use.stored_bytes + size_bytes > limit:
            what = f"at most {limit} bytes of stored files"
            raise _refusal("quota_stored_bytes", what, RETRY_STORED_S)
        use.stored_bytes += size_bytes

    def discard(self, tenant: str, size_bytes: int) -> None:
        use = self._uses[tenant]
        use.stored_bytes = max(0, use.stored_bytes - size_bytes)

    async def require_cpu(self, tenant: str) -> None:
        limit = self._limits_of(tenant).cpu_seconds_per_day
        if limit is not None and self._today(tenant).cpu_seconds >= limit:
            what = f"at most {limit:g} CPU seconds per day (UTC)"
            raise _refusal("quota_cpu_seconds", what, _until_midnight_s(self._clock.now()))

    def spend_cpu(self, tenant: str, seconds: float) -> None:
        self._today(tenant).cpu_seconds += seconds

    def _today(self, tenant: str) -> _Use:
        use, today = self._uses[tenant], self._clock.now().date()
        if use.cpu_day != today:
            use.cpu_day, use.cpu_seconds = today, 0.0
        return use


def _until_midnight_s(now: datetime) -> float:
    tomorrow = now.date() + timedelta(days=1)
    return (datetime.combine(tomorrow, time(), UTC) - now).total_seconds()


def _refusal(code: str, what: str, retry_after_s: float) -> RateLimited:
    return RateLimited(f"This tenant may have {what}.", code=code, retry_after_s=retry_after_s)
