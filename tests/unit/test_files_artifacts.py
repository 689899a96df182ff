"""Artifacts: what is kept of an execution's files, what is told of the rest, and for how long."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox_service.domain.errors import NotFound, SandboxLost, SessionGone, Unavailable
from sandbox_service.domain.ids import new_id
from sandbox_service.domain.ports import ChangedFile, FileStream
from sandbox_service.domain.quota_rules import SharedRoom, TenantLimits
from sandbox_service.domain.values import ArtifactRecord
from sandbox_service.files.artifacts import ArtifactBounds, ArtifactOwner, Artifacts, Collected
from sandbox_service.files.blobs import DirectoryBlobStore
from sandbox_service.files.catalog import SqliteArtifactCatalog
from sandbox_service.files.media_types import media_type_of
from sandbox_service.tenants.quotas import MemoryQuotas
from tests.support.fakes import SteppedClock

OWNER = ArtifactOwner("acme", "sess_1", "exec_1")
BOUNDS = ArtifactBounds(
    retention_s=60, max_bytes=1000, max_total_bytes=2000, max_files=3, at_once=2
)


class DictFiles:
    """A workspace in memory; None breaks the line in mid-file. Counts how many are open at once."""

    def __init__(self, files: dict[str, bytes | None]) -> None:
        self._files = files
        self._open = 0
        self.most_open = 0

    @asynccontextmanager
    async def read(self, path: str) -> AsyncIterator[FileStream]:
        if path not in self._files:
            raise NotFound("No such file.")
        self._open += 1
        self.most_open = max(self.most_open, self._open)
        try:
            yield FileStream(1, self._chunks(self._files[path]))
        finally:
            self._open -= 1

    async def _chunks(self, data: bytes | None) -> AsyncIterator[bytes]:
        for start in range(0, len(data or b"half"), 100):
            yield (data or b"half")[start : start + 100]
        if data is None:
            raise SandboxLost("The sandbox is gone.")


class Drips(DictFiles):
    """A sandbox that hands the files of `files` over, and of others a byte now and then."""

    async def _chunks(self, data: bytes | None) -> AsyncIterator[bytes]:
        while data is None:
            yield b"x"
            await asyncio.sleep(0.02)
        yield data


class ForgetsEverything(SqliteArtifactCatalog):
    """A catalog whose disk refuses every record."""

    async def add(self, records: Sequence[ArtifactRecord], most_files: int | None = None) -> None:
        raise Unavailable("The service's storage is full.", code="storage_full")


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def artifacts(tmp_path: Path, clock: SteppedClock) -> Artifacts:
    root = tmp_path / "kept"
    return Artifacts(DirectoryBlobStore(root), SqliteArtifactCatalog(root), clock, BOUNDS)


def files_in(root: Path) -> list[Path]:
    """Blobs and what belongs to them, without the catalog."""
    return [path for path in root.rglob("??/*") if path.is_file()]


async def content(artifacts: Artifacts, record: ArtifactRecord) -> bytes:
    async with artifacts.open(record) as stream:
        return b"".join([chunk async for chunk in stream.chunks])


async def test_changed_files_are_kept(artifacts: Artifacts) -> None:
    """With what was really read: size and digest are ours, the agent's size is not believed."""
    files = DictFiles({"out/t.csv": b"a,b\n" * 60, "图.png": b"PNG"})
    changed = [ChangedFile("out/t.csv", 7), ChangedFile("图.png", 3)]
    collected = await artifacts.collect(files, changed, OWNER)
    table, plot = collected.records
    assert collected.notices == ()
    assert (table.path, table.size, table.media_type) == ("out/t.csv", 240, "text/csv")
    assert table.sha256 == hashlib.sha256(b"a,b\n" * 60).hexdigest()
    assert (plot.path, plot.media_type, plot.tenant) == ("图.png", "image/png", "acme")
    assert await artifacts.get("acme", table.id) == table
    assert await content(artifacts, plot) == b"PNG"


