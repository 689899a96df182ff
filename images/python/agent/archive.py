"""The workspace as a tar stream, written piece by piece."""

import os
import tarfile
from collections.abc import Iterator

from agent.changes import Entry, walk
from agent.http import AgentError
from agent.workspace import Workspace

_CHUNK_BYTES = 256 * 1024
_END = b"\0" * (2 * tarfile.BLOCKSIZE)


def archive(workspace: Workspace) -> Iterator[bytes]:
    """Regular files and directories, in pax format; what changes meanwhile keeps its first size."""
    for entry in walk(workspace.root):
        if entry.is_directory:
            yield _header(entry, 0)
            continue
        try:
            fd = workspace.open(entry.name.split(b"/"))
        except AgentError:
            continue
        try:
            yield from _file(entry, fd)
        finally:
            os.close(fd)
    yield _END


def _file(entry: Entry, fd: int) -> Iterator[bytes]:
    size = left = os.fstat(fd).st_size
    yield _header(entry, size)
    while left and (chunk := os.read(fd, min(left, _CHUNK_BYTES))):
        left -= len(chunk)
        yield chunk
    while left:
        piece = b"\0" * min(left, _CHUNK_BYTES)
        left -= len(piece)
        yield piece
    yield b"\0" * (-size % tarfile.BLOCKSIZE)


def _header(entry: Entry, size: int) -> bytes:
    header = tarfile.TarInfo(os.fsdecode(entry.name))
    header.size = size
    header.mtime = entry.status.st_mtime_ns // 10**9
    header.mode = 0o755 if entry.is_directory else 0o644
    header.type = tarfile.DIRTYPE if entry.is_directory else tarfile.REGTYPE
    return header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
