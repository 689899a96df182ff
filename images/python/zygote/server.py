"""Answers the agent's requests to fork a kernel, and reports the exits of the kernels.

One JSON value per packet. From the agent: `{"fork": 1, "dir": "/tmp/..."}`. To the agent:
`{"ready": true}` once, `{"forked": 1, "pid": 12}` or `{"failed": 1, "message": "..."}`,
`{"serving": 1, "pid": 12}` from the kernel itself when its sockets are bound, and
`{"exited": 12, "signal": 9, "code": null}`.
"""

import gc
import json
import os
import selectors
import signal
import socket
from typing import Any

from zygote.app import ForkedKernelApp
from zygote.child import become_kernel
from zygote.generators import RandomGenerators
from zygote.warm import give_back_memory, preload, warm


def main(fd: int) -> None:
    """Import, warm up and serve until the agent goes away."""
    agent = socket.socket(fileno=fd)
    agent.set_inheritable(False)
    app = ForkedKernelApp.instance()
    app.prepare()
    preload()
    warm(app.shell)
    app.warmed()
    generators = RandomGenerators.inherited()
    give_back_memory()
    gc.freeze()
    Zygote(agent, app, generators).serve()


class Zygote:
    """The loop of the zygote: packets from the agent and exits of kernels, without polling."""

    def __init__(
        self, agent: socket.socket, app: ForkedKernelApp, generators: RandomGenerators
    ) -> None:
        self._agent = agent
        self._app = app
        self._generators = generators
        self._kernels: set[int] = set()

    def serve(self) -> None:
        """Say that the zygote is ready, then fork on request until the agent closes the line."""
        wake_in, wake_out = socket.socketpair()
        wake_in.setblocking(False)
        wake_out.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(wake_out.fileno(), warn_on_full_buffer=False)
        self._send({"ready": True})
        with selectors.DefaultSelector() as selector:
            selector.register(self._agent, selectors.EVENT_READ)
            selector.register(wake_in, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if wake_in in ready:
                    wake_in.recv(4096)
                    self._report_exits()
                if self._agent in ready and not self._answer_packet():
                    return self._kill_kernels()

    def _answer_packet(self) -> bool:
        """Handle one packet; False when the agent is gone."""
        packet = self._agent.recv(65536)
        if not packet:
            return False
        request = json.loads(packet)
        try:
            pid = os.fork()
        except OSError as error:
            self._send({"failed": request["fork"], "message": str(error)})
            return True
        if pid == 0:
            become_kernel(self._app, self._generators, self._agent, request)
        self._kernels.add(pid)
        self._send({"forked": request["fork"], "pid": pid})
        return True

    def _report_exits(self) -> None:
        """Report every kernel that has exited since the last look."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._kernels.discard(pid)
            self._send({"exited": pid, **exit_of(status)})

    def _kill_kernels(self) -> None:
        """Nobody is left who could speak to them."""
        for pid in self._kernels:
            os.kill(pid, signal.SIGKILL)

    def _send(self, packet: dict[str, Any]) -> None:
        self._agent.send(json.dumps(packet).encode())


def exit_of(status: int) -> dict[str, int | None]:
    """The signal or the code that a wait status stands for."""
    code = os.waitstatus_to_exitcode(status)
    return {"signal": -code, "code": None} if code < 0 else {"signal": None, "code": code}
