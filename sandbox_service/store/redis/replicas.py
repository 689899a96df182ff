"""Which replicas live, by heartbeats in Redis, and the rights that they hold."""

from sandbox_service.domain.ids import new_id
from sandbox_service.domain.ports import Clock
from sandbox_service.domain.stores import Lease
from sandbox_service.store.redis.connection import RedisConnection
from sandbox_service.store.redis.rights import Rights
from sandbox_service.store.redis.work_scripts import ACQUIRE, ALIVE, BEAT, LEAVE, RELEASE


class RedisReplicas:
    """This replica among the others.

    When Redis was away, everybody's heartbeat is gone and nobody is dead. So a replica takes from the dead only
    after it has itself beaten without a break for a lease's time: by then the living have, too. A beat
    counts from when it was sent, so that one that was long on its way extends nothing.
    """

    def __init__(
        self, connection: RedisConnection, prefix: str, lease_ttl_s: float, clock: Clock
    ) -> None:
        self._id = new_id("rep")
        self.rights = Rights()
        self._connection = connection
        self._prefix = prefix
        self._ttl_s = lease_ttl_s
        self._clock = clock
        self._beating_since: float | None = None
        self._beat_at = 0.0
        self._has_left = False
        self._last_seen: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        return self._id

    @property
    def may_take(self) -> int:
        """1 when this replica may take what dead ones hold."""
        now = self._clock.monotonic()
        since = self._beating_since
        is_steady = since is not None and now - since >= self._ttl_s
        return int(is_steady and now - self._beat_at < self._ttl_s)

    async def beat(self) -> None:
        if self._has_left:
            return
        sent_at = self._clock.monotonic()
        has_lived = await self._connection.run(
            BEAT, self._prefix, self._id, round(self._ttl_s * 1000)
        )
        if not has_lived or self._beating_since is None:
            self._beating_since = sent_at
        self._beat_at = sent_at

    async def alive(self) -> frozenset[str]:
        """While this replica may not take from the dead, everybody it knows of counts as alive."""
        known, alive = await self._connection.run(ALIVE, self._prefix)
        if self._has_left:
            return _ids(alive)
        if self.may_take:
            self._last_seen = _ids(alive) | {self._id}
            return self._last_seen
        return self._last_seen | _ids(known) | {self._id}

    async def acquire(self, name: str) -> Lease | None:
        with self.rights.asking(name):
            token = await self._connection.run(ACQUIRE, self._prefix, name, self._id, self.may_take)
        if token is None:
            return None
        self.rights.take(name, int(token))
        return Lease(name, int(token))

    async def release(self, lease: Lease) -> None:
        self.rights.drop(lease)
        await self._connection.run(RELEASE, self._prefix, lease.name, self.holder(lease))

    async def leave(self) -> None:
        self._beating_since = None
        self._has_left = True
        await self._connection.run(LEAVE, self._prefix, self._id)

    def holder(self, lease: Lease) -> str:
        """What stands in Redis while the lease is this replica's."""
        return f"{self._id}:{lease.token}"


def _ids(raw: "list[bytes]") -> frozenset[str]:
    return frozenset(each.decode() for each in raw)
