"""The processes of the sandbox: who there is, killing them, and reaping the orphans."""

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

_ROUNDS = 100
_PAUSE_S = 0.002
_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    state: str


def adopt_orphans() -> None:
    """Become the parent of every process below that loses its own, as process 1 is by nature."""
    if os.getpid() != 1:
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap() -> Iterator[tuple[int, int]]:
    """The (pid, wait status) of every child that has exited."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status


async def kill_all_but(spared: set[int]) -> bool:
    """Kill every other process; False when new ones appear as fast as they are killed."""
    for _ in range(_ROUNDS):
        victims = others(spared)
        if not victims:
            return True
        for pid in victims:
            _kill(pid)
        await asyncio.sleep(_PAUSE_S)
    return False


def kill_everything() -> None:
    """Kill all at once: as process 1 every other process there is, else every descendant."""
    if os.getpid() == 1:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        return
    for _ in range(_ROUNDS):
        victims = others(set())
        if not victims:
            return
        for pid in victims:
            _kill(pid)
        time.sleep(_PAUSE_S)


def others(spared: set[int]) -> list[int]:
    """Living processes of the sandbox but this one and `spared`.

    As process 1 that is all that can be seen; otherwise all that descend from this process.
    """
    me = os.getpid()
    table = {process.pid: process for process in processes()}
    return [
        process.pid
        for process in table.values()
        if process.pid not in spared
        and process.pid != me
        and process.state != "Z"
        and (me == 1 or _descends(process, me, table))
    ]


def processes() -> Iterator[Process]:
    """Every process in /proc."""
    for name in os.listdir("/proc"):
        if name.isdigit() and (process := _read(int(name))):
            yield process


def _read(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return Process(pid, int(fields[1]), fields[0].decode())


def _descends(process: Process, ancestor: int, table: dict[int, Process]) -> bool:
    parent: Process | None = process
    while parent is not None:
        if parent.parent == ancestor:
            return True
        parent = table.get(parent.parent)
    return False


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
