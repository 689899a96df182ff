"""A BlobStore in a directory of this machine: one file per blob."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from sandbox_service.domain.errors import NotFound, TooLarge
from sandbox_service.domain.ports import Blob, FileStream
from sandbox_service.durable_files import Sync, put_in_place, sync
from sandbox_service.files.places import draft_of, is_key, place
from sandbox_service.files.threads import in_thread
from sandbox_service.private_files import make_private_directory, open_private

CHUNK_BYTES = 1024 * 1024


class DirectoryBlobStore:
    """Keeps each blob as a file under `root`, which is made when first needed.

    Readers see all of a blob or nothing; one that was put is on the disk. Nothing is left of a `put` that
    failed or was cancelled.
    A blob of up to 1 MiB costs one thread hop each way.
    """

    def __init__(self, root: Path, sync: Sync = sync) -> None:
        self._root = root
        self._sync = sync

    async def put(self, key: str, chunks: AsyncIterator[bytes], max_bytes: int) -> Blob:
        """Store what `chunks` yield. Raises TooLarge above `max_bytes`, Unavailable (disk)."""
        draft = _Draft(place(self._root, key), self._sync)
        try:
            async for batch in _batches(chunks, max_bytes):
                await in_thread(partial(draft.write, batch))
        except BaseException:
            await in_thread(draft.discard)
            raise
        return Blob(key, draft.size, draft.sha256)

    @asynccontextmanager
    async def open(self, key: str, first: int = 0) -> AsyncIterator[FileStream]:
        """The bytes from number `first` on, and how many. Raises NotFound, Unavailable (disk)."""
        opened = partial(_opened, self._root, key, first)
        blob = await in_thread(opened) if is_key(key) else None
        if blob is None:
            raise NotFound("No such blob.")
        try:
            yield FileStream(blob.size, _chunks(blob))
        finally:
            blob.file.close()

    async def delete(self, key: str) -> None:
        """Remove the blob, if it is there."""
        await in_thread(partial(place(self._root, key).unlink, missing_ok=True))


@dataclass(frozen=True, slots=True)
class _Batch:
    pieces: list[bytes]
    is_last: bool


async def _batches(chunks: AsyncIterator[bytes], max_bytes: int) -> AsyncIterator[_Batch]:
    """The chunks in batches of about CHUNK_BYTES, so that small ones do not cost a hop each."""
    pieces: list[bytes] = []
    waiting = total = 0
    async for chunk in chunks:
        pieces.append(chunk)
        waiting += len(chunk)
        total += len(chunk)
        if total > max_bytes:
            raise TooLarge(f"The file is larger than {max_bytes} bytes.")
        if waiting > CHUNK_BYTES:
            yield _Batch(pieces, is_last=False)
            pieces, waiting = [], 0
    yield _Batch(pieces, is_last=True)


class _Draft:
    """A blob as it is written; it gets its name with the last batch. For one thread at a time."""

    def __init__(self, path: Path, sync: Sync) -> None:
        self.size = 0
        self._sync = sync
        self._path = path
        self._draft = draft_of(path)
        self._file: BinaryIO | None = None
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, batch: _Batch) -> None:
        if self._file is None:
            make_private_directory(self._path.parent)
            self._file = open(self._draft, "xb", buffering=0, opener=open_private)  # noqa: SIM115 - closed below
        for piece in batch.pieces:
            self._write_all(self._file, piece)
        if batch.is_last:
            self._file.close()
            put_in_place(self._draft, self._path, self._sync)

    def _write_all(self, file: BinaryIO, piece: bytes) -> None:
        self._hash.update(piece)
        self.size += len(piece)
        rest = memoryview(piece)
        while rest:
            rest = rest[file.write(rest) :]

    def discard(self) -> None:
        """Remove what was written, named or not: a key is written once, so nobody loses by it."""
        if self._file is None:
            return
        self._file.close()
        if self._draft.exists():
            self._draft.unlink()
        else:
            self._path.unlink(missing_ok=True)


@dataclass(slots=True)
class _OpenBlob:
    file: BinaryIO
    size: int
    first: bytes


def _opened(root: Path, key: str, first: int) -> _OpenBlob | None:
    """The blob with its first chunk read, so that a small one needs no other hop."""
    path = place(root, key)
    try:
        file = path.open("rb", buffering=0)
    except FileNotFoundError:
        return None
    try:
        size = max(0, path.stat().st_size - first)
        file.seek(first)
        return _OpenBlob(file, size, file.read(CHUNK_BYTES))
    except BaseException:
        file.close()
        raise


async def _chunks(blob: _OpenBlob) -> AsyncIterator[bytes]:
    chunk, left = blob.first, blob.size
    while chunk:
        yield chunk
        left -= len(chunk)
        if left <= 0:
            return
        chunk = await in_thread(partial(blob.file.read, CHUNK_BYTES))
