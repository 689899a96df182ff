"""What the stores over Redis promise when the server is killed, stands still, is emptied or full."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from sandbox_service.domain.errors import Conflict, LeaseLost, NotFound, StoreUnavailable
from sandbox_service.domain.patience import patiently
from sandbox_service.domain.stores import Lease, News, SessionQuery, Stores
from sandbox_service.domain.values import ExecutionRecord
from tests.contract.refusals import is_refused_at_once
from tests.contract.store_fixtures import (
    StoreHouse,
    accepted,
    as_ok,
    as_running,
    beat_for,
    completed,
    opened_session,
    printed,
    queued,
    run_to_end,
)
from tests.support.redis_server import RedisServer


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """One that may be harmed."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def house(server: RedisServer, tmp_path: Path) -> StoreHouse:
    return StoreHouse("redis", tmp_path, server.url)


@asynccontextmanager
async def two_at_work(house: StoreHouse) -> AsyncIterator[tuple[Stores, Stores]]:
    """Two replicas that beat, whatever happens."""

    async def beat(stores: Stores) -> None:
        while True:
            with suppress(StoreUnavailable):
                await stores.replicas.beat()
            await asyncio.sleep(0.1)

    async with house.opened() as first, house.opened() as second:
        beating = [asyncio.create_task(beat(stores)) for stores in (first, second)]
        try:
            yield first, second
        finally:
            for task in beating:
                task.cancel()
            await asyncio.gather(*beating, return_exceptions=True)


EVENTS = 40


async def worked(writer: Stores, session_id: str, record_id: str) -> int:
    """Accept and run an execution as a worker does; how often it was told that it made the end."""
    session = await patiently(lambda: writer.sessions.get(session_id))
    record = queued(session).model_copy(update={"id": record_id})
    lease = await patiently(lambda: writer.executions.accept(session, record, 10))
    running = as_running(record)
    for number in range(1, EVENTS):
        batch = [printed(number)]
        await patiently(lambda batch=batch: writer.journals.write(lease, running, batch))
        await asyncio.sleep(0.01)
    final = as_ok(record)
    end = [completed(EVENTS, final)]
    return int(await patiently(lambda: writer.journals.write(lease, final, end)))


async def followed(reader: Stores, session_id: str, record_id: str) -> list[int]:
    """The numbers of all events, as another replica's client sees them come."""
    numbers: list[int] = []
    with reader.journals.watch(record_id) as news:
        while True:
            news.clear()
            after = numbers[-1] if numbers else 0
            try:
                page = await reader.journals.read(session_id, record_id, after, 7)
            except NotFound:
                await asyncio.sleep(0.02)
                continue
            except StoreUnavailable:
                await asyncio.sleep(0.1)
                continue
            numbers += [event.id for event in page.events]
            if page.is_final and numbers[-1] == page.last_id:
                return numbers
            if not page.events:
                await news.wait()


async def killed(server: RedisServer) -> None:
    server.kill()
    await asyncio.sleep(0.3)
    server.start()


async def paused(server: RedisServer) -> None:
    server.pause()
    await asyncio.sleep(3)
    server.resume()


@pytest.mark.parametrize("fault", [killed, paused])
async def test_work_goes_on_when_the_server_is_back_and_nothing_is_doubled(
    house: StoreHouse, server: RedisServer, fault
) -> None:
    async with two_at_work(house) as (first, second):
        ids = [f"sess_{number}" for number in range(10)]
        for session_id in ids:
            await opened_session(first, house.clock, session_id)
        working = [asyncio.create_task(worked(first, it, "exec_1")) for it in ids]
        following = [asyncio.create_task(followed(second, it, "exec_1")) for it in ids]
        await asyncio.sleep(0.2)
        await fault(server)
        async with asyncio.timeout(60):
            assert await asyncio.gather(*working) == [1] * 10
            assert await asyncio.gather(*following) == [list(range(1, EVENTS + 1))] * 10
        for session_id in ids:
            assert len(await first.executions.list(session_id)) == 1
            assert await first.work.waiting(session_id) == []


async def test_nobody_takes_from_the_living_when_the_server_was_away(
    house: StoreHouse, server: RedisServer
) -> None:
    """It was away for longer than a lease, and one replica finds it again before the other does."""
    async with house.opened() as first, house.opened() as second:
        await beat_for(0.6, first, second)
        session = await opened_session(first, house.clock)
        record, lease = await accepted(first, session.id)
        server.kill()
        await asyncio.sleep(0.6)
        server.start()
        await patiently(second.replicas.beat)
        assert await second.work.take_over() == []
        assert first.replicas.id in await second.replicas.alive()
        assert (await accepted(second, session.id, 2))[1] is None
        await patiently(first.replicas.beat)
        await beat_for(0.8, first, second)
        assert await second.work.take_over() == []
        assert await first.work.head(lease) == record


