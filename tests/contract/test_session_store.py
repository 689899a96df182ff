"""What every SessionStore promises."""

import asyncio
from datetime import timedelta

import pytest

from sandbox_service.domain.errors import Conflict
from sandbox_service.domain.stores import SessionQuery, SessionStore, Stores
from sandbox_service.domain.values import LIVE_STATUSES, SandboxRef, SessionRecord, SessionStatus
from tests.contract.store_fixtures import StoreHouse, accepted, opened_session, run_to_end
from tests.support.fakes import SteppedClock, session_record


@pytest.fixture
def store(stores: Stores) -> SessionStore:
    return stores.sessions


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


async def test_a_created_record_is_read_back(store, clock):
    sandbox = SandboxRef(sandbox_id="box_1", engine_id="e", address="/run/a", labels={"a": "b"})
    record = session_record(clock, sandbox=sandbox, metadata={"purpose": "тест \U0001f600"})
    assert await store.create(record) == record
    assert await store.get(record.id) == record


async def test_an_unknown_id_is_none(store):
    assert await store.get("sess_none") is None


async def test_an_id_is_created_once(store, clock):
    await store.create(session_record(clock))
    with pytest.raises(Conflict):
        await store.create(session_record(clock))


async def test_a_write_raises_the_revision_and_is_read_back(store, clock):
    created = await store.create(session_record(clock))
    written = await store.replace(created.model_copy(update={"epoch": 2}))
    assert written == created.model_copy(update={"epoch": 2, "revision": 1})
    assert await store.get(created.id) == written


async def test_a_write_based_on_an_old_revision_is_refused(store, clock):
    old = await store.create(session_record(clock))
    await store.replace(old.model_copy(update={"epoch": 2}))
    with pytest.raises(Conflict):
        await store.replace(old.model_copy(update={"epoch": 3}))
    assert (await store.get(old.id)).epoch == 2


