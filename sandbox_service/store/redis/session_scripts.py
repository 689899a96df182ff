"""What is done to session records, each in one step."""

from sandbox_service.store.redis.schema import script

# tenant, then the record: id, revision, record, created, live|ended, due
CREATE = script("""
local tenant, id, created = ARGV[1], ARGV[2], ARGV[5]
if redis.call('EXISTS', session_key(id)) == 1 then return 0 end
put_session(unpack(ARGV, 2))
redis.call('HSET', session_key(id), 'tenant', tenant, 'created', created)
redis.call('ZADD', P .. 'sessions', created, id)
redis.call('ZADD', P .. 'sessions:of:' .. tenant, created, id)
return 1
""")

GET = script("""
local id = ARGV[1]
return {redis.call('HGET', session_key(id), 'record'), redis.call('LLEN', queue_key(id))}
""")

_DELETE = """
local function delete_session(id)
  local tenant = redis.call('HGET', session_key(id), 'tenant')
  for _, execution in ipairs(redis.call('LRANGE', history_key(id), 0, -1)) do
    redis.call('UNLINK', execution_key(id, execution), events_key(id, execution))
    if tenant then redis.call('ZREM', kept_of_key(tenant), id .. ' ' .. execution) end
  end
  redis.call('UNLINK', session_key(id), history_key(id), queue_key(id), kept_key(id), right_key(id))
  local kept = tonumber(redis.call('HGET', P .. 'kept:bytes', id) or 0)
  redis.call('HDEL', P .. 'kept:bytes', id)
  if tenant and kept > 0 and redis.call('HINCRBY', P .. 'kept:bytes', 'of:' .. tenant, -kept) <= 0 then
    redis.call('HDEL', P .. 'kept:bytes', 'of:' .. tenant)
  end
  for _, index in ipairs({'sessions', 'sessions:live', 'due:live', 'due:ended'}) do
    redis.call('ZREM', P .. index, id)
  end
  if tenant then
    redis.call('ZREM', P .. 'sessions:of:' .. tenant, id)
    redis.call('ZREM', P .. 'ended:of:' .. tenant, id)
  end
  redis.call('SREM', P .. 'working', id)
end
"""

# how many of a tenant's ended sessions are kept, the revision that the record is based on, then the record as above
REPLACE = script(
    _DELETE
    + """
local most_ended, based_on, id, state, due = ARGV[1], ARGV[2], ARGV[3], ARGV[7], ARGV[8]
if redis.call('HGET', session_key(id), 'revision') ~= based_on then return -1 end
put_session(unpack(ARGV, 3))
local tenant = state == 'ended' and redis.call('HGET', session_key(id), 'tenant')
if tenant then
  local ended = P .. 'ended:of:' .. tenant
  redis.call('ZADD', ended, due, id)
  while redis.call('ZCARD', ended) > tonumber(most_ended) do
    local first = redis.call('ZRANGE', ended, 0, 0)[1]
    redis.call('ZREM', ended, first)
    if redis.call('ZSCORE', P .. 'due:ended', first) then delete_session(first) end
  end
end
return redis.call('LLEN', queue_key(id))
"""
)

_ROWS = """
local rows = {}
local function add_row(id, score)
  local record = redis.call('HGET', session_key(id), 'record')
  if not record then return end
  for _, field in ipairs({id, score, record, redis.call('LLEN', queue_key(id))}) do
    rows[#rows + 1] = field
  end
end
"""

# index, the session behind which to go on and its score (looked up when empty), tenant, how many
PAGE = script(
    _ROWS
    + """
local index, after, score, tenant, length = P .. ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
if after ~= '' and score == '' then
  local last = redis.call('HMGET', session_key(after), 'created', 'tenant')
  if not last[1] or (tenant ~= '' and last[2] ~= tenant) then return {} end
  score = last[1]
end
local offset = 0
while #rows < 4 * length do
  local top = score == '' and '+inf' or score
  local found = redis.call(
    'ZREVRANGEBYSCORE', index, top, '-inf', 'WITHSCORES', 'LIMIT', offset, length)
  if #found == 0 then break end
  for at = 1, #found, 2 do
    local is_before = score ~= '' and tonumber(found[at + 1]) == tonumber(score) and found[at] >= after
    if not is_before and #rows < 4 * length then add_row(found[at], found[at + 1]) end
  end
  offset = offset + length
end
return rows
"""
)

DUE = script(
    _ROWS
    + """
local limit = tonumber(ARGV[3])
local function add_due(index, before)
  local room = limit - #rows / 4
  if room <= 0 then return end
  local due = redis.call('ZRANGEBYSCORE', index, '-inf', before, 'WITHSCORES', 'LIMIT', 0, room)
  for at = 1, #due, 2 do add_row(due[at], due[at + 1]) end
end
add_due(P .. 'due:live', ARGV[1])
add_due(P .. 'due:ended', ARGV[2])
return rows
"""
)

DELETE = script(
    _DELETE
    + """
delete_session(ARGV[1])
return 1
"""
)
