"""The agent's side of the line to the zygote: forks on request, news of kernels, a new zygote."""

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent.settings import Settings
from agent.spawn import ZygoteProcess, spawn_zygote

_PACKET_BYTES = 65536
_PAUSE_S = 0.1
_MAX_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Exit:
    """How a kernel ended: by a signal or with a code."""

    signal: int | None = None
    code: int | None = None

    @classmethod
    def of(cls, status: int) -> "Exit":
        code = os.waitstatus_to_exitcode(status)
        return cls(signal=-code) if code < 0 else cls(code=code)


class ForkFailed(Exception):
    """The zygote could not fork, or went away before the kernel served."""


@dataclass(frozen=True, slots=True)
class _Request:
    directory: str
    serving: asyncio.Future[int]


class ZygoteLine:
    """Asks for kernels. `on_exit` is called with the pid and the exit of each one that ends."""

    def __init__(
        self, settings: Settings, process: ZygoteProcess, on_exit: Callable[[int, Exit], None]
    ) -> None:
        self._settings = settings
        self._process = process
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._is_ready = False
        self._failures = 0
        self._requests = 0
        self._pids: dict[int, int] = {}
        self._serving: dict[int, _Request] = {}
        self._loop.add_reader(process.line, self._receive)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def fork(self, directory: str) -> int:
        """Fork a kernel with its sockets in `directory`; returns its pid once it serves."""
        self._requests += 1
        serving: asyncio.Future[int] = self._loop.create_future()
        self._serving[self._requests] = _Request(directory, serving)
        if self._is_ready:
            self._send({"fork": self._requests, "dir": directory})
        return await serving

    def replace(self) -> None:
        """Start a new zygote in place of one that ended; later each time while it keeps ending."""
        self._loop.remove_reader(self._process.line)
        self._process.line.close()
        self._is_ready = False
        self._fail_all("the zygote has ended")
        pause_s = min(_PAUSE_S * (2**self._failures - 1), _MAX_PAUSE_S)
        self._failures += 1
        self._loop.call_later(pause_s, self._spawn)

    def _spawn(self) -> None:
        self._process = spawn_zygote(self._settings)
        self._loop.add_reader(self._process.line, self._receive)

    def lives(self, pid: int) -> bool:
        """Whether the kernel was forked and its exit has not been seen."""
        return pid in self._pids.values()

    def kernel_exited(self, pid: int, exit_: Exit) -> None:
        """Take note of an exit, seen by the zygote or, for an orphan, by the agent itself."""
        for request, known in list(self._pids.items()):
            if known == pid:
                del self._pids[request]
                self._fail(request, "the kernel ended before it served")
        self._on_exit(pid, exit_)

    def _send(self, packet: dict[str, Any]) -> None:
        try:
            self._process.line.send(json.dumps(packet).encode())
        except OSError:
            return  # its end is near, and fails what waits

    def _receive(self) -> None:
        """Handle every packet that has come; the zygote's end is seen by the reaper."""
        while True:
            try:
                packet = self._process.line.recv(_PACKET_BYTES)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self._loop.remove_reader(self._process.line)
                return
            self._handle(json.loads(packet))

    def _handle(self, packet: dict[str, Any]) -> None:
        if "ready" in packet:
            self._serve()
        elif "forked" in packet:
            self._pids[packet["forked"]] = packet["pid"]
        elif "serving" in packet:  # from the kernel itself: it may come before the zygote's word
            self._pids[packet["serving"]] = packet["pid"]
            self._settle(packet["serving"], packet["pid"])
        elif "failed" in packet:
            self._fail(packet["failed"], packet["message"])
        elif "exited" in packet:
            self.kernel_exited(packet["exited"], Exit(packet["signal"], packet["code"]))

    def _serve(self) -> None:
        self._is_ready = True
        self._failures = 0
        for request, waiting in self._serving.items():
            self._send({"fork": request, "dir": waiting.directory})

    def _settle(self, request: int, pid: int) -> None:
        waiting = self._serving.pop(request, None)
        if waiting is not None and not waiting.serving.done():
            waiting.serving.set_result(pid)

    def _fail(self, request: int, message: str) -> None:
        waiting = self._serving.pop(request, None)
        if waiting is not None and not waiting.serving.done():
            waiting.serving.set_exception(ForkFailed(message))

    def _fail_all(self, message: str) -> None:
        for request in list(self._serving):
            self._fail(request, message)