async def test_of_many_writers_on_one_revision_one_wins(store, clock):
    old = await store.create(session_record(clock))
    writes = [store.replace(old.model_copy(update={"epoch": n})) for n in range(2, 22)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(not isinstance(result, Conflict) for result in results) == 1


async def test_a_removed_record_cannot_be_written(store, clock):
    record = await store.create(session_record(clock))
    await store.delete(record.id)
    await store.delete(record.id)
    with pytest.raises(Conflict):
        await store.replace(record)
    assert await store.get(record.id) is None


async def test_what_waits_or_runs_is_counted_on_reading(stores, clock):
    record = await opened_session(stores, clock)
    first, lease = await accepted(stores, record.id, 1)
    await accepted(stores, record.id, 2)
    assert (await stores.sessions.get(record.id)).pending == 2
    assert [r.pending for r in await stores.sessions.list(SessionQuery())] == [2]
    await run_to_end(stores, lease, first)
    now = await stores.sessions.get(record.id)
    assert now.pending == 1
    assert (await stores.sessions.replace(now)).pending == 1


async def test_pages_are_newest_first_and_follow_each_other(store, clock):
    for number in range(5):
        await store.create(session_record(clock, f"sess_{number}"))
        clock.advance(1)
    first = await store.list(SessionQuery("first", limit=2))
    second = await store.list(SessionQuery("first", limit=2, after=first[-1].id))
    last = await store.list(SessionQuery("first", limit=2, after=second[-1].id))
    ids = [record.id for page in (first, second, last) for record in page]
    assert ids == ["sess_4", "sess_3", "sess_2", "sess_1", "sess_0"]


async def test_sessions_of_one_moment_are_in_the_order_of_their_ids(store, clock):
    for number in range(5):
        await store.create(session_record(clock, f"sess_{number}"))
    first = await store.list(SessionQuery(limit=3))
    rest = await store.list(SessionQuery(limit=3, after=first[-1].id))
    ids = [record.id for record in (*first, *rest)]
    assert ids == ["sess_4", "sess_3", "sess_2", "sess_1", "sess_0"]


async def test_a_page_holds_one_tenants_sessions(store, clock):
    await store.create(session_record(clock, "sess_a"))
    await store.create(session_record(clock, "sess_b", tenant="second"))
    page = await store.list(SessionQuery("second"))
    assert [record.id for record in page] == ["sess_b"]


@pytest.mark.parametrize("tenant", ["first", None])
async def test_a_page_holds_those_with_the_statuses_asked_for(store, clock, tenant):
    """However many others lie in between."""
    for number in range(450):
        status = SessionStatus.READY if number % 150 == 0 else SessionStatus.CLOSED
        await store.create(session_record(clock, f"sess_{number:03}", status=status))
        clock.advance(1)
    page = await store.list(SessionQuery(tenant, LIVE_STATUSES))
    assert [record.id for record in page] == ["sess_300", "sess_150", "sess_000"]
    await store.replace(page[0].model_copy(update={"status": SessionStatus.CLOSED}))
    closed = await store.list(SessionQuery(tenant, frozenset({"closed"}), limit=1000))
    assert len(closed) == 448


async def test_another_tenants_session_is_no_cursor(store, clock):
    """A page after it would tell that it exists, and when it was opened."""
    await store.create(session_record(clock, "sess_mine"))
    clock.advance(1)
    await store.create(session_record(clock, "sess_theirs", tenant="second"))
    assert await store.list(SessionQuery("first", after="sess_theirs")) == []
    assert await store.list(SessionQuery("first", after="sess_none")) == []


async def test_due_are_the_live_past_expiry_and_the_ended_past_retention(store, clock):
    now = clock.now()
    long_ago = now - timedelta(seconds=100)
    closed = {"status": SessionStatus.CLOSED, "ended_at": long_ago}
    await store.create(session_record(clock, "sess_fresh"))
    await store.create(session_record(clock, "sess_idle", expires_at=long_ago))
    await store.create(session_record(clock, "sess_old", **closed))
    await store.create(session_record(clock, "sess_new", status="closed", ended_at=now))
    due = await store.due(now, now - timedelta(seconds=50), 10)
    assert {record.id for record in due} == {"sess_idle", "sess_old"}
    assert len(await store.due(now, now - timedelta(seconds=50), 1)) == 1


async def test_due_follows_what_is_written(store, clock):
    """Extended, ended, and removed: each time it is due at another time, or never."""
    now = clock.now()
    record = await store.create(session_record(clock, expires_at=now))
    later = now + timedelta(seconds=10)
    record = await store.replace(record.model_copy(update={"expires_at": later}))
    assert await store.due(now, now, 10) == []
    assert await store.due(later, now, 10) == [record]
    ended = {"status": SessionStatus.EXPIRED, "ended_at": later}
    record = await store.replace(record.model_copy(update=ended))
    assert await store.due(later, now, 10) == []
    assert await store.due(now, later, 10) == [record]
    await store.delete(record.id)
    assert await store.due(later, later, 10) == []


async def test_an_expiry_is_kept_to_the_microsecond(store, clock):
    moment = clock.now() + timedelta(microseconds=123_457)
    await store.create(session_record(clock, expires_at=moment))
    almost = moment - timedelta(microseconds=1)
    assert await store.due(almost, almost, 10) == []
    assert len(await store.due(moment, almost, 10)) == 1


async def test_the_next_process_finds_the_sessions(storehouse: StoreHouse, clock):
    async with storehouse.opened() as stores:
        kept = await stores.sessions.create(session_record(clock, "sess_kept"))
        kept = await stores.sessions.replace(kept.model_copy(update={"epoch": 2}))
        gone = await stores.sessions.create(session_record(clock, "sess_gone"))
        await stores.sessions.delete(gone.id)
    async with storehouse.opened() as stores:
        assert await stores.sessions.list(SessionQuery()) == [kept]
        await stores.sessions.replace(kept)


async def test_of_too_many_ended_sessions_a_tenants_first_are_dropped(storehouse: StoreHouse):
    """With what was in them; live ones and another tenant's stay."""
    clock = storehouse.clock
    async with storehouse.opened(ended_sessions=2) as stores:
        live = await opened_session(stores, clock, "sess_live")
        theirs = await opened_session(stores, clock, "sess_theirs", tenant="other")
        await ended(stores, theirs, clock)
        for number in range(4):
            session = await opened_session(stores, clock, f"sess_{number}")
            record, lease = await accepted(stores, session.id)
            await run_to_end(stores, lease, record)
            clock.advance(1)
            await ended(stores, await stores.sessions.get(session.id), clock)
    async with storehouse.opened(ended_sessions=2) as stores:
        mine = await stores.sessions.list(SessionQuery(tenant="first"))
        assert {record.id for record in mine} == {"sess_3", "sess_2", live.id}
        assert await stores.executions.get("sess_0", "exec_1") is None
        assert await stores.executions.get("sess_3", "exec_1") is not None
        assert await stores.sessions.get(theirs.id) is not None


async def ended(stores: Stores, record: SessionRecord, clock: SteppedClock) -> None:
    update = {"status": SessionStatus.CLOSED, "ended_at": clock.now()}
    await stores.sessions.replace(record.model_copy(update=update))
