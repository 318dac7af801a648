-- Before each script that writes. KEYS[1] is the prefix of all keys; its hash tag puts them into one slot.
local call, sub, byte = redis.call, string.sub, string.byte
local P = KEYS[1]
local BODIES, REFERENCES, DUE, ENDS = P .. 'bodies', P .. 'references', P .. 'due', P .. 'ends'
-- Messages that may be named by nothing when the script ends.
local loose = {}

-- Of two strings of one length; Lua's own comparison follows the server's locale.
local function is_before(a, b)
  for i = 1, #a do
    local x, y = byte(a, i), byte(b, i)
    if x ~= y then return x < (y or 0) end
  end
  return false
end

-- Whether this call was overtaken: a connection that was given up may deliver what it held when its writer has gone on, or
-- when the next process of its node has begun.
local function is_late(writer, number, node)
  if node ~= '' and call('GET', P .. 'process:' .. node) ~= writer then return true end
  local key = P .. 'writer:' .. writer
  if tonumber(call('GET', key) or 0) >= tonumber(number) then return true end
  call('SET', key, number, 'EX', 86400)
  return false
end

-- A member of a queue is the number of an entry (8 bytes) and the entry: version, flags, identity if it is named.
local function is_named(member) return bit.band(byte(member, 10) or 0, 64) ~= 0 end
local function expires(member) return bit.band(byte(member, 10) or 0, 8) ~= 0 end
local function identity(member) return sub(member, 11, 28) end

local function remove_entry(sid, member)
  if call('ZREM', P .. 'queue:' .. sid, member) == 0 then return end
  if is_named(member) then
    local id = identity(member)
    if call('HINCRBY', REFERENCES, id, -1) <= 0 then loose[id] = true end
  end
  if expires(member) then call('ZREM', DUE, sid .. sub(member, 1, 8)) end
end

-- The entries from one number to another; an entry begins with its version, which is below 255.
local function entries(sid, first, last)
  return call('ZRANGEBYLEX', P .. 'queue:' .. sid, '[' .. first, '(' .. last .. '\255')
end

-- The session is gone at once; its queue goes piece by piece: sweep.lua.
local function drop_session(sid)
  local session = P .. 'session:' .. sid
  local client = call('HGET', session, 'client')
  if client and call('HGET', P .. 'clients', client) == sid then call('HDEL', P .. 'clients', client) end
  call('DEL', session)
  call('ZREM', P .. 'sessions', sid)
  call('ZREM', ENDS, sid)
  call('SADD', P .. 'garbage', sid)
  return client
end

-- Only here does a message go: what was let go and is named again by the same call stays.
local function let_go()
  for id in pairs(loose) do
    if tonumber(call('HGET', REFERENCES, id) or 0) <= 0 then
      call('HDEL', REFERENCES, id)
      call('HDEL', BODIES, id)
    end
  end
end
