"""What every store promises of how much it keeps, in bytes: the oldest give way, and it is said."""

import pytest

from sandbox_service.domain.errors import NotFound
from sandbox_service.domain.stores import Stores
from sandbox_service.domain.values import ExecutionEvent, ExecutionRecord, SessionRecord
from sandbox_service.store.bounds import GAVE_WAY
from tests.contract.store_fixtures import (
    StoreHouse,
    accepted,
    as_ok,
    as_running,
    completed,
    opened_session,
    printed,
)

SIZE = 10_000
"""Of each cell's output; its events are as large."""


async def run_cell(
    stores: Stores, session: SessionRecord, number: int, size: int = SIZE
) -> ExecutionRecord:
    """Printed as one event, and told again as the result."""
    record, lease = await accepted(stores, session.id, number)
    final = as_ok(record, "x" * size)
    running = as_running(record)
    shown = {"action": "append", "index": 0, "output": final.outputs[0]}
    await stores.journals.write(lease, running, [ExecutionEvent(1, "output", shown)])
    assert await stores.journals.write(lease, final, [completed(2, final)])
    await stores.work.head(lease)
    return final


async def events_of(stores: Stores, record: ExecutionRecord) -> list[str]:
    page = await stores.journals.read(record.session_id, record.id, 0, 100)
    return [event.type for event in page.events]


async def sizes(stores: Stores, session: SessionRecord) -> list[int]:
    """Of the outputs of each execution that is kept."""
    records = await stores.executions.list(session.id)
    return [sum(len(output["text"]) for output in record.outputs) for record in records]


async def test_events_give_way_before_outputs_and_outputs_before_executions(storehouse: StoreHouse):
    """Of a session; the bare records are the last to go."""
    async with storehouse.opened(session_bytes=4 * SIZE) as stores:
        session = await opened_session(stores, storehouse.clock)
        cells = [await run_cell(stores, session, number) for number in range(5)]
        assert await sizes(stores, session) == [0, 0, 0, SIZE, SIZE]
        assert await events_of(stores, cells[3]) == ["gap", "execution.completed"]
        assert await events_of(stores, cells[4]) == ["output", "execution.completed"]
        for number in range(5, 150):
            await run_cell(stores, session, number, size=1)
        kept = await stores.executions.list(session.id)
        assert 10 < len(kept) < 150
        assert kept[-1].outputs[0]["text"] == "x"
        assert await stores.executions.get(session.id, cells[0].id) is None
        with pytest.raises(NotFound):
            await stores.journals.read(session.id, cells[0].id, 0, 10)


async def test_an_execution_whose_outputs_gave_way_says_so(storehouse: StoreHouse):
    """Wherever it is read, and by the next process too."""
    async with storehouse.opened(session_bytes=3 * SIZE) as stores:
        session = await opened_session(stores, storehouse.clock)
        before = await run_cell(stores, session, 1)
        later = await run_cell(stores, session, 2)
    told = before.model_copy(update={"outputs": [], "truncated": True, "notices": [GAVE_WAY]})
    async with storehouse.opened(session_bytes=3 * SIZE) as stores:
        assert await stores.executions.get(session.id, before.id) == told
        assert await stores.executions.list(session.id) == [told, later]
        page = await stores.journals.read(session.id, before.id, 1, 10)
        assert list(page.events) == [completed(2, told)]


async def test_the_latest_execution_is_kept_whatever_it_is(storehouse: StoreHouse):
    async with storehouse.opened(session_bytes=10, tenant_bytes=10) as stores:
        session = await opened_session(stores, storehouse.clock)
        for number in range(3):
            latest = await run_cell(stores, session, number)
            assert await stores.executions.list(session.id) == [latest]
            assert await events_of(stores, latest) == ["output", "execution.completed"]


