"""A session goes on in a new sandbox when, and only when, the engine says that memory took the old one."""

from collections.abc import AsyncIterator

import pytest

from sandbox_service.domain.errors import EngineUnavailable, LeaseLost, SessionGone
from sandbox_service.domain.values import (
    ExecutionStatus,
    SandboxRef,
    SandboxReport,
    SandboxSpec,
    SandboxState,
    SessionStatus,
)
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.memory import open_memory_stores
from tests.support.fake_kernels import Cell
from tests.support.fakes import InstantBackend, PlaysCells, session_record
from tests.unit.fakes.replica import Replica, replica_on, running, text_of

OLD = SandboxRef(sandbox_id="box_old", engine_id="e-old")


class SaysOfTheOld(InstantBackend):
    """Reports the same of every sandbox, and notes which were stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.said = SandboxReport(state=SandboxState.RUNNING)
        self.stopped: list[str] = []

    async def report(self, ref: SandboxRef) -> SandboxReport:
        return self.said

    async def stop(self, ref: SandboxRef) -> None:
        self.stopped.append(ref.sandbox_id)
        await super().stop(ref)


class MovedMeanwhile(SaysOfTheOld):
    """While it starts a sandbox, another replica gives the session `other`."""

    replica: Replica
    other = SandboxRef(sandbox_id="box_other")

    async def start(self, spec: SandboxSpec) -> AsyncIterator[SandboxRef]:
        async for ref in super().start(spec):
            yield ref
        moved = {"sandbox": self.other, "epoch": 2}
        records = self.replica.records
        await records.change("sess_a", lambda record: record.model_copy(update=moved))


@pytest.fixture
def backend() -> SaysOfTheOld:
    return SaysOfTheOld()


async def scene_on(backend: InstantBackend, **changes: object) -> AsyncIterator[Replica]:
    with open_memory_stores(StoreBounds()) as stores:
        async with replica_on(stores, backend) as replica:
            record = session_record(replica.clock, sandbox=OLD, **changes)
            await stores.sessions.create(record)
            yield replica


@pytest.fixture
async def scene(backend: SaysOfTheOld) -> AsyncIterator[Replica]:
    async for replica in scene_on(backend):
        yield replica


def exited(oom_kills: int) -> SandboxReport:
    return SandboxReport(state=SandboxState.EXITED, exit_code=137, oom_kills=oom_kills)


async def test_memory_moves_the_session_to_a_new_sandbox_and_raises_its_epoch(
    scene: Replica, backend: SaysOfTheOld
) -> None:
    backend.said = exited(oom_kills=1)
    record = await scene.reviver.revive("sess_a")
    assert record == await scene.stores.sessions.get("sess_a")
    assert (record.epoch, record.incarnation, record.starting) == (2, 1, None)
    assert record.sandbox.sandbox_id in backend.running
    assert backend.stopped == [OLD.sandbox_id]
    assert (await scene.lines.to(record)).ref == record.sandbox


async def test_the_new_sandbox_carries_the_sessions_record(
    scene: Replica, backend: SaysOfTheOld
) -> None:
    backend.said = exited(oom_kills=1)
    record = await scene.reviver.revive("sess_a")
    assert '"epoch":2' in backend.labels[record.sandbox.sandbox_id]["record"]


async def test_any_other_end_is_not_revived(scene: Replica, backend: SaysOfTheOld) -> None:
    backend.said = exited(oom_kills=0)
    assert await scene.reviver.revive("sess_a") is None
    assert backend.started_count == 0


async def test_a_kill_that_was_known_before_the_end_is_no_reason(
    scene: Replica, backend: SaysOfTheOld
) -> None:
    backend.said = exited(oom_kills=1)
    await scene.lines.to(await scene.stores.sessions.get("sess_a"))
    assert await scene.reviver.revive("sess_a") is None


async def test_a_sandbox_that_still_runs_is_not_replaced(
    scene: Replica, backend: SaysOfTheOld
) -> None:
    backend.said = SandboxReport(state=SandboxState.RUNNING, oom_kills=3)
    assert await scene.reviver.revive("sess_a") is None
    assert backend.started_count == 0


async def test_a_session_that_ended_meanwhile_gets_no_new_sandbox(backend: SaysOfTheOld) -> None:
    backend.said = exited(oom_kills=1)
    async for scene in scene_on(backend, status=SessionStatus.CLOSED):
        with pytest.raises(SessionGone):
            await scene.reviver.revive("sess_a")
        assert backend.started_count == 0


async def test_of_two_replicas_that_revive_one_gives_way() -> None:
    backend = MovedMeanwhile()
    backend.said = exited(oom_kills=1)
    async for scene in scene_on(backend):
        backend.replica = scene
        with pytest.raises(LeaseLost):
            await scene.reviver.revive("sess_a")
        record = await scene.stores.sessions.get("sess_a")
        assert (record.sandbox, record.epoch) == (backend.other, 2)
        assert backend.running == {}


async def test_the_execution_ends_out_of_memory_and_the_next_one_runs_on_the_new_sandbox() -> None:
    backend = PlaysCells({"held": Cell(("a\n", "b\n"), waits_after=1)})
    with open_memory_stores(StoreBounds()) as stores:
        async with replica_on(stores, backend) as replica:
            session = await replica.open()
            first = await running(replica, session)
            second = await replica.submit(session)
            backend.kill(session.sandbox, oom_kills=1)
            ended = await replica.wait(first)
            assert (ended.status, text_of(ended)) == (ExecutionStatus.OUT_OF_MEMORY, "a\n")
            assert (ended.kernel.epoch, ended.kernel.state) == (2, "reset")
            after = await replica.wait(second)
            assert (after.status, after.kernel.state) == (ExecutionStatus.OK, "reset")
            assert len(backend.running) == 1


async def test_where_no_new_sandbox_can_be_had_the_session_is_lost() -> None:
    class StartsOne(PlaysCells):
        async def start(self, spec: SandboxSpec) -> AsyncIterator[SandboxRef]:
            if self.started_count:
                raise EngineUnavailable("The engine is away.")
            async for ref in super().start(spec):
                yield ref

    backend = StartsOne({"held": Cell(waits_after=0)})
    with open_memory_stores(StoreBounds()) as stores:
        async with replica_on(stores, backend) as replica:
            session = await replica.open()
            execution = await running(replica, session)
            backend.kill(session.sandbox, oom_kills=1)
            with pytest.raises(Exception, match="engine is away"):
                await replica.wait(execution)
            assert (await replica.records.owned("first", session.id)).status is SessionStatus.LOST
