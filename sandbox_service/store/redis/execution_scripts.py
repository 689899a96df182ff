"""What is done to executions and their events, each in one step."""

from sandbox_service.store.redis.schema import script

# execution, record, replica, may_take, queue_length, full journals, history length, revision, then the
# session as in `session_scripts`: id, revision, record, created, live|ended, due.
# Answers {word} or {word, token}: a token is that of the right to the queue, when this replica has it.
ACCEPT = script("""
local id, record, replica, may_take, queue_length = unpack(ARGV, 1, 5)
local full_journals, history_length, based_on, session = unpack(ARGV, 6, 9)

local function status_of(execution)
  return redis.call('HGET', execution_key(session, execution), 'status')
end

local function trim_journals()
  while redis.call('LLEN', journals_key(session)) > tonumber(full_journals) do
    local oldest = redis.call('LINDEX', journals_key(session), 0)
    if not is_final(status_of(oldest)) then return end
    redis.call('LPOP', journals_key(session))
    redis.call('UNLINK', events_key(session, oldest))
  end
end

local function trim_history()
  while redis.call('LLEN', history_key(session)) > tonumber(history_length) do
    local oldest = redis.call('LINDEX', history_key(session), 0)
    if not is_final(status_of(oldest)) then return end
    redis.call('LPOP', history_key(session))
    redis.call('UNLINK', execution_key(session, oldest), events_key(session, oldest))
  end
end

if status_of(id) then
  local holder, token = holder_of(session)
  return holder == replica and {'known', token} or {'known'}
end
if redis.call('LLEN', queue_key(session)) > tonumber(queue_length) then return {'full'} end
if redis.call('HGET', session_key(session), 'revision') ~= based_on then return {'conflict'} end
put_session(unpack(ARGV, 9))
redis.call('HSET', execution_key(session, id), 'record', record, 'status', 'queued', 'last', 0)
for _, list in ipairs({history_key(session), queue_key(session), journals_key(session)}) do
  redis.call('RPUSH', list, id)
end
redis.call('SADD', P .. 'working', session)
trim_journals()
trim_history()
if not is_free(session, may_take) then return {'queued'} end
return {'granted', grant(session, replica)}
""")

GET = script("""
return redis.call('HGET', execution_key(ARGV[1], ARGV[2]), 'record')
""")

IDS = script("""
return redis.call('LRANGE', history_key(ARGV[1]), 0, -1)
""")

# session, how many bytes are enough for one answer, executions; answers as many records as that
RECORDS = script("""
local session, enough = ARGV[1], tonumber(ARGV[2])
local records, bytes = {}, 0
for at = 3, #ARGV do
  local record = redis.call('HGET', execution_key(session, ARGV[at]), 'record') or ''
  records[#records + 1] = record
  bytes = bytes + #record
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

# holder, session, execution, record, status, how many events to keep, then id, type, payload of each
WRITE = script("""
local holder, session, id, record, status, kept_events = unpack(ARGV, 1, 6)
if not holds(session, holder) then return 'lost' end
local key = execution_key(session, id)
local before = redis.call('HMGET', key, 'status', 'last', 'final_by')
if not before[1] then return 'gone' end
if is_final(before[1]) then
  local is_ours = before[3] == holder and redis.call('HGET', key, 'record') == record
  return is_ours and 'made final' or 'was final'
end
local last = tonumber(before[2])
redis.call('HSET', key, 'record', record, 'status', status)
for at = 7, #ARGV, 3 do
  if tonumber(ARGV[at]) > last then
    last = tonumber(ARGV[at])
    redis.call(
      'XADD', events_key(session, id), 'MAXLEN', '=', kept_events, whole(last) .. '-0',
      'execution', id, 'type', ARGV[at + 1], 'payload', ARGV[at + 2])
  end
end
redis.call('HSET', key, 'last', whole(last))
redis.call('PUBLISH', P .. 'news', string.match(holder, '^(.*):') .. ' ' .. id .. ' ' .. status)
if not is_final(status) then return 'kept' end
redis.call('HSET', key, 'final_by', holder)
redis.call('LREM', queue_key(session), 1, id)
return 'made final'
""")

# session, execution, after, limit. Answers {is_final, last, dropped, entries, record}; the record only
# when the last of the entries stands for it. Of a journal that is no longer kept the end is.
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
local record = ''
if #entries > 0 and entries[#entries][2][4] == 'execution.completed' then
  record = redis.call('HGET', execution_key(session, id), 'record')
end
return {final and 1 or 0, last, dropped, entries, record}
""")
