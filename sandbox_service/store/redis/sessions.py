"""Session records in Redis."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sandbox_service.domain.errors import Conflict
from sandbox_service.domain.stores import SessionQuery
from sandbox_service.domain.values import LIVE_STATUSES, SessionRecord
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.encoding import to_json
from sandbox_service.store.redis.connection import Argument, RedisConnection
from sandbox_service.store.redis.failures import StoreCorrupt
from sandbox_service.store.redis.records import decode_session
from sandbox_service.store.redis.schema import microseconds
from sandbox_service.store.redis.session_scripts import CREATE, DELETE, DUE, GET, PAGE, REPLACE

PAGE_LENGTH = 200


class RedisSessionStore:
    """A record is written only over the revision that it is based on."""

    def __init__(self, connection: RedisConnection, prefix: str, bounds: StoreBounds) -> None:
        self._connection = connection
        self._prefix = prefix
        self._most_ended = bounds.ended_sessions

    async def create(self, record: SessionRecord) -> SessionRecord:
        if not await self._run(CREATE, record.tenant, *session_arguments(record)):
            raise Conflict(f"Session {record.id} exists already.")
        return record

    async def get(self, session_id: str) -> SessionRecord | None:
        raw, pending = await self._run(GET, session_id)
        return None if raw is None else decode_session(session_id, raw, pending)

    async def replace(self, record: SessionRecord) -> SessionRecord:
        kept = next_revision(record)
        arguments = (self._most_ended, record.revision, *session_arguments(kept))
        pending = await self._run(REPLACE, *arguments)
        if pending < 0:
            raise changed_in_between(record)
        return kept.model_copy(update={"pending": pending}) if pending else kept

    async def list(self, query: SessionQuery) -> Sequence[SessionRecord]:
        length = PAGE_LENGTH if query.statuses else min(PAGE_LENGTH, query.limit)
        records: list[SessionRecord] = []
        cursor = _Cursor(query.after or "")
        while len(records) < query.limit:
            rows = await self._page(query, cursor, length)
            records += [record for record in _readable(rows) if _matches(record, query)]
            if len(rows) < length:
                break
            cursor = _Cursor(rows[-1].id, rows[-1].score)
        return records[: query.limit]

    async def _page(self, query: SessionQuery, cursor: "_Cursor", length: int) -> "Sequence[_Row]":
        """The next sessions of the smallest index that has all of those asked for."""
        answer = await self._run(
            PAGE, _index(query), cursor.id, cursor.score, query.tenant or "", length
        )
        return list(_rows(answer))

    async def due(
        self, before: datetime, ended_before: datetime, limit: int
    ) -> Sequence[SessionRecord]:
        answer = await self._run(DUE, microseconds(before), microseconds(ended_before), limit)
        return list(_readable(_rows(answer)))

    async def delete(self, session_id: str) -> None:
        await self._run(DELETE, session_id)

    async def _run(self, script: Any, *arguments: Argument) -> Any:
        return await self._connection.run(script, self._prefix, *arguments)


def next_revision(record: SessionRecord) -> SessionRecord:
    return record.model_copy(update={"revision": record.revision + 1, "pending": 0})


def session_arguments(record: SessionRecord) -> Sequence[Argument]:
    """What the scripts that write a session are told of it."""
    is_live = record.status in LIVE_STATUSES
    due = record.expires_at if is_live else record.ended_at
    return (
        record.id,
        record.revision,
        to_json(record),
        microseconds(record.created_at),
        "live" if is_live else "ended",
        "+inf" if due is None else microseconds(due),
    )


def changed_in_between(record: SessionRecord) -> Conflict:
    return Conflict(f"Session {record.id} was changed in between.")


@dataclass(frozen=True, slots=True)
class _Cursor:
    """A page goes on behind this session; the score of one that a caller names is looked up."""

    id: str
    score: str = ""


@dataclass(frozen=True, slots=True)
class _Row:
    id: str
    score: str
    raw: bytes
    pending: int


def _rows(answer: Sequence[Any]) -> Iterator[_Row]:
    for at in range(0, len(answer), 4):
        session_id, score, raw, pending = answer[at : at + 4]
        yield _Row(session_id.decode(), score.decode(), raw, pending)


def _readable(rows: "Iterator[_Row] | Sequence[_Row]") -> Iterator[SessionRecord]:
    """One record that cannot be read, which is logged, must not hide the others."""
    for row in rows:
        try:
            yield decode_session(row.id, row.raw, row.pending)
        except StoreCorrupt:
            continue


def _index(query: SessionQuery) -> str:
    if query.tenant is not None:
        return f"sessions:of:{query.tenant}"
    is_only_live = query.statuses is not None and query.statuses <= LIVE_STATUSES
    return "sessions:live" if is_only_live else "sessions"


def _matches(record: SessionRecord, query: SessionQuery) -> bool:
    return (query.tenant is None or record.tenant == query.tenant) and (
        query.statuses is None or record.status in query.statuses
    )
