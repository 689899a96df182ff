"""What is done to executions and their events, each in one step."""

from sandbox_service.store.redis.schema import script

# What is kept of executions is counted by session and by tenant. An ended execution stands in a sorted set of
# each, in the order in which it gives way: by the steps that it took, then by its end. The steps are those
# of `StoreBounds`: 0 with events, 1 with outputs, 2 when only the bare record is left.
_KEPT = """
local function measure(session, execution)
  local key = execution_key(session, execution)
  return redis.call('HSTRLEN', key, 'record') + redis.call('HSTRLEN', key, 'outputs')
    + tonumber(redis.call('HGET', key, 'event_bytes') or 0)
end

local function count(session, tenant, change)
  if change ~= 0 then
    redis.call('HINCRBY', P .. 'kept:bytes', session, whole(change))
    redis.call('HINCRBY', P .. 'kept:bytes', 'of:' .. tenant, whole(change))
  end
end

local function bytes_of(name) return tonumber(redis.call('HGET', P .. 'kept:bytes', name) or 0) end

local function place(session, tenant, execution)
  local step = 2
  if redis.call('XLEN', events_key(session, execution)) > 1 then step = 0
  elseif redis.call('HEXISTS', execution_key(session, execution), 'outputs') == 1 then step = 1 end
  local ended = tonumber(redis.call('HGET', execution_key(session, execution), 'ended') or 0)
  local score = whole(step * 1e14 + ended)
  redis.call('ZADD', kept_key(session), score, execution)
  redis.call('ZADD', kept_of_key(tenant), score, session .. ' ' .. execution)
  return step
end

local function forget(session, tenant, execution)
  count(session, tenant, -measure(session, execution))
  redis.call('LREM', history_key(session), 1, execution)
  redis.call('UNLINK', execution_key(session, execution), events_key(session, execution))
  redis.call('ZREM', kept_key(session), execution)
  redis.call('ZREM', kept_of_key(tenant), session .. ' ' .. execution)
end

local function give_way(session, tenant, execution)
  local key, before = execution_key(session, execution), measure(session, execution)
  local step = place(session, tenant, execution)
  if step == 2 then return forget(session, tenant, execution) end
  if step == 0 then
    redis.call('UNLINK', events_key(session, execution))
    redis.call('HDEL', key, 'event_bytes')
  else
    redis.call('HDEL', key, 'outputs')
    redis.call('HSET', key, 'gave_way', 1)
  end
  count(session, tenant, measure(session, execution) - before)
  place(session, tenant, execution)
end

local function first_but(key, spared)
  for _, member in ipairs(redis.call('ZRANGE', key, 0, 1)) do
    if member ~= spared then return member end
  end
end

local function make_room(session, tenant, newest, session_bytes, tenant_bytes, full_journals)
  while bytes_of(session) > tonumber(session_bytes)
      or redis.call('ZCOUNT', kept_key(session), '-inf', '(1e14') > tonumber(full_journals) do
    local first = first_but(kept_key(session), newest)
    if not first then break end
    give_way(session, tenant, first)
  end
  while bytes_of('of:' .. tenant) > tonumber(tenant_bytes) do
    local first = first_but(kept_of_key(tenant), session .. ' ' .. newest)
    if not first then break end
    local its_session, execution = string.match(first, '^(.*) (.*)$')
    give_way(its_session, tenant, execution)
  end
end
"""

# execution, record, replica, may_take, queue_length, history length, bytes that a session and a tenant may
# keep, full journals, tenant, revision, then the session as in `session_scripts`: id, revision, record,
# created, live|ended, due.
# Answers {word} or {word, token}: a token is that of the right to the queue, when this replica has it.
ACCEPT = script(
    _KEPT
    + """
local id, record, replica, may_take, queue_length = unpack(ARGV, 1, 5)
local history_length, session_bytes, tenant_bytes, full_journals = unpack(ARGV, 6, 9)
local tenant, based_on, session = unpack(ARGV, 10, 12)

local function status_of(execution)
  return redis.call('HGET', execution_key(session, execution), 'status')
end

local function trim_history()
  while redis.call('LLEN', history_key(session)) > tonumber(history_length) do
    local oldest = redis.call('LINDEX', history_key(session), 0)
    if not is_final(status_of(oldest)) then return end
    forget(session, tenant, oldest)
  end
end

if status_of(id) then
  local holder, token = holder_of(session)
  return holder == replica and {'known', token} or {'known'}
end
if redis.call('LLEN', queue_key(session)) > tonumber(queue_length) then return {'full'} end
if redis.call('HGET', session_key(session), 'revision') ~= based_on then return {'conflict'} end
put_session(unpack(ARGV, 12))
redis.call('HSET', execution_key(session, id), 'record', record, 'status', 'queued', 'last', 0)
for _, list in ipairs({history_key(session), queue_key(session)}) do
  redis.call('RPUSH', list, id)
end
redis.call('SADD', P .. 'working', session)
count(session, tenant, measure(session, id))
make_room(session, tenant, id, session_bytes, tenant_bytes, full_journals)
trim_history()
if not is_free(session, may_take) then return {'queued'} end
return {'granted', grant(session, replica)}
"""
)

# session, execution; answers {record, outputs, gave_way}
GET = script("""
return redis.call('HMGET', execution_key(ARGV[1], ARGV[2]), 'record', 'outputs', 'gave_way')
""")

# session, the execution behind which to begin or '', how many or -1; false when that one is unknown
IDS = script("""
local history, after, length = history_key(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local first = 0
if after ~= '' then
  local at = redis.call('LPOS', history, after)
  if not at then return false end
  first = at + 1
end
return redis.call('LRANGE', history, first, length < 0 and -1 or first + length - 1)
""")

