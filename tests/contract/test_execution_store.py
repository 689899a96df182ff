"""What every ExecutionStore promises."""

import asyncio

import pytest

from sandbox_service.domain.errors import Conflict, LeaseLost, NotFound, RateLimited
from sandbox_service.domain.json_values import RawJson
from sandbox_service.domain.stores import Mark, Stores
from sandbox_service.domain.values import (
    ArtifactRecord,
    ExecutionEvent,
    ExecutionStatus,
    SessionRecord,
)
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


@pytest.fixture
async def session(stores: Stores, storehouse: StoreHouse) -> SessionRecord:
    return await opened_session(stores, storehouse.clock)


async def test_an_accepted_execution_is_read_back(stores, session):
    record, lease = await accepted(stores, session.id)
    assert lease is not None
    assert lease.name == session.id
    assert await stores.executions.get(session.id, record.id) == record
    assert await stores.executions.list(session.id) == [record]


async def test_somebody_waits_for_an_execution_until_the_time_that_was_said(
    stores, session, storehouse
):
    """What was said for longer is not taken back by what is said for less."""
    record, _ = await accepted(stores, session.id)
    attend = stores.executions.attend
    assert await attend(session.id, record.id, 0) == 0
    for seconds in (600, 1, 0):
        assert 500 < await attend(session.id, record.id, seconds) <= 600
    assert await attend(session.id, "exec_other", 0) == 0
    other, _ = await accepted(stores, session.id, 2)
    await attend(session.id, other.id, 0.05)
    await storehouse.pass_time(0.1)
    assert await attend(session.id, other.id, 0) == 0


async def test_an_unknown_execution_is_none(stores, session):
    record, _ = await accepted(stores, session.id)
    assert await stores.executions.get(session.id, "exec_none") is None
    assert await stores.executions.get("sess_none", record.id) is None
    assert await stores.executions.list("sess_none") == []


async def test_accepting_writes_the_session_too(stores, session):
    touched = session.model_copy(update={"epoch": 7})
    await stores.executions.accept(touched, queued(session), 10)
    now = await stores.sessions.get(session.id)
    assert (now.epoch, now.revision, now.pending) == (7, 1, 1)


async def test_a_session_that_was_changed_in_between_accepts_nothing(stores, session):
    await stores.sessions.replace(session)
    with pytest.raises(Conflict):
        await stores.executions.accept(session, queued(session), 10)
    assert await stores.executions.list(session.id) == []
    assert (await stores.sessions.get(session.id)).pending == 0


async def test_a_session_that_is_gone_accepts_nothing(stores, session):
    await stores.sessions.delete(session.id)
    with pytest.raises(Conflict):
        await stores.executions.accept(session, queued(session), 10)
    assert await stores.work.waiting(session.id) == []


async def test_an_id_is_accepted_once(stores, session):
    """Also with the revision of then: a call that is made again does not know of the one that it raised."""
    record, lease = await accepted(stores, session.id)
    assert await stores.executions.accept(session, record, 10) is None
    assert await stores.executions.list(session.id) == [record]
    assert await stores.work.head(lease) == record
    assert (await stores.sessions.get(session.id)).revision == 1


async def test_behind_the_one_that_runs_as_many_wait_as_the_queue_is_long(stores, session):
    for number in range(3):
        now = await stores.sessions.get(session.id)
        await stores.executions.accept(now, queued(session, number), 2)
    now = await stores.sessions.get(session.id)
    with pytest.raises(RateLimited) as refusal:
        await stores.executions.accept(now, queued(session, 3), 2)
    assert refusal.value.code == "queue_full"
    assert refusal.value.retry_after_s
    assert await stores.executions.get(session.id, "exec_3") is None
    assert await stores.sessions.get(session.id) == now


async def test_the_right_comes_with_the_first_of_many_at_once(stores, session):
    async def accept(number: int):
        while True:
            try:
                return (await accepted(stores, session.id, number))[1]
            except Conflict:
                continue

    leases = await asyncio.gather(*(accept(number) for number in range(10)))
    assert sum(lease is not None for lease in leases) == 1
    assert len(await stores.work.waiting(session.id)) == 10


async def test_the_list_is_in_the_order_of_acceptance(stores, session):
    for number in (3, 1, 2):
        await accepted(stores, session.id, number)
    listed = [record.id for record in await stores.executions.list(session.id)]
    assert listed == ["exec_3", "exec_1", "exec_2"]


async def test_large_results_are_listed_whole(stores, session):
    finals = []
    for number in range(4):
        record, lease = await accepted(stores, session.id, number)
        finals.append(as_ok(record, "x" * 3_000_000))
        await stores.journals.write(lease, finals[-1], [completed(1, finals[-1])])
        assert await stores.work.head(lease) is None
    assert await stores.executions.list(session.id) == finals


async def test_a_name_with_bytes_that_are_no_text_comes_back(stores, session, storehouse):
    """Files of the workspace may be called anything; every store and its log must take it."""
    record, lease = await accepted(stores, session.id)
    now = storehouse.clock.now()
    artifact = ArtifactRecord(
        id="art_1",
        tenant="first",
        session_id=session.id,
        execution_id=record.id,
        path="caf\udce9.csv",
        size=1,
        media_type="text/csv",
        sha256="00",
        created_at=now,
        expires_at=now,
    )
    final = as_ok(record).model_copy(update={"artifacts": [artifact]})
    assert await stores.journals.write(lease, final, [completed(1, final)])
    assert await stores.executions.get(session.id, record.id) == final


