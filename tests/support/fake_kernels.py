"""Kernels that play what a test wrote for each code, as an agent tells it: numbered, once, again on request."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sandbox_service.domain.errors import NotFound, SandboxLost
from sandbox_service.domain.ports import (
    ChangedFile,
    ExecuteRequest,
    ExecutionEnd,
    ExecutionLine,
    KernelHealth,
    KernelMessage,
    MessageGap,
)

STEP_S = 0.001


@dataclass
class Cell:
    """What a code does: prints its texts and ends. One that `waits_after` so many texts goes on with `go_on`.

    The kernel is at it when `begins` is set; an interrupt that comes before hits nothing.
    """

    texts: Sequence[str] = ("hello\n",)
    waits_after: int | None = None
    exit_signal: int | None = None
    changed: tuple[ChangedFile, ...] = ()
    ignores_interrupts: bool = False
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    begins: asyncio.Event = field(default_factory=lambda: _set())


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


class _Played:
    """One execution: its lines, as far as they have come."""

    def __init__(self, cell: Cell, incarnation: int, require_alive: Callable[[], None]) -> None:
        self.cell = cell
        self._require_alive = require_alive
        self.lines = _lines_of(cell, incarnation)
        self.dropped = 0
        self._held_at = len(self.lines) if cell.waits_after is None else 1 + cell.waits_after

    @property
    def is_over(self) -> bool:
        return self._come == len(self.lines)

    @property
    def _come(self) -> int:
        if not self.cell.begins.is_set():
            return 0
        return len(self.lines) if self.cell.go_on.is_set() else self._held_at

    def cut(self, *last: ExecutionLine) -> None:
        """End here, with these lines."""
        if not self.is_over:
            self.lines = _numbered([*self.lines[: self._come], *last])
            self._held_at = len(self.lines)

    async def tell(self, after: int) -> AsyncGenerator[ExecutionLine, None]:
        if after < self.dropped:
            yield MessageGap(self.dropped, "ring", self.dropped - after, 0)
            after = self.dropped
        while after < len(self.lines):
            while after >= self._come:
                self._require_alive()
                await asyncio.sleep(STEP_S)
            after += 1
            yield self.lines[after - 1]


class ScriptedKernel:
    """Plays each code's cell once per execution id, to any number of readers.

    `breaks` says after how many lines each of the next streams breaks. `starts` are the ids whose code started.
    """

    def __init__(self, cells: Mapping[str, Cell] | None = None) -> None:
        self.cells = cells or {}
        self.incarnation = 1
        self.starts: list[str] = []
        self.interrupted: list[str] = []
        self.killed: list[int] = []
        self.breaks: deque[int] = deque()
        self._played: dict[str, _Played] = {}
        self._is_dead = False

    def execute(self, request: ExecuteRequest) -> AsyncGenerator[ExecutionLine, None]:
        if request.execution_id not in self._played:
            cell = self.cells.get(request.code, Cell())
            played = _Played(cell, self.incarnation, self._require_alive)
            self._played[request.execution_id] = played
            self.starts.append(request.execution_id)
        return self._tell(request.execution_id, 0)

    def resume(self, execution_id: str, after_seq: int) -> AsyncGenerator[ExecutionLine, None]:
        return self._tell(execution_id, after_seq)

    async def health(self, wait_s: float = 0.0) -> KernelHealth:
        return KernelHealth("busy" if self._running() else "idle", self.incarnation)

    async def interrupt(self, execution_id: str) -> None:
        self.interrupted.append(execution_id)
        played = self._played[execution_id]
        if played.cell.begins.is_set() and not played.cell.ignores_interrupts:
            error = {"status": "error", "ename": "KeyboardInterrupt", "evalue": "", "traceback": []}
            played.cut(_reply(error), ExecutionEnd(0, "finished", self.incarnation))

    async def restart(self, incarnation: int, execution_id: str | None = None) -> int:
        running = self._running()
        if incarnation == self.incarnation and execution_id in (None, *running):
            self.killed.append(incarnation)
            self.incarnation += 1
            for one in running:
                end = ExecutionEnd(0, "kernel_died", self.incarnation, exit_signal=9)
                self._played[one].cut(end)
        return self.incarnation

    def forget_lines(self, execution_id: str, count: int) -> None:
        """The first `count` lines fell out of the ring."""
        self._played[execution_id].dropped = count

    def die(self) -> None:
        """Its sandbox is gone: every line to it breaks."""
        self._is_dead = True

    def _require_alive(self) -> None:
        if self._is_dead:
            raise SandboxLost("The line to the sandbox broke.")

    def _running(self) -> list[str]:
        return [name for name, played in self._played.items() if not played.is_over]

    async def _tell(self, execution_id: str, after: int) -> AsyncGenerator[ExecutionLine, None]:
        self._require_alive()
        if execution_id not in self._played:
            raise NotFound("There is no such thing in the sandbox.")
        left = self.breaks.popleft() if self.breaks else -1
        async for line in self._played[execution_id].tell(after):
            if left == 0:
                raise SandboxLost("The line to the sandbox broke.")
            left -= 1
            yield line
            if isinstance(line, ExecutionEnd):
                return


def _lines_of(cell: Cell, incarnation: int) -> list[ExecutionLine]:
    reply: ExecutionLine = _reply({"status": "ok", "execution_count": 1})
    if cell.exit_signal is not None:
        end = ExecutionEnd(0, "kernel_died", incarnation + 1, exit_signal=cell.exit_signal)
        return _numbered([_input(), *map(_print, cell.texts), end])
    end = ExecutionEnd(0, "finished", incarnation, changed=cell.changed)
    return _numbered([_input(), *map(_print, cell.texts), reply, end])


def _numbered(lines: Sequence[ExecutionLine]) -> list[ExecutionLine]:
    return [replace(line, seq=number) for number, line in enumerate(lines, start=1)]


def _input() -> KernelMessage:
    return KernelMessage(0, "iopub", "execute_input", {"execution_count": 1})


def _print(text: str) -> KernelMessage:
    return KernelMessage(0, "iopub", "stream", {"name": "stdout", "text": text})


def _reply(content: dict[str, object]) -> KernelMessage:
    return KernelMessage(0, "shell", "execute_reply", content)
