"""The events of executions, in streams, and the news of them over one subscription."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sandbox_service.domain.errors import NotFound, StoreUnavailable
from sandbox_service.domain.stores import EventPage, Lease
from sandbox_service.domain.values import (
    ArtifactRecord,
    EventType,
    ExecutionEvent,
    ExecutionRecord,
    ExecutionStatus,
)
from sandbox_service.store.bounds import KEPT_EVENTS, StoreBounds
from sandbox_service.store.encoding import from_json, revived, to_json
from sandbox_service.store.events import gap_before
from sandbox_service.store.news import Watch
from sandbox_service.store.redis.connection import Argument, RedisConnection
from sandbox_service.store.redis.execution_scripts import READ, WRITE
from sandbox_service.store.redis.executions import kept_bounds
from sandbox_service.store.redis.records import decode, decode_execution, encode_execution, mismatch
from sandbox_service.store.redis.replicas import RedisReplicas
from sandbox_service.store.redis.schema import news_channel
from sandbox_service.store.redis.work import lost

logger = logging.getLogger(__name__)

RECONNECT_S = 0.5


class RedisJournals:
    """The events of executions, as many as are kept."""

    def __init__(
        self,
        connection: RedisConnection,
        prefix: str,
        replicas: RedisReplicas,
        bounds: StoreBounds,
    ) -> None:
        self._connection = connection
        self._prefix = prefix
        self._replicas = replicas
        self._bounds = bounds
        self._watches: defaultdict[str, set[Watch]] = defaultdict(set)

    async def write(
        self, lease: Lease, record: ExecutionRecord, events: Sequence[ExecutionEvent]
    ) -> bool:
        """A final record that is written again by the same lease, after an answer was lost, is True again."""
        if lease.name != record.session_id:
            raise lost(self._replicas, lease)
        try:
            word = await self._write(lease, record, events)
        finally:  # also when the answer was lost
            self._tell(record.id, is_final=record.status.is_final)
        if word == b"lost":
            raise lost(self._replicas, lease)
        if word == b"gone":
            raise NotFound(f"No execution {record.id}.", param="execution_id")
        return bool(word == b"made final")

    async def _write(
        self, lease: Lease, record: ExecutionRecord, events: Sequence[ExecutionEvent]
    ) -> Any:
        encoded, outputs = encode_execution(record)
        return await self._connection.run(
            WRITE,
            self._prefix,
            self._replicas.holder(lease),
            record.session_id,
            record.tenant,
            record.id,
            encoded,
            outputs,
            record.status,
            KEPT_EVENTS,
            self._bounds.event_bytes,
            *kept_bounds(self._bounds),
            *(argument for event in events for argument in _arguments(event)),
        )

    async def read(self, session_id: str, execution_id: str, after: int, limit: int) -> EventPage:
        answer = await self._connection.run(
            READ, self._prefix, session_id, execution_id, after, limit
        )
        if answer is None:
            raise NotFound(f"No execution {execution_id}.", param="execution_id")
        is_final, last_id, dropped, entries, stored = answer
        record = decode_execution(session_id, execution_id, stored) if stored else None
        events = [_event(execution_id, entry, record) for entry in entries]
        return EventPage([*gap_before(after, dropped), *events], bool(is_final), last_id)

    @contextmanager
    def watch(self, execution_id: str) -> Iterator[Watch]:
        watch = Watch()
        self._watches[execution_id].add(watch)
        try:
            yield watch
        finally:
            self._watches[execution_id].discard(watch)
            if not self._watches[execution_id]:
                del self._watches[execution_id]

    async def listen(self) -> None:
        """Pass on what other replicas write, until cancelled. Watches look by themselves now and then."""
        while True:
            try:
                await self._listen_once()
            except StoreUnavailable:
                await asyncio.sleep(RECONNECT_S)
            except Exception:
                logger.exception("store_news_failed")
                await asyncio.sleep(RECONNECT_S)

    async def _listen_once(self) -> None:
        async with self._connection.subscribed(news_channel(self._prefix)) as messages:
            for execution_id in list(self._watches):
                self._tell(execution_id, is_final=True)  # nobody knows what was missed
            async for message in messages:
                writer, execution_id, status = message.decode().split(" ")
                if writer != self._replicas.id:  # those know already
                    self._tell(execution_id, is_final=ExecutionStatus(status).is_final)

    def _tell(self, execution_id: str, *, is_final: bool) -> None:
        for watch in self._watches.get(execution_id, ()):
            watch.tell(is_final=is_final)


def _arguments(event: ExecutionEvent) -> tuple[Argument, ...]:
    """The last event is the record, which is written beside it."""
    is_end = event.type == "execution.completed"
    return event.id, event.type, b"" if is_end else to_json(event.payload)


def _event(execution_id: str, entry: Any, record: ExecutionRecord | None) -> ExecutionEvent:
    number = int(entry[0].partition(b"-")[0])
    _, owner, _, kind, _, payload = entry[1]
    name = f"events:{execution_id} {number}"
    if owner.decode() != execution_id:
        raise mismatch(name, "it names another key")
    event_type: EventType = kind.decode()
    if event_type == "execution.completed":
        if record is None:
            raise mismatch(name, "it has no record")
        return ExecutionEvent(number, event_type, record)
    return ExecutionEvent(number, event_type, _payload(execution_id, event_type, payload, name))


def _payload(
    execution_id: str, kind: EventType, raw: bytes, name: str
) -> dict[str, Any] | ArtifactRecord | ExecutionRecord:
    match kind:
        case "execution.started":
            return decode(ExecutionRecord, raw, name, lambda it: it.id == execution_id)
        case "artifact":
            return decode(ArtifactRecord, raw, name, lambda it: it.execution_id == execution_id)
    try:
        payload: dict[str, Any] = from_json(raw)
    except ValueError:
        raise mismatch(name, "no JSON") from None
    output = payload.get("output")
    return {**payload, "output": revived(output)} if output else payload
