"""Numbered events: written in batches by who has the right to, read by who comes late or comes back."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest

from sandbox_service.domain.errors import LeaseLost, StoreTooSlow, StoreUnavailable
from sandbox_service.domain.stores import Journals, Lease, Stores
from sandbox_service.domain.values import ExecutionEvent, ExecutionRecord, ExecutionStatus
from sandbox_service.sessions.journal import (
    NOT_STORED,
    JournalWriter,
    ended_from_outside,
    read_events,
    shown_outputs,
)
from sandbox_service.sessions.oversight import output_size
from sandbox_service.store.bounds import FULL_JOURNALS, StoreBounds
from sandbox_service.store.memory import open_memory_stores
from tests.support.fakes import SteppedClock, execution_record, session_record
from tests.support.turns import others_run
from tests.unit.fakes.replica import until

CLOCK = SteppedClock()
RUNNING = ExecutionStatus.RUNNING


class CountsWrites:
    """Passes on to `journals`, and keeps how many events each write had."""

    def __init__(self, journals: Journals) -> None:
        self._journals = journals
        self.sizes: list[int] = []

    async def write(
        self, lease: Lease, record: ExecutionRecord, events: Sequence[ExecutionEvent]
    ) -> bool:
        self.sizes.append(len(events))
        await asyncio.sleep(0)
        return await self._journals.write(lease, record, events)


class AwayAtFirst(CountsWrites):
    """The first write comes through and its answer is lost; the second does not come through."""

    def __init__(self, journals: Journals) -> None:
        super().__init__(journals)
        self._attempts = 0

    async def write(
        self, lease: Lease, record: ExecutionRecord, events: Sequence[ExecutionEvent]
    ) -> bool:
        self._attempts += 1
        if self._attempts == 2:
            raise StoreUnavailable("The store is away.")
        answer = await super().write(lease, record, events)
        if self._attempts == 1:
            raise StoreUnavailable("The store went away.")
        return answer


class TooSlowForMuch(CountsWrites):
    """Takes events and records of 100 kB of text at most."""

    async def write(
        self, lease: Lease, record: ExecutionRecord, events: Sequence[ExecutionEvent]
    ) -> bool:
        payloads = [event.payload for event in events if isinstance(event.payload, dict)]
        if output_size([*record.outputs, *(payload["output"] for payload in payloads)]) > 100_000:
            raise StoreTooSlow("The line is too slow.")
        return await super().write(lease, record, events)


@dataclass
class Desk:
    """An execution that runs, and the right to write its events."""

    stores: Stores
    lease: Lease
    record: ExecutionRecord

    def writer(self, journals: Journals | None = None) -> JournalWriter:
        return JournalWriter(journals or self.stores.journals, self.lease, self.record)

    def ended(self, status: ExecutionStatus = ExecutionStatus.OK) -> ExecutionRecord:
        return self.record.model_copy(update={"status": status})

    async def read(self, after: int = 0) -> list[tuple[int, str]]:
        told = read_events(self.stores.journals, self.record, after)
        return [(event.id, event.type) async for event in told]

    async def write(self, outputs: int) -> None:
        writer = self.writer()
        with writer.running():
            fill(writer, self.record, outputs)
            assert await writer.finish(self.ended())


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    with open_memory_stores(StoreBounds(history_length=FULL_JOURNALS + 5)) as stores:
        await stores.sessions.create(session_record(CLOCK))
        yield await accepted(stores)


async def accepted(stores: Stores, execution_id: str = "exec_a") -> Desk:
    session = await stores.sessions.get("sess_a")
    assert session is not None
    queued = execution_record(CLOCK, execution_id)
    await stores.executions.accept(session, queued, queue_length=9)
    lease = await stores.work.seize("sess_a")
    return Desk(stores, lease, queued.model_copy(update={"status": RUNNING}))


def printed(text: str, index: int = 0, action: str = "append") -> dict[str, object]:
    output = {"output_type": "stream", "name": "stdout", "text": text}
    return {"action": action, "index": index, "output": output}


def fill(writer: JournalWriter, record: ExecutionRecord, outputs: int) -> None:
    writer.start(record)
    for index in range(outputs):
        writer.add_output(printed(str(index), index))


async def test_events_are_numbered_from_one_and_end_with_the_result(desk: Desk) -> None:
    await desk.write(outputs=1)
    expected = [(1, "execution.started"), (2, "output"), (3, "execution.completed")]
    assert await desk.read() == expected


async def test_a_reader_comes_back_for_the_rest(desk: Desk) -> None:
    await desk.write(outputs=3)
    assert [number for number, _ in await desk.read(after=2)] == [3, 4, 5]


async def test_readers_see_events_as_they_come(desk: Desk) -> None:
    readers = [asyncio.create_task(desk.read()) for _ in range(3)]
    await asyncio.sleep(0)
    await desk.write(outputs=2)
    assert [len(events) for events in await asyncio.gather(*readers)] == [4, 4, 4]


async def test_an_event_is_seen_before_the_execution_ends(desk: Desk) -> None:
    writer = desk.writer()
    with writer.running():
        fill(writer, desk.record, 1)
        told = read_events(desk.stores.journals, desk.record, 0)
        assert [(await anext(told)).id for _ in range(2)] == [1, 2]
        await told.aclose()
        assert await writer.finish(desk.ended())


async def test_a_reader_that_left_does_not_disturb_the_writer(desk: Desk) -> None:
    reader = asyncio.create_task(desk.read())
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    await desk.write(outputs=1)
    assert len(await desk.read()) == 3


async def test_what_comes_at_once_is_written_at_once(desk: Desk) -> None:
    journals = CountsWrites(desk.stores.journals)
    writer = desk.writer(journals)
    with writer.running():
        fill(writer, desk.record, 500)
        await until(lambda: journals.sizes)
        fill(writer, desk.record, 100)
        await writer.finish(desk.ended())
    assert journals.sizes == [501, 102]
    assert len(await desk.read()) == 603


async def test_a_store_that_is_away_gets_every_event_when_it_is_back(desk: Desk) -> None:
    """Once each, also when a write had come through whose answer was lost."""
    writer = desk.writer(AwayAtFirst(desk.stores.journals))
    with writer.running():
        fill(writer, desk.record, 3)
        await writer.finish(desk.ended())
    assert [number for number, _ in await desk.read()] == [1, 2, 3, 4, 5]


async def test_a_terminal_result_never_changes(desk: Desk) -> None:
    await desk.write(outputs=0)
    lost = desk.ended(ExecutionStatus.LOST)
    again = await desk.stores.work.seize("sess_a")
    assert not await desk.stores.journals.write(again, lost, [])
    kept = await desk.stores.executions.get("sess_a", "exec_a")
    assert kept is not None
    assert kept.status is ExecutionStatus.OK


async def test_who_lost_the_right_writes_nothing_more(desk: Desk) -> None:
    writer = desk.writer()
    with writer.running():
        writer.start(desk.record)
        await others_run()
        await desk.stores.work.seize("sess_a")
        writer.add_output(printed("too late"))
        with pytest.raises(LeaseLost):
            await writer.finish(desk.ended())
    page = await desk.stores.journals.read("sess_a", "exec_a", 0, 9)
    assert ([event.id for event in page.events], page.is_final) == ([1], False)


async def test_who_lost_the_right_is_told_with_the_next_event(desk: Desk) -> None:
    writer = desk.writer()
    with writer.running():
        writer.start(desk.record)
        await desk.stores.work.seize("sess_a")
        await others_run()
        with pytest.raises(LeaseLost):
            writer.add_output(printed("too late"))


async def test_the_same_work_done_again_is_told_once(desk: Desk) -> None:
    """As by the replica that takes over from one that is gone."""
    first = desk.writer()
    with first.running():
        fill(first, desk.record, 3)
        await others_run()
    desk.lease = await desk.stores.work.seize("sess_a")
    await desk.write(outputs=5)
    assert [number for number, _ in await desk.read()] == [1, 2, 3, 4, 5, 6, 7]
    page = await desk.stores.journals.read("sess_a", "exec_a", 0, 99)
    texts = [e.payload["output"]["text"] for e in page.events if e.type == "output"]
    assert texts == ["0", "1", "2", "3", "4"]


async def test_events_that_cannot_be_told_again_are_a_gap_and_a_clean_slate(desk: Desk) -> None:
    first = desk.writer()
    with first.running():
        fill(first, desk.record, 5)
        await others_run()
    desk.lease = await desk.stores.work.seize("sess_a")
    second = desk.writer()
    with second.running():
        second.start(desk.record)
        second.realign(6)
        second.add_output(printed("the rest"))
        assert await second.finish(desk.ended())
    page = await desk.stores.journals.read("sess_a", "exec_a", 4, 99)
    assert [event.id for event in page.events] == [5, 6, 7, 8, 9, 10]
    assert page.events[2].payload == {"from_id": 2, "to_id": 7, "reason": "replica_lost"}
    shown = shown_outputs((await desk.stores.journals.read("sess_a", "exec_a", 0, 99)).events)
    assert [node["text"] for node in shown] == ["the rest"]


async def test_where_nothing_was_told_before_there_is_nothing_to_realign(desk: Desk) -> None:
    writer = desk.writer()
    with writer.running():
        fill(writer, desk.record, 2)
        writer.realign(2)
        await writer.finish(desk.ended())
    assert "gap" not in [kind for _, kind in await desk.read()]


async def test_of_old_executions_a_gap_and_the_result_are_left(desk: Desk) -> None:
    await desk.write(outputs=5)
    for number in range(FULL_JOURNALS):
        later = await accepted(desk.stores, f"exec_{number}")
        await later.write(outputs=0)
    assert await desk.read() == [(6, "gap"), (7, "execution.completed")]
    assert await desk.read(after=6) == [(7, "execution.completed")]


async def test_an_end_from_outside_keeps_the_output_that_was_shown(desk: Desk) -> None:
    writer = desk.writer()
    with writer.running():
        fill(writer, desk.record, 2)
        await others_run()
    ended = await ended_from_outside(
        desk.stores.journals, desk.record, ExecutionStatus.LOST, "It is gone."
    )
    assert [node["text"] for node in ended.outputs] == ["0", "1"]
    assert (ended.status, ended.notices) == (ExecutionStatus.LOST, ["It is gone."])


CLEAR = {"action": "clear", "index": 0, "output": None}
SHOWN = [
    ([], []),
    ([printed("a"), printed("b", 1)], ["a", "b"]),
    ([printed("a"), printed("b", 0, "extend")], ["ab"]),
    ([printed("a"), printed("b", 0, "replace")], ["b"]),
    ([printed("a"), CLEAR, printed("b")], ["b"]),
    ([printed("b", 7, "extend")], ["b"]),
    ([printed("b", 7, "replace")], ["b"]),
]


@pytest.mark.parametrize(("changes", "texts"), SHOWN)
def test_outputs_are_what_a_reader_of_the_events_holds(
    changes: list[dict[str, object]], texts: list[str]
) -> None:
    """Changes of nodes whose beginning fell into a gap are shown as far as they are known."""
    events = [ExecutionEvent(number, "output", c) for number, c in enumerate(changes, start=2)]
    events.insert(0, ExecutionEvent(1, "execution.started", execution_record(CLOCK)))
    assert [node["text"] for node in shown_outputs(events)] == texts


async def test_much_output_is_written_in_pieces(desk: Desk) -> None:
    """So that no single write is larger than the line can carry in its time."""
    counted = CountsWrites(desk.stores.journals)
    writer = desk.writer(counted)
    for _ in range(10):
        writer.add_output(printed("x" * 50_000, 0))
    await writer.finish(desk.ended())
    assert counted.sizes == [3, 3, 3, 2]
    assert len(await desk.read()) == 11


async def test_output_that_the_store_cannot_take_gives_way_and_the_execution_ends(
    desk: Desk,
) -> None:
    """Asking again for ever would hold the session; what is missing is said where it was."""
    writer = desk.writer(TooSlowForMuch(desk.stores.journals))
    writer.add_output(printed("x" * 200_000, 0))
    writer.add_output(printed("x" * 10, 1))
    await writer.flush()
    ended = desk.ended().model_copy(update={"outputs": [printed("x" * 200_000, 0)["output"]]})
    assert await writer.finish(ended)
    stored = await desk.stores.executions.get(desk.record.session_id, desk.record.id)
    assert stored is not None
    assert (stored.outputs, stored.truncated, stored.notices) == ([], True, [NOT_STORED])
    page = await desk.stores.journals.read(desk.record.session_id, desk.record.id, 0, 10)
    texts = [event.payload["output"]["text"] for event in page.events[:2]]
    assert texts == [f"\n[{NOT_STORED}]\n", "x" * 10]
