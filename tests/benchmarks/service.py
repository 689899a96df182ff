"""The service under test, as a process of its own, and the sessions that a benchmark opens on it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from tests.benchmarks.client import Api, Connection
from tests.support.service import ServiceProcess

FILL_S = 180
QUIET_S = 0.3
STEP_S = 0.02
READY = 'sandbox_pool_ready{template="python"}'
HITS = 'sandbox_pool_claims_total{result="hit"}'


class Target:
    """A running service with a pool of `pool_size` warm sandboxes."""

    def __init__(self, process: ServiceProcess, pool_size: int) -> None:
        self.process = process
        self.pool_size = pool_size

    @property
    def instance(self) -> str:
        return self.process.instance

    @asynccontextmanager
    async def api(self) -> AsyncIterator[Api]:
        """The API over a connection of its own."""
        async with Connection.open(self.process.port, self.process.full_key) as connection:
            yield Api(connection)

    def session(self, api: Api, **fields: object) -> AbstractAsyncContextManager[str]:
        return session(api, **fields)

    async def await_full_pool(self, api: Api) -> None:
        """Return when the pool is full, nothing is being made or removed, and the machine is quiet."""
        async with asyncio.timeout(FILL_S):
            while not await self._is_full(api):
                await asyncio.sleep(STEP_S)
        await asyncio.sleep(QUIET_S)

    async def _is_full(self, api: Api) -> bool:
        metrics = await api.metrics()
        return metrics.get(READY, 0.0) >= self.pool_size

    async def pool_hits(self, api: Api) -> float:
        return (await api.metrics()).get(HITS, 0.0)


@asynccontextmanager
async def session(api: Api, **fields: object) -> AsyncIterator[str]:
    """An open session, closed at the end."""
    session_id = await api.open_session(**fields)
    try:
        yield session_id
    finally:
        await api.close_session(session_id)
