"""What is given back, sent in the background: in order, each change once, and never more than fits a queue."""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sandbox_service.domain.errors import StoreUnavailable
from sandbox_service.store.redis.connection import RedisConnection
from sandbox_service.store.redis.quota_scripts import APPLY

logger = logging.getLogger(__name__)

QUEUE_LENGTH = 10_000
BATCH_LENGTH = 500
RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class Change:
    """One argument list of the script: `kind` is release, discard, spend or meter."""

    kind: str
    tenant: str
    what: str
    amount: str


class QuotaChanges:
    """Changes on their way to Redis.

    A batch keeps its number until it was answered for, and Redis applies a number once: whatever is
    cancelled or cut off in between is sent again and counts once. What does not fit the queue while Redis
    is away is forgotten; settling and loading anew make it good, but for CPU seconds.
    """

    def __init__(
        self, connection: RedisConnection, prefix: str, queue_length: int = QUEUE_LENGTH
    ) -> None:
        self._connection = connection
        self._prefix = prefix
        self._queue_length = queue_length
        self._sender = secrets.token_hex(8)
        self._turn = asyncio.Lock()  # one batch at a time is on its way
        self._wake = asyncio.Event()
        self._queue: deque[Change] = deque()
        self._batch: Sequence[Change] = ()
        self._number = 0
        self._forgotten = 0

    def put(self, change: Change) -> None:
        """Take one change. Never waits."""
        if len(self._queue) >= self._queue_length:
            self._forgotten += 1
            return
        self._queue.append(change)
        self._wake.set()

    async def flush(self) -> None:
        """Return when everything that was put before has taken effect. Raises StoreUnavailable."""
        if not (self._batch or self._queue):
            return
        async with self._turn:
            left = len(self._batch) + len(self._queue)
            while left > 0:
                left -= await self._send_batch()

    async def _send_batch(self) -> int:
        if not self._batch:
            self._number += 1
            room = min(BATCH_LENGTH, len(self._queue))
            self._batch = [self._queue.popleft() for _ in range(room)]
        arguments = _arguments(self._batch)
        await self._connection.run(APPLY, self._prefix, self._sender, self._number, *arguments)
        sent, self._batch = len(self._batch), ()
        return sent

    async def run(self) -> None:
        """Send what is put, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.flush()
                self._tell_forgotten()
            except StoreUnavailable:
                self._wake.set()
                await asyncio.sleep(RETRY_S)

    def _tell_forgotten(self) -> None:
        if self._forgotten:
            logger.warning("quota_changes_forgotten count=%d", self._forgotten)
            self._forgotten = 0


def _arguments(batch: Iterable[Change]) -> list[str]:
    return [word for c in batch for word in (c.kind, c.tenant, c.what, c.amount)]