async def test_no_changes_cost_nothing(artifacts: Artifacts, tmp_path: Path) -> None:
    """Not even a directory."""
    assert (await artifacts.collect(DictFiles({}), [], OWNER)).records == ()
    assert not (tmp_path / "kept").exists()


async def test_what_cannot_be_kept_is_told(artifacts: Artifacts, tmp_path: Path) -> None:
    """Too large by its word, larger than its word, gone, cut off: a sentence each, no error."""
    files = DictFiles({"liar": b"x" * 1001, "cut": None, "good": b"1"})
    tries = [
        [ChangedFile("huge", 1001), ChangedFile("liar", 1)],
        [ChangedFile("gone\n", 1), ChangedFile("cut", 1), ChangedFile("good", 1)],
    ]
    told = [await artifacts.collect(files, changed, OWNER) for changed in tries]
    assert told[0].notices == (
        "huge was not kept as an artifact: The file is larger than 1000 bytes.",
        "liar was not kept as an artifact: The file is larger than 1000 bytes.",
    )
    assert told[1].notices == (
        "gone\\n was not kept as an artifact: It is gone.",
        "cut was not kept as an artifact: The sandbox is gone.",
    )
    assert [record.path for record in told[1].records] == ["good"]
    assert len(files_in(tmp_path)) == 1


async def test_too_many_files_are_told(artifacts: Artifacts) -> None:
    """The first ones are kept, a few at a time."""
    names = [f"{n}.txt" for n in range(5)]
    files = DictFiles(dict.fromkeys(names, b"x"))
    collected = await artifacts.collect(files, [ChangedFile(name, 1) for name in names], OWNER)
    assert [record.path for record in collected.records] == names[:3]
    assert collected.notices == ("2 more files changed; an execution keeps 3 as artifacts.",)
    assert files.most_open == 2


async def test_a_session_keeps_a_number_of_files_and_a_tenant_too(
    tmp_path: Path, clock: SteppedClock
) -> None:
    """The first ones are kept; what was not, and why, is told. What is deleted makes room."""
    bounds = replace(BOUNDS, max_files=9, max_session_files=3)
    quotas = MemoryQuotas(lambda _: TenantLimits(stored_files=5), SharedRoom(8, frozenset), clock)
    blobs, catalog = DirectoryBlobStore(tmp_path), SqliteArtifactCatalog(tmp_path)
    artifacts = Artifacts(blobs, catalog, clock, bounds, quotas)
    names = [f"{n}.txt" for n in range(4)]
    files = DictFiles(dict.fromkeys(names, b"x"))

    async def collect(session_id: str) -> Collected:
        owner = replace(OWNER, session_id=session_id)
        return await artifacts.collect(files, [ChangedFile(name, 1) for name in names], owner)

    first, again, other = [await collect(name) for name in ("sess_1", "sess_1", "sess_2")]
    assert [len(one.records) for one in (first, again, other)] == [3, 0, 2]
    of_session = "more files changed; a session keeps 3 as artifacts."
    assert (first.notices, again.notices) == ((f"1 {of_session}",), (f"4 {of_session}",))
    assert other.notices == ("2 more files changed; this tenant keeps 5 as artifacts.",)
    await artifacts.delete(first.records[0])
    assert len((await collect("sess_3")).records) == 1
    assert (quotas.stored("acme"), len(files_in(tmp_path))) == (5, 5)


async def test_all_files_together_are_bounded(artifacts: Artifacts) -> None:
    """An agent that has no end of files does not fill our disk."""
    names = ["a", "b", "c"]
    files = DictFiles(dict.fromkeys(names, b"x" * 900))
    collected = await artifacts.collect(files, [ChangedFile(name, 1) for name in names], OWNER)
    assert len(collected.records) == 2
    assert "too large in all" in collected.notices[0]


async def test_bytes_without_a_record_do_not_stay(tmp_path: Path, clock: SteppedClock) -> None:
    """When the catalog refuses, the blob goes."""
    artifacts = Artifacts(DirectoryBlobStore(tmp_path), ForgetsEverything(tmp_path), clock, BOUNDS)
    collected = await artifacts.collect(DictFiles({"a": b"x"}), [ChangedFile("a", 1)], OWNER)
    assert collected.records == ()
    assert "storage is full" in collected.notices[0]
    assert files_in(tmp_path) == []


