"""The oldest files of the audit log go when all of it is larger than it may be."""

from dataclasses import dataclass
from pathlib import Path

from sandbox_service.domain.values import MIB
from sandbox_service.tenants.audit_chain import Head
from sandbox_service.tenants.audit_files import audit_files, last_head
from sandbox_service.tenants.audit_log import chain_directories

TOTAL_BYTES = 2048 * MIB
NEVER_REMOVED = 2
"""Of a chain's files: the one that is written to, and the one that holds the head when that is still empty."""


@dataclass(frozen=True, slots=True)
class Removed:
    """A file that was removed: its name below the log's directory, and the head of the chain at its end."""

    name: str
    size_bytes: int
    head: Head


def prune(root: Path, most_bytes: int) -> list[Removed]:
    """Remove the oldest files of all chains until they have no more than `most_bytes`.

    Each chain's last two stay. Others may prune at the same time: each file is removed by one of them.
    """
    chains = [audit_files(directory) for directory in chain_directories(root)]
    surplus = sum(_size(path) for files in chains for path in files) - most_bytes
    finished = [path for files in chains for path in files[:-NEVER_REMOVED]]
    removed = []
    for path in sorted(finished, key=_written_at):
        if surplus <= 0:
            break
        size, head = _size(path), last_head(path)
        surplus -= size
        if _is_ours_to_remove(path):
            removed.append(Removed(str(path.relative_to(root)), size, head))
    return removed


def _is_ours_to_remove(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _written_at(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0
