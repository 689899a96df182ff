"""A session goes on in a new sandbox when, and only when, the engine says that memory took the old one."""

import pytest

from sandbox_service.domain.errors import SessionGone
from sandbox_service.domain.values import (
    SandboxRef,
    SandboxReport,
    SandboxState,
    SessionStatus,
    Template,
)
from sandbox_service.sessions.ending import SessionEnder
from sandbox_service.sessions.live import LiveSession
from sandbox_service.sessions.metrics import Metrics
from sandbox_service.sessions.oversight import Oversight
from sandbox_service.sessions.provisioning import Provisioner
from sandbox_service.sessions.records import SessionRecords
from sandbox_service.sessions.revival import Reviver
from sandbox_service.sessions.source import SandboxSource
from sandbox_service.store.memory import MemorySessionStore
from tests.support.fakes import FakeSandbox, InstantBackend, SteppedClock, session_record

OLD = SandboxRef(sandbox_id="box_old", engine_id="e-old")


class SaysOfTheOld(InstantBackend):
    """Reports the same of every sandbox."""

    def __init__(self, report: SandboxReport) -> None:
        super().__init__()
        self._report = report

    async def report(self, ref: SandboxRef) -> SandboxReport:
        return self._report


class Scene:
    """A session on a sandbox of which the engine says `report`."""

    def __init__(self, report: SandboxReport) -> None:
        self.clock = SteppedClock()
        self.records = SessionRecords(MemorySessionStore(), self.clock)
        self.live = LiveSession("sess_a", "first", OLD, FakeSandbox())  # type: ignore[arg-type]
        backend = SaysOfTheOld(report)
        sessions = {"sess_a": self.live}
        ender = SessionEnder(self.records, backend, sessions, Metrics(), Oversight(self.clock))
        source = SandboxSource(self.records, Provisioner(backend, 5, 1), {}, {"python": Template()})
        self.reviver = Reviver(self.records, backend, source, ender)

    async def store(self, **changes: object) -> None:
        await self.records.store.create(session_record(self.clock, sandbox=OLD, **changes))


def exited(oom_kills: int) -> SandboxReport:
    return SandboxReport(state=SandboxState.EXITED, exit_code=137, oom_kills=oom_kills)


async def test_memory_moves_the_session_to_a_new_sandbox_and_raises_its_epoch():
    scene = Scene(exited(oom_kills=1))
    await scene.store()
    record = await scene.reviver.revive(scene.live)
    assert record is not None
    assert record.epoch == 2
    assert record.sandbox == scene.live.ref != OLD


async def test_any_other_end_is_not_revived():
    scene = Scene(exited(oom_kills=0))
    await scene.store()
    assert await scene.reviver.revive(scene.live) is None
    assert scene.live.ref == OLD


async def test_a_sandbox_that_still_runs_is_not_replaced(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sandbox_service.sessions.revival.ENGINE_WORD_STEP_S", 0)
    scene = Scene(SandboxReport(state=SandboxState.RUNNING, oom_kills=3))
    await scene.store()
    assert await scene.reviver.revive(scene.live) is None


async def test_a_session_that_ended_meanwhile_gets_no_new_sandbox():
    scene = Scene(exited(oom_kills=1))
    await scene.store(status=SessionStatus.CLOSED, ended_at=scene.clock.now())
    with pytest.raises(SessionGone):
        await scene.reviver.revive(scene.live)
    assert scene.live.ref == OLD
