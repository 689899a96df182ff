"""The lines of one execution, each once, over a line that breaks and an engine that may be away."""

from contextlib import aclosing

import pytest

from sandbox_service.domain.errors import AgentViolation, SandboxLost
from sandbox_service.domain.ports import ExecutionLine, KernelMessage
from sandbox_service.domain.values import SandboxRef, SandboxReport, SandboxState
from sandbox_service.sessions.lines import Line, SandboxLines
from sandbox_service.sessions.reading import BrokenLine, ExecutionReader, LinePatience, connect
from tests.support.fake_kernels import Cell, ScriptedKernel
from tests.support.fakes import (
    FakeSandbox,
    PlaysCells,
    SteppedClock,
    execution_record,
    session_record,
)

REF = SandboxRef(sandbox_id="box_a")
PATIENCE = LinePatience(0.05, 0.2, shortest_pause_s=0.001, longest_pause_s=0.01)
CELL = Cell(texts=("a", "b", "c", "d"))


class SilentLine:
    """A kernel whose every stream breaks before its first line; counts them."""

    def __init__(self) -> None:
        self.tries = 0

    def execute(self, request: object) -> object:
        return self._broken()

    def resume(self, execution_id: str, after_seq: int) -> object:
        return self._broken()

    async def _broken(self):
        self.tries += 1
        raise SandboxLost("The line to the sandbox broke.")
        yield


class LiesOnce(SilentLine):
    """A kernel whose line breaks the protocol."""

    async def _broken(self):
        self.tries += 1
        raise AgentViolation("It lied.")
        yield


class AwayFor(PlaysCells):
    """An engine that does not answer `times` questions."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def report(self, ref: SandboxRef) -> SandboxReport:
        self.times -= 1
        self.is_away = self.times >= 0
        return await super().report(ref)


class Scene:
    """A sandbox that runs, with a kernel behind a line."""

    def __init__(self, kernel: object, backend: PlaysCells | None = None) -> None:
        self.backend = backend or PlaysCells()
        self.backend.running[REF.sandbox_id] = None  # type: ignore[assignment]
        line = Line(REF, FakeSandbox(kernel))  # type: ignore[arg-type]
        broken = BrokenLine(self.backend, PATIENCE)
        self.reader = ExecutionReader(line, execution_record(SteppedClock()), broken)

    async def read(self) -> list[ExecutionLine]:
        async with aclosing(self.reader.lines()) as lines:
            return [line async for line in lines]


def texts_of(lines: list[ExecutionLine]) -> str:
    streams = [x for x in lines if isinstance(x, KernelMessage) and x.msg_type == "stream"]
    return "".join(line.content["text"] for line in streams)


BREAKS = [[], [0], [1], [3], [2, 2], [1, 0, 0, 3], [6], [5, 0]]


@pytest.mark.parametrize("breaks", BREAKS, ids=str)
async def test_each_line_comes_once_however_often_the_line_breaks(breaks: list[int]) -> None:
    kernel = ScriptedKernel({"1": CELL})
    kernel.breaks.extend(breaks)
    lines = await Scene(kernel).read()
    assert texts_of(lines) == "abcd"
    assert [line.seq for line in lines] == [1, 2, 3, 4, 5, 6, 7]
    assert kernel.starts == ["exec_a"]


async def test_an_execution_that_the_agent_never_heard_of_is_started() -> None:
    """The line broke before the request had come: there is nothing to resume."""

    class LosesTheRequest(ScriptedKernel):
        def execute(self, request):
            self.tries = getattr(self, "tries", 0) + 1
            return SilentLine()._broken() if self.tries == 1 else super().execute(request)

    kernel = LosesTheRequest({"1": CELL})
    assert texts_of(await Scene(kernel).read()) == "abcd"
    assert kernel.starts == ["exec_a"]


@pytest.mark.parametrize("state", [SandboxState.EXITED, SandboxState.MISSING])
async def test_a_sandbox_that_the_engine_says_is_gone_is_lost_at_once(state: SandboxState) -> None:
    kernel = SilentLine()
    scene = Scene(kernel)
    scene.backend.reports[REF.sandbox_id] = SandboxReport(state=state)
    with pytest.raises(SandboxLost, match=state.value):
        await scene.read()
    assert kernel.tries == 1


async def test_a_silent_agent_is_given_up_after_a_while_though_its_sandbox_runs() -> None:
    kernel = SilentLine()
    with pytest.raises(SandboxLost, match="line to the sandbox broke"):
        await Scene(kernel).read()
    assert kernel.tries > 3


async def test_while_the_engine_says_nothing_the_line_is_tried_for_longer() -> None:
    runs, away = SilentLine(), SilentLine()
    scene = Scene(away)
    scene.backend.is_away = True
    for one in (Scene(runs), scene):
        with pytest.raises(SandboxLost):
            await one.read()
    assert away.tries > runs.tries


async def test_an_engine_that_is_back_has_its_word_on_the_sandbox() -> None:
    kernel = SilentLine()
    scene = Scene(kernel, AwayFor(3))
    scene.backend.reports[REF.sandbox_id] = SandboxReport(state=SandboxState.EXITED)
    with pytest.raises(SandboxLost, match="exited"):
        await scene.read()
    assert kernel.tries == 4


async def test_patience_begins_anew_with_every_line_that_comes() -> None:
    """Many breaks in a long execution do not add up to one."""
    kernel = ScriptedKernel({"1": Cell(texts=["x"] * 40)})
    kernel.breaks.extend([1] * 42)
    assert texts_of(await Scene(kernel).read()) == "x" * 40


async def test_an_agent_that_breaks_its_protocol_gets_no_second_try() -> None:
    kernel = LiesOnce()
    with pytest.raises(AgentViolation):
        await Scene(kernel).read()
    assert kernel.tries == 1


class RefusesConnections(PlaysCells):
    """Nobody answers the first `times` calls."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def connect(self, ref: SandboxRef) -> object:
        self.times -= 1
        if self.times >= 0:
            raise SandboxLost("Nobody answers.")
        return await super().connect(ref)


async def test_a_line_that_cannot_be_had_at_once_is_tried_again() -> None:
    backend = RefusesConnections(3)
    backend.running[REF.sandbox_id] = None  # type: ignore[assignment]
    session = session_record(SteppedClock(), sandbox=REF)
    line = await connect(session, SandboxLines(backend), BrokenLine(backend, PATIENCE))
    assert line.ref == REF


async def test_a_line_to_a_sandbox_that_is_gone_is_not_tried_again() -> None:
    backend = RefusesConnections(99)
    session = session_record(SteppedClock(), sandbox=REF)
    with pytest.raises(SandboxLost, match="missing"):
        await connect(session, SandboxLines(backend), BrokenLine(backend, PATIENCE))
    assert backend.times == 98


async def test_a_session_without_a_sandbox_has_no_line() -> None:
    backend = PlaysCells()
    with pytest.raises(SandboxLost, match="no sandbox"):
        await connect(
            session_record(SteppedClock()), SandboxLines(backend), BrokenLine(backend, PATIENCE)
        )
