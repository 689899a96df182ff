"""What a replica leaves behind, by stopping, dying or falling asleep, goes on with another."""

from collections.abc import Iterator

import pytest

from sandbox_service.domain.errors import ShuttingDown
from sandbox_service.domain.ports import ChangedFile
from sandbox_service.domain.stores import Stores
from sandbox_service.domain.values import (
    ExecutionEvent,
    ExecutionRecord,
    ExecutionStatus,
    SessionStatus,
)
from sandbox_service.files.artifacts import ArtifactOwner
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.memory import open_memory_stores
from tests.support.fake_kernels import Cell
from tests.support.fakes import PlaysCells, SteppedClock
from tests.support.turns import others_run
from tests.unit.fakes.replica import TENANT, Replica, replica_on, running, text_of, until


@pytest.fixture
def backend() -> PlaysCells:
    return PlaysCells(
        {
            "held": Cell(texts=("a\n", "b\n", "c\n"), waits_after=2),
        }
    )


@pytest.fixture
def stores() -> Iterator[Stores]:
    with open_memory_stores(StoreBounds()) as stores:
        yield stores


async def test_a_session_that_ended_before_its_turn_came_runs_nothing(
    stores: Stores, backend: PlaysCells
) -> None:
    """Accepted by a replica that died at once; the session expired before another one took over."""
    async with replica_on(stores, backend) as first, replica_on(stores, backend) as second:
        session = await first.open()
        execution = await first.submit(session)
        await first.dies()
        await first.records.end(session.id, SessionStatus.CLOSED, first.clock.now())
        await second.workers.take_over()
        assert (await second.wait(execution)).status is ExecutionStatus.INTERRUPTED
        assert backend.kernel.starts == []


async def test_a_session_that_was_to_end_with_its_cell_does_so_whoever_runs_it(
    stores: Stores, backend: PlaysCells
) -> None:
    async with replica_on(stores, backend) as first, replica_on(stores, backend) as second:
        session = await first.open()
        execution = await running(first, session, close_session=True)
        await first.dies()
        await second.workers.take_over()
        backend.cells["held"].go_on.set()
        assert (await second.wait(execution)).status is ExecutionStatus.OK
        await until(lambda: not second.workers.is_busy)
        assert (await second.sessions.get(TENANT, session.id)).status is SessionStatus.CLOSED
        assert backend.running == {}


@pytest.mark.parametrize("is_taken_over", [False, True])
async def test_a_cell_whose_caller_does_not_come_back_is_cancelled_if_that_was_asked_for(
    backend: PlaysCells, is_taken_over: bool
) -> None:
    clock = SteppedClock()
    with open_memory_stores(StoreBounds(), clock=clock) as stores:
        first, second = (Replica(stores, backend, clock) for _ in range(2))
        session = await first.open()
        execution = await running(first, session, cancel_on_disconnect=True)
        if is_taken_over:
            await first.dies()
            await second.workers.take_over()
        assert (await second.wait(execution)).status is ExecutionStatus.INTERRUPTED
        assert (await second.sessions.get(TENANT, session.id)).status is SessionStatus.READY
        await first.aclose()
        await second.aclose()


async def test_another_replica_goes_on_with_what_runs_and_what_waits(
    stores: Stores, backend: PlaysCells
) -> None:
    """Its code starts once, its events have the same numbers, each of them once."""
    async with replica_on(stores, backend) as first, replica_on(stores, backend) as second:
        session = await first.open()
        executions = [await running(first, session), await first.submit(session)]
        before = (await stores.journals.read(session.id, executions[0].id, 0, 99)).events
        await first.dies()
        await second.workers.take_over()
        await others_run()
        backend.cells["held"].go_on.set()
        ended = [await second.wait(execution) for execution in executions]
        assert [one.status for one in ended] == [ExecutionStatus.OK] * 2
        assert text_of(ended[0]) == "a\nb\nc\n"
        assert backend.kernel.starts == [execution.id for execution in executions]
        events = await second.events(executions[0])
        assert events[: len(before)] == list(before)
        assert [event.id for event in events] == list(range(1, 6))
        assert (ended[0].kernel.state, ended[1].kernel.state) == ("kept", "kept")


async def test_a_replica_that_stops_leaves_its_queues_to_others_at_once(
    stores: Stores, backend: PlaysCells
) -> None:
    async with replica_on(stores, backend) as first, replica_on(stores, backend) as second:
        session = await first.open()
        execution = await running(first, session)
        first.workers.close()
        with pytest.raises(ShuttingDown):
            await first.submit(session)
        await first.workers.aclose()
        await second.workers.take_over()
        assert second.workers.is_busy
        backend.cells["held"].go_on.set()
        assert (await second.wait(execution)).status is ExecutionStatus.OK


