"""Session records in this process's memory: nothing to install, gone with the process."""

from collections.abc import Sequence
from datetime import datetime

from sandbox_service.domain.errors import Conflict
from sandbox_service.domain.ports import SessionQuery
from sandbox_service.domain.values import LIVE_STATUSES, SessionRecord


class MemorySessionStore:
    """A SessionStore over a dictionary. Each method runs without awaiting, so each is atomic."""

    def __init__(self) -> None:
        self._records: dict[str, SessionRecord] = {}

    async def create(self, record: SessionRecord) -> SessionRecord:
        if record.id in self._records:
            raise Conflict(f"Session {record.id} exists already.")
        self._records[record.id] = record
        return record

    async def get(self, session_id: str) -> SessionRecord | None:
        return self._records.get(session_id)

    async def replace(self, record: SessionRecord) -> SessionRecord:
        stored = self._records.get(record.id)
        if stored is None or stored.revision != record.revision:
            raise Conflict(f"Session {record.id} was changed in between.")
        kept = record.model_copy(update={"revision": record.revision + 1})
        self._records[record.id] = kept
        return kept

    async def list(self, query: SessionQuery) -> Sequence[SessionRecord]:
        matching = sorted(
            (record for record in self._records.values() if _matches(record, query)),
            key=_age_key,
            reverse=True,
        )
        return matching[: query.limit] if query.after is None else self._page(matching, query)

    def _page(
        self, matching: Sequence[SessionRecord], query: SessionQuery
    ) -> Sequence[SessionRecord]:
        last = self._records.get(query.after or "")
        if last is None or query.tenant not in (None, last.tenant):
            return []
        older = [record for record in matching if _age_key(record) < _age_key(last)]
        return older[: query.limit]

    async def due(
        self, before: datetime, ended_before: datetime, limit: int
    ) -> Sequence[SessionRecord]:
        due = [r for r in self._records.values() if _is_due(r, before, ended_before)]
        return due[:limit]

    async def delete(self, session_id: str) -> None:
        self._records.pop(session_id, None)


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
