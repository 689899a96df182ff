"""One replica does what must be done once: fill the pools, reap what is left over, settle counts."""

import logging

from sandbox_service.domain.errors import StoreUnavailable
from sandbox_service.domain.stores import Lease, Replicas

logger = logging.getLogger(__name__)

NAME = "housekeeping"


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
