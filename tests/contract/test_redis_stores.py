"""What the stores over Redis promise when an answer gets lost, or a value is not what it should be."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from sandbox_service.domain.errors import Conflict, StoreUnavailable
from sandbox_service.domain.patience import patiently
from sandbox_service.domain.stores import SessionQuery, Stores
from sandbox_service.domain.values import ExecutionEvent, SandboxRef
from sandbox_service.store.redis import RedisConnection
from sandbox_service.store.redis.failures import StoreCorrupt
from tests.contract.store_fixtures import (
    StoreHouse,
    accepted,
    as_ok,
    as_running,
    completed,
    opened_session,
    printed,
    queued,
    run_to_end,
)
from tests.support.fakes import session_record
from tests.support.lossy_line import LossyLine
from tests.support.redis_server import RedisServer

# --- answers that get lost ------------------------------------------------------------------------


@pytest.fixture
async def line(redis_server: RedisServer) -> AsyncIterator[LossyLine]:
    async with LossyLine(redis_server.port).listening() as line:
        yield line


@pytest.fixture
async def lossy(line: LossyLine, tmp_path: Path) -> AsyncIterator[tuple[Stores, StoreHouse]]:
    """The stores over that line."""
    house = StoreHouse("redis", tmp_path, f"redis://127.0.0.1:{line.port}/0")
    async with house.opened() as stores:
        await stores.replicas.beat()
        yield stores, house


async def twice(line: LossyLine, call: Callable[[], Awaitable[object]]) -> object:
    """The second answer; the first was lost."""
    line.lose_next = 1
    with pytest.raises(StoreUnavailable):
        await call()
    assert line.lose_next == 0
    return await patiently(call)


async def test_an_execution_whose_acceptance_was_not_heard_is_queued_once(line, lossy):
    stores, house = lossy
    session = await opened_session(stores, house.clock)
    record = queued(session)
    lease = await twice(line, lambda: stores.executions.accept(session, record, 10))
    assert lease is not None
    assert await stores.work.waiting(session.id) == [record.id]
    assert await stores.work.head(lease) == record
    assert await stores.work.take_over() == []


async def test_a_queue_whose_right_was_granted_unheard_is_worked_on(line, lossy):
    """The caller has gone away, and does not call again."""
    stores, house = lossy
    session = await opened_session(stores, house.clock)
    line.lose_next = 1
    with pytest.raises(StoreUnavailable):
        await stores.executions.accept(session, queued(session), 10)
    (lease,) = await patiently(stores.work.take_over)
    assert await stores.work.head(lease) == queued(session)
    assert await stores.work.take_over() == []


async def test_a_right_whose_grant_is_on_its_way_is_not_handed_out_twice(line, lossy):
    """Two workers with one token would run everything twice, and nothing would fence them."""
    stores, house = lossy
    session = await opened_session(stores, house.clock)
    line.delay_next_s = 1
    accepting = asyncio.create_task(stores.executions.accept(session, queued(session), 10))
    while line.delay_next_s:  # until it is the answer to this one that is on its way
        await asyncio.sleep(0.01)
    assert await stores.work.waiting(session.id) == ["exec_1"]
    assert await stores.work.take_over() == []
    assert not accepting.done()
    assert await accepting is not None
    assert await stores.work.take_over() == []


async def test_rights_that_were_taken_over_unheard_are_found_again(line, lossy):
    stores, house = lossy
    session = await opened_session(stores, house.clock)
    record, lease = await accepted(stores, session.id)
    await stores.work.give_up(lease)
    (taken,) = await twice(line, stores.work.take_over)
    assert await stores.work.head(taken) == record


async def test_events_and_the_end_are_written_once(line, lossy):
    stores, house = lossy
    session = await opened_session(stores, house.clock)
    record, lease = await accepted(stores, session.id)
    running, final = as_running(record), as_ok(record)
    events = [ExecutionEvent(1, "execution.started", running), printed(2)]
    await twice(line, lambda: stores.journals.write(lease, running, events))
    end = [completed(3, final)]
    assert await twice(line, lambda: stores.journals.write(lease, final, end)) is True
    page = await stores.journals.read(session.id, record.id, 0, 10)
    assert list(page.events) == [*events, *end]
    assert await stores.executions.get(session.id, record.id) == final


async def test_the_other_calls_do_nothing_twice(line, lossy):
    stores, house = lossy
    ref = SandboxRef(sandbox_id="box_1")
    await twice(line, lambda: stores.pool.add("python", ref))
    assert await stores.pool.ready("python") == [ref]
    first = {"sess": "sess_1"}
    await twice(line, lambda: stores.once.begin("a", "key", "body", first))
    assert (await stores.once.begin("a", "key", "body", {})).ids == first
    lease = await twice(line, lambda: stores.replicas.acquire("housekeeping"))
    assert await stores.replicas.acquire("housekeeping") == lease
    record = session_record(house.clock)
    with pytest.raises(Conflict):
        await twice(line, lambda: stores.sessions.create(record))
    await twice(line, lambda: stores.sessions.delete(record.id))
    assert await stores.sessions.list(SessionQuery()) == []


# --- values that are not what they should be --------------------------------------------------------


@pytest.fixture
async def alone(redis_house: StoreHouse) -> AsyncIterator[Stores]:
    async with redis_house.opened() as stores:
        yield stores


async def copy_value(connection: RedisConnection, house: StoreHouse, source: str, to: str) -> None:
    prefix = f"sandbox:{house.instance}:"
    assert await connection.command("COPY", prefix + source, prefix + to, "REPLACE") == 1


async def test_a_value_under_another_key_is_given_to_nobody(alone, redis_house, redis_connection):
    for tenant in ("first", "second"):
        session = await opened_session(alone, redis_house.clock, f"sess_{tenant}", tenant=tenant)
        record, lease = await accepted(alone, session.id)
        await run_to_end(alone, lease, record)
        await alone.pool.add(tenant, SandboxRef(sandbox_id=tenant))
        await alone.once.begin(tenant, "key", "body", {})
    for kind in ("session:sess_{}", "execution:sess_{}:exec_1", "pool:{}"):
        source, to = kind.format("second"), kind.format("first")
        await copy_value(redis_connection, redis_house, source, to)
    await copy_value(redis_connection, redis_house, "once:6:second:key", "once:5:first:key")
    for call in (
        alone.sessions.get("sess_first"),
        alone.executions.get("sess_first", "exec_1"),
        alone.executions.list("sess_first"),
        alone.journals.read("sess_first", "exec_1", 0, 10),
        alone.pool.take("first"),
        alone.once.begin("first", "key", "body", {}),
    ):
        with pytest.raises(StoreCorrupt) as corruption:
            await call
        assert corruption.value.code == "store_corrupt"


async def test_events_of_another_execution_are_given_to_nobody(
    alone, redis_house, redis_connection
):
    session = await opened_session(alone, redis_house.clock)
    for number in (1, 2):
        record, lease = await accepted(alone, session.id, number)
        await run_to_end(alone, lease, record)
        await alone.work.head(lease)
    source, to = "events:sess_a:exec_2", "events:sess_a:exec_1"
    await copy_value(redis_connection, redis_house, source, to)
    with pytest.raises(StoreCorrupt):
        await alone.journals.read(session.id, "exec_1", 0, 10)


@pytest.mark.parametrize("garbage", ["", "{}", "\xff\x00", '{"id": "sess_bad"}'])
async def test_one_record_that_cannot_be_read_does_not_hide_the_others(
    alone, redis_house, redis_connection, garbage
):
    """The sweep goes on; who asks for that one is told."""
    good = await opened_session(alone, redis_house.clock, "sess_good")
    bad = await opened_session(alone, redis_house.clock, "sess_bad")
    key = f"sandbox:{redis_house.instance}:session:{bad.id}"
    await redis_connection.command("HSET", key, "record", garbage)
    with pytest.raises(StoreCorrupt):
        await alone.sessions.get(bad.id)
    assert await alone.sessions.list(SessionQuery()) == [good]
    assert await alone.sessions.due(good.expires_at, good.expires_at, 10) == [good]


async def test_a_key_of_another_type_is_given_to_nobody(alone, redis_house, redis_connection):
    await redis_connection.command("SET", f"sandbox:{redis_house.instance}:session:sess_a", "x")
    with pytest.raises(StoreCorrupt):
        await alone.sessions.get("sess_a")


async def test_nothing_of_a_session_outlives_it(alone, redis_house, redis_connection):
    """Whatever is left has an expiry, or is one of a fixed few."""
    for number in range(3):
        session = await opened_session(alone, redis_house.clock, f"sess_{number}")
        for execution in range(20):
            record, lease = await accepted(alone, session.id, execution)
            if execution < 19:
                await run_to_end(alone, lease, record)
                await alone.work.head(lease)
        await alone.sessions.delete(session.id)
    await alone.replicas.beat()
    await alone.replicas.acquire("housekeeping")
    await alone.pool.note_claim("python")
    await alone.once.begin("a", "key", "body", {})
    lasting = {name for name, ttl in (await ttls(redis_connection, redis_house)).items() if ttl < 0}
    assert lasting == {"tokens", "replicas", "ended"}


async def ttls(connection: RedisConnection, house: StoreHouse) -> dict[str, int]:
    """The names of all keys, with how many milliseconds each has to live; -1 is for ever."""
    prefix = f"sandbox:{house.instance}:"
    keys = await connection.command("KEYS", prefix + "*")
    return {
        key.decode().removeprefix(prefix): await connection.command("PTTL", key) for key in keys
    }