async def test_a_server_that_was_emptied_has_nothing_and_works(
    house: StoreHouse, server: RedisServer
) -> None:
    async with two_at_work(house) as (first, second):
        session = await opened_session(first, house.clock)
        record, lease = await accepted(first, session.id)
        server.flush()
        assert await second.sessions.get(session.id) is None
        assert await second.sessions.list(SessionQuery()) == []
        with pytest.raises(LeaseLost):
            await first.journals.write(lease, as_ok(record), [completed(1, as_ok(record))])
        with pytest.raises(LeaseLost):
            await first.work.head(lease)
        with pytest.raises(Conflict):
            await first.executions.accept(session, queued(session), 10)
        again = await opened_session(second, house.clock)
        record, newer = await accepted(second, again.id)
        assert newer.token > lease.token
        await run_to_end(second, newer, record)


async def test_every_call_is_refused_at_once_while_the_server_is_away(
    house: StoreHouse, server: RedisServer
) -> None:
    house.breaker_clock = house.clock
    async with house.opened() as stores:
        session = await opened_session(stores, house.clock)
        record, lease = await accepted(stores, session.id)
        server.kill()
        with pytest.raises(StoreUnavailable):
            await stores.sessions.get(session.id)
        for call in (
            stores.sessions.create(session),
            stores.sessions.get("a"),
            stores.sessions.replace(session),
            stores.sessions.list(SessionQuery()),
            stores.sessions.due(session.expires_at, session.expires_at, 1),
            stores.sessions.delete("a"),
            stores.executions.accept(session, record, 1),
            stores.executions.get("a", "b"),
            stores.executions.list("a"),
            stores.executions.marks("a", "b"),
            stores.work.head(lease),
            stores.work.seize("a"),
            stores.work.take_over(),
            stores.work.give_up(lease),
            stores.work.waiting("a"),
            stores.journals.write(lease, record, []),
            stores.journals.read("a", "b", 0, 1),
            stores.replicas.beat(),
            stores.replicas.alive(),
            stores.replicas.acquire("a"),
            stores.replicas.release(lease),
            stores.replicas.leave(),
            stores.pool.take("a"),
            stores.pool.demand("a", 1),
            stores.once.begin("a", "b", "c", {}),
            stores.once.done("a", "b"),
        ):
            assert is_refused_at_once(call)


async def test_what_runs_goes_on_when_the_server_is_out_of_memory(
    house: StoreHouse, server: RedisServer
) -> None:
    """New work is refused whole; results are written, hearts beat."""
    async with house.opened() as stores:
        await stores.replicas.beat()
        session = await opened_session(stores, house.clock)
        record, lease = await accepted(stores, session.id)
        server.ask("CONFIG SET maxmemory 1")
        now = await stores.sessions.get(session.id)
        with pytest.raises(StoreUnavailable):
            await stores.executions.accept(now, queued(session, 2), 10)
        with pytest.raises(StoreUnavailable):
            await opened_session(stores, house.clock, "sess_b")
        assert await stores.sessions.get(session.id) == now
        assert await stores.work.waiting(session.id) == [record.id]
        await beat_for(0.5, stores)
        await run_to_end(stores, lease, record)
        assert await stores.work.head(lease) is None
        await stores.sessions.delete(session.id)
        server.ask("CONFIG SET maxmemory 0")
        await opened_session(stores, house.clock, "sess_b")


async def test_the_subscription_comes_back_by_itself(
    house: StoreHouse, server: RedisServer
) -> None:
    async with two_at_work(house) as (first, second):
        session = await opened_session(first, house.clock)
        record, lease = await accepted(first, session.id)
        await killed(server)
        with second.journals.watch(record.id) as news:
            # Once may have been its coming back, not the news.
            for _ in range(2):
                await told_of_a_write(first, lease, record, news)


async def told_of_a_write(
    writer: Stores, lease: Lease | None, record: ExecutionRecord, news: News
) -> None:
    """Written again and again until the reader hears of it."""
    async with asyncio.timeout(60):
        for number in itertools.count(1):
            news.clear()
            await patiently(
                lambda number=number: writer.journals.write(
                    lease, as_running(record), [printed(number)]
                )
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await news.wait()
                    break


async def test_a_reader_is_woken_when_the_subscription_is_back(
    house: StoreHouse, server: RedisServer
) -> None:
    """What was written in between was told to nobody."""
    async with two_at_work(house) as (first, second):
        session = await opened_session(first, house.clock)
        record, _ = await accepted(first, session.id)
        await asyncio.sleep(0.1)
        with second.journals.watch(record.id) as news:
            await killed(server)
            async with asyncio.timeout(60):
                await news.wait_final()


async def test_stores_can_be_opened_while_the_server_is_away(
    house: StoreHouse, server: RedisServer
) -> None:
    server.kill()
    async with house.opened() as stores:
        with pytest.raises(StoreUnavailable):
            await stores.replicas.beat()
        server.start()
        await patiently(stores.replicas.beat)


async def test_two_instances_over_one_server_see_nothing_of_each_other(
    house: StoreHouse, server: RedisServer, tmp_path: Path
) -> None:
    other_house = StoreHouse("redis", tmp_path, server.url)
    async with house.opened() as stores, other_house.opened() as others:
        await opened_session(stores, house.clock)
        await stores.replicas.beat()
        assert await others.sessions.list(SessionQuery()) == []
        assert await others.sessions.get("sess_a") is None
        assert await others.replicas.alive() == {others.replicas.id}
