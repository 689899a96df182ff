"""The kernel of this sandbox through all its lives: forked, killed, forked again when it dies."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from agent import processes
from agent.channels import KernelChannels
from agent.execution import Execution
from agent.executions import Executions
from agent.rehearsal import Rehearsal
from agent.settings import Settings
from agent.zygote_line import Exit, ForkFailed, ZygoteLine

_QUIET_S = 0.01
_START_TIMEOUT_S = 60.0
_RETRY_S = (0.05, 0.2, 1.0, 5.0)


class KernelUnavailable(Exception):
    """No kernel can be had now."""


class Kernel:
    """One life of the kernel."""

    def __init__(self, pid: int, channels: KernelChannels) -> None:
        self.pid = pid
        self.channels = channels
        self.exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()


class KernelHouse:
    """Keeps one kernel alive. `changes` tells what files an execution has changed, as it ends."""

    def __init__(
        self, settings: Settings, zygote: ZygoteLine, changes: Callable[[], dict[str, object]]
    ) -> None:
        self.incarnation = 0
        self.executions = Executions(self._finish)
        self._settings = settings
        self._zygote = zygote
        self._changes = changes
        self._kernel: Kernel | None = None
        self._newest: Kernel | None = None
        self._waiting: list[tuple[Execution, str]] = []
        self._watchers: list[asyncio.Future[None]] = []
        self._is_dead = False
        self._killing = asyncio.Lock()  # one restart at a time
        self._retry = asyncio.Event()

    @property
    def state(self) -> str:
        if self._is_dead:
            return "dead"
        if self._kernel is None:
            return "starting"
        return "busy" if self.executions.running() else "idle"

    async def live(self) -> None:
        """Fork a kernel, again and again, whenever the one before has ended."""
        while True:
            kernel = await self._start()
            exit_ = await kernel.exit
            await self._bury(kernel, exit_)

    def execute(self, execution: Execution, code: str) -> None:
        """Start the code, or queue it until there is a kernel. Raises KernelUnavailable."""
        if self._is_dead:
            self._retry.set()
            raise KernelUnavailable("the kernel does not start")
        self.executions.add(execution)
        if self._kernel is None:
            self._waiting.append((execution, code))
        else:
            self._request(self._kernel, execution, code)

    def interrupt(self) -> None:
        """Send SIGINT to the kernel's process group."""
        if self._kernel is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._kernel.pid, signal.SIGINT)

    async def restart(self, incarnation: int) -> int:
        """Kill this incarnation, if it is the current one, and wait for the next to answer."""
        async with self._killing:
            if incarnation == self.incarnation and self._kernel is not None:
                _kill(self._kernel.pid)
                await self._until(lambda: self.incarnation > incarnation)
            self._retry.set()
            await self._until(lambda: self._kernel is not None or self._is_dead)
        if self._is_dead:
            raise KernelUnavailable("the kernel does not start")
        return self.incarnation

    async def wait_idle(self, wait_s: float) -> None:
        """Return when the kernel is idle, or after `wait_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._until(lambda: self.state == "idle")

    def on_exit(self, pid: int, exit_: Exit) -> None:
        """The process `pid` has ended; it may be the kernel."""
        newest = self._newest
        if newest is not None and newest.pid == pid and not newest.exit.done():
            newest.exit.set_result(exit_)
            self._kernel = None

    async def _start(self) -> Kernel:
        """Fork until it works. While it does not, executions are refused."""
        attempt = 0
        while True:
            self.incarnation += attempt == 0
            try:
                return await self._fork()
            except (ForkFailed, TimeoutError, OSError):
                await processes.kill_all_but({self._zygote.pid})
            pause_s = _RETRY_S[min(attempt, len(_RETRY_S) - 1)]
            attempt += 1
            if attempt >= len(_RETRY_S):
                self._give_up()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._retry.wait(), pause_s)
            self._retry.clear()

    async def _fork(self) -> Kernel:
        directory = os.path.join(self._settings.run_dir, f"kernel-{self.incarnation}")
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory, mode=0o700)
        async with asyncio.timeout(_START_TIMEOUT_S):
            pid = await self._zygote.fork(directory)
            channels = KernelChannels(directory, self.executions)
            kernel = self._newest = Kernel(pid, channels)
            try:
                await self._until_welcomed(kernel)
                if self._settings.is_rehearsed and self.incarnation == 1:
                    await Rehearsal(channels).run(kernel.exit)
            except BaseException:
                channels.close()
                raise
        self._open(kernel)
        return kernel

    async def _until_welcomed(self, kernel: Kernel) -> None:
        """Return when the kernel's publications reach us. Raises ForkFailed when it ends before."""
        if not self._zygote.lives(kernel.pid):
            raise ForkFailed("the kernel ended at once")
        either: set[asyncio.Future[Any]] = {kernel.channels.welcomed, kernel.exit}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not kernel.channels.welcomed.done():
            raise ForkFailed("the kernel ended before it published")

    def _open(self, kernel: Kernel) -> None:
        self._kernel, self._is_dead = kernel, False
        waiting, self._waiting = self._waiting, []
        for execution, code in waiting:
            self._request(kernel, execution, code)
        self._announce()

    async def _bury(self, kernel: Kernel, exit_: Exit) -> None:
        """Pass on what the dead kernel still sent, end what it ran, and clear up after it."""
        await kernel.channels.drain(_QUIET_S)
        kernel.channels.close()
        not_begun = {execution.id for execution, _ in self._waiting}
        for execution in self.executions.running():
            if execution.id not in not_begun:
                self._end(execution, "kernel_died", self.incarnation + 1, exit_)
        if not await processes.kill_all_but({self._zygote.pid}):
            processes.kill_everything()  # the zygote too, and a new one will come
        directory = os.path.join(self._settings.run_dir, f"kernel-{self.incarnation}")
        shutil.rmtree(directory, ignore_errors=True)

    def _give_up(self) -> None:
        self._is_dead = True
        for execution, _ in self._waiting:
            self._end(execution, "kernel_died", self.incarnation, Exit())
        self._waiting = []
        self._announce()

    def _request(self, kernel: Kernel, execution: Execution, code: str) -> None:
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        kernel.channels.request("execute_request", execution.id, content)

    def _finish(self, execution: Execution) -> None:
        self._end(execution, "finished", self.incarnation, None)
        self._announce()

    def _end(self, execution: Execution, reason: str, incarnation: int, exit_: Exit | None) -> None:
        end = {
            "reason": reason,
            "incarnation": incarnation,
            "exit": None if exit_ is None else asdict(exit_),
            **self._changes(),
        }
        self.executions.finish(execution, end)

    async def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            watcher: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._watchers.append(watcher)
            await watcher

    def _announce(self) -> None:
        """Let those who wait for a change look again."""
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(None)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
