"""A Docker engine of its own beside the machine's: to be stopped, killed, frozen and restarted."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

START_DEADLINE_S = 120.0
STOP_DEADLINE_S = 60.0
POLL_S = 0.1
IMAGE = "sandbox-python:latest"


def why_not() -> str:
    """Why there can be no such engine here; empty when there can."""
    if os.geteuid() != 0:
        return "a second engine needs root"
    for program in ("dockerd", "docker", "unshare"):
        if not shutil.which(program):
            return f"there is no {program} on this machine"
    return ""


class PrivateEngine:
    """`dockerd` with roots and a socket of its own, without networks; it starts its own containerd.

    `live_restore` holds from the next start on.
    """

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="sbe-", dir="/var/tmp"))
        self.socket = self.root / "engine.sock"
        self.url = f"unix://{self.socket}"
        self.live_restore = False
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextlib.contextmanager
    def open(cls) -> Iterator["PrivateEngine"]:
        """A running engine that has the sandbox image; nothing of it stays."""
        engine = cls()
        try:
            engine.start()
            engine.load(IMAGE)
            yield engine
        finally:
            engine.remove()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, if it does not run, and wait until it answers.

        One that was killed can leave things that the next one fails over: it is started again, as by systemd.
        """
        last = time.monotonic() + START_DEADLINE_S
        while not self._answers():
            assert time.monotonic() < last, f"the engine does not answer: {self._log_end()}"
            if not self.is_running:
                self._spawn()
            time.sleep(POLL_S)

    def _spawn(self) -> None:
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdout=log, stderr=log, start_new_session=True
            )

    def _command(self) -> list[str]:
        # In a network namespace of its own: a second dockerd takes the machine's bridge away.
        return [
            *("unshare", "--net", "--"),
            "dockerd",
            f"--data-root={self.root / 'data'}",
            f"--exec-root={self.root / 'exec'}",
            f"--pidfile={self.root / 'pid'}",
            f"--host={self.url}",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
            f"--live-restore={'true' if self.live_restore else 'false'}",
        ]

    def load(self, image: str) -> None:
        """Bring an image over from the machine's engine."""
        save = subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE)
        command = ["docker", "--host", self.url, "load", "--quiet"]
        subprocess.run(command, stdin=save.stdout, check=True, stdout=subprocess.DEVNULL)
        assert save.stdout is not None
        save.stdout.close()
        assert save.wait() == 0

    def stop(self) -> None:
        """SIGTERM; without live-restore its containers end with it."""
        if self.is_running:
            self.thaw()
            os.kill(self.pid, signal.SIGTERM)
            assert self._process is not None
            self._process.wait(STOP_DEADLINE_S)

    def kill(self) -> None:
        """SIGKILL; its containerd goes with it, its containers stay."""
        if self.is_running:
            os.kill(self.pid, signal.SIGKILL)
            assert self._process is not None
            self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: its socket takes connections, and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def started(self) -> None:
        await asyncio.to_thread(self.start)

    async def stopped(self) -> None:
        await asyncio.to_thread(self.stop)

    def _answers(self) -> bool:
        return self._docker("version").returncode == 0

    def _docker(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["docker", "--host", self.url, *arguments],
            capture_output=True,
            text=True,
            timeout=STOP_DEADLINE_S,
            check=False,
        )

    def _log_end(self) -> str:
        return "\n".join((self.root / "log").read_text().splitlines()[-20:])

    def remove(self) -> None:
        """End the engine and whatever it runs, and remove its files."""
        try:
            self.start()
            self._remove_containers()
            self.stop()
        finally:
            self.kill()
            for pid in _pids_that_name(str(self.root)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            _unmount_below(self.root)
            shutil.rmtree(self.root, ignore_errors=True)

    def _remove_containers(self) -> None:
        listed = self._docker("ps", "--all", "--quiet", "--no-trunc").stdout.split()
        if listed:
            self._docker("rm", "--force", "--volumes", *listed)


def _pids_that_name(word: str) -> list[int]:
    """The processes with the word on their command line."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError):
                if word.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                    found.append(int(name))
    return found


def _unmount_below(root: Path) -> None:
    """Innermost first."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{root}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False)
