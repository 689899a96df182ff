"""Replicas say that they live, and one does what must be done once: fill the pools, reap, settle counts."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sandbox_service.domain.errors import StoreUnavailable
from sandbox_service.domain.stores import Lease, Replicas

logger = logging.getLogger(__name__)

NAME = "housekeeping"
BEATS_PER_LEASE = 4


@asynccontextmanager
async def beating(replicas: Replicas, lease_ttl_s: float) -> AsyncIterator[None]:
    """Say that this replica lives, again and again, for the block."""

    async def beat() -> None:
        while True:
            try:
                await replicas.beat()
            except StoreUnavailable as error:
                logger.warning("beat_failed reason=%s", error.message)
            await asyncio.sleep(lease_ttl_s / BEATS_PER_LEASE)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Leader:
    """Whether this replica is the one. Asked before each step, so that one that was stopped and wakes asks again."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self._lease: Lease | None = None

    async def leads(self) -> bool:
        """Take or keep the lead if no other live replica has it; False while the store is away."""
        try:
            lease = await self._replicas.acquire(NAME)
        except StoreUnavailable:
            return False
        if lease is not None and lease != self._lease:
            logger.info("lead_taken replica=%s", self._replicas.id)
        self._lease = lease
        return lease is not None

    async def resign(self) -> None:
        if self._lease is not None:
            await self._replicas.release(self._lease)
            self._lease = None
