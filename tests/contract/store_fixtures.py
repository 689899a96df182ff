"""The stores for the contract suites: in memory with a log, and over a real Redis, with several replicas."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sandbox_service.domain.stores import Lease, Stores
from sandbox_service.domain.values import (
    ExecutionEvent,
    ExecutionRecord,
    ExecutionStatus,
    KernelStamp,
    SessionRecord,
)
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.memory import open_memory_stores
from sandbox_service.store.redis import RedisConnection, open_redis, redis_stores
from tests.support.fakes import SteppedClock, session_record
from tests.support.redis_server import RedisServer

BOUNDS = StoreBounds(lease_ttl_s=0.4)
QUEUE_LENGTH = 50


class StoreHouse:
    """One kind of stores. Opened again they are the next process's; of Redis, another replica's at once."""

    def __init__(self, kind: str, directory: Path, redis_url: str) -> None:
        self.kind = kind
        self.instance = f"test-{secrets.token_hex(4)}"
        self.redis_url = redis_url
        self.clock = SteppedClock()
        self.breaker_clock: SteppedClock | None = None
        self._path = directory / "store.log"

    @asynccontextmanager
    async def opened(self, **bounds: float) -> AsyncIterator[Stores]:
        chosen = replace(BOUNDS, **bounds)
        if self.kind == "memory":
            with open_memory_stores(chosen, self._path, self.clock) as stores:
                yield stores
        else:
            async with (
                open_redis(self.redis_url, self.breaker_clock) as connection,
                redis_stores(connection, self.instance, chosen) as stores,
            ):
                yield stores

    async def pass_time(self, seconds: float) -> None:
        """For the stores: Redis has the time of its machine."""
        if self.kind == "memory":
            self.clock.advance(seconds)
        else:
            await asyncio.sleep(seconds)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """For all tests that do it no harm."""
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
def storehouse(request: pytest.FixtureRequest, tmp_path: Path) -> StoreHouse:
    url = request.getfixturevalue("redis_server").url if request.param == "redis" else ""
    return StoreHouse(request.param, tmp_path, url)


@pytest.fixture
async def stores(storehouse: StoreHouse) -> AsyncIterator[Stores]:
    async with storehouse.opened() as stores:
        yield stores


@pytest.fixture
def redis_house(redis_server: RedisServer, tmp_path: Path) -> StoreHouse:
    return StoreHouse("redis", tmp_path, redis_server.url)


@pytest.fixture
async def redis_connection(redis_server: RedisServer) -> AsyncIterator[RedisConnection]:
    async with open_redis(redis_server.url) as connection:
        yield connection


@pytest.fixture
async def replicas(redis_house: StoreHouse) -> AsyncIterator[tuple[Stores, Stores]]:
    """Two replicas over one Redis, both of which have just begun to beat."""
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(redis_house.opened()) for _ in range(2)]
        await first.replicas.beat()
        await second.replicas.beat()
        yield first, second


async def beat_for(seconds: float, *living: Stores) -> None:
    """As the sweepers of living replicas do."""
    until = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < until:
        for stores in living:
            await stores.replicas.beat()
        await asyncio.sleep(BOUNDS.lease_ttl_s / 8)


def queued(session: SessionRecord, number: int = 1, **changes: object) -> ExecutionRecord:
    """Execution `exec_{number}` of that session, queued."""
    fields = {
        "id": f"exec_{number}",
        "session_id": session.id,
        "tenant": session.tenant,
        "status": ExecutionStatus.QUEUED,
        "created_at": session.created_at,
        "code": f"print({number})",
        "kernel": KernelStamp(epoch=1, state="kept"),
        "session_expires_at": session.created_at + timedelta(seconds=60),
        **changes,
    }
    return ExecutionRecord.model_validate(fields)


def as_running(record: ExecutionRecord) -> ExecutionRecord:
    return record.model_copy(update={"status": ExecutionStatus.RUNNING})


def as_ok(record: ExecutionRecord, text: str = "done") -> ExecutionRecord:
    outputs = [{"output_type": "stream", "name": "stdout", "text": text}]
    return record.model_copy(update={"status": ExecutionStatus.OK, "outputs": outputs})


def printed(number: int) -> ExecutionEvent:
    """Event `number`: an output."""
    output = {"output_type": "stream", "name": "stdout", "text": f"{number}\n"}
    return ExecutionEvent(number, "output", {"action": "append", "index": 0, "output": output})


def completed(number: int, record: ExecutionRecord) -> ExecutionEvent:
    return ExecutionEvent(number, "execution.completed", record)


async def opened_session(
    stores: Stores, clock: SteppedClock, session_id: str = "sess_a", **changes: object
) -> SessionRecord:
    return await stores.sessions.create(session_record(clock, session_id, **changes))


async def accepted(
    stores: Stores, session_id: str, number: int = 1, **changes: object
) -> tuple[ExecutionRecord, Lease | None]:
    """The execution, and the right that came with it."""
    session = await stores.sessions.get(session_id)
    assert session is not None
    record = queued(session, number, **changes)
    return record, await stores.executions.accept(session, record, QUEUE_LENGTH)


async def run_to_end(stores: Stores, lease: Lease, record: ExecutionRecord) -> ExecutionRecord:
    """Started, one line printed, completed."""
    running, final = as_running(record), as_ok(record)
    await stores.journals.write(
        lease, running, [ExecutionEvent(1, "execution.started", running), printed(2)]
    )
    assert await stores.journals.write(lease, final, [completed(3, final)])
    return final
