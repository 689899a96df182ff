"""The steps of RedisQuotas, each one atomic. After the keys' prefix come the arguments named in the first line.

    quota:held:{kind}          sorted set of holders, by the time of their claim (0: taken up by a settlement)
    quota:count:{kind}         hash, tenant to number of its holders
    quota:released:{kind}      sorted set of what was released in the last minute, by its time
    quota:rate:{rate}:{tenant} when the next request would be due if they came evenly; expires by itself
    quota:stored               hash, tenant to bytes
    quota:stored:changed       hash, tenant to the time of the last change
    quota:stored:loaded        there once `quota:stored` was read from the catalog
    quota:cpu:{day}            hash, tenant to CPU seconds; expires after two days
    quota:meter:{meter}        what it showed when it was read last; expires two days after that
    quota:sent:{sender}        the number of the sender's last batch of changes; expires after a day

Times are milliseconds of Redis's own clock: one clock for all replicas, wherever they run. A holder is
written as the length of the tenant's name, a colon, the tenant, and the name it holds under.
"""

from sandbox_service.domain.quota_rules import RELEASED_KEPT_S
from sandbox_service.store.redis.connection import Script

_NOW = """
local prefix, time = KEYS[1] .. 'quota:', redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

_HOLDERS = """
local function holder_of(tenant, name) return #tenant .. ':' .. tenant .. name end
local function tenant_of(holder)
  local length, rest = holder:match('^(%d+):(.*)$')
  return rest:sub(1, tonumber(length))
end
local function count(kind, tenant, change)
  if redis.call('HINCRBY', prefix .. 'count:' .. kind, tenant, change) <= 0 then
    redis.call('HDEL', prefix .. 'count:' .. kind, tenant)
  end
end
"""

# Evenly spaced requests are `gap` apart; the burst is how far ahead of that they may come. A due time that
# is further ahead was written before the clock was set back.
ADMIT = Script(
    """
local rate, burst, tenant = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local key, gap = KEYS[1] .. 'quota:rate:' .. rate .. ':' .. tenant, 1000 / tonumber(rate)
local due = tonumber(redis.call('GET', key) or now)
if due < now or due > now + burst * gap + 1 then due = now end
local wait = due - now - (burst - 1) * gap
if wait > 0 then return string.format('%.3f', wait) end
local lasts = math.ceil(due + gap - now) + 1
redis.call('SET', key, string.format('%.3f', due + gap), 'PX', lasts)
return '0'
"""
)

CLAIM = Script(
    _NOW
    + _HOLDERS
    + """
local kind, tenant, holder = ARGV[1], ARGV[2], holder_of(ARGV[2], ARGV[3])
local own, everyone = tonumber(ARGV[4]), tonumber(ARGV[5])
local open_to_all, share = tonumber(ARGV[6]), tonumber(ARGV[7])
local held = tonumber(redis.call('HGET', prefix .. 'count:' .. kind, tenant) or 0)
if redis.call('ZSCORE', prefix .. 'held:' .. kind, holder) then return {'granted', held} end
local all = redis.call('ZCARD', prefix .. 'held:' .. kind)
if held >= own then return {'own_limit', held} end
if all >= everyone then return {'service_full', held} end
if all >= open_to_all and held >= share then return {'kept_for_others', held} end
redis.call('ZADD', prefix .. 'held:' .. kind, now, holder)
redis.call('ZREM', prefix .. 'released:' .. kind, holder)
count(kind, tenant, 1)
return {'granted', held + 1}
"""
)

# kind, grace in milliseconds, then tenant and name of each actual holder
SETTLE = Script(
    _NOW
    + _HOLDERS
    + """
local kind, since = ARGV[1], now - tonumber(ARGV[2])
local held, released = prefix .. 'held:' .. kind, prefix .. 'released:' .. kind
local kept = {}
local fresh = redis.call('ZRANGEBYSCORE', held, '(' .. since, '+inf', 'WITHSCORES')
for i = 1, #fresh, 2 do kept[fresh[i]] = fresh[i + 1] end
for i = 3, #ARGV, 2 do
  local holder = holder_of(ARGV[i], ARGV[i + 1])
  local at = tonumber(redis.call('ZSCORE', released, holder) or since)
  if at <= since then kept[holder] = kept[holder] or 0 end
