"""Requests that take effect once, in Redis."""

from collections.abc import Mapping
from typing import Any

from sandbox_service.domain.ids import new_id
from sandbox_service.domain.stores import OnceEntry
from sandbox_service.domain.values import Value
from sandbox_service.store.bounds import StoreBounds
from sandbox_service.store.encoding import to_json
from sandbox_service.store.redis.connection import Argument, RedisConnection
from sandbox_service.store.redis.records import decode
from sandbox_service.store.redis.schema import script

# name, entry, for how many milliseconds, tenant, how many a tenant may have; answers {entry, content or false}
BEGIN = script("""
local key, keys = P .. 'once:' .. ARGV[1], P .. 'onces:' .. ARGV[4]
local entry = redis.call('HGET', key, 'entry')
if not entry then
  local now, lasts = now_us(), tonumber(ARGV[3])
  redis.call('HSET', key, 'entry', ARGV[2])
  redis.call('PEXPIRE', key, lasts)
  redis.call('ZREMRANGEBYSCORE', keys, '-inf', whole(now - lasts * 1000))
  redis.call('ZADD', keys, whole(now), ARGV[1])
  redis.call('PEXPIRE', keys, lasts)
  local surplus = redis.call('ZCARD', keys) - tonumber(ARGV[5])
  if surplus > 0 then
    for _, name in ipairs(redis.call('ZRANGE', keys, 0, math.min(surplus, 1000) - 1)) do
      redis.call('DEL', P .. 'once:' .. name)
      redis.call('ZREM', keys, name)
    end
  end
  return {ARGV[2], false}
end
if entry ~= ARGV[2] and cjson.decode(entry).fingerprint == cjson.decode(ARGV[2]).fingerprint then
  redis.call('HSET', key, 'shared', 1)
end
return {entry, redis.call('HGET', key, 'done')}
""")

# name, content
DONE = script("""
local key = P .. 'once:' .. ARGV[1]
return redis.call('EXISTS', key) == 1 and redis.call('HSETNX', key, 'done', ARGV[2])
""")

# name, mark, tenant
GIVE_BACK = script("""
local key = P .. 'once:' .. ARGV[1]
local entry, shared = unpack(redis.call('HMGET', key, 'entry', 'shared'))
if not entry or shared or cjson.decode(entry).mark ~= ARGV[2] then return 0 end
redis.call('ZREM', P .. 'onces:' .. ARGV[3], ARGV[1])
return redis.call('DEL', key)
""")


class _Entry(Value):
    """What is stored, under the names of whose it is."""

    tenant: str
    key: str
    fingerprint: str
    ids: dict[str, str]
    mark: str = ""


class RedisOnceStore:
    """A hash for each key, which Redis removes when its time is over; a tenant with too many loses the oldest."""

    def __init__(self, connection: RedisConnection, prefix: str, bounds: StoreBounds) -> None:
        self._connection = connection
        self._prefix = prefix
        self._retention_ms = round(bounds.once_retention_s * 1000)
        self._most_keys = bounds.once_keys

    async def begin(
        self, tenant: str, key: str, fingerprint: str, ids: Mapping[str, str]
    ) -> OnceEntry:
        name = _name(tenant, key)
        fresh = _Entry(
            tenant=tenant, key=key, fingerprint=fingerprint, ids=dict(ids), mark=new_id("once")
        )
        raw, content = await self._run(
            BEGIN, name, to_json(fresh), self._retention_ms, tenant, self._most_keys
        )
        whose = (tenant, key)
        entry = decode(_Entry, raw, f"once:{name}", lambda it: (it.tenant, it.key) == whose)
        is_done = content is not None
        told = content.decode() if is_done else ""
        return OnceEntry(entry.fingerprint, entry.ids, is_done, told, entry.mark)

    async def done(self, tenant: str, key: str, content: str = "") -> None:
        await self._run(DONE, _name(tenant, key), content)

    async def give_back(self, tenant: str, key: str, entry: OnceEntry) -> None:
        await self._run(GIVE_BACK, _name(tenant, key), entry.mark, tenant)

    async def _run(self, script: Any, *arguments: Argument) -> Any:
        return await self._connection.run(script, self._prefix, *arguments)


def _name(tenant: str, key: str) -> str:
    """With the tenant's length, so that no two pairs have one name."""
    return f"{len(tenant)}:{tenant}:{key}"
