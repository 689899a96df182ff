"""The sweeps: what is idle or aged ends, what ended long ago goes, a clock that jumps ends nothing."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from sandbox_service.domain.stores import Lease
from sandbox_service.domain.values import ExecutionStatus, SessionStatus
from sandbox_service.sessions.leader import Leader
from sandbox_service.sessions.sweeper import JUMP_GRACE_S, Sweeper, SweepTimes
from sandbox_service.sessions.terms import CLOSING_S
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.memory import open_memory_stores
from tests.support.fake_kernels import Cell
from tests.support.fakes import PlaysCells, SteppedClock
from tests.unit.fakes.replica import TENANT, Replica, replica_on, running

RETENTION_S = 1000


class JumpingClock(SteppedClock):
    """Its wall clock can be set, its monotonic one cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.set_by_s = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.set_by_s)


@pytest.fixture
async def replica() -> AsyncIterator[Replica]:
    backend = PlaysCells({"held": Cell(waits_after=0)})
    with open_memory_stores(StoreBounds()) as stores:
        async with replica_on(stores, backend, clock=JumpingClock()) as replica:
            yield replica


@pytest.fixture
def sweeper(replica: Replica) -> Sweeper:
    return Sweeper(
        replica.stores,
        replica.records,
        replica.lines,
        replica.workers,
        replica.ender,
        replica.reaper,
        SweepTimes(cull_every_s=1, reap_every_s=10, record_retention_s=RETENTION_S),
    )


async def status_of(replica: Replica, session_id: str) -> SessionStatus:
    return (await replica.sessions.get(TENANT, session_id)).status


async def test_a_session_that_was_to_end_with_its_cell_is_closed_when_nobody_else_did_it(
    replica: Replica, sweeper: Sweeper
) -> None:
    """Its replica died between the cell's end and the session's."""
    session = await replica.open()
    execution = await running(replica, session, close_session=True)
    await replica.dies()
    replica.clock.advance(CLOSING_S + 1)
    await sweeper.cull()
    assert await status_of(replica, session.id) is SessionStatus.READY
    lease = await replica.stores.work.seize(session.id)
    await replica.finisher.end(lease, execution, ExecutionStatus.OK, "")
    replica.clock.advance(CLOSING_S + 1)
    await sweeper.cull()
    assert await status_of(replica, session.id) is SessionStatus.CLOSED


async def test_an_idle_session_ends_when_its_time_is_over_and_not_before(
    replica: Replica, sweeper: Sweeper
) -> None:
    session = await replica.open()
    replica.clock.advance(59)
    await sweeper.cull()
    assert await status_of(replica, session.id) is SessionStatus.READY
    replica.clock.advance(1)
    await sweeper.cull()
    assert await status_of(replica, session.id) is SessionStatus.EXPIRED
    assert replica.backend.running == {}


async def test_a_running_cell_is_activity_until_the_session_is_too_old(
    replica: Replica, sweeper: Sweeper
) -> None:
    session = await replica.open()
    execution = await running(replica, session)
    for _ in range(9):
        replica.clock.advance(61)
        await sweeper.cull()
    assert await status_of(replica, session.id) is SessionStatus.READY
    replica.clock.advance(61)
    await sweeper.cull()
    assert await status_of(replica, session.id) is SessionStatus.EXPIRED
    assert (await replica.wait(execution)).status is ExecutionStatus.INTERRUPTED


async def test_a_session_that_is_used_at_the_last_moment_lives_on(
    replica: Replica, sweeper: Sweeper
) -> None:
    session = await replica.open()
    replica.clock.advance(60)
    await replica.wait(await replica.submit(session))
    await sweeper.cull()
    assert await status_of(replica, session.id) is SessionStatus.READY


async def test_the_record_of_an_ended_session_is_kept_for_its_retention(
    replica: Replica, sweeper: Sweeper
) -> None:
    session = await replica.open()
    execution = await replica.wait(await replica.submit(session))
    await replica.sessions.close(TENANT, session.id)
    replica.clock.advance(RETENTION_S - 1)
    await sweeper.cull()
    assert await replica.executions.get(TENANT, session.id, execution.id) == execution
    replica.clock.advance(1)
    await sweeper.cull()
    assert await replica.stores.sessions.get(session.id) is None
    assert await replica.stores.executions.list(session.id) == []


@pytest.mark.parametrize("hours", [2, -2, 24 * 365])
async def test_a_clock_that_jumps_ends_no_session(
    replica: Replica, sweeper: Sweeper, hours: float
) -> None:
    session = await replica.open()
    replica.clock.advance(10)
    replica.clock.set_by_s = hours * 3600
    await sweeper.cull()
    assert await status_of(replica, session.id) is SessionStatus.READY
    replica.clock.advance(49)
    await sweeper.cull()
    assert await status_of(replica, session.id) is SessionStatus.READY
    replica.clock.advance(1)
    await sweeper.cull()
    assert await status_of(replica, session.id) is SessionStatus.EXPIRED


async def test_a_clock_that_is_corrected_by_seconds_changes_nothing(
    replica: Replica, sweeper: Sweeper
) -> None:
    session = await replica.open()
    replica.clock.set_by_s = 20
    await sweeper.cull()
    assert await replica.sessions.get(TENANT, session.id) == session


class OtherLeads:
    id = "rep_b"

    async def acquire(self, name: str) -> Lease | None:
        return None


async def test_after_a_jump_who_does_not_lead_waits_until_the_times_were_moved(
    replica: Replica, sweeper: Sweeper
) -> None:
    session = await replica.open()
    replica.reaper._leader = Leader(OtherLeads())  # type: ignore[arg-type]
    replica.clock.set_by_s = 7200
    await sweeper.cull()
    replica.clock.advance(JUMP_GRACE_S - 1)
    await sweeper.cull()
    assert await status_of(replica, session.id) is SessionStatus.READY
    replica.clock.advance(1)
    await sweeper.cull()
    assert await status_of(replica, session.id) is SessionStatus.EXPIRED


async def test_lines_to_sessions_that_others_ended_are_closed_and_no_others(
    replica: Replica, sweeper: Sweeper
) -> None:
    kept, ended, opening = [await replica.open() for _ in range(3)]
    await replica.records.end(ended.id, SessionStatus.CLOSED, replica.clock.now())
    listing = replica.records.store.list

    async def opens_meanwhile(query: object) -> object:
        await replica.lines.close(opening.id)
        live = await listing(query)
        await replica.lines.to(opening)
        return [record for record in live if record.id != opening.id]

    await replica.lines.close(opening.id)
    replica.records.store.list = opens_meanwhile  # type: ignore[method-assign]
    await sweeper._close_lines()
    assert replica.lines.session_ids == {kept.id, opening.id}


async def test_a_start_alone_settles_and_goes_on_with_what_was_left(
    replica: Replica, sweeper: Sweeper
) -> None:
    session = await replica.open()
    execution = await running(replica, session)
    await replica.dies()
    replica.backend.labels.clear()
    stray = replica.backend.running[session.sandbox.sandbox_id]
    replica.backend.running["box_stray"] = stray
    await sweeper.begin()
    await replica.reaper.stop_left_over()
    assert set(replica.backend.running) == {session.sandbox.sandbox_id}
    replica.backend.cells["held"].go_on.set()
    assert (await replica.wait(execution)).status is ExecutionStatus.OK
