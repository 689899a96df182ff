"""Numbered events, readers that come late, and a result that is set once."""

import asyncio

from sandbox_service.domain.values import ExecutionRecord, ExecutionStatus, KernelStamp
from sandbox_service.sessions.history import FULL_JOURNALS, ExecutionHistory
from sandbox_service.sessions.journal import Journal
from tests.support.fakes import SteppedClock


def record(execution_id="exec_a", status=ExecutionStatus.QUEUED) -> ExecutionRecord:
    now = SteppedClock().now()
    return ExecutionRecord(
        id=execution_id,
        session_id="sess_a",
        tenant="first",
        status=status,
        created_at=now,
        code="1",
        kernel=KernelStamp(epoch=1, state="kept"),
        session_expires_at=now,
    )


def finished(journal: Journal, status=ExecutionStatus.OK) -> ExecutionRecord:
    return journal.record.model_copy(update={"status": status})


def fill(journal: Journal, outputs: int) -> None:
    journal.start(journal.record.model_copy(update={"status": ExecutionStatus.RUNNING}))
    for index in range(outputs):
        journal.add_output({"action": "append", "index": index, "output": {}})
    journal.finish(finished(journal))


async def read(journal: Journal, after: int = 0) -> list[tuple[int, str]]:
    return [(event.id, event.type) async for event in journal.events(after)]


async def test_events_are_numbered_from_one_and_end_with_the_result():
    journal = Journal(record())
    fill(journal, 1)
    assert await read(journal) == [
        (1, "execution.started"),
        (2, "output"),
        (3, "execution.completed"),
    ]


async def test_a_reader_comes_back_for_the_rest():
    journal = Journal(record())
    fill(journal, 3)
    assert [number for number, _ in await read(journal, after=2)] == [3, 4, 5]


async def test_readers_see_events_as_they_come():
    journal = Journal(record())
    readers = [asyncio.create_task(read(journal)) for _ in range(3)]
    await asyncio.sleep(0)
    fill(journal, 2)
    assert [len(events) for events in await asyncio.gather(*readers)] == [4, 4, 4]


async def test_a_terminal_result_never_changes():
    journal = Journal(record())
    fill(journal, 0)
    journal.finish(finished(journal, ExecutionStatus.LOST))
    assert journal.record.status is ExecutionStatus.OK
    assert (await journal.wait()).status is ExecutionStatus.OK


async def test_a_reader_that_left_does_not_disturb_the_writer():
    journal = Journal(record())
    reader = asyncio.create_task(read(journal))
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    fill(journal, 1)
    assert journal.is_final


async def test_forgotten_events_leave_the_result():
    journal = Journal(record())
    fill(journal, 5)
    journal.forget_events()
    assert await read(journal) == [(7, "execution.completed")]


def test_history_is_bounded_and_keeps_the_newest():
    history = ExecutionHistory(length=FULL_JOURNALS + 5)
    for number in range(FULL_JOURNALS + 10):
        journal = Journal(record(f"exec_{number}"))
        history.add(journal)
        fill(journal, 1)
    kept = [kept.id for kept in history.records("sess_a")]
    assert len(kept) == FULL_JOURNALS + 5
    assert kept[-1] == f"exec_{FULL_JOURNALS + 9}"
    assert history.find("sess_a", "exec_0") is None
