"""Session records in this process's memory."""

from collections.abc import Sequence
from datetime import datetime
from itertools import islice

from sandbox_service.domain.errors import Conflict
from sandbox_service.domain.stores import SessionQuery
from sandbox_service.domain.values import SessionRecord
from sandbox_service.store.memory.tables import Tables


class MemorySessionStore:
    """Each method runs without awaiting, so each is atomic."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def create(self, record: SessionRecord) -> SessionRecord:
        if self._tables.sessions.get(record.id) is not None:
            raise Conflict(f"Session {record.id} exists already.")
        self._tables.put_session(record)
        return record

    async def get(self, session_id: str) -> SessionRecord | None:
        record = self._tables.sessions.get(session_id)
        return None if record is None else self._with_pending(record)

    async def replace(self, record: SessionRecord) -> SessionRecord:
        return self._with_pending(replace_session(self._tables, record))

    async def list(self, query: SessionQuery) -> Sequence[SessionRecord]:
        chosen = islice(self._tables.sessions.newest_first(query), query.limit)
        return [self._with_pending(record) for record in chosen]

    async def due(
        self, before: datetime, ended_before: datetime, limit: int
    ) -> Sequence[SessionRecord]:
        due = islice(self._tables.sessions.due(before, ended_before), limit)
        return [self._with_pending(record) for record in due]

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
