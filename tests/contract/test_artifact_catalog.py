"""What every ArtifactCatalog promises, over each implementation; then what a directory adds."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sandbox_service.domain.ids import new_id
from sandbox_service.domain.ports import ArtifactCatalog
from sandbox_service.domain.values import ArtifactRecord
from sandbox_service.files.catalog import DirectoryArtifactCatalog
from sandbox_service.files.link_marks import DirectoryLinkMarks

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
Make = Callable[[], ArtifactCatalog]


def artifact(expires_in_s: float = 60.0, path: str = "out/图 1.png") -> ArtifactRecord:
    return ArtifactRecord(
        id=new_id("art"),
        tenant="acme",
        session_id="sess_1",
        execution_id="exec_1",
        path=path,
        size=3,
        media_type="image/png",
        sha256="0" * 64,
        created_at=NOW,
        expires_at=NOW + timedelta(seconds=expires_in_s),
    )


def file_of(root: Path, record: ArtifactRecord) -> Path:
    return next(root.rglob(f"{record.id}.json"))


def names_in(root: Path) -> list[str]:
    return [path.name for path in root.rglob("*") if path.is_file()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture(params=["directory"])
def make(request: pytest.FixtureRequest, root: Path) -> Make:
    """Opens the catalog, each time as a service that has been restarted would."""
    return {"directory": lambda: DirectoryArtifactCatalog(root)}[request.param]


async def test_a_record_survives_a_restart(make: Make) -> None:
    """What was added is there for the next process, equal in every field."""
    record = artifact()
    await make().add(record)
    assert await make().get(record.id) == record


async def test_unknown_ids_are_none(make: Make) -> None:
    """Whatever they look like."""
    for artifact_id in ("art_none", "", "../x", "a/b", "a\0", "x" * 500, "art_\udcff"):
        assert await make().get(artifact_id) is None


async def test_deleting_is_idempotent(make: Make) -> None:
    """The second time is as good as the first."""
    catalog, record = make(), artifact()
    await catalog.add(record)
    await catalog.delete(record.id)
    await catalog.delete(record.id)
    assert await catalog.get(record.id) is None
    assert await catalog.due(NOW + timedelta(days=1), 10) == []


async def test_due_are_those_whose_time_is_over_oldest_first(make: Make) -> None:
    """And never more than asked for."""
    catalog = make()
    records = {s: artifact(s) for s in (30.0, -10.0, 10.0, -20.0, 0.0)}
    for record in records.values():
        await catalog.add(record)
    assert await catalog.due(NOW, 10) == [records[-20.0], records[-10.0]]
    assert await catalog.due(NOW, 1) == [records[-20.0]]
    assert await catalog.due(NOW - timedelta(hours=1), 10) == []


async def test_an_empty_catalog_has_nothing_due(make: Make) -> None:
    """Before anything was ever added."""
    assert await make().due(NOW, 10) == []


async def test_adding_again_moves_the_expiry(make: Make) -> None:
    """The latest record counts."""
    catalog, record = make(), artifact(-10)
    await catalog.add(record)
    later = record.model_copy(update={"expires_at": NOW + timedelta(days=1)})
    await catalog.add(later)
    assert await catalog.due(NOW, 10) == []
    assert await catalog.get(record.id) == later


@pytest.mark.parametrize("junk", [b"", b"{", b"{}", b"\xff" * 10, b"[1]"])
async def test_a_corrupt_record_is_missing(make: Make, root: Path, junk: bytes) -> None:
    """It neither breaks a reader nor stands in the way of the sweep."""
    catalog, record, other = make(), artifact(-20), artifact(-10)
    await catalog.add(record)
    await catalog.add(other)
    path = file_of(root, record)
    path.write_bytes(junk)
    os.utime(path, (1, 1))
    assert await catalog.get(record.id) is None
    assert await catalog.due(NOW, 1) == []
    assert await catalog.due(NOW, 1) == [other]


async def test_a_record_under_another_name_is_not_taken(make: Make, root: Path) -> None:
    """A value repeats its own key, and is checked on reading."""
    catalog, record, other = make(), artifact(), artifact()
    await catalog.add(record)
    await catalog.add(other)
    file_of(root, other).replace(file_of(root, record))
    assert await catalog.get(record.id) is None


async def test_adding_leaves_one_file(make: Make, root: Path) -> None:
    """No draft stays beside it."""
    record = artifact()
    await make().add(record)
    await make().add(record)
    assert names_in(root) == [f"{record.id}.json"]


async def test_deleting_tells_whether_it_was_there(make: Make) -> None:
    """So that of two who delete at once, one gives the room back."""
    record = artifact()
    await make().add(record)
    assert [await make().delete(record.id), await make().delete(record.id)] == [True, False]


async def test_sizes_are_the_sums_by_tenant(make: Make) -> None:
    for tenant in ("acme", "acme", "other"):
        await make().add(artifact().model_copy(update={"tenant": tenant}))
    assert dict(await make().sizes()) == {"acme": 6, "other": 3}
    assert dict(await DirectoryArtifactCatalog(Path("/nowhere")).sizes()) == {}


async def test_with_a_record_the_mark_of_its_links_goes(make: Make, root: Path) -> None:
    record = artifact()
    await make().add(record)
    DirectoryLinkMarks(root).renew(record.id, 1)
    assert len(names_in(root)) == 2
    await make().delete(record.id)
    assert names_in(root) == []
