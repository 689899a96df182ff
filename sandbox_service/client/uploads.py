"""What can be uploaded: a local file, bytes, an open file, or chunks as they come."""

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

CHUNK_BYTES = 1024 * 1024

Source = str | Path | bytes | BinaryIO | Iterable[bytes] | AsyncIterable[bytes]
"""A `str` is the path of a local file, as is a Path."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file on its way. `size` is None when it is not known before the end."""

    name: str
    chunks: Callable[[], AsyncIterator[bytes]]
    size: int | None = None
    is_repeatable: bool = True

    @property
    def headers(self) -> dict[str, str]:
        length = {} if self.size is None else {"Content-Length": str(self.size)}
        return {"Content-Type": "application/octet-stream", **length}


async def open_upload(source: Source, name: str | None) -> Upload:
    """The upload of `source`, under its own name unless another is given. Raises OSError.

    Raises ValueError when there is no name: bytes and streams have none of their own.
    """
    match source:
        case str() | Path():
            size = (await asyncio.to_thread(os.stat, source)).st_size
            path = Path(source)
            return Upload(name or path.name, lambda: _chunks_of_path(path), size)
        case bytes():
            return Upload(_named(name), lambda: _chunks_of_bytes(source), len(source))
    if hasattr(source, "read"):
        return _of_file(cast(BinaryIO, source), name)
    if isinstance(source, AsyncIterable):
        return Upload(_named(name), lambda: aiter(source), is_repeatable=False)
    return Upload(_named(name), lambda: _chunks_of(source), is_repeatable=False)


def _of_file(file: BinaryIO, name: str | None) -> Upload:
    """From where the file stands now to its end."""
    own_name = getattr(file, "name", None)
    name = _named(name or (Path(own_name).name if isinstance(own_name, str) else None))
    if not file.seekable():
        return Upload(name, lambda: _chunks_of_file(file, None), is_repeatable=False)
    start = file.tell()
    return Upload(name, lambda: _chunks_of_file(file, start))


def _named(name: str | None) -> str:
    if not name:
        raise ValueError("what is uploaded needs a name")
    return name


async def _chunks_of_path(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk


async def _chunks_of_bytes(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), CHUNK_BYTES):
        yield content[start : start + CHUNK_BYTES]


async def _chunks_of_file(file: BinaryIO, start: int | None) -> AsyncIterator[bytes]:
    if start is not None:
        await asyncio.to_thread(file.seek, start)
    while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
        if not isinstance(chunk, bytes):
            raise TypeError("a file is uploaded as bytes: open it in binary mode")
        yield chunk


async def _chunks_of(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Each is made in a thread: it may take its time."""
    source = iter(chunks)
    while (chunk := await asyncio.to_thread(next, source, None)) is not None:
        yield chunk
