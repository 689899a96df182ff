"""What the memory stores hold together: plain dictionaries, each change noted in the log."""

import logging
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson
from pydantic import TypeAdapter, ValidationError

from sandbox_service.domain.ids import new_id
from sandbox_service.domain.stores import Lease, Mark
from sandbox_service.domain.values import (
    ExecutionEvent,
    ExecutionRecord,
    SandboxRef,
    SessionRecord,
)
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.encoding import revived, to_json
from sandbox_service.store.memory.kept_keys import GONE, KeptKeys, noted, unpacked
from sandbox_service.store.memory.ledger import KeptExecution, Key, Ledger
from sandbox_service.store.memory.log import Entry, Log, Noted
from sandbox_service.store.memory.session_table import SessionTable

logger = logging.getLogger(__name__)

_REFS = TypeAdapter(list[SandboxRef])


class Tables:
    """The dictionaries, as the log of the process before left them."""

    def __init__(self, bounds: StoreBounds, path: Path | None) -> None:
        self.bounds = bounds
        self.replica = new_id("rep")
        self.sessions = SessionTable()
        self.executions: dict[str, OrderedDict[str, KeptExecution]] = {}
        self.queues: dict[str, deque[str]] = {}
        self.leases: dict[str, Lease] = {}
        self.tokens = 0
        self.pools: defaultdict[str, deque[SandboxRef]] = defaultdict(deque)
        self.once = KeptKeys()
        self._ledger = Ledger(bounds)
        self._log = Log(path, self._entries, bounds) if path is not None else None
        if self._log is not None:
            for entry in self._log.open():
                self._load(entry)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    def heal(self) -> None:
        """Write the log anew if the disk did not take it and now does."""
        if self._log is not None:
            self._log.heal()

    def put_session(self, record: SessionRecord) -> None:
        """Note the record; of a tenant with too many ended ones the first are dropped."""
        self.sessions.put(record)
        self._note("session", record.id, record)
        most = self.bounds.ended_sessions
        while (surplus := self.sessions.surplus_ended(record.tenant, most)) is not None:
            self.drop_session(surplus)

    def drop_session(self, session_id: str) -> None:
        self.sessions.drop(session_id)
        self._drop_executions(session_id)
        self.leases.pop(session_id, None)
        self._note("session", session_id, None)

    def _drop_executions(self, session_id: str) -> None:
        for kept in list(self.history(session_id).values()):
            self._ledger.remove(kept)
        del self.executions[session_id]
        self.queues.pop(session_id, None)

    def history(self, session_id: str) -> OrderedDict[str, KeptExecution]:
        return self.executions.setdefault(session_id, OrderedDict())

    def find_execution(self, session_id: str, execution_id: str) -> KeptExecution | None:
        history = self.executions.get(session_id)
        return None if history is None else history.get(execution_id)

    def put_execution(self, kept: KeptExecution) -> None:
        """Note its record; what is older gives way to it."""
        self._write_execution(kept)
        self.make_room(kept)

    def make_room(self, newest: KeptExecution) -> None:
        """Count what it has now, and let older ones give way while that is too much."""
        self._ledger.update(newest)
        while (key := self._ledger.next_to_give_way(newest.record)) is not None:
            self._give_way(self.executions[key[0]][key[1]])

    def _give_way(self, kept: KeptExecution) -> None:
        match kept.steps_taken:
            case 0:
                kept.keep_last_event()
            case 1:
                kept.give_up_outputs()
                self._write_execution(kept)
            case _:
                self.forget_execution(kept)
                return
        self._ledger.update(kept)

    def forget_execution(self, kept: KeptExecution) -> None:
        self._drop_execution(kept.key)
        if self._log is not None:
            self._log.put("forgotten", "\n".join(kept.key), b"null")

    def _drop_execution(self, key: Key) -> None:
        kept = self.find_execution(*key)
        if kept is not None:
            del self.executions[key[0]][key[1]]
            self._ledger.remove(kept)

    def _write_execution(self, kept: KeptExecution) -> None:
        raw = to_json(kept.record)
        kept.record_bytes = len(raw)
        if self._log is not None:
            self._log.put("execution", str(kept.last_id), raw)

    def note_marks(self, kept: KeptExecution) -> None:
        if self._log is not None:
            self._log.put(*_marks_entry(kept))

    def note_pool(self, template: str) -> None:
        if self._log is not None:
            self._log.put("pool", template, _refs_json(self.pools[template]))

    def put_once(self, tenant: str, key: str, raw: bytes) -> None:
        self.once.put(tenant, key, raw)
        if self._log is not None:
            self._log.put(*noted(tenant, key, raw))

    def grant(self, name: str) -> Lease:
        self.tokens += 1
        self.leases[name] = Lease(name, self.tokens)
        return self.leases[name]

    def _note(self, table: str, key: str, value: SessionRecord | None) -> None:
        if self._log is not None:
            self._log.put(table, key, b"null" if value is None else to_json(value))

    def _entries(self) -> Iterator[Noted]:
        for record in self.sessions.values():
            yield "session", record.id, to_json(record)
        for executions in self.executions.values():
            for kept in executions.values():
                yield "execution", str(kept.last_id), to_json(kept.record)
                if kept.marks and not kept.record.status.is_final:
                    yield _marks_entry(kept)
        for template, refs in self.pools.items():
            yield "pool", template, _refs_json(refs)
        yield from self.once.entries()

    def _load(self, entry: Entry) -> None:
        try:
            self._take(entry)
        except (ValidationError, TypeError, ValueError, KeyError):
            logger.exception("store_log_entry_unusable table=%s key=%s", entry.table, entry.key)

    def _take(self, entry: Entry) -> None:
        match entry.table, entry.key, entry.value:
            case "session", key, None:
                self.sessions.drop(key)
                self._drop_executions(key)
            case "session", key, value:
                self.sessions.put(SessionRecord.model_validate(value))
            case "execution", key, value:
                value["outputs"] = [revived(node) for node in value["outputs"]]
                record = ExecutionRecord.model_validate(value)
                self._take_execution(int(key), record, entry.size_bytes)
            case "forgotten", key, _:
                session_id, _, execution_id = key.partition("\n")
                self._drop_execution((session_id, execution_id))
            case "marks", key, value:
                self._take_marks(key, value)
            case "pool", key, value:
                self.pools[key] = deque(_REFS.validate_python(value))
            case "once", key, value:
                self._take_once(key, value)

    def _take_execution(self, last_id: int, record: ExecutionRecord, size_bytes: int) -> None:
        """Of a finished one its last event is its result; a running one tells its events anew."""
        before = self.find_execution(record.session_id, record.id)
        kept = KeptExecution(record, record_bytes=size_bytes)
        kept.marks = set() if before is None else before.marks
        queue = self.queues.setdefault(record.session_id, deque())
        if record.status.is_final:
            kept.dropped = last_id - 1
            end = ExecutionEvent(last_id, "execution.completed", record)
            kept.add_events([end], self.bounds.event_bytes)
            if record.id in queue:
                queue.remove(record.id)
        elif record.id not in queue:
            queue.append(record.id)
        self.history(record.session_id)[record.id] = kept
        self._ledger.update(kept)

    def _take_marks(self, whole: str, marks: list[str]) -> None:
        session_id, _, execution_id = whole.partition("\n")
        kept = self.find_execution(session_id, execution_id)
        if kept is not None:
            kept.marks = {Mark(mark) for mark in marks}

    def _take_once(self, whole: str, value: list[object] | None) -> None:
        tenant, _, key = whole.partition("\n")
        raw = GONE if value is None else orjson.dumps(value)
        if value is not None:
            unpacked(raw)
        self.once.put(tenant, key, raw)


def _marks_entry(kept: KeptExecution) -> Noted:
    record = kept.record
    return "marks", f"{record.session_id}\n{record.id}", orjson.dumps(sorted(kept.marks))


def _refs_json(refs: Iterable[SandboxRef]) -> bytes:
    return _REFS.dump_json(list(refs))
