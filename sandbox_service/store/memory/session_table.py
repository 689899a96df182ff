"""Session records with their orders: a page, or what is due, is found without looking at all of them."""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterator, ValuesView
from datetime import UTC, datetime

from sandbox_service.domain.stores import SessionQuery
from sandbox_service.domain.values import LIVE_STATUSES, SessionRecord

_At = tuple[datetime, str]
_ALL = None
_NEVER = datetime.max.replace(tzinfo=UTC)


class SessionTable:
    """By id; by age of all and of each tenant; the live; each tenant's ended by the time of their end."""

    def __init__(self) -> None:
        self._records: dict[str, SessionRecord] = {}
        self._ages: defaultdict[str | None, list[_At]] = defaultdict(list)
        self._ended: defaultdict[str, list[_At]] = defaultdict(list)
        self._live: dict[str, None] = {}

    def get(self, session_id: str) -> SessionRecord | None:
        return self._records.get(session_id)

    def values(self) -> ValuesView[SessionRecord]:
        return self._records.values()

    def put(self, record: SessionRecord) -> None:
        self.drop(record.id)
        self._records[record.id] = record
        for name in (_ALL, record.tenant):
            insort(self._ages[name], _age(record))
        if record.status in LIVE_STATUSES:
            self._live[record.id] = None
        else:
            insort(self._ended[record.tenant], _end(record))

    def drop(self, session_id: str) -> None:
        record = self._records.pop(session_id, None)
        if record is None:
            return
        for name in (_ALL, record.tenant):
            _remove(self._ages[name], _age(record))
        if record.status in LIVE_STATUSES:
            del self._live[session_id]
        else:
            _remove(self._ended[record.tenant], _end(record))
        if not self._ages[record.tenant]:
            del self._ages[record.tenant]
            self._ended.pop(record.tenant, None)

    def newest_first(self, query: SessionQuery) -> Iterator[SessionRecord]:
        """Those that the query asks for, from behind its cursor on, without end."""
        if query.tenant is None and query.statuses is not None and query.statuses <= LIVE_STATUSES:
            ages = sorted(_age(self._records[session_id]) for session_id in self._live)
        else:
            ages = self._ages.get(query.tenant, [])
        for at in range(self._start(query, ages), -1, -1):
            record = self._records[ages[at][1]]
            if query.statuses is None or record.status in query.statuses:
                yield record

    def _start(self, query: SessionQuery, ages: list[_At]) -> int:
        """Where in `ages` to begin; of a cursor that is unknown or another tenant's nothing follows."""
        if query.after is None:
            return len(ages) - 1
        last = self._records.get(query.after)
        if last is None or query.tenant not in (None, last.tenant):
            return -1
        return bisect_left(ages, _age(last)) - 1

    def due(self, before: datetime, ended_before: datetime) -> Iterator[SessionRecord]:
        """The live that expire up to `before`, the ended that ended up to `ended_before`."""
        live = (self._records[session_id] for session_id in self._live)
        yield from (record for record in live if record.expires_at <= before)
        for ended in self._ended.values():
            for ended_at, session_id in ended:
                if ended_at > ended_before:
                    break
                yield self._records[session_id]

    def surplus_ended(self, tenant: str, most: int) -> str | None:
        """The tenant's session that ended first, if more than `most` have ended."""
        ended = self._ended.get(tenant, [])
        return ended[0][1] if len(ended) > most else None


def _age(record: SessionRecord) -> _At:
    return record.created_at, record.id


def _end(record: SessionRecord) -> _At:
    return record.ended_at or _NEVER, record.id


def _remove(times: list[_At], at: _At) -> None:
    del times[bisect_left(times, at)]
