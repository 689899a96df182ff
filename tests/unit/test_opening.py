"""A session is opened once under its id, whoever asks, fails, falls asleep or goes away meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from sandbox_service.domain.errors import (
    InvalidRequest,
    NotFound,
    ServiceError,
    ShuttingDown,
    Unavailable,
)
from sandbox_service.domain.requests import OpenSession
from sandbox_service.domain.stores import Stores
from sandbox_service.domain.tenancy import Held
from sandbox_service.domain.values import (
    MIB,
    LimitsRequest,
    SandboxRef,
    SandboxSpec,
    SessionRecord,
    SessionStatus,
)
from sandbox_service.sessions.pool import PoolSize
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.memory import open_memory_stores
from tests.support.fakes import FailsFirstStarts, InstantBackend, NeverReady, session_record
from tests.support.turns import others_run
from tests.unit.fakes.replica import TENANT, Replica, replica_on, until

SESSION_ID = "sess_k"


class WaitsForWord(InstantBackend):
    """Makes something, and gets ready when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()
        self.made: list[str] = []

    async def start(self, spec: SandboxSpec) -> AsyncIterator[SandboxRef]:
        self.running[spec.sandbox_id] = spec
        self.made.append(spec.sandbox_id)
        yield SandboxRef(sandbox_id=spec.sandbox_id)
        await self.go_on.wait()
        yield SandboxRef(sandbox_id=spec.sandbox_id, engine_id="e")


@pytest.fixture
def stores() -> Iterator[Stores]:
    with open_memory_stores(StoreBounds()) as stores:
        yield stores


async def opened(replica: Replica) -> SessionRecord:
    return await replica.sessions.open(TENANT, OpenSession(), SESSION_ID)


@pytest.mark.parametrize("asked", [{"cpus": 4.5}, {"cpus": 0.2}, {"memory_bytes": 4097 * MIB}])
async def test_limits_that_the_engine_cannot_give_are_refused_by_name_before_anything_is_touched(
    stores: Stores, asked: dict[str, float]
) -> None:
    async with replica_on(stores, InstantBackend(), pool_size=PoolSize(1, 1)) as replica:
        await stores.pool.add("python", SandboxRef(sandbox_id="box_warm"))
        with pytest.raises(InvalidRequest) as refusal:
            await replica.sessions.open(TENANT, OpenSession(limits=LimitsRequest(**asked)))
        assert refusal.value.param == f"limits.{next(iter(asked))}"
        assert len(await stores.pool.ready("python")) == 1
        assert (await stores.pool.demand("python", 60)).claims == 0
        assert await replica.sessions.list(TENANT, 10, None) == []


async def dead_opening(replica: Replica) -> SessionRecord:
    """An opening of a replica that is gone, with a sandbox half made."""
    ref = SandboxRef(sandbox_id="box_half")
    replica.backend.running[ref.sandbox_id] = None
    record = session_record(
        replica.clock,
        SESSION_ID,
        status=SessionStatus.STARTING,
        starting=ref,
        opener="rep_gone",
        opening="opening_old",
    )
    return await replica.stores.sessions.create(record)


async def test_calls_at_the_same_time_open_one_session(stores: Stores) -> None:
    async with (
        replica_on(stores, InstantBackend()) as first,
        replica_on(stores, first.backend) as b,
    ):
        records = await asyncio.gather(*(opened(one) for one in (first, b) * 5))
        assert len({record.model_dump_json() for record in records}) == 1
        assert (records[0].id, first.backend.started_count) == (SESSION_ID, 1)
        assert first.quotas.held(TENANT, Held.SESSIONS) == 1
        assert await opened(b) == records[0]


