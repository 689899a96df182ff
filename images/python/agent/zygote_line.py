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


class ZygoteLine:
    """Asks for kernels. `on_exit` is called with the pid and the exit of each one that ends."""

    def __init__(
        self, settings: Settings, process: ZygoteProcess, on_exit: Callable[[int, Exit], None]
    ) -> None:
        self._settings = settings
        self._process = process
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._requests = 0
        self._pids: dict[int, int] = {}
        self._serving: dict[int, asyncio.Future[int]] = {}
        self._loop.add_reader(process.line, self._receive)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def fork(self, directory: str) -> int:
        """Fork a kernel with its sockets in `directory`; returns its pid once it serves."""
        await self._ready.wait()
        self._requests += 1
        serving: asyncio.Future[int] = self._loop.create_future()
        self._serving[self._requests] = serving
        self._send({"fork": self._requests, "dir": directory})
        return await serving

    def respawn(self) -> None:
        """Start a new zygote in place of one that is gone."""
        self._loop.remove_reader(self._process.line)
        self._process.line.close()
        self._ready.clear()
        self._fail_all("the zygote went away")
        self._process = spawn_zygote(self._settings)
        self._loop.add_reader(self._process.line, self._receive)

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
            self._fail_all("the zygote does not listen")

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
            self._ready.set()
        elif "forked" in packet:
            self._pids[packet["forked"]] = packet["pid"]
        elif "serving" in packet:
            self._settle(packet["serving"], packet["pid"])
        elif "failed" in packet:
            self._fail(packet["failed"], packet["message"])
        elif "exited" in packet:
            self.kernel_exited(packet["exited"], Exit(packet["signal"], packet["code"]))

    def _settle(self, request: int, pid: int) -> None:
        serving = self._serving.pop(request, None)
        if serving is not None and not serving.done():
            serving.set_result(pid)

    def _fail(self, request: int, message: str) -> None:
        serving = self._serving.pop(request, None)
        if serving is not None and not serving.done():
            serving.set_exception(ForkFailed(message))

    def _fail_all(self, message: str) -> None:
        for request in list(self._serving):
            self._fail(request, message)
