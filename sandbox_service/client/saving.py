"""Names from a sandbox as files of this machine: below their directory, and never over another."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from sandbox_service.client.errors import ProtocolError

LONGEST_NAME_BYTES = 200
"""Of one part of a path: room for a number within the 255 that file systems take."""

# Control characters, what some file systems refuse, and halves of surrogate pairs.
_REFUSED = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\\ud800-\udfff]')


def strict_path(name: str) -> PurePosixPath:
    """`name` as a path that stays below its directory. Raises ProtocolError for any other."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ProtocolError(f"not a file name to save under: {name!r}")
    return path


def safe_path(name: str) -> PurePosixPath:
    """The nearest path to `name` that stays below its directory and that any file system takes."""
    parts = [_safe_part(part) for part in name.split("/") if part.strip(". ")]
    return PurePosixPath(*parts or ["file"])


def _safe_part(part: str) -> str:
    cleaned = _REFUSED.sub("_", part)
    if len(cleaned.encode()) <= LONGEST_NAME_BYTES:
        return cleaned
    stem, suffix = os.path.splitext(cleaned)
    suffix = suffix if len(suffix.encode()) <= 20 else ""
    room = LONGEST_NAME_BYTES - len(suffix.encode())
    return stem.encode()[:room].decode(errors="ignore") + suffix


def claim(directory: Path, name: str) -> Path:
    """An empty new file for `name` below `directory`, numbered if there is one already."""
    *folders, last = safe_path(name).parts
    for folder in folders:
        directory = _subdirectory(directory, folder)
    directory.mkdir(parents=True, exist_ok=True)
    for path in _numbered(directory, last):
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            return path
    raise AssertionError("numbers do not end")


@contextmanager
def claimed(directory: Path, name: str) -> Iterator[Path]:
    """A file for `name`, as `claim` makes it; gone again when the block fails."""
    target = claim(directory, name)
    try:
        yield target
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _subdirectory(directory: Path, name: str) -> Path:
    """A directory of that name; a file or a link of that name is left alone."""
    for path in _numbered(directory, name):
        if not path.is_symlink() and (path.is_dir() or not path.exists()):
            return path
    raise AssertionError("numbers do not end")


def _numbered(directory: Path, name: str) -> Iterator[Path]:
    yield directory / name
    stem, suffix = os.path.splitext(name)
    for number in count(2):
        yield directory / f"{stem}-{number}{suffix}"


@contextmanager
def written(target: Path) -> Iterator[BinaryIO]:
    """A file that appears as `target` when the block ends well, and not at all otherwise."""
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