async def test_the_sessions_of_a_tenant_give_way_to_each_other_and_to_nobody_else(
    storehouse: StoreHouse,
):
    async with storehouse.opened(tenant_bytes=3 * SIZE) as stores:
        other = await opened_session(stores, storehouse.clock, "sess_other", tenant="other")
        theirs = await run_cell(stores, other, 0)
        mine = []
        for number in range(4):
            session = await opened_session(stores, storehouse.clock, f"sess_{number}")
            await run_cell(stores, session, number)
            mine.append(session)
        assert [await sizes(stores, session) for session in mine] == [[0], [0], [0], [SIZE]]
        assert await stores.executions.list(other.id) == [theirs]
        assert await events_of(stores, theirs) == ["output", "execution.completed"]


async def test_results_too_large_for_their_sessions_are_bounded_by_the_tenant(
    storehouse: StoreHouse,
):
    """Each is its session's latest, which the session alone would keep."""
    async with storehouse.opened(session_bytes=10, tenant_bytes=3 * SIZE) as stores:
        mine = []
        for number in range(4):
            session = await opened_session(stores, storehouse.clock, f"sess_{number}")
            await run_cell(stores, session, number)
            mine.append(session)
        assert [await sizes(stores, session) for session in mine] == [[0], [0], [0], [SIZE]]


async def test_what_a_dropped_session_had_is_free_for_others(storehouse: StoreHouse):
    async with storehouse.opened(tenant_bytes=5 * SIZE) as stores:
        for number in range(4):
            session = await opened_session(stores, storehouse.clock, f"sess_{number}")
            await run_cell(stores, session, 1)
            await stores.sessions.delete(session.id)
        last = await opened_session(stores, storehouse.clock, "sess_last")
        both = [await run_cell(stores, last, number) for number in (1, 2)]
        assert await stores.executions.list(last.id) == both


async def test_of_one_execution_the_oldest_events_give_way_by_their_bytes(storehouse: StoreHouse):
    async with storehouse.opened(event_bytes=3000) as stores:
        session = await opened_session(stores, storehouse.clock)
        record, lease = await accepted(stores, session.id)
        running = as_running(record)
        for first in range(1, 101, 10):
            batch = [printed(number) for number in range(first, first + 10)]
            await stores.journals.write(lease, running, batch)
        page = await stores.journals.read(session.id, record.id, 0, 1000)
        assert page.events[0].type == "gap"
        assert [event.id for event in page.events[1:]] == list(range(page.events[0].id + 1, 101))
        assert 10 < len(page.events) < 25
        large = {"output_type": "stream", "name": "stdout", "text": "x" * SIZE}
        shown = {"action": "append", "index": 0, "output": large}
        await stores.journals.write(lease, running, [ExecutionEvent(101, "output", shown)])
        page = await stores.journals.read(session.id, record.id, 0, 1000)
        assert [event.id for event in page.events] == [100, 101]


async def test_a_page_of_executions_goes_on_behind_the_one_before(storehouse: StoreHouse):
    async with storehouse.opened() as stores:
        session = await opened_session(stores, storehouse.clock)
        for number in range(5):
            await accepted(stores, session.id, number)

        async def page(limit: int, after: str | None) -> list[str]:
            records = await stores.executions.list(session.id, limit, after)
            return [record.id for record in records]

        assert await page(2, None) == ["exec_0", "exec_1"]
        assert await page(2, "exec_1") == ["exec_2", "exec_3"]
        assert await page(2, "exec_4") == []
        with pytest.raises(NotFound):
            await page(2, "exec_none")


async def test_redis_has_no_more_than_is_counted(redis_house: StoreHouse, redis_connection):
    """After much that came and went, by what Redis itself says of its keys."""
    async with redis_house.opened(session_bytes=10 * SIZE, history_length=20) as stores:
        session = await opened_session(stores, redis_house.clock)
        for number in range(50):
            await run_cell(stores, session, number, size=SIZE if number % 3 else 10)
        prefix = f"sandbox:{redis_house.instance}:"
        counted = int(await redis_connection.command("HGET", prefix + "kept:bytes", session.id))
        keys = await redis_connection.command("KEYS", prefix + "e*")
        used = [
            await redis_connection.command("MEMORY", "USAGE", key, "SAMPLES", 0) for key in keys
        ]
        assert counted <= 10 * SIZE
        assert sum(used) < 2 * counted
