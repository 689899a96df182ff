"""Quotas of tenants in this process's memory: exact in one process, gone with it."""

import math
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import date

from sandbox_service.domain.ports import Clock
from sandbox_service.domain.quota_rules import (
    Judgement,
    LimitsOf,
    SharedRoom,
    bounds_of,
    burst_of,
    cpu_refusal,
    hold_refusal,
    rate_refusal,
    stored_refusal,
)
from sandbox_service.domain.tenancy import Held, Sizes
from sandbox_service.tenants.bucket import TokenBucket
from sandbox_service.tenants.holders import Holders

METERS_KEPT = 10_000


@dataclass(slots=True)
class _Use:
    """What one tenant uses now, beside what it holds."""

    stored_bytes: int = 0
    stored_changed_s: float = -math.inf
    cpu_day: date = date.min
    cpu_seconds: float = 0.0
    bucket: TokenBucket | None = None


class MemoryQuotas:
    """Quotas over dictionaries. No method awaits between reading and writing, so each is atomic."""

    def __init__(self, limits_of: LimitsOf, room: SharedRoom, clock: Clock) -> None:
        self._limits_of = limits_of
        self._room = room
        self._clock = clock
        self._holders = {held: Holders() for held in Held}
        self._uses: defaultdict[str, _Use] = defaultdict(_Use)
        self._meters: OrderedDict[str, float] = OrderedDict()  # those read last at the end

    def running(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def admit(self, tenant: str) -> None:
        rate = self._limits_of(tenant).requests_per_s
        if rate is None:
            return
        use, now_s = self._uses[tenant], self._clock.monotonic()
        if use.bucket is None or use.bucket.rate != rate:
            use.bucket = TokenBucket(rate, burst_of(rate), now_s)
        wait_s = use.bucket.take(now_s)
        if wait_s > 0:
            raise rate_refusal(rate, wait_s)

    async def claim(self, tenant: str, held: Held, holder: str) -> None:
        holders = self._holders[held]
        if holders.has(tenant, holder):
            return
        bounds, count = bounds_of(held, self._limits_of(tenant), self._room), holders.count(tenant)
        judgement = bounds.judge(count, holders.count_all())
        if judgement is not Judgement.GRANTED:
            raise hold_refusal(judgement, held, bounds, count)
        holders.add(tenant, holder, self._clock.monotonic())

    def release(self, tenant: str, held: Held, holder: str) -> None:
        self._holders[held].remove(tenant, holder, self._clock.monotonic())

    async def flush(self) -> None:
        return

    async def settle(
        self, held: Held, actual: Mapping[str, Collection[str]], grace_s: float
    ) -> None:
        self._holders[held].settle(actual, self._clock.monotonic() - grace_s)

    def held(self, tenant: str, held: Held) -> int:
        """How many the tenant holds now."""
        return self._holders[held].count(tenant)

    def spent_cpu_s(self, tenant: str) -> float:
        """How many CPU seconds the tenant has spent today."""
        return self._today(tenant).cpu_seconds

    def stored(self, tenant: str) -> int:
        """How many bytes of the tenant are stored now."""
        return self._uses[tenant].stored_bytes

    async def store(self, tenant: str, size_bytes: int) -> None:
        limit = self._limits_of(tenant).stored_bytes
        if limit is not None and self._uses[tenant].stored_bytes + size_bytes > limit:
            raise stored_refusal(limit)
        self._count_stored(tenant, size_bytes)

    def discard(self, tenant: str, size_bytes: int) -> None:
        self._count_stored(tenant, -size_bytes)

    def _count_stored(self, tenant: str, change: int) -> None:
        use = self._uses[tenant]
        use.stored_bytes = max(0, use.stored_bytes + change)
        use.stored_changed_s = self._clock.monotonic()

    def most_files(self, tenant: str) -> int | None:
        return self._limits_of(tenant).stored_files

    async def load_stored(self, sizes: Sizes, quiet_s: float = 60.0) -> None:
        quiet_since_s = self._clock.monotonic() - quiet_s
        stored = await sizes()
        for tenant in {*stored, *self._uses}:
            use = self._uses[tenant]
            if use.stored_changed_s <= quiet_since_s:
                use.stored_bytes = stored.get(tenant, 0)

    async def require_cpu(self, tenant: str) -> None:
        limit = self._limits_of(tenant).cpu_seconds_per_day
        if limit is not None and self._today(tenant).cpu_seconds >= limit:
            raise cpu_refusal(limit, self._clock.now())

    def spend_cpu(self, tenant: str, seconds: float) -> None:
        self._today(tenant).cpu_seconds += seconds

    def meter_cpu(self, tenant: str, meter: str, total_s: float) -> None:
        last_s = self._meters.pop(meter, total_s)
        self._meters[meter] = max(last_s, total_s)
        self.spend_cpu(tenant, self._meters[meter] - last_s)
        if len(self._meters) > METERS_KEPT:
            self._meters.popitem(last=False)

    def _today(self, tenant: str) -> _Use:
        use, today = self._uses[tenant], self._clock.now().date()
        if use.cpu_day != today:
            use.cpu_day, use.cpu_seconds = today, 0.0
        return use
