"""Who lives and who has which right, each step whole."""

from sandbox_service.store.redis.schema import REPLICAS_US, script

# replica, for how many milliseconds; answers whether it lived
BEAT = script(f"""
local id, ttl_ms = ARGV[1], ARGV[2]
local lived = redis.call('PEXPIRE', replica_key(id), ttl_ms)
if lived == 0 then redis.call('SET', replica_key(id), id, 'PX', ttl_ms) end
redis.call('ZADD', P .. 'replicas', now_us(), id)
redis.call('ZREMRANGEBYSCORE', P .. 'replicas', '-inf', now_us() - {REPLICAS_US})
return lived
""")

# answers {known, who lives}
ALIVE = script("""
local known, alive = redis.call('ZRANGE', P .. 'replicas', 0, -1), {}
for _, id in ipairs(known) do
  if redis.call('EXISTS', replica_key(id)) == 1 then alive[#alive + 1] = id end
end
return {known, alive}
""")

LEAVE = script("""
redis.call('DEL', replica_key(ARGV[1]))
return redis.call('ZREM', P .. 'replicas', ARGV[1])
""")

# name, replica, may_take; answers the token
ACQUIRE = script("""
local name, replica, may_take = unpack(ARGV)
local holder, token = holder_of(name)
if holder == replica then
  holds(name, holder .. ':' .. token)
  return token
end
return is_free(name, may_take) and grant(name, replica)
""")

SEIZE = script("""
return grant(ARGV[1], ARGV[2])
""")

# name, holder
RELEASE = script("""
return holds(ARGV[1], ARGV[2]) and redis.call('DEL', right_key(ARGV[1]))
""")

# session, holder; answers {execution, record}, {} at the end of the queue
HEAD = script("""
local session, holder = ARGV[1], ARGV[2]
if not holds(session, holder) then return false end
while true do
  local id = redis.call('LINDEX', queue_key(session), 0)
  if not id then
    redis.call('DEL', right_key(session))
    redis.call('SREM', P .. 'working', session)
    return {}
  end
  local record = redis.call('HGET', execution_key(session, id), 'record')
  if record then return {id, record} end
  redis.call('LPOP', queue_key(session))
end
""")

# replica, may_take; answers name and token of each right that this replica has now
TAKE_OVER = script("""
local replica, may_take, taken = ARGV[1], ARGV[2], {}
local alive = {}
local function lives(id)
  if alive[id] == nil then alive[id] = redis.call('EXISTS', replica_key(id)) == 1 end
  return alive[id]
end
for _, session in ipairs(redis.call('SMEMBERS', P .. 'working')) do
  local holder, token = holder_of(session)
  if redis.call('LLEN', queue_key(session)) > 0 then
    if not holder or (holder ~= replica and may_take == '1' and not lives(holder)) then
      holder, token = replica, grant(session, replica)
    end
    if holder == replica then
      taken[#taken + 1] = session
      taken[#taken + 1] = token
    end
  elseif not holder then
    redis.call('SREM', P .. 'working', session)
  end
end
return taken
""")

WAITING = script("""
return redis.call('LRANGE', queue_key(ARGV[1]), 0, -1)
""")