async def test_names_that_are_no_text_are_shown_and_kept(artifacts: Artifacts) -> None:
    """A binary name costs neither the file nor the answer's JSON."""
    files = DictFiles({"\udcff.csv": b"x"})
    collected = await artifacts.collect(files, [ChangedFile("\udcff.csv", 1)], OWNER)
    record = collected.records[0]
    assert (record.path, record.media_type) == ("\ufffd.csv", "text/csv")
    record.model_dump_json()


async def test_only_the_owner_finds_it(artifacts: Artifacts) -> None:
    """Another tenant's is as unknown as one that never was; a link needs no tenant."""
    collected = await artifacts.collect(DictFiles({"a": b"x"}), [ChangedFile("a", 1)], OWNER)
    record = collected.records[0]
    assert await artifacts.get(None, record.id) == record
    for tenant, artifact_id in [("other", record.id), ("acme", new_id("art")), ("acme", "../x")]:
        with pytest.raises(NotFound):
            await artifacts.get(tenant, artifact_id)


async def test_retention_ends(artifacts: Artifacts, clock: SteppedClock, tmp_path: Path) -> None:
    """First it says so, then the sweep removes it without a trace."""
    collected = await artifacts.collect(DictFiles({"a": b"x"}), [ChangedFile("a", 1)], OWNER)
    record = collected.records[0]
    assert await artifacts.sweep() == 0
    clock.advance(61)
    with pytest.raises(SessionGone) as refusal:
        await artifacts.get("acme", record.id)
    assert refusal.value.code == "artifact_expired"
    assert await artifacts.sweep() == 1
    assert files_in(tmp_path) == []
    with pytest.raises(NotFound):
        await artifacts.get("acme", record.id)
    with pytest.raises(NotFound):
        await content(artifacts, record)


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("a.csv", "text/csv"),
        ("sub.dir/plot.PNG", "image/png"),
        ("report.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("data.tar.gz", "application/gzip"),
        ("t.parquet", "application/vnd.apache.parquet"),
        ("sheet.ods", "application/vnd.oasis.opendocument.spreadsheet"),
        ("letter.odt", "application/vnd.oasis.opendocument.text"),
        ("letter.doc", "application/msword"),
        ("note.rtf", "application/rtf"),
        ("map.gpkg", "application/geopackage+sqlite3"),
        ("photo.heic", "image/heic"),
        ("film.mov", "video/quicktime"),
        ("all.7z", "application/x-7z-compressed"),
        ("clip.mpeg", "video/mpeg"),
        ("Makefile", "application/octet-stream"),
        (".csv", "application/octet-stream"),
        ("what.ever", "application/octet-stream"),
        ("a.csv/b", "application/octet-stream"),
    ],
)
def test_the_name_gives_the_media_type(path: str, media_type: str) -> None:
    """The same on every machine, and never by looking into the file."""
    assert media_type_of(path) == media_type


async def test_a_sandbox_that_drips_does_not_hold_the_execution(
    tmp_path: Path, clock: SteppedClock
) -> None:
    """There is one time for all its files; those that came are kept."""
    bounds = ArtifactBounds(max_files=9, at_once=2, grace_s=0.3, slowest_bytes_per_s=10**9)
    artifacts = Artifacts(
        DirectoryBlobStore(tmp_path), SqliteArtifactCatalog(tmp_path), clock, bounds
    )
    names = ["whole", *(f"drips-{number}" for number in range(5))]
    files = Drips({name: b"1,2" if name == "whole" else None for name in names})
    async with asyncio.timeout(30):
        collected = await artifacts.collect(files, [ChangedFile(name, 3) for name in names], OWNER)
    assert [record.path for record in collected.records] == ["whole"]
    assert len(collected.notices) == 5
    assert all("took too long" in notice for notice in collected.notices)
