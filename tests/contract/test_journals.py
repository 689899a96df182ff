"""What every Journals promises."""

import asyncio
from contextlib import suppress

import pytest

from sandbox_service.domain.errors import LeaseLost, NotFound
from sandbox_service.domain.stores import Lease, Stores
from sandbox_service.domain.values import (
    ArtifactRecord,
    ExecutionEvent,
    ExecutionRecord,
    ExecutionStatus,
    SessionRecord,
)
from sandbox_service.store.bounds import FULL_JOURNALS, KEPT_EVENTS
from tests.contract.store_fixtures import (
    StoreHouse,
    accepted,
    as_ok,
    as_running,
    completed,
    opened_session,
    printed,
    run_to_end,
)


@pytest.fixture
async def session(stores: Stores, storehouse: StoreHouse) -> SessionRecord:
    return await opened_session(stores, storehouse.clock)


@pytest.fixture
async def granted(stores: Stores, session: SessionRecord) -> tuple[ExecutionRecord, Lease]:
    return await accepted(stores, session.id)


async def read(stores: Stores, record: ExecutionRecord, after: int = 0, limit: int = 1000):
    return await stores.journals.read(record.session_id, record.id, after, limit)


def span(page) -> list[int]:
    return [event.id for event in page.events]


async def test_every_kind_of_event_is_read_as_it_was_written(stores, granted, storehouse):
    record, lease = granted
    running, final = as_running(record), as_ok(record)
    now = storehouse.clock.now()
    artifact = ArtifactRecord(
        id="art_1",
        tenant="first",
        session_id=record.session_id,
        execution_id=record.id,
        path="a b/\u00e9\udcff.png",
        size=3,
        media_type="image/png",
        sha256="00",
        created_at=now,
        expires_at=now,
    )
    events = [
        ExecutionEvent(1, "execution.started", running),
        printed(2),
        ExecutionEvent(3, "output", {"action": "clear", "index": 0, "output": None}),
        ExecutionEvent(4, "artifact", artifact),
        ExecutionEvent(5, "gap", {"from_id": 5, "to_id": 5, "reason": "replica_lost"}),
        completed(6, final),
    ]
    await stores.journals.write(lease, running, events[:5])
    assert await stores.journals.write(lease, final, events[5:])
    page = await read(stores, record)
    assert list(page.events) == events
    assert (page.is_final, page.last_id) == (True, 6)


async def test_a_record_is_kept_with_its_events(stores, granted):
    record, lease = granted
    assert not await stores.journals.write(lease, as_running(record), [printed(1)])
    assert await stores.executions.get(record.session_id, record.id) == as_running(record)


async def test_nothing_is_there_before_it_is_written(stores, granted):
    page = await read(stores, granted[0])
    assert (list(page.events), page.is_final, page.last_id) == ([], False, 0)


async def test_a_reader_goes_on_behind_what_it_has(stores, granted):
    record, lease = granted
    await stores.journals.write(lease, as_running(record), [printed(n) for n in range(1, 10)])
    assert span(await read(stores, record, after=0, limit=4)) == [1, 2, 3, 4]
    assert span(await read(stores, record, after=4, limit=4)) == [5, 6, 7, 8]
    assert span(await read(stores, record, after=8, limit=4)) == [9]
    assert span(await read(stores, record, after=9)) == []
    page = await read(stores, record, after=1_000_000, limit=1)
    assert (span(page), page.last_id) == ([], 9)


async def test_what_is_kept_is_not_written_again(stores, granted):
    """A call made again after its answer was lost, or by the replica that runs on, doubles nothing."""
    record, lease = granted
    running = as_running(record)
    await stores.journals.write(lease, running, [printed(1), printed(2)])
    await stores.journals.write(lease, running, [printed(1), printed(2)])
    await stores.journals.write(lease, running, [printed(2), printed(3)])
    page = await read(stores, record)
    assert list(page.events) == [printed(1), printed(2), printed(3)]


async def test_an_execution_ends_once_and_never_changes(stores, granted):
    record, lease = granted
    final = as_ok(record)
    assert await stores.journals.write(lease, final, [completed(1, final)])
    other = final.model_copy(update={"status": ExecutionStatus.LOST})
    for late in (other, as_running(record)):
        assert not await stores.journals.write(lease, late, [printed(2)])
    assert await stores.executions.get(record.session_id, record.id) == final
    page = await read(stores, record)
    assert (list(page.events), page.last_id) == ([completed(1, final)], 1)


async def test_the_end_written_again_is_told_as_ones_own_again(stores, granted):
    """The answer was lost, and with it would be the knowledge that the end is to be counted."""
    record, lease = granted
    final = as_ok(record)
    assert await stores.journals.write(lease, final, [completed(1, final)])
    assert await stores.journals.write(lease, final, [completed(1, final)])
    assert await stores.journals.write(lease, final, [completed(2, final)])
    assert span(await read(stores, record)) == [1]


async def test_with_its_end_an_execution_leaves_the_queue(stores, granted):
    record, lease = granted
    await run_to_end(stores, lease, record)
    assert await stores.work.waiting(record.session_id) == []


