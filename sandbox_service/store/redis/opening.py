"""The Redis stores, put together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sandbox_service.domain.clock import SystemClock
from sandbox_service.domain.ports import Clock
from sandbox_service.domain.stores import Stores
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.redis.connection import RedisConnection, open_redis, prefix_of
from sandbox_service.store.redis.executions import RedisExecutionStore
from sandbox_service.store.redis.journals import RedisJournals
from sandbox_service.store.redis.once import RedisOnceStore
from sandbox_service.store.redis.pool import RedisPoolStore
from sandbox_service.store.redis.replicas import RedisReplicas
from sandbox_service.store.redis.sessions import RedisSessionStore
from sandbox_service.store.redis.work import RedisWorkQueues


@asynccontextmanager
async def open_redis_stores(
    url: str, instance: str, bounds: StoreBounds, clock: Clock | None = None
) -> AsyncIterator[Stores]:
    """The stores over a connection of their own. Redis need not be there yet."""
    async with (
        open_redis(url) as connection,
        redis_stores(connection, instance, bounds, clock) as stores,
    ):
        yield stores


@asynccontextmanager
async def redis_stores(
    connection: RedisConnection,
    instance: str,
    bounds: StoreBounds,
    clock: Clock | None = None,
) -> AsyncIterator[Stores]:
    """The stores of one replica. `clock` tells how long this replica has been beating; the rest is Redis's."""
    prefix = prefix_of(instance)
    replicas = RedisReplicas(connection, prefix, bounds.lease_ttl_s, clock or SystemClock())
    journals = RedisJournals(connection, prefix, replicas, bounds)
    listening = asyncio.create_task(journals.listen())
    try:
        yield Stores(
            sessions=RedisSessionStore(connection, prefix, bounds),
            executions=RedisExecutionStore(connection, prefix, replicas, bounds),
            work=RedisWorkQueues(connection, prefix, replicas),
            journals=journals,
            replicas=replicas,
            pool=RedisPoolStore(connection, prefix),
            once=RedisOnceStore(connection, prefix, bounds),
        )
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening
