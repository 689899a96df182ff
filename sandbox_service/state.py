"""Chooses where sessions, executions and quotas are kept: this process's memory, or a Redis that several share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sandbox_service.domain.clock import SystemClock
from sandbox_service.domain.stores import Stores
from sandbox_service.settings import Settings
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.memory import open_memory_stores
from sandbox_service.store.redis import open_redis, prefix_of, redis_stores
from sandbox_service.store.redis.quotas import RedisQuotas
from sandbox_service.tenants.opening import QuotasOf


@dataclass(frozen=True, slots=True)
class State:
    """The stores, and how to make quotas over them; None means in this process's memory."""

    stores: Stores
    quotas_of: QuotasOf | None = None


@asynccontextmanager
async def open_state(settings: Settings) -> AsyncIterator[State]:
    """What the settings name. Raises StoreInUse when another process has the memory store's log."""
    bounds = StoreBounds(
        history_length=settings.history_length,
        once_retention_s=settings.idempotency_retention_s,
        once_keys=settings.max_idempotency_keys,
        lease_ttl_s=settings.lease_ttl_s,
        ended_sessions=settings.max_ended_sessions,
        event_bytes=settings.max_event_bytes,
        session_bytes=settings.max_session_result_bytes,
        tenant_bytes=settings.max_tenant_result_bytes,
    )
    if settings.redis_url is None:
        path = settings.data_dir / f"{settings.instance}.log"
        with open_memory_stores(bounds, path) as stores:
            yield State(stores)
        return
    prefix = prefix_of(settings.instance)
    async with (
        open_redis(settings.redis_url) as connection,
        redis_stores(connection, settings.instance, bounds) as stores,
    ):
        yield State(
            stores,
            lambda limits_of, room: RedisQuotas(connection, prefix, limits_of, room, SystemClock()),
        )
