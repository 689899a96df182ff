"""What the sandbox uses, as seen from inside."""

import os

from agent import processes
from agent.changes import walk
from agent.workspace import Workspace

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resources_of(workspace: Workspace) -> dict[str, float]:
    """`memory_bytes` is what the processes do not share, plus the workspace."""
    pids = [os.getpid(), *processes.others(set())]
    used_bytes = _workspace_bytes(workspace.root)
    return {
        "memory_bytes": sum(map(_private_bytes, pids)) + used_bytes,
        "cpu_s": round(sum(map(_cpu_s, pids)), 2),
        "pids": len(pids),
        "workspace_bytes": used_bytes,
    }


def _workspace_bytes(root: bytes) -> int:
    """What its file system holds, when it has one of its own; the sum of its files otherwise."""
    if os.path.ismount(root):
        status = os.statvfs(root)
        return (status.f_blocks - status.f_bfree) * status.f_frsize
    return sum(entry.status.st_blocks * 512 for entry in walk(root))


def _private_bytes(pid: int) -> int:
    fields = _read(f"/proc/{pid}/statm").split()
    return (int(fields[1]) - int(fields[2])) * _PAGE_BYTES if fields else 0


def _cpu_s(pid: int) -> float:
    """User and system time of the process and of its reaped children."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS if fields else 0.0


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
