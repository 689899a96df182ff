"""A real Redis server of one's own, and what can happen to it."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.support.ports import free_port

START_DEADLINE_S = 60
STOP_DEADLINE_S = 60
OPTIONS = {
    "bind": "127.0.0.1",
    "save": "",
    "appendonly": "yes",
    "appendfsync": "no",  # the process is killed, never the machine; a busy disk must not hold it up
    "maxmemory-policy": "noeviction",
    "logfile": "redis.log",
}


def require_redis_server() -> None:
    """A missing redis-server fails in CI, and skips with its reason on a laptop."""
    if shutil.which("redis-server"):
        return
    reason = "there is no redis-server: run `make redis`"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class RedisServer:
    """On a free loopback port; its append-only file lies below `directory`, in a place that goes at the end."""

    def __init__(self, directory: Path | None = None) -> None:
        require_redis_server()
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = Path(tempfile.mkdtemp(prefix="sbx-redis-", dir=directory))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "RedisServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._directory)

    def start(self) -> None:
        """Start it, and return once it answers with what its append-only file holds."""
        options = [word for name, value in OPTIONS.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), *options],
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_DEADLINE_S
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise AssertionError(f"no Redis:\n{(self._directory / 'redis.log').read_text()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """As if the machine's memory had run out."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As an operator would."""
        self.resume()
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Killed, and started again with its append-only file."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """It keeps its connections and says nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def flush(self) -> None:
        """Everything in it is gone."""
        assert self.ask("FLUSHALL") == "+OK"

    def ask(self, command: str) -> str:
        """The first line of the answer to a command of plain words."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as line:
            line.sendall(command.encode() + b"\r\n")
            return line.makefile().readline().rstrip("\r\n")

    def _answers(self) -> bool:
        try:
            return self.ask("PING") == "+PONG"
        except OSError:
            return False

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(STOP_DEADLINE_S)
            self._process = None
