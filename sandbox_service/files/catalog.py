"""An ArtifactCatalog in one SQLite file, which all service processes of a host share.

What is asked often is answered from an index or a running total, however many artifacts there are. The file
is in WAL mode and synced with every commit: what was added is there after a power cut.
"""

import fcntl
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from sandbox_service.domain.errors import Unavailable
from sandbox_service.domain.ports import FileCounts
from sandbox_service.domain.quota_rules import files_refusal
from sandbox_service.domain.values import ArtifactRecord
from sandbox_service.files.places import LINKS_SUFFIX, is_key, place
from sandbox_service.files.threads import FULL_MESSAGE, in_thread, storage_error
from sandbox_service.private_files import make_private_directory, open_private

FILE_NAME = "catalog.sqlite"
BUSY_S = 30.0
_LOCK_NAME = "catalog.lock"
_AT_ONCE = 500
_VERSION = 1

_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS artifacts (
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, session_id TEXT NOT NULL,
    size INTEGER NOT NULL, expires_at REAL NOT NULL, record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS artifacts_by_expiry ON artifacts (expires_at);
CREATE INDEX IF NOT EXISTS artifacts_by_session ON artifacts (session_id);
CREATE TABLE IF NOT EXISTS totals (
    tenant TEXT PRIMARY KEY, files INTEGER NOT NULL, bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS artifact_added AFTER INSERT ON artifacts BEGIN
    INSERT INTO totals VALUES (new.tenant, 1, new.size)
    ON CONFLICT (tenant) DO UPDATE SET files = files + 1, bytes = bytes + new.size;
END;
CREATE TRIGGER IF NOT EXISTS artifact_deleted AFTER DELETE ON artifacts BEGIN
    UPDATE totals SET files = files - 1, bytes = bytes - old.size WHERE tenant = old.tenant;
    DELETE FROM totals WHERE tenant = old.tenant AND files <= 0;
END;
PRAGMA user_version = 1;
COMMIT;
"""

T = TypeVar("T")


class SqliteArtifactCatalog:
    """Keeps the records in a file under `root`, made when first needed; one row each, and no file of its own."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._database: sqlite3.Connection | None = None
        self._turn = threading.Lock()  # one thread at a time uses the connection

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        with self._turn:
            if self._database is not None:
                self._database.close()
            self._database = None

    async def add(self, records: Sequence[ArtifactRecord], most_files: int | None = None) -> None:
        """Keep all of them or none; one with an id that is known replaces that one.

        Raises RateLimited `quota_stored_files` when their tenant would have more than `most_files`.
        """
        await self._run(lambda database: _add(database, records, most_files))

    async def get(self, artifact_id: str) -> ArtifactRecord | None:
        """The record; None also for a row that holds none."""
        if not is_key(artifact_id):
            return None
        record = await self._run(lambda database: _get(database, artifact_id))
        return record if record is not None and record.id == artifact_id else None

    async def due(self, before: datetime, limit: int) -> Sequence[ArtifactRecord]:
        """Artifacts whose retention ended before `before`, the oldest first."""
        return await self._run(lambda database: _due(database, before.timestamp(), limit))

    async def delete(self, artifact_ids: Sequence[str]) -> frozenset[str]:
        """Forget the artifacts and the marks of their links; returns those that were known."""

        def work(database: sqlite3.Connection) -> frozenset[str]:
            deleted = _delete(database, artifact_ids)
            for artifact_id in deleted:  # after the record: a revoked link must not hold again
                place(self._root, artifact_id, LINKS_SUFFIX).unlink(missing_ok=True)
            return deleted

        return await self._run(work)

    async def sizes(self) -> Mapping[str, int]:
        """How many bytes each tenant has stored."""
        return dict(
            await self._run(lambda database: _all(database, "SELECT tenant, bytes FROM totals"))
        )

    async def counts(self, tenant: str, session_id: str) -> FileCounts:
        """How many artifacts the tenant has, and how many of them are the session's."""
        return await self._run(lambda database: _counts(database, tenant, session_id))

    async def known(self, artifact_ids: Sequence[str]) -> frozenset[str]:
        """Those of the ids that have a record."""
        return await self._run(lambda database: _known(database, artifact_ids))

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def in_turn() -> T:
            with self._turn, _failures_told():
                self._database = self._database or _opened(self._root)
                return work(self._database)

        return await in_thread(in_turn)


def _opened(root: Path) -> sqlite3.Connection:
    """The database, with its tables. Raises Unavailable for one that another version made."""
    make_private_directory(root)
    with open(root / _LOCK_NAME, "wb", opener=open_private) as lock:
        # Two that change the journal's mode at once would fail instead of waiting for each other.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _opened_alone(root / FILE_NAME)


def _opened_alone(path: Path) -> sqlite3.Connection:
    if not path.exists():
        open(path, "xb", opener=open_private).close()
    database = sqlite3.connect(path, BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise Unavailable(f"{path} was made by another version.", code="storage_unavailable")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        if version == 0:
            database.executescript(_SCHEMA)
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def _failures_told() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise Unavailable(FULL_MESSAGE, code="storage_full") from error
        raise storage_error(OSError(None, f"{FILE_NAME}: {error}")) from error


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _add(
    database: sqlite3.Connection, records: Sequence[ArtifactRecord], most_files: int | None
) -> None:
    with _transaction(database):
        _delete_rows(database, [record.id for record in records])
        database.executemany("INSERT INTO artifacts VALUES (?, ?, ?, ?, ?, ?)", map(_row, records))
        if most_files is not None:
            for tenant in {record.tenant for record in records}:
                _require_room(database, tenant, most_files)


def _require_room(database: sqlite3.Connection, tenant: str, most_files: int) -> None:
    if _files_of(database, tenant) > most_files:
        raise files_refusal(most_files)


def _row(record: ArtifactRecord) -> tuple[str, str, str, int, float, bytes]:
    raw = record.model_dump_json().encode()
    expires_at = record.expires_at.timestamp()
    return record.id, record.tenant, record.session_id, record.size, expires_at, raw


def _get(database: sqlite3.Connection, artifact_id: str) -> ArtifactRecord | None:
    rows = _all(database, "SELECT record FROM artifacts WHERE id = ?", artifact_id)
    return _read(rows[0][0]) if rows else None


def _read(raw: bytes) -> ArtifactRecord | None:
    try:
        return ArtifactRecord.model_validate_json(raw)
    except ValidationError:
        return None


def _due(database: sqlite3.Connection, before_s: float, limit: int) -> list[ArtifactRecord]:
    """The oldest records among the expired. A row that has expired and holds no record is removed."""
    due = "SELECT id, record FROM artifacts WHERE expires_at < ? ORDER BY expires_at LIMIT ?"
    read = [(artifact_id, _read(raw)) for artifact_id, raw in _all(database, due, before_s, limit)]
    if broken := [artifact_id for artifact_id, record in read if record is None]:
        _delete(database, broken)
    return [record for _, record in read if record is not None]


def _delete(database: sqlite3.Connection, artifact_ids: Sequence[str]) -> frozenset[str]:
    with _transaction(database):
        known = _known(database, artifact_ids)
        _delete_rows(database, list(known))
    return known


def _delete_rows(database: sqlite3.Connection, artifact_ids: Sequence[str]) -> None:
    database.executemany("DELETE FROM artifacts WHERE id = ?", [(one,) for one in artifact_ids])


def _known(database: sqlite3.Connection, artifact_ids: Sequence[str]) -> frozenset[str]:
    known: set[str] = set()
    for start in range(0, len(artifact_ids), _AT_ONCE):
        asked = artifact_ids[start : start + _AT_ONCE]
        marks = ",".join("?" * len(asked))
        rows = _all(database, f"SELECT id FROM artifacts WHERE id IN ({marks})", *asked)  # noqa: S608 - marks only
        known.update(artifact_id for (artifact_id,) in rows)
    return frozenset(known)


def _counts(database: sqlite3.Connection, tenant: str, session_id: str) -> FileCounts:
    count = "SELECT count(*) FROM artifacts WHERE session_id = ?"
    ((of_session,),) = _all(database, count, session_id)
    return FileCounts(_files_of(database, tenant), of_session)


def _files_of(database: sqlite3.Connection, tenant: str) -> int:
    rows = _all(database, "SELECT files FROM totals WHERE tenant = ?", tenant)
    return int(rows[0][0]) if rows else 0


def _all(database: sqlite3.Connection, query: str, *values: str | float) -> list[tuple[Any, ...]]:
    return database.execute(query, values).fetchall()
