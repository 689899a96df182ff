"""Executions in Redis."""

from collections.abc import Sequence
from typing import Any

from sandbox_service.domain.errors import NotFound, RateLimited
from sandbox_service.domain.stores import Lease, Mark
from sandbox_service.domain.values import ExecutionRecord, SessionRecord
from sandbox_service.store.bounds import FULL_JOURNALS, StoreBounds
from sandbox_service.store.encoding import to_json
from sandbox_service.store.redis.connection import Argument, RedisConnection
from sandbox_service.store.redis.execution_scripts import (
    ACCEPT,
    ATTEND,
    GET,
    IDS,
    MARK,
    MARKS,
    RECORDS,
)
from sandbox_service.store.redis.records import decode_execution
from sandbox_service.store.redis.replicas import RedisReplicas
from sandbox_service.store.redis.sessions import (
    changed_in_between,
    next_revision,
    session_arguments,
)

RETRY_QUEUE_S = 1.0
RECORDS_AT_ONCE = 50
ANSWER_BYTES = 4 * 1024 * 1024


class RedisExecutionStore:
    """Executions of sessions, each a hash, in lists by session."""

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

    async def accept(
        self, session: SessionRecord, execution: ExecutionRecord, queue_length: int
    ) -> Lease | None:
        with self._replicas.rights.asking(session.id):
            word, *token = await self._run(
                ACCEPT,
                execution.id,
                to_json(execution),
                self._replicas.id,
                self._replicas.may_take,
                queue_length,
                self._bounds.history_length,
                *kept_bounds(self._bounds),
                session.tenant,
                session.revision,
                *session_arguments(next_revision(session)),
            )
        if word == b"full":
            raise queue_full(queue_length)
        if word == b"conflict":
            raise changed_in_between(session)
        return self._replicas.rights.take(session.id, int(token[0])) if token else None

    async def get(self, session_id: str, execution_id: str) -> ExecutionRecord | None:
        stored = await self._run(GET, session_id, execution_id)
        if stored[0] is None:
            return None
        return decode_execution(session_id, execution_id, stored)

    async def list(
        self, session_id: str, limit: int | None = None, after: str | None = None
    ) -> Sequence[ExecutionRecord]:
        """In several answers, because a thousand results may be larger than one should be."""
        length = -1 if limit is None else limit
        known = await self._run(IDS, session_id, after or "", length)
        if known is None:
            raise not_in_history(after or "")
        ids = [raw.decode() for raw in known]
        records: list[ExecutionRecord] = []
        while ids:
            asked = ids[:RECORDS_AT_ONCE]
            answer = await self._run(RECORDS, session_id, ANSWER_BYTES, *asked)
            there = zip(asked, answer, strict=False)
            records += [
                decode_execution(session_id, one, stored) for one, stored in there if stored[0]
            ]
            ids = ids[len(answer) :]
        return records

    async def mark(self, session_id: str, execution_id: str | None, mark: Mark) -> str | None:
        running = await self._run(MARK, session_id, execution_id or "", mark)
        return None if running is None else running.decode()

    async def marks(self, session_id: str, execution_id: str) -> frozenset[Mark]:
        there = await self._run(MARKS, session_id, execution_id, *Mark)
        return frozenset(Mark(raw.decode()) for raw in there)

    async def attend(self, session_id: str, execution_id: str, seconds: float) -> float:
        left_ms = await self._run(ATTEND, session_id, execution_id, round(seconds * 1000))
        return float(left_ms) / 1000

    async def _run(self, script: Any, *arguments: Argument) -> Any:
        return await self._connection.run(script, self._prefix, *arguments)


def kept_bounds(bounds: StoreBounds) -> Sequence[Argument]:
    """What the scripts are told that count what is kept."""
    return bounds.session_bytes, bounds.tenant_bytes, FULL_JOURNALS


def not_in_history(execution_id: str) -> NotFound:
    return NotFound(f"No execution {execution_id}.", param="after")


def queue_full(queue_length: int) -> RateLimited:
    return RateLimited(
        f"The session's queue is full ({queue_length} executions).",
        code="queue_full",
        retry_after_s=RETRY_QUEUE_S,
    )
