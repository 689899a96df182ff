"""Chooses where sessions, executions and quotas are kept: this process's memory, or Redis."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sandbox_service.domain.stores import Stores
from sandbox_service.settings import Settings
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.memory import open_memory_stores


@dataclass(frozen=True, slots=True)
class State:
    """The stores, and how to make quotas over them; None means in this process's memory."""

    stores: Stores
    make_quotas: Callable[..., object] | None = None


@asynccontextmanager
async def open_state(settings: Settings) -> AsyncIterator[State]:
    """What the settings name. Raises StoreUnavailable."""
    bounds = StoreBounds(
        settings.history_length, settings.idempotency_retention_s, settings.lease_ttl_s
    )
    path = settings.data_dir / f"{settings.instance}.log"
    with open_memory_stores(bounds, path) as stores:
        yield State(stores)
