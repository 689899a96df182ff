"""The rights to sessions' queues, held by replicas over Redis."""

from collections.abc import Sequence
from typing import Any

from sandbox_service.domain.errors import LeaseLost
from sandbox_service.domain.stores import Lease
from sandbox_service.domain.values import ExecutionRecord
from sandbox_service.store.redis.connection import Argument, RedisConnection
from sandbox_service.store.redis.records import decode_execution
from sandbox_service.store.redis.replicas import RedisReplicas
from sandbox_service.store.redis.work_scripts import HEAD, RELEASE, SEIZE, TAKE_OVER, WAITING


class RedisWorkQueues:
    """Each right is one replica's while its heart beats, and is fenced by its token."""

    def __init__(self, connection: RedisConnection, prefix: str, replicas: RedisReplicas) -> None:
        self._connection = connection
        self._prefix = prefix
        self._replicas = replicas

    async def head(self, lease: Lease) -> ExecutionRecord | None:
        answer = await self._run(HEAD, lease.name, self._replicas.holder(lease))
        if answer is None:
            raise lost(self._replicas, lease)
        if not answer:
            self._replicas.rights.drop(lease)
            return None
        execution_id, raw = answer
        return decode_execution(lease.name, execution_id.decode(), (raw, None, None))

    async def seize(self, session_id: str) -> Lease:
        with self._replicas.rights.asking(session_id):
            token = int(await self._run(SEIZE, session_id, self._replicas.id))
        self._replicas.rights.take(session_id, token)
        return Lease(session_id, token)

    async def take_over(self) -> Sequence[Lease]:
        """Also those whose grant was never heard of here."""
        rights = self._replicas.rights
        answer = await self._run(TAKE_OVER, self._replicas.id, self._replicas.may_take)
        ours = zip(answer[::2], answer[1::2], strict=True)
        pairs = [(name.decode(), int(token)) for name, token in ours]
        taken = [rights.take(name, token) for name, token in pairs if not rights.is_asked(name)]
        return [lease for lease in taken if lease is not None]

    async def give_up(self, lease: Lease) -> None:
        self._replicas.rights.drop(lease)
        await self._run(RELEASE, lease.name, self._replicas.holder(lease))

    async def waiting(self, session_id: str) -> Sequence[str]:
        return [raw.decode() for raw in await self._run(WAITING, session_id)]

    async def _run(self, script: Any, *arguments: Argument) -> Any:
        return await self._connection.run(script, self._prefix, *arguments)


def lost(replicas: RedisReplicas, lease: Lease) -> LeaseLost:
    replicas.rights.drop(lease)
    return LeaseLost(f"Another has the right to {lease.name} now.")