async def test_who_waits_for_an_opening_that_fails_is_told_to_try_again(stores: Stores) -> None:
    async with replica_on(stores, FailsFirstStarts(1)) as replica:
        results = await asyncio.gather(*(opened(replica) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(result, Unavailable) for result in results)
        assert await stores.sessions.get(SESSION_ID) is None
        assert replica.quotas.held(TENANT, Held.SESSIONS) == 0
        assert (await opened(replica)).status is SessionStatus.READY


async def test_an_opening_of_a_replica_that_is_gone_is_undone_by_who_asks_again(
    stores: Stores,
) -> None:
    async with replica_on(stores, InstantBackend()) as replica:
        await dead_opening(replica)
        with pytest.raises(Unavailable) as refusal:
            await opened(replica)
        assert refusal.value.retryable
        assert replica.backend.running == {}
        assert (await opened(replica)).status is SessionStatus.READY


async def test_who_undoes_an_opening_late_leaves_the_one_that_came_after(stores: Stores) -> None:
    """Two saw that its replica is gone; one has undone it, and a caller has opened anew since."""
    async with replica_on(stores, InstantBackend()) as replica:
        old = await dead_opening(replica)
        await replica.ender.drop_unopened(old)
        fresh = await opened(replica)
        await replica.ender.drop_unopened(old)
        assert await stores.sessions.get(SESSION_ID) == fresh
        assert set(replica.backend.running) == {fresh.sandbox.sandbox_id}
        assert replica.quotas.held(TENANT, Held.SESSIONS) == 1


async def test_an_opening_that_wakes_late_touches_nothing_of_the_one_that_came_after(
    stores: Stores,
) -> None:
    asleep, awake = WaitsForWord(), InstantBackend()
    async with replica_on(stores, asleep) as first, replica_on(stores, awake) as second:
        opening = asyncio.create_task(opened(first))
        await until(lambda: asleep.made)
        await others_run()
        gone = await second.records.change(
            SESSION_ID, lambda record: record.model_copy(update={"opener": "rep_gone"})
        )
        await second.ender.drop_unopened(gone)
        fresh = await opened(second)
        asleep.go_on.set()
        with pytest.raises(ServiceError):
            await opening
        assert await stores.sessions.get(SESSION_ID) == fresh
        assert asleep.running == {}
        assert second.quotas.held(TENANT, Held.SESSIONS) == 1


async def test_a_caller_that_leaves_leaves_no_half_open_session(stores: Stores) -> None:
    backend = WaitsForWord()
    async with replica_on(stores, backend) as replica:
        caller = asyncio.create_task(opened(replica))
        await until(lambda: backend.made)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert replica.sessions.is_opening
        backend.go_on.set()
        await until(lambda: not replica.sessions.is_opening)
        assert (await opened(replica)).status is SessionStatus.READY
        assert len(backend.made) == 1


async def test_a_stop_undoes_what_is_opening_and_tells_its_caller(stores: Stores) -> None:
    backend = NeverReady()
    async with replica_on(stores, backend) as replica:
        caller = asyncio.create_task(opened(replica))
        await until(lambda: backend.running)
        await replica.sessions.aclose()
        with pytest.raises(ShuttingDown):
            await caller
        assert backend.running == {}
        assert await stores.sessions.get(SESSION_ID) is None
        assert replica.quotas.held(TENANT, Held.SESSIONS) == 0


async def test_a_replica_that_stops_opens_nothing_more_but_finds_what_there_is(
    stores: Stores,
) -> None:
    async with replica_on(stores, InstantBackend()) as replica:
        record = await opened(replica)
        replica.workers.close()
        assert await opened(replica) == record
        with pytest.raises(ShuttingDown):
            await replica.open()


async def test_a_session_that_was_closed_while_it_opened_stays_closed(stores: Stores) -> None:
    backend = WaitsForWord()
    async with replica_on(stores, backend) as replica:
        caller = asyncio.create_task(opened(replica))
        await until(lambda: backend.made)
        await others_run()
        await replica.sessions.close(TENANT, SESSION_ID)
        backend.go_on.set()
        with pytest.raises(ServiceError) as refusal:
            await caller
        assert not isinstance(refusal.value, NotFound)
        assert backend.running == {}
        assert replica.quotas.held(TENANT, Held.SESSIONS) == 0
