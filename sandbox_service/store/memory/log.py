"""The memory store's log: each change is a line, so that a process that starts again finds what was there."""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from sandbox_service.domain.errors import StoreUnavailable
from sandbox_service.durable_files import put_in_place
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.encoding import from_json
from sandbox_service.store.memory.syncing import Syncer

logger = logging.getLogger(__name__)

GROWTH = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """The value None means that the key is gone; `size_bytes` is that of the value's JSON."""

    table: str
    key: str
    value: Any
    size_bytes: int


Noted = tuple[str, str, bytes]
"""An entry to be written; the value is JSON."""


class StoreInUse(StoreUnavailable):
    code = "store_in_use"


class Log:
    """An append-only file of entries, written anew when it has grown to several times what it holds.

    One process at a time: a second one that opens it gets StoreInUse. A disk that is full costs the
    next process what could not be written, never this one its memory. What is written outlives this process
    at once; on the disk it is a moment later, by a thread, once for all that was written in it.
    """

    def __init__(
        self, path: Path, entries: Callable[[], Iterable[Noted]], bounds: StoreBounds
    ) -> None:
        self._path = path
        self._entries = entries
        self._bounds = bounds
        self._file = -1
        self._size = 0
        self._rewrite_at = bounds.smallest_log_bytes
        self._is_failing = False
        self._heal_at = 0.0
        self._syncer = Syncer(self._note_failure)

    def open(self) -> Iterator[Entry]:
        """Take the log for this process; yields what it holds, oldest first."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = _locked(self._path)
        yield from _read(self._path)
        self.rewrite()

    def put(self, table: str, key: str, value: bytes) -> None:
        """Note that `key` has this value now, as JSON."""
        if self._is_failing:
            self.heal()
            return
        line = _line((table, key, value))
        try:
            _write_whole(self._file, line)
        except OSError as error:
            self._note_failure(error)
            return
        self._syncer.want(self._file)
        self._size += len(line)
        if self._size > self._rewrite_at:
            self.rewrite()

    def heal(self) -> None:
        """After a failure only the whole, written anew, is true again. Call from time to time."""
        if self._is_failing and time.monotonic() >= self._heal_at:
            self.rewrite()

    def rewrite(self) -> None:
        """Replace the file by one that holds what there is now, and no more."""
        fresh = self._path.with_suffix(".new")
        try:
            with open(fresh, "wb", opener=_private) as file:
                file.writelines(_line(entry) for entry in self._entries())
                self._size = file.tell()
            replacement = _locked(fresh)
            put_in_place(fresh, self._path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            self._note_failure(error)
            return
        self._syncer.want(replacement)  # before its number can be another file's
        os.close(self._file)
        self._file = replacement
        self._is_failing = False
        self._rewrite_at = max(self._bounds.smallest_log_bytes, GROWTH * self._size)

    def close(self) -> None:
        """All that was written is on the disk after it."""
        self._syncer.close()
        os.close(self._file)

    def _note_failure(self, error: OSError) -> None:
        if not self._is_failing:
            logger.error("store_log_failed path=%s error=%s", self._path, error)
        self._is_failing = True
        self._heal_at = time.monotonic() + self._bounds.log_heal_s


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _locked(path: Path) -> int:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(file), path.stat()):
            raise BlockingIOError  # replaced at this moment, by the process that uses it
    except BlockingIOError:
        os.close(file)
        raise StoreInUse(
            f"Another service process uses {path}. Give this one another SANDBOX_INSTANCE, or let "
            "several share one store with SANDBOX_REDIS_URL."
        ) from None
    return file


def _write_whole(file: int, line: bytes) -> None:
    """A disk that becomes full takes a part and reports nothing."""
    if os.write(file, line) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _line(entry: Noted) -> bytes:
    table, key, value = entry
    return b"[%s,%s,%s]\n" % (orjson.dumps(table), orjson.dumps(key), value)


def _read(path: Path) -> Iterator[Entry]:
    """The entries of a file; a line that was cut off by the end of its writer is left out."""
    with path.open("rb") as file:
        for line in file:
            try:
                table, key, value = from_json(line)
            except (ValueError, TypeError):
                logger.warning("store_log_line_unreadable path=%s", path)
                continue
            yield Entry(table, key, value, len(line) - len(table) - len(key))