async def test_only_who_has_the_right_writes(stores, granted):
    record, lease = granted
    for other in (Lease(lease.name, lease.token + 1), Lease("sess_other", lease.token)):
        with pytest.raises(LeaseLost):
            await stores.journals.write(other, as_ok(record), [printed(1)])
    await stores.work.give_up(lease)
    with pytest.raises(LeaseLost):
        await stores.journals.write(lease, as_ok(record), [printed(1)])
    assert await stores.executions.get(record.session_id, record.id) == record
    assert span(await read(stores, record)) == []


async def test_an_unknown_execution_is_not_found(stores, granted):
    record, lease = granted
    unknown = record.model_copy(update={"id": "exec_none"})
    with pytest.raises(NotFound):
        await stores.journals.write(lease, unknown, [])
    with pytest.raises(NotFound):
        await read(stores, unknown)


async def test_the_oldest_events_give_way_to_a_gap(stores, granted):
    record, lease = granted
    running, final, last = as_running(record), as_ok(record), KEPT_EVENTS + 100
    for first in range(1, last, 500):
        batch = [printed(number) for number in range(first, min(first + 500, last))]
        await stores.journals.write(lease, running, batch)
    await stores.journals.write(lease, final, [completed(last, final)])
    page = await read(stores, record, limit=KEPT_EVENTS)
    gap = {"from_id": 1, "to_id": 100, "reason": "journal_overflow"}
    assert page.events[0] == ExecutionEvent(100, "gap", gap)
    assert span(page)[1:] == list(range(101, last + 1))
    assert span(await read(stores, record, after=50, limit=2)) == [100, 101, 102]
    assert span(await read(stores, record, after=100, limit=2)) == [101, 102]
    assert page.last_id == last


async def test_of_older_executions_the_last_event_is_kept(stores, session):
    for number in range(FULL_JOURNALS + 2):
        record, lease = await accepted(stores, session.id, number)
        await run_to_end(stores, lease, record)
        await stores.work.head(lease)
    for number in (0, 1):
        record = await stores.executions.get(session.id, f"exec_{number}")
        gap = {"from_id": 1, "to_id": 2, "reason": "journal_overflow"}
        page = await read(stores, record)
        assert list(page.events) == [ExecutionEvent(2, "gap", gap), completed(3, record)]
        assert (page.is_final, page.last_id) == (True, 3)
        assert span(await read(stores, record, after=2)) == [3]
        assert span(await read(stores, record, after=3)) == []
    record = await stores.executions.get(session.id, "exec_2")
    assert span(await read(stores, record)) == [1, 2, 3]


async def test_of_a_long_queue_too_the_older_give_way(stores, session):
    """All of them were accepted before the first had ended."""
    count = FULL_JOURNALS + 4
    _, lease = await accepted(stores, session.id, 0)
    for number in range(1, count):
        await accepted(stores, session.id, number)
    while (record := await stores.work.head(lease)) is not None:
        await run_to_end(stores, lease, record)
    await accepted(stores, session.id, count)
    records = await stores.executions.list(session.id)
    lengths = [len((await read(stores, record)).events) for record in records[:-1]]
    assert lengths == [2] * 4 + [3] * FULL_JOURNALS


async def heard(waiting) -> bool:
    """Returns when it does."""
    async with asyncio.timeout(60):
        await waiting
    return True


async def silent(waiting) -> bool:
    """Whether it does not return for a while."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await waiting
        return False
    return True


async def test_a_watch_tells_of_each_write(stores, granted):
    record, lease = granted
    with stores.journals.watch(record.id) as news:
        for number in range(1, 4):
            news.clear()
            await stores.journals.write(lease, as_running(record), [printed(number)])
            assert await heard(news.wait())


async def test_a_watch_for_the_end_is_told_of_nothing_else(stores, granted):
    record, lease = granted
    with stores.journals.watch(record.id) as news:
        await stores.journals.write(lease, as_running(record), [printed(1)])
        assert await silent(news.wait_final())
        await stores.journals.write(lease, as_ok(record), [])
        assert await heard(news.wait_final())


async def test_what_was_written_after_clear_and_before_wait_is_told(stores, granted):
    record, lease = granted
    with stores.journals.watch(record.id) as news:
        news.clear()
        await stores.journals.write(lease, as_running(record), [printed(1)])
        assert await heard(news.wait())


async def test_another_replica_is_told(replicas, redis_house):
    first, second = replicas
    session = await opened_session(first, redis_house.clock)
    record, lease = await accepted(first, session.id)
    with second.journals.watch(record.id) as news:
        await asyncio.sleep(0.1)
        news.clear()
        await first.journals.write(lease, as_running(record), [printed(1)])
        assert await heard(news.wait())
        await first.journals.write(lease, as_ok(record), [completed(2, as_ok(record))])
        assert await heard(news.wait_final())
    assert span(await read(second, record)) == [1, 2]


async def test_a_result_is_stored_once(replicas, redis_house, redis_connection):
    """As the record; the event that tells of it says no more than that."""
    first, _ = replicas
    session = await opened_session(first, redis_house.clock)
    record, lease = await accepted(first, session.id)
    final = as_ok(record, "x" * 1_000_000)
    await first.journals.write(lease, final, [completed(1, final)])
    keys = await redis_connection.command("KEYS", f"sandbox:{redis_house.instance}:*")
    usage = ("MEMORY", "USAGE")
    sizes = [await redis_connection.command(*usage, key, "SAMPLES", 0) for key in keys]
    assert 1_000_000 < sum(sizes) < 1_500_000
    assert (await read(first, record)).events[0].payload == final
