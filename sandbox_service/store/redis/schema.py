"""The keys, all of which begin with `sandbox:{instance}:`, and what every script begins with.

| key                      | type    | what                                          | removed by; expires             |
|--------------------------|---------|-----------------------------------------------|---------------------------------|
| session:{id}             | hash    | record (JSON), revision, tenant, created      | delete                          |
| sessions                 | zset    | all sessions by created_at (us)               | delete                          |
| sessions:live            | zset    | those that live, by created_at (us)           | their end, delete               |
| sessions:of:{tenant}     | zset    | a tenant's, by created_at (us)                | delete                          |
| due:live                 | zset    | those that live, by expires_at (us)           | their end, delete               |
| due:ended                | zset    | those that ended, by ended_at (us)            | delete                          |
| ended:of:{tenant}        | zset    | a tenant's that ended, by ended_at (us)       | replace (ended_sessions), delete|
| history:{session}        | list    | ids of its executions, oldest first           | delete                          |
| queue:{session}          | list    | ids of those that wait or run                 | final record, delete            |
| kept:{session}           | zset    | ids of those that ended, as they give way     | accept, write, delete           |
| kept:of:{tenant}         | zset    | `{session} {id}` of a tenant's, likewise      | accept, write, delete           |
| kept:bytes               | hash    | of each session, and as `of:{tenant}` of each | delete                          |
|                          |         | tenant: bytes of records, outputs and events  |                                 |
| execution:{session}:{id} | hash    | record (JSON) without outputs, outputs (JSON) | accept, write (StoreBounds),    |
|                          |         | or gave_way, status, number of the last       | delete                          |
|                          |         | event, event_bytes, marks, final_by: the      |                                 |
|                          |         | right it ended by, ended: which end it was    |                                 |
| events:{session}:{id}    | stream  | entry `N-0` is event N; that of the end has   | accept, write (StoreBounds),    |
|                          |         | no payload: it is the record                  | delete                          |
| ended                    | string  | how many executions have ended                | never                           |
| working                  | set     | sessions with something in their queue        | head, delete                    |
| right:{name}             | string  | `{replica}:{token}`, who may do `name`; that  | head, release, give_up, delete; |
|                          |         | of a queue has the session's id               | RIGHT_MS after its last use     |
| tokens                   | string  | the last token given                          | never                           |
| replica:{id}             | string  | the heartbeat                                 | leave; lease_ttl_s              |
| replicas                 | zset    | replicas by their last beat (us)              | leave; a day after the beat     |
| pool:{template}          | list    | refs (JSON) of ready sandboxes                | take                            |
| claims:{template}        | zset    | the latest claims by time (us)                | CLAIMS_KEPT; CLAIMS_MS          |
| attended:{session}:{id}  | string  | somebody waits for that execution             | the time that was said          |
| once:{n}:{tenant}:{key}  | hash    | entry (JSON), shared, done: its content; n is | give_back; once_retention_s     |
|                          |         | the tenant's length                           |                                 |
| onces:{tenant}           | zset    | `{n}:{tenant}:{key}` of a tenant by time      | give_back, begin;               |
|                          |         |                                               | once_retention_s                |
| news                     | channel | `{replica} {execution} {status}`              |                                 |

Those of quotas are in `quota_scripts`. Every change is one script, so it happens whole or not at all. A server
that is out of memory refuses a script at its first command that adds; so new work is refused before
anything is changed, and what is done under a right, whose first command extends it, goes on to its end.

Called again after an answer that was lost, with the same arguments: *accept*, *write*, *take_over*, *acquire*,
*mark*, *attend*, *beat*, *add*, *begin*, *done*, *give_back* and *delete* do nothing twice and answer the same;
*head* raises LeaseLost if the queue had ended, *create* and *replace* raise Conflict; *take* takes another one,
and the reaper finds the first; *note_claim* counts twice, and *seize* grants a newer token.

The server: one Redis 7 or newer (scripts compute their keys, so no cluster), `appendonly yes`, and
`maxmemory-policy noeviction`: a server that evicts forgets sessions.
"""

from datetime import UTC, datetime, timedelta

from sandbox_service.store.redis.connection import Script

RIGHT_MS = 86_400_000
CLAIMS_MS = 86_400_000
REPLICAS_US = 86_400_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_PRELUDE = f"""
local P = KEYS[1]
local function session_key(id) return P .. 'session:' .. id end
local function history_key(session) return P .. 'history:' .. session end
local function queue_key(session) return P .. 'queue:' .. session end
local function kept_key(session) return P .. 'kept:' .. session end
local function kept_of_key(tenant) return P .. 'kept:of:' .. tenant end
local function execution_key(session, id) return P .. 'execution:' .. session .. ':' .. id end
local function events_key(session, id) return P .. 'events:' .. session .. ':' .. id end
local function right_key(name) return P .. 'right:' .. name end
local function replica_key(id) return P .. 'replica:' .. id end

local function now_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function whole(number) return string.format('%.0f', number) end

local function is_final(status)
  return status ~= 'queued' and status ~= 'running'
end

-- Tokens rise, even when the server has lost the last one.
local function grant(name, replica)
  local token = redis.call('INCR', P .. 'tokens')
  if token == 1 then
    token = now_us()
    redis.call('SET', P .. 'tokens', whole(token))
  end
  redis.call('SET', right_key(name), replica .. ':' .. whole(token), 'PX', {RIGHT_MS})
  return whole(token)
end

local function holder_of(name)
  local value = redis.call('GET', right_key(name))
  if not value then return nil end
  return string.match(value, '^(.*):(%d+)$')
end

-- Whether `replica` may be granted it: a dead one's only when `may_take` is '1'.
local function is_free(name, may_take)
  local holder = holder_of(name)
  if not holder then return true end
  return may_take == '1' and redis.call('EXISTS', replica_key(holder)) == 0
end

local function holds(name, holder)
  if redis.call('GET', right_key(name)) ~= holder then return false end
  redis.call('PEXPIRE', right_key(name), {RIGHT_MS})
  return true
end

local function put_session(id, revision, record, created, state, due)
  redis.call('HSET', session_key(id), 'record', record, 'revision', revision)
  if state == 'live' then
    redis.call('ZADD', P .. 'sessions:live', created, id)
    redis.call('ZADD', P .. 'due:live', due, id)
    redis.call('ZREM', P .. 'due:ended', id)
  else
    redis.call('ZADD', P .. 'due:ended', due, id)
    redis.call('ZREM', P .. 'sessions:live', id)
    redis.call('ZREM', P .. 'due:live', id)
  end
end
"""


def script(text: str) -> Script:
    """A script that knows the keys."""
    return Script(_PRELUDE + text)


def news_channel(prefix: str) -> str:
    return prefix + "news"


def microseconds(time: datetime) -> int:
    """Since 1970, exactly; as a score it is exact until the year 2255."""
    return (time - _EPOCH) // timedelta(microseconds=1)
