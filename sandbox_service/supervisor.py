"""Several service processes behind one port: started, watched, replaced one by one, stopped together."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping

from sandbox_service.listening import listen
from sandbox_service.settings import PREFIX, Settings

logger = logging.getLogger(__name__)

RESTART_PAUSE_S = 0.5
READY_DEADLINE_S = 60.0


async def supervise(settings: Settings) -> None:
    """Run `settings.workers` service processes until SIGTERM or SIGINT; SIGHUP replaces them one by one."""
    with listen(settings) as listener:
        await _Supervisor(settings, listener).run()


class _Supervisor:
    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        self._workers: dict[int, asyncio.subprocess.Process] = {}
        self._spawned = [asyncio.Event() for _ in range(settings.workers)]
        self._stopping = asyncio.Event()
        self._replacing = asyncio.Lock()  # one round of replacements at a time
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._start_round)
        async with asyncio.TaskGroup() as group:
            for slot in range(self._settings.workers):
                group.create_task(self._keep_running(slot))

    def _stop(self) -> None:
        self._stopping.set()
        for worker in self._workers.values():
            worker.send_signal(signal.SIGTERM)

    def _start_round(self) -> None:
        task = asyncio.create_task(self._replace_all())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_running(self, slot: int) -> None:
        while not self._stopping.is_set():
            self._workers[slot] = worker = await self._spawn()
            self._spawned[slot].set()
            if self._stopping.is_set():
                worker.send_signal(signal.SIGTERM)
            code = await worker.wait()
            if not self._stopping.is_set() and code != 0:
                logger.warning("worker_ended slot=%d code=%s", slot, code)
                await asyncio.sleep(RESTART_PAUSE_S)

    async def _replace_all(self) -> None:
        """Each worker in turn, when the one before is ready; the port is served all the while."""
        async with self._replacing:
            for slot in list(self._workers):
                self._spawned[slot].clear()
                self._workers[slot].send_signal(signal.SIGTERM)
                await self._spawned[slot].wait()
                await self._await_ready(self._workers[slot])

    async def _await_ready(self, worker: asyncio.subprocess.Process) -> None:
        assert worker.stdout is not None
        try:
            async with asyncio.timeout(READY_DEADLINE_S):
                await worker.stdout.readline()
        except TimeoutError:
            logger.warning("worker_not_ready pid=%d", worker.pid)

    async def _spawn(self) -> asyncio.subprocess.Process:
        descriptor = self._listener.fileno()
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "sandbox_service", "serve", "--worker-of", str(descriptor)),
            env=_environment(self._settings),
            pass_fds=[descriptor],
            stdout=asyncio.subprocess.PIPE,
        )


def _environment(settings: Settings) -> Mapping[str, str]:
    """The environment, with what came from the command line, or was made for this run."""
    keys = ",".join(f"{tenant}:{key}" for tenant, key in settings.api_keys)
    given = {
        "HOST": settings.host,
        "PORT": str(settings.port),
        "API_KEYS": keys,
        "WORKERS": "1",
        "ON_STOP": settings.on_stop,
    }
    return {**os.environ, **{PREFIX + name: value for name, value in given.items() if value}}
