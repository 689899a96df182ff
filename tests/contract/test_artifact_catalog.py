"""What every ArtifactCatalog promises, over each implementation; then what a database in a directory adds."""

import asyncio
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sandbox_service.domain.errors import RateLimited, Unavailable
from sandbox_service.domain.ids import new_id
from sandbox_service.domain.ports import FileCounts
from sandbox_service.domain.values import ArtifactRecord
from sandbox_service.files.catalog import FILE_NAME, SqliteArtifactCatalog
from sandbox_service.files.link_marks import DirectoryLinkMarks

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def artifact(expires_in_s: float = 60.0, **changes: object) -> ArtifactRecord:
    record = ArtifactRecord(
        id=new_id("art"),
        tenant="acme",
        session_id="sess_1",
        execution_id="exec_1",
        path="out/图 1.png",
        size=3,
        media_type="image/png",
        sha256="0" * 64,
        created_at=NOW,
        expires_at=NOW + timedelta(seconds=expires_in_s),
    )
    return record.model_copy(update=changes)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


class Make:
    """Opens the catalog, each time as a service that has been restarted would."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.opened: list[SqliteArtifactCatalog] = []

    def __call__(self) -> SqliteArtifactCatalog:
        self.opened.append(SqliteArtifactCatalog(self._root))
        return self.opened[-1]


@pytest.fixture(params=["sqlite"])
def make(root: Path) -> Iterator[Make]:
    make = Make(root)
    yield make
    for catalog in make.opened:
        catalog.close()


async def test_a_record_survives_a_restart(make: Make) -> None:
    """What was added is there for the next process, equal in every field."""
    record = artifact()
    await make().add([record])
    assert await make().get(record.id) == record


async def test_unknown_ids_are_none(make: Make) -> None:
    """Whatever they look like."""
    for artifact_id in ("art_none", "", "../x", "a/b", "a\0", "x" * 500, "art_\udcff"):
        assert await make().get(artifact_id) is None


async def test_deleting_is_idempotent(make: Make) -> None:
    """And tells what was there, so that of two who delete at once one gives the room back."""
    catalog, record = make(), artifact()
    await catalog.add([record])
    assert await catalog.delete([record.id, "art_none"]) == {record.id}
    assert await make().delete([record.id]) == frozenset()
    assert await catalog.get(record.id) is None
    assert await catalog.due(NOW + timedelta(days=1), 10) == []


async def test_due_are_those_whose_time_is_over_oldest_first(make: Make) -> None:
    """And never more than asked for."""
    catalog = make()
    records = {s: artifact(s) for s in (30.0, -10.0, 10.0, -20.0, 0.0)}
    for record in records.values():
        await catalog.add([record])
    assert await catalog.due(NOW, 10) == [records[-20.0], records[-10.0]]
    assert await catalog.due(NOW, 1) == [records[-20.0]]
    assert await catalog.due(NOW - timedelta(hours=1), 10) == []


async def test_an_empty_catalog_has_nothing_due(make: Make) -> None:
    """Before anything was ever added."""
    assert await make().due(NOW, 10) == []


async def test_adding_again_moves_the_expiry(make: Make) -> None:
    """The latest record counts."""
    catalog, record = make(), artifact(-10)
    await catalog.add([record])
    later = record.model_copy(update={"expires_at": NOW + timedelta(days=1)})
    await catalog.add([later])
    assert await catalog.due(NOW, 10) == []
    assert await catalog.get(record.id) == later


async def test_sums_and_counts_follow_every_change(make: Make) -> None:
    catalog = make()
    records = [artifact(tenant="acme", session_id=f"sess_{n % 2}", size=n) for n in range(5)]
    other = artifact(tenant="other", session_id="sess_9")
    await catalog.add([*records, other])
    await catalog.add(records)
    assert dict(await make().sizes()) == {"acme": 10, "other": 3}
    assert await make().counts("acme", "sess_0") == FileCounts(5, 3)
    await catalog.delete([records[4].id, other.id])
    assert dict(await make().sizes()) == {"acme": 6}
    assert await make().counts("acme", "sess_0") == FileCounts(4, 2)
    assert await make().counts("other", "sess_9") == FileCounts(0, 0)


async def test_a_tenant_has_no_more_files_than_it_may(make: Make) -> None:
    """Exactly, also when many add at once: all of a call's records are kept, or none."""
    catalogs = [make() for _ in range(3)]
    tries = [[artifact(), artifact()] for _ in range(12)]
    adding = (catalogs[at % 3].add(records, 9) for at, records in enumerate(tries))
    answers = await asyncio.gather(*adding, return_exceptions=True)
    refusals = [answer for answer in answers if answer is not None]
    assert {answer.code for answer in refusals if isinstance(answer, RateLimited)} == {
        "quota_stored_files"
    }
    assert len(refusals) == 8
    assert await catalogs[0].counts("acme", "sess_1") == FileCounts(8, 8)
    await catalogs[0].add([artifact(tenant="other")], 9)


async def test_each_record_costs_no_file_of_its_own(make: Make, root: Path) -> None:
    await make().add([artifact() for _ in range(100)])
    assert len(modes_in(root)) <= 4
    assert set(modes_in(root).values()) == {0o600}


JUNK = [b"", b"{", b"{}", b"\xff" * 10, b"[1]"]


async def test_a_corrupt_record_is_missing(make: Make, root: Path) -> None:
    """It neither breaks a reader nor stands in the way of the sweep."""
    catalog = make()
    for junk in JUNK:
        record, other = artifact(-20), artifact(-10)
        await catalog.add([record, other])
        put(root, record, junk)
        assert await catalog.get(record.id) is None
        assert await catalog.due(NOW, 1) == []
        assert await catalog.due(NOW, 1) == [other]
        await catalog.delete([other.id])
    assert dict(await catalog.sizes()) == {}


async def test_a_record_under_another_name_is_not_taken(make: Make, root: Path) -> None:
    """A value repeats its own key, and is checked on reading."""
    catalog, record, other = make(), artifact(), artifact()
    await catalog.add([record, other])
    put(root, record, other.model_dump_json().encode())
    assert await catalog.get(record.id) is None


def put(root: Path, record: ArtifactRecord, raw: bytes) -> None:
    database = sqlite3.connect(root / FILE_NAME)
    with database:
        database.execute("UPDATE artifacts SET record = ? WHERE id = ?", (raw, record.id))
    database.close()


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)


def modes_in(root: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("content", [b"no database" * 100, b""])
async def test_a_file_that_is_no_catalog_is_told_and_an_empty_one_is_a_new_one(
    make: Make, root: Path, content: bytes
) -> None:
    write(root / FILE_NAME, content)
    if not content:
        assert dict(await make().sizes()) == {}
        return
    with pytest.raises(Unavailable, match=f"{FILE_NAME}: file is not a database"):
        await make().sizes()


async def test_another_versions_catalog_is_refused(make: Make, root: Path) -> None:
    await make().sizes()
    database = sqlite3.connect(root / FILE_NAME)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(Unavailable, match="another version"):
        await make().sizes()


async def test_with_a_record_the_mark_of_its_links_goes(make: Make, root: Path) -> None:
    record = artifact()
    await make().add([record])
    DirectoryLinkMarks(root).renew(record.id, 1)
    await make().delete([record.id])
    assert not any("links" in name for name in modes_in(root))
