"""A chain of the audit log for each process that writes at the same time, so that none waits for another.

    audit/audit-000001.jsonl             the only process, or the first of several; and the command line
    audit/writer-2/audit-000001.jsonl    a second process while the first one runs
    audit/writer-3/...

A process holds its place by a lock that ends with it, and one that starts takes the first free place and
goes on with the chain there: there are as many directories as processes ever ran at once.
"""

import fcntl
import logging
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sandbox_service.private_files import make_private_directory, open_private
from sandbox_service.tenants.audit_chain import Head
from sandbox_service.tenants.audit_files import FILE_BYTES, WRITER_PREFIX, AuditFiles
from sandbox_service.tenants.audit_pruning import TOTAL_BYTES, Removed, prune

logger = logging.getLogger(__name__)

_LOCK_NAME = ".writer"
_NO_LOCK = -1


class AuditWriter:
    """Appends to the first chain below `root` that no other process writes; takes it when first needed.

    With each file that it begins the oldest of the whole log go, if that has more than `total_bytes`.
    `first` is the number of the first place to try.
    """

    def __init__(
        self,
        root: Path,
        file_bytes: int = FILE_BYTES,
        first: int = 1,
        total_bytes: int = TOTAL_BYTES,
    ) -> None:
        self._root = root
        self._file_bytes = file_bytes
        self._total_bytes = total_bytes
        self._pruned_for: Path | None = None
        self._number = first
        self._lock = _NO_LOCK
        self._files: AuditFiles | None = None

    def append(self, events: Sequence[Mapping[str, Any]]) -> Head:
        """Write the events, durably, and return the head after them.

        Raises OSError; after a TimeoutError the next call tries another place.
        """
        if self._files is None:
            self._files = AuditFiles(self._take_place(), self._file_bytes)
        try:
            head = self._files.append(events)
            return self._prune(self._files) or head
        except TimeoutError:
            self.close()
            self._number += 1
            raise

    def _prune(self, files: AuditFiles) -> Head | None:
        """When a file was begun; what was removed is an event, with the head that ended it."""
        if files.newest == self._pruned_for:
            return None
        self._pruned_for = files.newest
        try:
            removed = prune(self._root, self._total_bytes)
            return files.append([_removal(one) for one in removed]) if removed else None
        except OSError:  # what was appended before is written all the same
            logger.exception("audit_not_pruned")
            return None

    def close(self) -> None:
        """Let another process go on with the chain."""
        if self._lock != _NO_LOCK:
            os.close(self._lock)
        self._lock, self._files = _NO_LOCK, None

    def _take_place(self) -> Path:
        while True:
            directory = place_of(self._root, self._number)
            make_private_directory(directory)
            self._lock = _locked(directory / _LOCK_NAME)
            if self._lock != _NO_LOCK:
                return directory
            self._number += 1


def _removal(removed: Removed) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(),
        "event": "audit.file_removed",
        "file": removed.name,
        "bytes": removed.size_bytes,
        "head": str(removed.head),
    }


def place_of(root: Path, number: int) -> Path:
    """The directory of the first, second, ... process that writes."""
    return root if number == 1 else root / f"{WRITER_PREFIX}{number}"


def _locked(path: Path) -> int:
    """A descriptor that holds the lock, or _NO_LOCK when another process has it."""
    lock = open_private(path, os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return _NO_LOCK
    except BaseException:
        os.close(lock)
        raise
    return lock