async def test_the_oldest_finished_give_way(storehouse: StoreHouse):
    async with storehouse.opened(history_length=3) as stores:
        session = await opened_session(stores, storehouse.clock)
        for number in range(5):
            record, lease = await accepted(stores, session.id, number)
            await run_to_end(stores, lease, record)
            assert await stores.work.head(lease) is None
        kept = [record.id for record in await stores.executions.list(session.id)]
        assert kept == ["exec_2", "exec_3", "exec_4"]
        assert await stores.executions.get(session.id, "exec_1") is None
        with pytest.raises(NotFound):
            await stores.journals.read(session.id, "exec_1", 0, 10)


async def test_what_waits_or_runs_never_gives_way(storehouse: StoreHouse):
    async with storehouse.opened(history_length=2) as stores:
        session = await opened_session(stores, storehouse.clock)
        for number in range(5):
            await accepted(stores, session.id, number)
        assert len(await stores.executions.list(session.id)) == 5


async def test_after_a_sessions_end_nothing_of_it_is_left(stores, session):
    record, lease = await accepted(stores, session.id)
    await stores.journals.write(lease, as_running(record), [printed(1)])
    await stores.sessions.delete(session.id)
    assert await stores.executions.get(session.id, record.id) is None
    assert await stores.executions.list(session.id) == []
    assert await stores.work.waiting(session.id) == []
    for call in (
        stores.work.head(lease),
        stores.journals.write(lease, as_ok(record), []),
    ):
        with pytest.raises(LeaseLost):
            await call
    with pytest.raises(NotFound):
        await stores.journals.read(session.id, record.id, 0, 10)


async def test_a_mark_on_one_that_waits_says_that_it_does_not_run(stores, session):
    record, _ = await accepted(stores, session.id)
    assert await stores.executions.mark(session.id, record.id, Mark.CANCELLED) is None
    assert await stores.executions.marks(session.id, record.id) == {Mark.CANCELLED}


async def test_a_mark_on_one_that_runs_says_so(stores, session):
    record, lease = await accepted(stores, session.id)
    await stores.journals.write(lease, as_running(record), [])
    assert await stores.executions.mark(session.id, record.id, Mark.CANCELLED) == record.id
    assert await stores.executions.mark(session.id, None, Mark.KILLED) == record.id
    marks = await stores.executions.marks(session.id, record.id)
    assert marks == {Mark.CANCELLED, Mark.KILLED}


async def test_without_a_name_only_what_runs_is_marked(stores, session):
    assert await stores.executions.mark(session.id, None, Mark.INTERRUPTED) is None
    record, _ = await accepted(stores, session.id)
    assert await stores.executions.mark(session.id, None, Mark.INTERRUPTED) is None
    assert await stores.executions.marks(session.id, record.id) == frozenset()


async def test_what_has_ended_or_is_unknown_is_not_marked(stores, session):
    record, lease = await accepted(stores, session.id)
    await run_to_end(stores, lease, record)
    for execution_id in (record.id, None, "exec_none"):
        assert await stores.executions.mark(session.id, execution_id, Mark.CANCELLED) is None
    assert await stores.executions.marks(session.id, record.id) == frozenset()
    assert await stores.executions.marks(session.id, "exec_none") == frozenset()


async def test_the_next_process_finds_the_executions(storehouse: StoreHouse):
    """What had ended with its result, what waits in its queue."""
    async with storehouse.opened() as stores:
        session = await opened_session(stores, storehouse.clock)
        first, lease = await accepted(stores, session.id, 1)
        second, _ = await accepted(stores, session.id, 2)
        final = await run_to_end(stores, lease, first)
        await stores.work.give_up(lease)
    async with storehouse.opened() as stores:
        assert await stores.executions.list(session.id) == [final, second]
        assert await stores.work.waiting(session.id) == [second.id]
        page = await stores.journals.read(session.id, first.id, 2, 10)
        assert [(event.id, event.payload) for event in page.events] == [(3, final)]
        (lease,) = await stores.work.take_over()
        assert (await stores.work.head(lease)).id == second.id
        assert (await stores.executions.get(session.id, second.id)).status == ExecutionStatus.QUEUED


RAW = RawJson(b'{"a": [[], "\\u2028", 1e400]}')


async def test_json_that_nobody_looked_into_is_the_same_text_afterwards(storehouse: StoreHouse):
    """In events, in results, and for the next process; also what looks like our own mark of it."""
    data = {"application/json": RAW, "x/json": RawJson(b'{"$json":"1"}'), "text/plain": "t"}
    node = {"output_type": "display_data", "data": data, "metadata": RawJson(b'{"b":{}}')}
    async with storehouse.opened() as stores:
        session = await opened_session(stores, storehouse.clock)
        record, lease = await accepted(stores, session.id)
        final = as_ok(record).model_copy(update={"outputs": [node]})
        shown = ExecutionEvent(1, "output", {"action": "append", "index": 0, "output": node})
        await stores.journals.write(lease, final, [shown, completed(2, final)])
        page = await stores.journals.read(session.id, record.id, 0, 10)
        assert list(page.events) == [shown, completed(2, final)]
    async with storehouse.opened() as stores:
        assert (await stores.executions.get(session.id, record.id)).outputs == [node]
