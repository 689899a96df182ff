"""What every BlobStore promises, over each implementation; then what a directory adds."""

import asyncio
import errno
import hashlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sandbox_service.domain.errors import NotFound, SandboxLost, TooLarge, Unavailable
from sandbox_service.domain.ports import BlobStore
from sandbox_service.files.blobs import CHUNK_BYTES, DirectoryBlobStore
from sandbox_service.files.catalog import SqliteArtifactCatalog
from sandbox_service.files.strays import remove_strays
from sandbox_service.files.threads import storage_error
from tests.contract.test_artifact_catalog import artifact

LIMIT = 16 * CHUNK_BYTES


async def chunked(data: bytes, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(store: BlobStore, key: str) -> bytes:
    async with store.open(key) as stream:
        data = b"".join([chunk async for chunk in stream.chunks])
        assert stream.size == len(data)
    return data


def files_in(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture(params=["directory"])
def store(request: pytest.FixtureRequest, root: Path) -> BlobStore:
    return {"directory": lambda: DirectoryBlobStore(root)}[request.param]()


@pytest.mark.parametrize(
    "size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 7]
)
async def test_bytes_come_back_as_they_went_in(store: BlobStore, size: int) -> None:
    """With their size and digest, for sizes around the batches."""
    data = os.urandom(size)
    blob = await store.put("art_1", chunked(data), LIMIT)
    assert (blob.key, blob.size) == ("art_1", size)
    assert blob.sha256 == hashlib.sha256(data).hexdigest()
    assert await read(store, "art_1") == data


async def test_an_unknown_key_is_not_found(store: BlobStore) -> None:
    """Whatever the key looks like."""
    for key in ("art_none", "../../etc/passwd", "", "a/b", "a\0"):
        with pytest.raises(NotFound):
            async with store.open(key):
                pass


async def test_deleting_is_idempotent(store: BlobStore) -> None:
    """The second time is as good as the first."""
    await store.put("art_1", chunked(b"x"), LIMIT)
    await store.delete("art_1")
    await store.delete("art_1")
    with pytest.raises(NotFound):
        await read(store, "art_1")


async def test_the_limit_is_exact(store: BlobStore) -> None:
    """So many bytes are taken, one more is not."""
    await store.put("art_1", chunked(b"x" * 100), 100)
    with pytest.raises(TooLarge):
        await store.put("art_2", chunked(b"x" * 101), 100)
    with pytest.raises(NotFound):
        await read(store, "art_2")


async def test_a_blob_that_is_open_survives_its_deletion(store: BlobStore) -> None:
    """A download goes on to its end."""
    data = os.urandom(3 * CHUNK_BYTES)
    await store.put("art_1", chunked(data), LIMIT)
    async with store.open("art_1") as stream:
        await store.delete("art_1")
        assert b"".join([chunk async for chunk in stream.chunks]) == data


async def test_many_at_once_do_not_mix(store: BlobStore) -> None:
    """Each key holds its own bytes."""
    blobs = {f"art_{n}": os.urandom(2 * CHUNK_BYTES) for n in range(8)}
    await asyncio.gather(*(store.put(key, chunked(data), LIMIT) for key, data in blobs.items()))
    for key, data in blobs.items():
        assert await read(store, key) == data


@pytest.mark.parametrize("sent", [10, CHUNK_BYTES * 2 + 5])
async def test_nothing_is_left_when_the_source_breaks(
    store: BlobStore, root: Path, sent: int
) -> None:
    """The error comes through; no blob and no draft stays."""

    async def breaks() -> AsyncIterator[bytes]:
        async for chunk in chunked(b"x" * sent):
            yield chunk
        raise SandboxLost("gone")

    with pytest.raises(SandboxLost):
        await store.put("art_1", breaks(), LIMIT)
    assert files_in(root) == []


async def test_nothing_is_left_of_one_too_large(store: BlobStore, root: Path) -> None:
    """Even when most of it was written already."""
    with pytest.raises(TooLarge):
        await store.put("art_1", chunked(b"x" * 4 * CHUNK_BYTES), 3 * CHUNK_BYTES)
    assert files_in(root) == []


@pytest.mark.parametrize("steps", range(12))
async def test_nothing_is_left_when_cancelled(store: BlobStore, root: Path, steps: int) -> None:
    """Wherever the cancellation strikes: all of the blob or nothing."""
    put = asyncio.create_task(store.put("art_1", chunked(b"x" * 2 * CHUNK_BYTES), LIMIT))
    for _ in range(steps):
        await asyncio.sleep(0.0005)
    put.cancel()
    await asyncio.wait([put])
    if put.cancelled():
        assert files_in(root) == []
    else:
        assert put.result().size == 2 * CHUNK_BYTES


async def test_a_cancelled_source_leaves_nothing(store: BlobStore, root: Path) -> None:
    """A transfer that hangs half way and is given up."""
    is_waiting = asyncio.Event()

    async def hangs() -> AsyncIterator[bytes]:
        yield b"x" * 2 * CHUNK_BYTES
        is_waiting.set()
        await asyncio.Event().wait()

    put = asyncio.create_task(store.put("art_1", hangs(), LIMIT))
    await is_waiting.wait()
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    assert files_in(root) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    mount = tmp_path / "tiny"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)], capture_output=True
    )
    if made.returncode != 0:
        pytest.skip("mounting needs root")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


