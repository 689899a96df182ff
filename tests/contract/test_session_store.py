"""What every SessionStore promises."""

import asyncio
from datetime import timedelta

import pytest

from sandbox_service.domain.errors import Conflict
from sandbox_service.domain.ports import SessionQuery, SessionStore
from sandbox_service.domain.values import SessionStatus
from sandbox_service.store.memory import MemorySessionStore
from tests.support.fakes import SteppedClock, session_record


@pytest.fixture(params=["memory"])
def store(request) -> SessionStore:
    return {"memory": MemorySessionStore}[request.param]()


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


async def test_a_created_record_is_read_back(store, clock):
    record = await store.create(session_record(clock))
    assert await store.get(record.id) == record


async def test_an_unknown_id_is_none(store):
    assert await store.get("sess_none") is None


async def test_an_id_is_created_once(store, clock):
    await store.create(session_record(clock))
    with pytest.raises(Conflict):
        await store.create(session_record(clock))


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
    with pytest.raises(Conflict):
        await store.replace(record)


async def test_pages_are_newest_first_and_follow_each_other(store, clock):
    for number in range(5):
        await store.create(session_record(clock, f"sess_{number}"))
        clock.advance(1)
    first = await store.list(SessionQuery("first", limit=2))
    second = await store.list(SessionQuery("first", limit=2, after=first[-1].id))
    last = await store.list(SessionQuery("first", limit=2, after=second[-1].id))
    ids = [record.id for page in (first, second, last) for record in page]
    assert ids == ["sess_4", "sess_3", "sess_2", "sess_1", "sess_0"]


async def test_a_page_holds_one_tenants_sessions(store, clock):
    await store.create(session_record(clock, "sess_a"))
    await store.create(session_record(clock, "sess_b", tenant="second"))
    page = await store.list(SessionQuery("second"))
    assert [record.id for record in page] == ["sess_b"]


async def test_another_tenants_session_is_no_cursor(store, clock):
    """A page after it would tell that it exists, and when it was opened."""
    await store.create(session_record(clock, "sess_mine"))
    clock.advance(1)
    await store.create(session_record(clock, "sess_theirs", tenant="second"))
    assert await store.list(SessionQuery("first", after="sess_theirs")) == []


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
