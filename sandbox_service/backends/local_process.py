"""Finding and ending every process of a local sandbox, by a mark in its environment."""

import asyncio
import os
import signal
from contextlib import suppress

MARK = "SANDBOX_LOCAL_ID"
ROUNDS = 200
QUIET_ROUNDS = 3
STEP_S = 0.01


def pids_of(sandbox_id: str) -> list[int]:
    """The processes that carry the sandbox's mark, zombies left out."""
    mark = f"{MARK}={sandbox_id}".encode()
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and _carries(name, mark)]


async def end_all(sandbox_id: str) -> None:
    """Kill them until none is left: what they fork in between is found in the next round.

    While a process becomes another program it has no environment for a moment, so that one round without a
    find is not the end yet.
    """
    quiet = 0
    for _ in range(ROUNDS):
        pids = pids_of(sandbox_id)
        quiet = 0 if pids else quiet + 1
        if quiet == QUIET_ROUNDS:
            return
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(STEP_S)


def _carries(pid: str, mark: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:
            return mark in environ.read().split(b"\0")
    except OSError:
        return False