async def test_a_full_disk_is_told_and_leaves_room(tiny_disk: Path) -> None:
    """`storage_full`, retryable; what was written is removed, so a small blob still fits."""
    store = DirectoryBlobStore(tiny_disk)
    with pytest.raises(Unavailable) as refusal:
        await store.put("art_1", chunked(os.urandom(4 * CHUNK_BYTES)), LIMIT)
    assert refusal.value.code == "storage_full"
    assert files_in(tiny_disk) == []
    await store.put("art_2", chunked(b"small"), LIMIT)
    assert await read(store, "art_2") == b"small"


async def test_a_root_that_is_a_file_is_a_storage_failure(tmp_path: Path) -> None:
    """Told in our words, not as a traceback."""
    root = tmp_path / "file"
    root.write_bytes(b"")
    with pytest.raises(Unavailable) as refusal:
        await DirectoryBlobStore(root).put("art_1", chunked(b"x"), LIMIT)
    assert refusal.value.code == "storage_unavailable"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_every_way_of_being_full_has_one_name(number: int) -> None:
    """Quota, file size and disk alike."""
    assert storage_error(OSError(number, "")).code == "storage_full"


async def test_strays_are_removed_after_their_grace(root: Path) -> None:
    """Drafts and blobs without a record go; what has a record, and what is young, stays."""
    store = DirectoryBlobStore(root)
    for key in ("art_kept", "art_stray", "art_young"):
        await store.put(key, chunked(b"x"), LIMIT)
    paths = {path.name: path for path in files_in(root)}
    kept, stray = paths["art_kept"], paths["art_stray"]
    draft = stray.with_name("art_x.0123.draft")
    draft.write_bytes(b"half")
    for path in (kept, stray, draft):
        os.utime(path, (1, 1))
    catalog = SqliteArtifactCatalog(root)
    await catalog.add([artifact(id="art_kept")])
    assert await remove_strays(root, catalog, grace_s=3600) == 2
    catalog.close()
    shards = {path.name for path in files_in(root) if path.parent != root}
    assert shards == {"art_kept", "art_young"}


@pytest.mark.parametrize("first", [0, 1, 1024 * 1024, 2_999_999, 3_000_000, 9_000_000])
async def test_a_blob_is_opened_at_any_byte(store: DirectoryBlobStore, first: int) -> None:
    content = bytes(range(250)) * 12_000
    await store.put("art_1", chunked(content), len(content))
    async with store.open("art_1", first) as stream:
        assert stream.size == len(content[first:])
        assert b"".join([chunk async for chunk in stream.chunks]) == content[first:]
