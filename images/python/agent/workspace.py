"""The files of the workspace, reached part by part so that no symbolic link is ever followed."""

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import AsyncIterator, Iterator
from itertools import islice

from agent.changes import Changes, Entry, walk
from agent.http import AgentError
from agent.names import encode, upload_name

MAX_ENTRIES = 10_000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_A_FILE = frozenset(
    {
        errno.ENOTDIR,
        errno.ELOOP,
        errno.EISDIR,
        errno.EEXIST,
        errno.ENOTEMPTY,
        errno.EACCES,
        errno.ENXIO,
    }
)


class Workspace:
    """Names come as their parts (see names.py); every method raises AgentError."""

    def __init__(self, root: str, changes: Changes) -> None:
        self.root = os.fsencode(root)
        self._changes = changes

    def entries(self, below: bytes) -> tuple[list[Entry], bool]:
        """The entries below a directory, sorted by name, and whether some were left out."""
        entries = list(islice(walk(self.root, below), MAX_ENTRIES + 1))
        entries.sort(key=lambda entry: entry.name)
        return entries[:MAX_ENTRIES], len(entries) > MAX_ENTRIES

    def open(self, parts: list[bytes]) -> int:
        """A descriptor of a regular file."""
        with _as_agent_errors(), self._parent(parts, make=False) as parent:
            fd = os.open(parts[-1], _READ, dir_fd=parent)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise AgentError("not_a_file", "the name is not that of a regular file")
        return fd

    async def write(self, parts: list[bytes], chunks: AsyncIterator[bytes]) -> Entry:
        """Replace or create the file, all or nothing; makes parent directories."""
        beside = upload_name(secrets.token_hex(8))
        with _as_agent_errors(), self._parent(parts, make=True) as parent:
            try:
                status = await _write_file(beside, parent, chunks)
                os.rename(beside, parts[-1], src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(beside, dir_fd=parent)
                raise
            status = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
        name = b"/".join(parts)
        self._changes.note(name, status)
        return Entry(name, status)

    def delete(self, parts: list[bytes]) -> None:
        """Remove a file or a link, or a directory with all that is in it."""
        with _as_agent_errors(), self._parent(parts, make=False) as parent:
            status = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                shutil.rmtree(parts[-1], dir_fd=parent)
            else:
                os.unlink(parts[-1], dir_fd=parent)

    @contextlib.contextmanager
    def _parent(self, parts: list[bytes], *, make: bool) -> Iterator[int]:
        """A descriptor of the directory that the last part is in."""
        fd = os.open(self.root, _DIRECTORY)
        try:
            for part in parts[:-1]:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=fd)
                below = _open_directory(part, fd)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)


def _open_directory(name: bytes, parent: int) -> int:
    """A descriptor of a directory that is no link: gVisor follows one in spite of O_NOFOLLOW."""
    named = os.stat(name, dir_fd=parent, follow_symlinks=False)
    fd = os.open(name, _DIRECTORY, dir_fd=parent)
    found = os.fstat(fd)
    if (named.st_dev, named.st_ino) != (found.st_dev, found.st_ino):
        os.close(fd)
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return fd


def described(entry: Entry) -> dict[str, object]:
    """The entry as the protocol has it."""
    return {
        "name": encode(entry.name),
        "type": "directory" if entry.is_directory else "file",
        "size": 0 if entry.is_directory else entry.status.st_size,
        "mtime_ns": entry.status.st_mtime_ns,
    }


async def _write_file(name: bytes, parent: int, chunks: AsyncIterator[bytes]) -> os.stat_result:
    fd = os.open(name, _CREATE, 0o644, dir_fd=parent)
    try:
        async for chunk in chunks:
            view = memoryview(chunk)
            while view:
                view = view[os.write(fd, view) :]
        return os.fstat(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _as_agent_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise AgentError("not_found", "there is no such file") from None
    except OSError as error:
        if error.errno in _FULL:
            raise AgentError("workspace_full", "the workspace has no room") from None
        if error.errno in _NOT_A_FILE:
            raise AgentError("not_a_file", os.strerror(error.errno)) from None
        if error.errno == errno.ENAMETOOLONG:
            raise AgentError("invalid_name", "the name is too long") from None
        raise
