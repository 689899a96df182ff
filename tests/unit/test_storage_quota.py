"""Stored files against their tenant's quota: counted before they come, and given back when they go."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sandbox_service.domain.errors import SandboxLost
from sandbox_service.domain.ports import ChangedFile, FileStream
from sandbox_service.domain.quota_rules import SharedRoom, TenantLimits
from sandbox_service.files.artifacts import ArtifactOwner, Artifacts
from sandbox_service.files.blobs import DirectoryBlobStore
from sandbox_service.files.catalog import SqliteArtifactCatalog
from sandbox_service.tenants.quotas import MemoryQuotas
from tests.support.fakes import SteppedClock

LIMIT = 3 << 20
OWNER = ArtifactOwner("acme", "sess_1", "exec_1")


class FilesOfALiar:
    """Files of `size` bytes, whatever was said of them; `breaks` loses the sandbox at the end."""

    def __init__(self, size: int, *, breaks: bool = False) -> None:
        self._size = size
        self._breaks = breaks

    @asynccontextmanager
    async def read(self, path: str) -> AsyncIterator[FileStream]:
        yield FileStream(1, self._chunks())

    async def _chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, self._size, 1 << 16):
            yield bytes(min(1 << 16, self._size - start))
        if self._breaks:
            raise SandboxLost("gone")


@pytest.fixture
def quotas() -> MemoryQuotas:
    limits = TenantLimits(stored_bytes=LIMIT)
    room = SharedRoom(8, frozenset)
    return MemoryQuotas(lambda tenant: limits, room, SteppedClock())


@pytest.fixture
def artifacts(tmp_path: Path, quotas: MemoryQuotas) -> Artifacts:
    blobs, catalog = DirectoryBlobStore(tmp_path), SqliteArtifactCatalog(tmp_path)
    return Artifacts(blobs, catalog, SteppedClock(), quotas=quotas)


KEPT = [(1000, 1000, 1), (1000, 10, 1), (10, 1000, 1), (0, LIMIT, 1), (0, LIMIT + 1, 0)]


@pytest.mark.parametrize(("said", "size", "kept"), KEPT)
async def test_what_is_counted_is_what_is_kept_whatever_was_said(
    artifacts: Artifacts, quotas: MemoryQuotas, said: int, size: int, kept: int
) -> None:
    changed = [ChangedFile("a", said)]
    collected = await artifacts.collect(FilesOfALiar(size), changed, OWNER)  # type: ignore[arg-type]
    assert len(collected.records) == kept
    assert quotas.stored("acme") == size * kept
    assert dict(await artifacts.stored_bytes()) == ({"acme": size} if kept else {})


async def test_a_file_that_did_not_come_whole_is_not_counted(
    artifacts: Artifacts, quotas: MemoryQuotas
) -> None:
    files = FilesOfALiar(1 << 20, breaks=True)
    collected = await artifacts.collect(files, [ChangedFile("a", 9)], OWNER)  # type: ignore[arg-type]
    assert (collected.records, quotas.stored("acme")) == ((), 0)


async def test_a_deleted_file_is_given_back_once(
    artifacts: Artifacts, quotas: MemoryQuotas
) -> None:
    changed = [ChangedFile("a", 1), ChangedFile("b", 1)]
    collected = await artifacts.collect(FilesOfALiar(100), changed, OWNER)  # type: ignore[arg-type]
    for _ in range(2):
        await artifacts.delete(collected.records[0])
    assert quotas.stored("acme") == 100