# session, how many bytes are enough for one answer, executions; answers as many of {record, outputs, gave_way}
RECORDS = script("""
local session, enough = ARGV[1], tonumber(ARGV[2])
local records, bytes = {}, 0
for at = 3, #ARGV do
  local stored = redis.call('HMGET', execution_key(session, ARGV[at]), 'record', 'outputs', 'gave_way')
  records[#records + 1] = stored
  bytes = bytes + #(stored[1] or '') + #(stored[2] or '')
  if bytes > enough then break end
end
return records
""")

# session, execution or '' for the one that runs, mark
MARK = script("""
local session, id, mark = unpack(ARGV)
local asked = id
if asked == '' then id = redis.call('LINDEX', queue_key(session), 0) or '' end
local status = redis.call('HGET', execution_key(session, id), 'status')
if not status or is_final(status) then return false end
local is_running = status == 'running'
if is_running or asked ~= '' then redis.call('HSET', execution_key(session, id), mark, 1) end
return is_running and id
""")

# session, execution, marks; answers those that are there
MARKS = script("""
local key, there = execution_key(ARGV[1], ARGV[2]), {}
for at = 3, #ARGV do
  if redis.call('HEXISTS', key, ARGV[at]) == 1 then there[#there + 1] = ARGV[at] end
end
return there
""")

# session, execution, milliseconds; answers how many are left
ATTEND = script("""
local key, asked = P .. 'attended:' .. ARGV[1] .. ':' .. ARGV[2], tonumber(ARGV[3])
local left = math.max(0, redis.call('PTTL', key))
if asked <= left then return left end
redis.call('SET', key, 1, 'PX', asked)
return asked
""")

# holder, session, tenant, execution, record, outputs or '', status, how many events to keep and how many bytes of
# them, bytes that a session and a tenant may keep, full journals, then id, type, payload of each event
WRITE = script(
    _KEPT
    + """
local holder, session, tenant, id, record, outputs, status = unpack(ARGV, 1, 7)
local kept_events, kept_event_bytes, session_bytes, tenant_bytes, full_journals = unpack(ARGV, 8, 12)
if not holds(session, holder) then return 'lost' end
local key, events = execution_key(session, id), events_key(session, id)
local before = redis.call('HMGET', key, 'status', 'last', 'final_by')
if not before[1] then return 'gone' end
if is_final(before[1]) then
  local is_ours = before[3] == holder and redis.call('HGET', key, 'record') == record
  return is_ours and 'made final' or 'was final'
end

local function size_of(entry) return 64 + #entry[2][6] end

local function trim_events(bytes)
  local surplus = redis.call('XLEN', events) - tonumber(kept_events)
  while redis.call('XLEN', events) > 1 and (surplus > 0 or bytes > tonumber(kept_event_bytes)) do
    local first = redis.call('XRANGE', events, '-', '+', 'COUNT', 1)[1]
    redis.call('XDEL', events, first[1])
    bytes, surplus = bytes - size_of(first), surplus - 1
  end
  return bytes
end

local last, size = tonumber(before[2]), measure(session, id)
local event_bytes = tonumber(redis.call('HGET', key, 'event_bytes') or 0)
redis.call('HSET', key, 'record', record, 'status', status)
if outputs ~= '' then redis.call('HSET', key, 'outputs', outputs) end
for at = 13, #ARGV, 3 do
  if tonumber(ARGV[at]) > last then
    last = tonumber(ARGV[at])
    redis.call(
      'XADD', events, whole(last) .. '-0',
      'execution', id, 'type', ARGV[at + 1], 'payload', ARGV[at + 2])
    event_bytes = trim_events(event_bytes + 64 + #ARGV[at + 2])
  end
end
redis.call('HSET', key, 'last', whole(last), 'event_bytes', whole(event_bytes))
count(session, tenant, measure(session, id) - size)
redis.call('PUBLISH', P .. 'news', string.match(holder, '^(.*):') .. ' ' .. id .. ' ' .. status)
if is_final(status) then
  redis.call('HSET', key, 'final_by', holder, 'ended', redis.call('INCR', P .. 'ended'))
  redis.call('LREM', queue_key(session), 1, id)
  place(session, tenant, id)
end
make_room(session, tenant, id, session_bytes, tenant_bytes, full_journals)
return is_final(status) and 'made final' or 'kept'
"""
)

# session, execution, after, limit. Answers {is_final, last, dropped, entries, stored}; `stored` is what GET
# answers, when the last of the entries stands for it. Of a journal that is no longer kept the end is.
READ = script("""
local session, id, after, limit = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local known = redis.call('HMGET', execution_key(session, id), 'status', 'last')
if not known[1] then return false end
local final, last = is_final(known[1]), tonumber(known[2])
local events = events_key(session, id)
local first = redis.call('XRANGE', events, '-', '+', 'COUNT', 1)[1]
local dropped, entries = 0, {}
if first then
  dropped = tonumber(string.match(first[1], '^%d+')) - 1
  entries = redis.call('XRANGE', events, '(' .. whole(after) .. '-0', '+', 'COUNT', limit)
elseif last > 0 then
  dropped = last - 1
  if after < last then
    entries = {{whole(last) .. '-0', {'execution', id, 'type', 'execution.completed', 'payload', ''}}}
  end
end
local stored = {}
if #entries > 0 and entries[#entries][2][4] == 'execution.completed' then
  stored = redis.call('HMGET', execution_key(session, id), 'record', 'outputs', 'gave_way')
end
return {final and 1 or 0, last, dropped, entries, stored}
""")
