"""The agent's process: its socket, its children, its end."""

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import socket
from typing import NoReturn

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from agent import processes
from agent.app import AgentApp
from agent.changes import Changes
from agent.kernel import KernelHouse
from agent.kernel_calls import KernelCalls
from agent.settings import Settings
from agent.spawn import ZygoteProcess
from agent.workspace import Workspace
from agent.zygote_line import Exit, ZygoteLine

_KEEP_ALIVE_S = 86_400
_BACKLOG = 128


def main(settings: Settings, zygote: ZygoteProcess) -> None:
    """Serve until SIGTERM, then end with everything that was started."""
    processes.adopt_orphans()
    asyncio.run(Agent(settings).serve(zygote))


def _end(settings: Settings) -> NoReturn:
    """Leave no process, folder or socket behind."""
    processes.kill_everything()
    shutil.rmtree(settings.run_dir, ignore_errors=True)
    if settings.listen.startswith("unix://"):
        with contextlib.suppress(OSError):
            os.unlink(settings.listen.removeprefix("unix://"))
    os._exit(0)


class Agent:
    """Puts the parts together, reaps children, and serves."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._changes = Changes(settings.workspace)
        self._workspace = Workspace(settings.workspace, self._changes)

    async def serve(self, process: ZygoteProcess) -> None:
        """Listen once everything is in place; the kernel may still be starting then."""
        self._zygote = ZygoteLine(self._settings, process, self._kernel_exited)
        self._kernel = KernelHouse(self._settings, self._zygote, self._changes.since_last)
        self._watch_signals()
        app = AgentApp(KernelCalls(self._kernel), self._workspace, self._settings.token)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kernel.live())
            await _listen(self._settings.listen, app)
            gc.freeze()

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _end, self._settings)

    def _reap(self) -> None:
        for pid, status in processes.reap():
            if pid == self._zygote.pid:
                self._zygote.replace()
            else:
                self._zygote.kernel_exited(pid, Exit.of(status))

    def _kernel_exited(self, pid: int, exit_: Exit) -> None:
        self._kernel.on_exit(pid, exit_)


async def _listen(address: str, app: AgentApp) -> None:
    config = Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
    )
    config.load()
    state = ServerState()
    listener = _bind(address)
    await asyncio.get_running_loop().create_server(
        lambda: HttpToolsProtocol(config, state, {}), sock=listener, backlog=_BACKLOG
    )
    if listener.family == socket.AF_UNIX:
        _appear(listener.getsockname(), address.removeprefix("unix://"))


def _bind(address: str) -> socket.socket:
    """A socket bound beside `unix:///path`, or to `tcp://host:port`."""
    scheme, _, place = address.partition("://")
    if scheme == "tcp":
        host, _, port = place.rpartition(":")
        return socket.create_server((host, int(port)), backlog=_BACKLOG)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(place + ".new")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(place + ".new")
    return listener


def _appear(beside: str, place: str) -> None:
    """The socket takes its name once it listens: who sees it can connect."""
    os.chmod(beside, 0o666)  # noqa: S103 - the directory around it decides who gets here
    os.rename(beside, place)
