"""What is kept on disk is for the service's user only, however wide its umask is."""

import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandbox_service.domain.ids import new_id
from sandbox_service.domain.values import ArtifactRecord
from sandbox_service.files.blobs import DirectoryBlobStore
from sandbox_service.files.catalog import SqliteArtifactCatalog
from sandbox_service.files.link_marks import DirectoryLinkMarks
from sandbox_service.files.links import load_or_make_key
from sandbox_service.private_files import take_private_directory


@pytest.fixture(autouse=True)
def _wide_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


async def _content() -> AsyncIterator[bytes]:
    yield b"secret"


def artifact() -> ArtifactRecord:
    now = datetime.now(UTC)
    return ArtifactRecord(
        id=new_id("art"),
        tenant="acme",
        session_id="sess_1",
        execution_id="exec_1",
        path="a.txt",
        size=6,
        media_type="text/plain",
        sha256="",
        created_at=now,
        expires_at=now,
    )


async def test_artifacts_their_records_and_keys_are_private(tmp_path: Path) -> None:
    data = tmp_path / "a" / "data"
    root, record = data / "artifacts", artifact()
    await DirectoryBlobStore(root).put(record.id, _content(), 100)
    catalog = SqliteArtifactCatalog(root)
    await catalog.add([record])
    DirectoryLinkMarks(root).renew(record.id, 1)
    load_or_make_key(data / "link.key")
    made = [tmp_path / "a", *(tmp_path / "a").rglob("*")]
    names = {path.name.partition(".")[0] for path in made if path.is_file()}
    assert names == {record.id, "link", "catalog"}
    assert [path for path in made if path.stat().st_mode & 0o077] == []
    catalog.close()


def test_a_directory_that_others_were_let_into_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "artifacts").mkdir(mode=0o755)
    take_private_directory(tmp_path / "artifacts")
    assert (tmp_path / "artifacts").stat().st_mode & 0o777 == 0o700
