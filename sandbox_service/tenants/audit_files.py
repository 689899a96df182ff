"""The files of one chain of the audit log: `audit-000001.jsonl` and on, one chain over all of them."""

import errno
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sandbox_service.domain.values import MIB
from sandbox_service.durable_files import sync
from sandbox_service.private_files import make_private_directory, open_private
from sandbox_service.tenants.audit_chain import BrokenChain, Head, check_line, link_event

FILE_BYTES = 64 * MIB
WRITER_PREFIX = "writer-"
"""Of the directories beside the log's own, each with the chain of another process."""
_NAME = re.compile(r"audit-([0-9]{6,})\.jsonl")
_END_BYTES = (64 * 1024, 1 * MIB, 16 * MIB)  # the last is more than any line has
_LOCK_DEADLINE_S = 5.0
_LOCK_PAUSE_S = 0.005


def audit_files(directory: Path) -> list[Path]:
    """The chain's files, oldest first."""
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if _NAME.fullmatch(path.name))


class AuditFiles:
    """Appends events to the newest file. Several processes may: each takes up the others' head."""

    def __init__(self, directory: Path, file_bytes: int = FILE_BYTES) -> None:
        self._directory = directory
        self._file_bytes = file_bytes
        self._seen: tuple[Path, int] | None = None
        self._head = Head()

    def append(self, events: Sequence[Mapping[str, Any]]) -> Head:
        """Write the events, durably, and return the head after them.

        Raises OSError, and TimeoutError when another process keeps the chain to itself: one that was stopped.
        """
        with self._locked():
            path = self._take_up()
            with open(open_private(path, os.O_WRONLY | os.O_APPEND), "ab") as file:
                size = file.tell()
                file.write(self._linked(events))
                file.flush()
                os.fdatasync(file.fileno())
                self._seen = (path, file.tell())
            if size == 0:
                sync(self._directory)
        return self._head

    @property
    def newest(self) -> Path | None:
        """The file that was written to last."""
        return None if self._seen is None else self._seen[0]

    def close(self) -> None:
        """Nothing is kept open between two appends."""

    def _linked(self, events: Sequence[Mapping[str, Any]]) -> bytes:
        lines = []
        for event in events:
            link = link_event(event, self._head)
            lines.append(link.line)
            self._head = link.head
        return b"".join(lines)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, whichever process it is in: the chain does not fork."""
        make_private_directory(self._directory)
        with open(open_private(self._directory / ".lock", os.O_RDWR)) as lock:
            _wait_for(lock.fileno())
            try:
                yield
            except BaseException:
                self._seen = None
                raise

    def _take_up(self) -> Path:
        """The file to write to, with the head of what is there."""
        files = audit_files(self._directory)
        newest = files[-1] if files else self._directory / "audit-000001.jsonl"
        size = newest.stat().st_size if files else 0
        if self._seen != (newest, size):
            self._head = self._read_head(files)
            size = newest.stat().st_size if files else 0
        return _after(newest) if size >= self._file_bytes else newest

    def _read_head(self, files: Sequence[Path]) -> Head:
        """The last whole line's head. A line that a crash cut short is taken off, and that is an event."""
        for path in reversed(files):
            torn = _torn_end(path)
            line = _last_line(path, len(torn))
            head = _head_of(line)
            if torn:
                self._mend(path, torn, head)
                return self._head
            if line:
                return head
        return Head()

    def _mend(self, path: Path, torn: bytes, head: Head) -> None:
        digest = hashlib.sha256(torn).hexdigest()
        event = {"event": "audit.torn_line_removed", "bytes": len(torn), "sha256": digest}
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - len(torn))
            file.seek(0, os.SEEK_END)
            self._head = head
            file.write(self._linked([event]))


def _wait_for(lock: int) -> None:
    deadline_s = time.monotonic() + _LOCK_DEADLINE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                reason = "another process has kept the log's lock"
                raise TimeoutError(errno.ETIMEDOUT, reason) from None
        time.sleep(_LOCK_PAUSE_S)


def _after(path: Path) -> Path:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return path.with_name(f"audit-{int(match[1]) + 1:06d}.jsonl")


def _end_of(path: Path) -> bytes:
    """As much of the end as holds the last whole line, and what is torn after it."""
    size, end = path.stat().st_size, b""
    with path.open("rb") as file:
        for span in _END_BYTES:
            file.seek(max(0, size - span))
            end = file.read()
            if span >= size or end.count(b"\n") > 1:
                break
    return end


def last_head(path: Path) -> Head:
    """The head after the file's last whole line; the empty one for a file that is gone."""
    try:
        return _head_of(_last_line(path, len(_torn_end(path))))
    except FileNotFoundError:
        return Head()


def _torn_end(path: Path) -> bytes:
    return _end_of(path).rpartition(b"\n")[2]


def _last_line(path: Path, torn_bytes: int) -> bytes:
    whole = _end_of(path)
    whole = whole[: len(whole) - torn_bytes]
    return whole[whole.rfind(b"\n", 0, -1) + 1 :]


def _head_of(line: bytes) -> Head:
    """Whatever the last line is, the log goes on after it; verifying tells what is wrong with it."""
    try:
        return check_line(line, None) if line else Head()
    except BrokenChain:
        return Head(0, hashlib.sha256(line).hexdigest())


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verifying found. `fault` is None for a chain that holds; `seen` are the noted heads in it."""

    lines: int
    first_seq: int
    head: Head
    fault: str | None = None
    seen: frozenset[Head] = frozenset()


def verify(directory: Path, noted: Collection[Head] = ()) -> Verdict:
    """Check every line of every file; the first broken one is the fault, by file and line.

    `noted` are heads that were printed before: a chain that no longer holds its own was cut or rewritten.
    """
    verdict = Verdict(0, 0, Head())
    for path in audit_files(directory):
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    verdict = _after_line(verdict, line, noted)
                except BrokenChain as error:
                    return replace(verdict, fault=f"{path.name}, line {number}: {error}")
    return verdict


def _after_line(verdict: Verdict, line: bytes, noted: Collection[Head]) -> Verdict:
    head = check_line(line, verdict.head if verdict.lines else None)
    seen = verdict.seen | {head} if head in noted else verdict.seen
    return Verdict(verdict.lines + 1, verdict.first_seq or head.seq, head, seen=seen)
