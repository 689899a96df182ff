"""What changed in the workspace since the last look, told by inode, size and times."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from agent.names import encode, is_hidden

MAX_CHANGES = 1000
MAX_NAME_BYTES = 1024 * 1024
_MAX_ENTRIES = 50_000
_Mark = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """A regular file or a directory below the workspace; `name` is relative."""

    name: bytes
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)


class Changes:
    """Remembers each file; what the service itself writes is noted and is not a change."""

    def __init__(self, root: str) -> None:
        self._root = os.fsencode(root)
        self._known: dict[bytes, _Mark] = {}
        self.since_last()

    def since_last(self) -> dict[str, object]:
        """`changed` and `changes_truncated` as an execution's last line has them."""
        found: dict[bytes, _Mark] = {}
        changed: list[dict[str, object]] = []
        seen = 0
        for seen, entry in enumerate(walk(self._root), start=1):
            if seen > _MAX_ENTRIES:
                break
            if not entry.is_directory:
                mark = _mark(entry.status)
                found[entry.name] = mark
                if self._known.get(entry.name) != mark:
                    changed.append({"name": encode(entry.name), "size": entry.status.st_size})
        self._known = found
        told = _fitting(changed[:MAX_CHANGES])
        truncated = len(told) < len(changed) or seen > _MAX_ENTRIES
        return {"changed": told, "changes_truncated": truncated}

    def note(self, name: bytes, status: os.stat_result) -> None:
        """The service has written this file."""
        self._known[name] = _mark(status)


def _fitting(changed: list[dict[str, object]]) -> list[dict[str, object]]:
    """As many as have MAX_NAME_BYTES of names."""
    left = MAX_NAME_BYTES
    for count, one in enumerate(changed):
        left -= len(str(one["name"]))
        if left < 0:
            return changed[:count]
    return changed


def walk(root: bytes, below: bytes = b"") -> Iterator[Entry]:
    """Every regular file and directory below `root`/`below`, however deep; never follows a symbolic link."""
    open_directories = [_entries_of(root, below)]
    while open_directories:
        entry = next(open_directories[-1], None)
        if entry is None:
            open_directories.pop()
            continue
        yield entry
        if entry.is_directory:
            open_directories.append(_entries_of(root, entry.name))


def _entries_of(root: bytes, below: bytes) -> Iterator[Entry]:
    try:
        with os.scandir(os.path.join(root, below)) as listing:
            found = sorted(listing, key=lambda item: item.name)
    except OSError:
        return
    for item in found:
        try:
            status = item.stat(follow_symlinks=False)
        except OSError:
            continue
        is_file = stat.S_ISREG(status.st_mode) and not is_hidden(item.name)
        if is_file or stat.S_ISDIR(status.st_mode):
            yield Entry(os.path.join(below, item.name), status)


def _mark(status: os.stat_result) -> _Mark:
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
