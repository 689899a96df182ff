"""Quotas in each place where they can be kept, for the suites over them."""

import asyncio
import inspect
import secrets
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from sandbox_service.domain.errors import RateLimited
from sandbox_service.domain.quota_rules import SharedRoom, TenantLimits
from sandbox_service.domain.tenancy import Held, Quotas, Sizes
from sandbox_service.store.redis.connection import RedisConnection, open_redis
from sandbox_service.store.redis.quota_changes import QUEUE_LENGTH
from sandbox_service.store.redis.quotas import RedisQuotas
from sandbox_service.tenants.quotas import MemoryQuotas
from tests.support.fakes import SteppedClock


def limits_and_room(max_sessions: int, tenants: str, limits: Mapping[str, float]):
    chosen = TenantLimits.model_validate(dict(limits))
    return (lambda tenant: chosen), SharedRoom(max_sessions, lambda: frozenset(tenants))


@dataclass
class InMemory:
    """Quotas of one process, whose time passes when it is told to."""

    clock: SteppedClock

    async def make(self, max_sessions: int = 1000, tenants: str = "ab", **limits: float) -> Quotas:
        return MemoryQuotas(*limits_and_room(max_sessions, tenants, limits), self.clock)

    async def rest(self, seconds: float) -> None:
        self.clock.advance(seconds)


@dataclass
class InRedis:
    """Quotas of several processes over one server, each with connections of its own; time passes as it does."""

    url: str
    clock: SteppedClock
    stack: AsyncExitStack
    prefix: str = field(default_factory=lambda: f"test:{secrets.token_hex(4)}:")
    queue_length: int = QUEUE_LENGTH

    async def make(
        self, max_sessions: int = 1000, tenants: str = "ab", **limits: float
    ) -> RedisQuotas:
        quotas = await self.make_idle(max_sessions, tenants, **limits)
        await self.stack.enter_async_context(quotas.running())
        return quotas

    async def make_idle(
        self, max_sessions: int = 1000, tenants: str = "ab", **limits: float
    ) -> RedisQuotas:
        """Quotas that send what is given back only when something else is asked."""
        rules = limits_and_room(max_sessions, tenants, limits)
        connection = await self.connection()
        return RedisQuotas(connection, self.prefix, *rules, self.clock, self.queue_length)

    async def connection(self) -> RedisConnection:
        return await self.stack.enter_async_context(open_redis(self.url))

    async def rest(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


Place = InMemory | InRedis


@asynccontextmanager
async def opened_in_redis(url: str, clock: SteppedClock) -> AsyncIterator[InRedis]:
    async with AsyncExitStack() as stack:
        yield InRedis(url, clock, stack)


async def refusal_of(call: Awaitable[object]) -> RateLimited:
    with pytest.raises(RateLimited) as refusal:
        await call
    assert refusal.value.retry_after_s is not None
    assert refusal.value.retry_after_s > 0
    return refusal.value


async def held_by(quotas: Quotas, tenant: str, held: Held = Held.SESSIONS) -> int:
    count = quotas.held(tenant, held)
    return await count if inspect.isawaitable(count) else count


async def stored_by(quotas: Quotas, tenant: str) -> int:
    size = quotas.stored(tenant)
    return await size if inspect.isawaitable(size) else size


async def granted(calls: list[Awaitable[None]]) -> int:
    """How many of the calls at the same time were not refused."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} <= {type(None), RateLimited}
    return results.count(None)


def stored(**sizes: int) -> Sizes:
    """A catalog that says so."""

    async def read() -> Mapping[str, int]:
        await asyncio.sleep(0)
        return sizes

    return read
