"""Files that a power cut leaves as they were or as they are to be: on the disk before anybody is told of them."""

import os
from collections.abc import Callable
from pathlib import Path

Sync = Callable[[Path], None]


def sync(path: Path) -> None:
    """Return when the file's bytes, or a directory's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put_in_place(draft: Path, path: Path, sync: Sync = sync) -> None:
    """Give what was written to `draft` its name, in place of what had it."""
    sync(draft)
    draft.replace(path)
    sync(path.parent)