async def test_a_replica_that_wakes_after_it_lost_its_right_writes_nothing(
    stores: Stores, backend: PlaysCells
) -> None:
    async with replica_on(stores, backend) as asleep, replica_on(stores, backend) as awake:
        session = await asleep.open()
        execution = await running(asleep, session)
        await stores.replicas.leave()  # its lease ran out
        await awake.workers.take_over()
        backend.cells["held"].go_on.set()
        ended = await awake.wait(execution)
        await until(lambda: not asleep.workers.is_busy)
        assert [event.id for event in await awake.events(execution)] == [1, 2, 3, 4, 5]
        assert await awake.executions.get(TENANT, session.id, execution.id) == ended
        noted = asleep.audit.of("execution.finished") + awake.audit.of("execution.finished")
        assert len(noted) == 1


async def test_a_deadline_goes_on_over_a_change_of_replica(
    stores: Stores, backend: PlaysCells
) -> None:
    async with replica_on(stores, backend) as first, replica_on(stores, backend) as second:
        session = await first.open()
        execution = await running(first, session)
        await first.dies()
        second.clock.advance(session.limits.execution_timeout_s + 1)
        await second.workers.take_over()
        ended = await second.wait(execution)
        assert ended.status is ExecutionStatus.TIMEOUT
        assert ended.duration_s > session.limits.execution_timeout_s


async def test_what_was_marked_under_a_replica_that_is_gone_still_counts(
    stores: Stores, backend: PlaysCells
) -> None:
    async with replica_on(stores, backend) as first, replica_on(stores, backend) as second:
        session = await first.open()
        execution = await running(first, session)
        await first.dies()
        await second.executions.cancel(TENANT, session.id, execution.id)
        await second.workers.take_over()
        assert (await second.wait(execution)).status is ExecutionStatus.INTERRUPTED


async def test_lines_that_fell_out_of_the_agents_ring_are_a_gap_for_the_reader(
    stores: Stores, backend: PlaysCells
) -> None:
    async with replica_on(stores, backend) as first, replica_on(stores, backend) as second:
        session = await first.open()
        execution = await running(first, session)
        await first.dies()
        backend.kernel.forget_lines(execution.id, 3)
        backend.cells["held"].go_on.set()
        await second.workers.take_over()
        ended = await second.wait(execution)
        lost = "\n[3 messages with 0 bytes were left out here]\n"
        assert (ended.truncated, text_of(ended)) == (True, lost + "c\n")
        rest = await second.events(execution, after=3)
        assert [(event.id, event.type) for event in rest] == [
            (4, "gap"),
            (5, "output"),
            (6, "output"),
            (7, "output"),
            (8, "execution.completed"),
        ]
        assert rest[0].payload == {"from_id": 2, "to_id": 4, "reason": "replica_lost"}


async def test_files_that_were_kept_before_are_not_kept_again(
    stores: Stores, backend: PlaysCells
) -> None:
    """The replica before died between the artifact's event and the result."""
    changed = (ChangedFile("a.csv", 3), ChangedFile("b.csv", 4))
    backend.cells["held"] = Cell(("a", "b"), waits_after=1, changed=changed)
    async with replica_on(stores, backend) as first, replica_on(stores, backend) as second:
        session = await first.open()
        execution = await running(first, session)
        await first.dies()
        kept = await first.artifacts.collect(None, changed[:1], owner_of(execution))
        await tell_more(stores, execution, printed("b"), kept.records[0])
        backend.cells["held"].go_on.set()
        await second.workers.take_over()
        ended = await second.wait(execution)
        assert second.artifacts.collected == ["b.csv"]
        assert [artifact.path for artifact in ended.artifacts] == ["a.csv", "b.csv"]
        events = await second.events(execution, after=3)
        assert [(event.id, event.type) for event in events] == [
            (4, "artifact"),
            (5, "artifact"),
            (6, "execution.completed"),
        ]
        assert events[0].payload == kept.records[0]


def owner_of(execution: ExecutionRecord) -> ArtifactOwner:
    return ArtifactOwner(execution.tenant, execution.session_id, execution.id)


def printed(text: str) -> dict[str, object]:
    output = {"output_type": "stream", "name": "stdout", "text": text}
    return {"action": "extend", "index": 0, "output": output}


async def tell_more(
    stores: Stores, execution: ExecutionRecord, output: object, artifact: object
) -> None:
    """The last that a replica wrote before it died."""
    lease = await stores.work.seize(execution.session_id)
    running = await stores.executions.get(execution.session_id, execution.id)
    last = (await stores.journals.read(execution.session_id, execution.id, 0, 99)).last_id
    events = [
        ExecutionEvent(last + 1, "output", output),
        ExecutionEvent(last + 2, "artifact", artifact),
    ]
    await stores.journals.write(lease, running, events)
    await stores.work.give_up(lease)