end
redis.call('DEL', held, prefix .. 'count:' .. kind)
for holder, at in pairs(kept) do
  redis.call('ZADD', held, at, holder)
  count(kind, tenant_of(holder), 1)
end
"""
)

# 1: counted, 0: over the limit, -1: it is not known what is stored
STORE = Script(
    _NOW
    + """
local tenant, size, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if redis.call('EXISTS', prefix .. 'stored:loaded') == 0 then return -1 end
if tonumber(redis.call('HGET', prefix .. 'stored', tenant) or 0) + size > limit then return 0 end
redis.call('HINCRBY', prefix .. 'stored', tenant, ARGV[2])
redis.call('HSET', prefix .. 'stored:changed', tenant, now)
return 1
"""
)

# time since when a tenant must have been quiet, then tenant and bytes of each that has any
LOAD = Script(
    _NOW
    + """
local stored, changed = prefix .. 'stored', prefix .. 'stored:changed'
local is_first, since = redis.call('EXISTS', stored .. ':loaded') == 0, tonumber(ARGV[1])
local function is_quiet(tenant)
  return is_first or tonumber(redis.call('HGET', changed, tenant) or 0) <= since
end
local actual = {}
for i = 2, #ARGV, 2 do actual[ARGV[i]] = ARGV[i + 1] end
for _, tenant in ipairs(redis.call('HKEYS', stored)) do
  if not actual[tenant] and is_quiet(tenant) then redis.call('HDEL', stored, tenant) end
end
for tenant, size in pairs(actual) do
  if is_quiet(tenant) then redis.call('HSET', stored, tenant, size) end
end
redis.call('SET', stored .. ':loaded', now)
"""
)

# sender, number of its batch, then kind of change, tenant, what and how much or who, for each
APPLY = Script(
    _NOW
    + _HOLDERS
    + f"local released_kept = {RELEASED_KEPT_S * 1000:.0f}"
    + """
local change = {}
function change.release(tenant, kind, name)
  local holder, released = holder_of(tenant, name), prefix .. 'released:' .. kind
  if redis.call('ZREM', prefix .. 'held:' .. kind, holder) == 1 then count(kind, tenant, -1) end
  redis.call('ZADD', released, now, holder)
  redis.call('ZREMRANGEBYSCORE', released, '-inf', now - released_kept)
end
function change.discard(tenant, _, size)
  if redis.call('EXISTS', prefix .. 'stored:loaded') == 0 then return end
  if redis.call('HINCRBY', prefix .. 'stored', tenant, '-' .. size) < 0 then
    redis.call('HSET', prefix .. 'stored', tenant, 0)
  end
  redis.call('HSET', prefix .. 'stored:changed', tenant, now)
end
function change.spend(tenant, day, seconds)
  redis.call('HINCRBYFLOAT', prefix .. 'cpu:' .. day, tenant, seconds)
  redis.call('EXPIRE', prefix .. 'cpu:' .. day, 172800)
end
function change.meter(tenant, what, total)
  local day, meter = what:match('^(%S+) (.*)$')
  local key = prefix .. 'meter:' .. meter
  local last = tonumber(redis.call('GET', key) or total)
  if tonumber(total) < last then return end
  redis.call('SET', key, total, 'EX', 172800)
  change.spend(tenant, day, string.format('%.6f', tonumber(total) - last))
end

local sent = prefix .. 'sent:' .. ARGV[1]
if tonumber(redis.call('GET', sent) or 0) >= tonumber(ARGV[2]) then return end
for i = 3, #ARGV, 4 do change[ARGV[i]](ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]) end
redis.call('SET', sent, ARGV[2], 'EX', 86400)
"""
)
