"""Requests that take effect once, in Redis."""

from collections.abc import Mapping
from typing import Any

from sandbox_service.domain.stores import OnceEntry
from sandbox_service.domain.values import Value
from sandbox_service.store.encoding import to_json
from sandbox_service.store.redis.connection import Argument, RedisConnection
from sandbox_service.store.redis.records import decode
from sandbox_service.store.redis.schema import script

# name, entry, for how many milliseconds; answers {entry, done}
BEGIN = script("""
local key = P .. 'once:' .. ARGV[1]
if redis.call('EXISTS', key) == 0 then
  redis.call('HSET', key, 'entry', ARGV[2])
  redis.call('PEXPIRE', key, ARGV[3])
end
return {redis.call('HGET', key, 'entry'), redis.call('HEXISTS', key, 'done')}
""")

DONE = script("""
local key = P .. 'once:' .. ARGV[1]
return redis.call('EXISTS', key) == 1 and redis.call('HSET', key, 'done', 1)
""")

FORGET = script("""
return redis.call('DEL', P .. 'once:' .. ARGV[1])
""")


class _Entry(Value):
    """What is stored, under the names of whose it is."""

    tenant: str
    key: str
    fingerprint: str
    ids: dict[str, str]


class RedisOnceStore:
    """A hash for each key, which Redis removes when its time is over."""

    def __init__(self, connection: RedisConnection, prefix: str, retention_s: float) -> None:
        self._connection = connection
        self._prefix = prefix
        self._retention_ms = round(retention_s * 1000)

    async def begin(
        self, tenant: str, key: str, fingerprint: str, ids: Mapping[str, str]
    ) -> OnceEntry:
        name = _name(tenant, key)
        fresh = _Entry(tenant=tenant, key=key, fingerprint=fingerprint, ids=dict(ids))
        raw, is_done = await self._run(BEGIN, name, to_json(fresh), self._retention_ms)
        whose = (tenant, key)
        entry = decode(_Entry, raw, f"once:{name}", lambda it: (it.tenant, it.key) == whose)
        return OnceEntry(entry.fingerprint, entry.ids, is_done=bool(is_done))

    async def done(self, tenant: str, key: str) -> None:
        await self._run(DONE, _name(tenant, key))

    async def forget(self, tenant: str, key: str) -> None:
        await self._run(FORGET, _name(tenant, key))

    async def _run(self, script: Any, *arguments: Argument) -> Any:
        return await self._connection.run(script, self._prefix, *arguments)


def _name(tenant: str, key: str) -> str:
    """With the tenant's length, so that no two pairs have one name."""
    return f"{len(tenant)}:{tenant}:{key}"
