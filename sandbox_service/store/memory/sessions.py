"""Session records in this process's memory."""

from collections.abc import Sequence
from datetime import datetime

from sandbox_service.domain.errors import Conflict
from sandbox_service.domain.stores import SessionQuery
from sandbox_service.domain.values import LIVE_STATUSES, SessionRecord
from sandbox_service.store.memory.tables import Tables


class MemorySessionStore:
    """Each method runs without awaiting, so each is atomic."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def create(self, record: SessionRecord) -> SessionRecord:
        if record.id in self._tables.sessions:
            raise Conflict(f"Session {record.id} exists already.")
        self._tables.put_session(record)
        return record

    async def get(self, session_id: str) -> SessionRecord | None:
        record = self._tables.sessions.get(session_id)
        return None if record is None else self._with_pending(record)

    async def replace(self, record: SessionRecord) -> SessionRecord:
        return self._with_pending(replace_session(self._tables, record))

    async def list(self, query: SessionQuery) -> Sequence[SessionRecord]:
        records = self._tables.sessions.values()
        matching = [record for record in records if _matches(record, query)]
        matching.sort(key=_age_key, reverse=True)
        chosen = matching if query.after is None else self._older(matching, query)
        return [self._with_pending(record) for record in chosen[: query.limit]]

    def _older(
        self, matching: Sequence[SessionRecord], query: SessionQuery
    ) -> Sequence[SessionRecord]:
        last = self._tables.sessions.get(query.after or "")
        if last is None or query.tenant not in (None, last.tenant):
            return []
        return [record for record in matching if _age_key(record) < _age_key(last)]

    async def due(
        self, before: datetime, ended_before: datetime, limit: int
    ) -> Sequence[SessionRecord]:
        records = self._tables.sessions.values()
        due = [record for record in records if _is_due(record, before, ended_before)]
        return [self._with_pending(record) for record in due[:limit]]

    async def delete(self, session_id: str) -> None:
        self._tables.drop_session(session_id)

    def _with_pending(self, record: SessionRecord) -> SessionRecord:
        pending = len(self._tables.queues.get(record.id, ()))
        return record.model_copy(update={"pending": pending}) if pending else record


def replace_session(tables: Tables, record: SessionRecord) -> SessionRecord:
    """Write the record over the revision that it is based on. Raises Conflict."""
    stored = tables.sessions.get(record.id)
    if stored is None or stored.revision != record.revision:
        raise Conflict(f"Session {record.id} was changed in between.")
    kept = record.model_copy(update={"revision": record.revision + 1, "pending": 0})
    tables.put_session(kept)
    return kept


def _age_key(record: SessionRecord) -> tuple[datetime, str]:
    return record.created_at, record.id


def _matches(record: SessionRecord, query: SessionQuery) -> bool:
    return (query.tenant is None or record.tenant == query.tenant) and (
        query.statuses is None or record.status in query.statuses
    )


def _is_due(record: SessionRecord, before: datetime, ended_before: datetime) -> bool:
    if record.status in LIVE_STATUSES:
        return record.expires_at <= before
    return record.ended_at is not None and record.ended_at <= ended_before
