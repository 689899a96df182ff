"""The warm sandboxes that are ready, in Redis."""

from collections.abc import Sequence
from typing import Any

from sandbox_service.domain.ids import new_id
from sandbox_service.domain.stores import Demand
from sandbox_service.domain.values import SandboxRef, Value
from sandbox_service.store.encoding import to_json
from sandbox_service.store.redis.connection import Argument, RedisConnection
from sandbox_service.store.redis.records import decode
from sandbox_service.store.redis.schema import CLAIMS_MS, script

CLAIMS_KEPT = 1000

# template, ref; one that is in the pool already is not added again: it must not be given out twice
ADD = script("""
local pool = P .. 'pool:' .. ARGV[1]
if redis.call('LPOS', pool, ARGV[2]) then return 0 end
return redis.call('RPUSH', pool, ARGV[2])
""")

TAKE = script("""
return redis.call('LPOP', P .. 'pool:' .. ARGV[1])
""")

READY = script("""
return redis.call('LRANGE', P .. 'pool:' .. ARGV[1], 0, -1)
""")

NOTE_CLAIM = script(f"""
local claims = P .. 'claims:' .. ARGV[1]
redis.call('ZADD', claims, now_us(), ARGV[2])
redis.call('ZREMRANGEBYRANK', claims, 0, -{CLAIMS_KEPT + 1})
return redis.call('PEXPIRE', claims, {CLAIMS_MS})
""")

# template, window in microseconds; answers {how many, microseconds since the last}
DEMAND = script("""
local claims = P .. 'claims:' .. ARGV[1]
local now = now_us()
local last = redis.call('ZRANGE', claims, -1, -1, 'WITHSCORES')[2]
if not last then return {0} end
local count = redis.call('ZCOUNT', claims, whole(now - tonumber(ARGV[2])), '+inf')
return {count, whole(math.max(0, now - tonumber(last)))}
""")


class _Pooled(Value):
    """A ref under the name of its pool."""

    template: str
    ref: SandboxRef


class RedisPoolStore:
    """A list of refs for each template, first in first out; times are those of Redis's clock."""

    def __init__(self, connection: RedisConnection, prefix: str) -> None:
        self._connection = connection
        self._prefix = prefix

    async def add(self, template: str, ref: SandboxRef) -> None:
        await self._run(ADD, template, to_json(_Pooled(template=template, ref=ref)))

    async def take(self, template: str) -> SandboxRef | None:
        raw = await self._run(TAKE, template)
        return None if raw is None else _ref(template, raw)

    async def ready(self, template: str) -> Sequence[SandboxRef]:
        return [_ref(template, raw) for raw in await self._run(READY, template)]

    async def note_claim(self, template: str) -> None:
        await self._run(NOTE_CLAIM, template, new_id("claim"))

    async def demand(self, template: str, window_s: float) -> Demand:
        count, *age_us = await self._run(DEMAND, template, round(window_s * 1e6))
        return Demand(count, int(age_us[0]) / 1e6 if age_us else None)

    async def _run(self, script: Any, *arguments: Argument) -> Any:
        return await self._connection.run(script, self._prefix, *arguments)


def _ref(template: str, raw: bytes) -> SandboxRef:
    return decode(_Pooled, raw, f"pool:{template}", lambda it: it.template == template).ref
