"""Quotas of tenants in Redis: exact over all replicas that share it."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from sandbox_service.domain.errors import StoreUnavailable
from sandbox_service.domain.ports import Clock
from sandbox_service.domain.quota_rules import (
    HoldBounds,
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
from sandbox_service.store.redis.connection import Argument, RedisConnection, Script
from sandbox_service.store.redis.quota_changes import QUEUE_LENGTH, Change, QuotaChanges
from sandbox_service.store.redis.quota_scripts import ADMIT, CLAIM, LOAD, SETTLE, STORE

CLOSE_DEADLINE_S = 2.0


class RedisQuotas:
    """Quotas as scripts, one round trip each; what gives back is sent in the background.

    `clock` tells the day for CPU seconds; all shorter times are by Redis's own clock, which is the same
    for every replica: clocks that differ would fill a bucket again and again.
    """

    def __init__(
        self,
        connection: RedisConnection,
        prefix: str,
        limits_of: LimitsOf,
        room: SharedRoom,
        clock: Clock,
        queue_length: int = QUEUE_LENGTH,
    ) -> None:
        self._connection = connection
        self._prefix = prefix
        self._limits_of = limits_of
        self._room = room
        self._clock = clock
        self._changes = QuotaChanges(connection, prefix, queue_length)
        self._sizes: Sizes = _nothing_stored
        self._loading = asyncio.Lock()  # one reading of the catalog at a time

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._changes.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            with suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(CLOSE_DEADLINE_S):
                    await self._changes.flush()

    async def admit(self, tenant: str) -> None:
        rate = self._limits_of(tenant).requests_per_s
        if rate is None:
            return
        try:
            wait_ms = await self._run(ADMIT, rate, burst_of(rate), tenant)
        except StoreUnavailable:
            return  # what needs the store is refused there; the rest need not be
        if float(wait_ms) > 0:
            raise rate_refusal(rate, float(wait_ms) / 1000)

    async def claim(self, tenant: str, held: Held, holder: str) -> None:
        bounds = bounds_of(held, self._limits_of(tenant), self._room)
        await self._changes.flush()
        try:
            word, count = await self._run(CLAIM, held, tenant, holder, *_numbers(bounds))
        except (StoreUnavailable, asyncio.CancelledError):
            self.release(tenant, held, holder)  # it may have been granted
            raise
        judgement = Judgement(word.decode())
        if judgement is not Judgement.GRANTED:
            raise hold_refusal(judgement, held, bounds, count)

    def release(self, tenant: str, held: Held, holder: str) -> None:
        self._changes.put(Change("release", tenant, held, holder))

    async def flush(self) -> None:
        with suppress(StoreUnavailable):
            await self._changes.flush()

    async def settle(
        self, held: Held, actual: Mapping[str, Collection[str]], grace_s: float
    ) -> None:
        pairs = [word for tenant, names in actual.items() for n in names for word in (tenant, n)]
        await self._changes.flush()
        await self._run(SETTLE, held, round(grace_s * 1000), *pairs)

    async def held(self, tenant: str, held: Held) -> int:
        """How many the tenant holds now."""
        return int(await self._field(f"count:{held}", tenant) or 0)

    async def stored(self, tenant: str) -> int:
        """How many bytes of the tenant are stored now."""
        return int(await self._field("stored", tenant) or 0)

    async def store(self, tenant: str, size_bytes: int) -> None:
        limit = self._limits_of(tenant).stored_bytes
        await self._changes.flush()
        answer = await self._store(tenant, size_bytes, limit)
        if answer < 0:
            await self._load_after_loss()
            answer = await self._store(tenant, size_bytes, limit)
        if answer < 0:
            raise StoreUnavailable("The store loses what it is given.", retry_after_s=1)
        if answer == 0:
            assert limit is not None
            raise stored_refusal(limit)

    async def _store(self, tenant: str, size_bytes: int, limit: int | None) -> int:
        top = "inf" if limit is None else limit
        return int(await self._run(STORE, tenant, size_bytes, top))

    def discard(self, tenant: str, size_bytes: int) -> None:
        if size_bytes > 0:
            self._changes.put(Change("discard", tenant, "", str(size_bytes)))

    def most_files(self, tenant: str) -> int | None:
        return self._limits_of(tenant).stored_files

    async def load_stored(self, sizes: Sizes, quiet_s: float = 60.0) -> None:
        self._sizes = sizes
        async with self._loading:
            await self._load(quiet_s)

    async def _load_after_loss(self) -> None:
        """Redis was emptied, or is new: count anew, unless another call has by now."""
        async with self._loading:
            if not await self._connection.command("EXISTS", self._key("stored:loaded")):
                await self._load(0.0)

    async def _load(self, quiet_s: float) -> None:
        seconds, microseconds = map(int, await self._connection.command("TIME"))
        quiet_since_ms = seconds * 1000 + microseconds // 1000 - round(quiet_s * 1000)
        sizes = await self._sizes()
        pairs = [word for tenant, size in sizes.items() for word in (tenant, size)]
        await self._run(LOAD, quiet_since_ms, *pairs)

    async def require_cpu(self, tenant: str) -> None:
        limit = self._limits_of(tenant).cpu_seconds_per_day
        if limit is None:
            return
        await self._changes.flush()
        spent = await self._field(f"cpu:{self._today()}", tenant)
        if float(spent or 0) >= limit:
            raise cpu_refusal(limit, self._clock.now())

    def spend_cpu(self, tenant: str, seconds: float) -> None:
        self._changes.put(Change("spend", tenant, self._today(), f"{seconds:.6f}"))

    def meter_cpu(self, tenant: str, meter: str, total_s: float) -> None:
        what = f"{self._today()} {meter}"
        self._changes.put(Change("meter", tenant, what, f"{total_s:.6f}"))

    def _today(self) -> str:
        return self._clock.now().date().isoformat()

    async def _field(self, name: str, tenant: str) -> bytes | None:
        value: bytes | None = await self._connection.command("HGET", self._key(name), tenant)
        return value

    async def _run(self, script: Script, *arguments: Argument) -> Any:
        return await self._connection.run(script, self._prefix, *arguments)

    def _key(self, name: str) -> str:
        return f"{self._prefix}quota:{name}"


def _numbers(bounds: HoldBounds) -> tuple[float, ...]:
    return bounds.own, bounds.everyone, bounds.open_to_all, bounds.share


async def _nothing_stored() -> Mapping[str, int]:
    return {}
