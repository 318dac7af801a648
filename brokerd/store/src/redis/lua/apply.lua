-- ARGV: writer, number of the call, node (empty while it has not said who it is); how many messages, then each: identity,
-- message; then parts: session (empty for changes of none), epoch, how many changes, each of three. Answers the places of the parts that were refused, and below 0 of
-- those of which it was not noted that a PUBLISH was received, for an entry of the call was refused.
if is_late(ARGV[1], ARGV[2], ARGV[3]) then
  return redis.error_reply('LATE a later call, or one of a later process of this node, was carried out')
end

local make = {}
-- Enqueue
function make.E(sid, member, at)
  if call('ZADD', P .. 'queue:' .. sid, 0, member) == 0 then return end
  if is_named(member) then call('HINCRBY', REFERENCES, identity(member), 1) end
  if at ~= '' then call('ZADD', DUE, at, sid .. sub(member, 1, 8)) end
end
-- Sent
function make.S(sid, seq, packet) call('HSET', P .. 'flight:' .. sid, 's' .. seq, packet) end
-- Released
function make.R(sid, seq, packet)
  for _, member in ipairs(entries(sid, seq, seq)) do remove_entry(sid, member) end
  make.S(sid, seq, packet)
end
-- Ack
function make.A(sid, seq)
  for _, member in ipairs(entries(sid, seq, seq)) do remove_entry(sid, member) end
  call('HDEL', P .. 'flight:' .. sid, 's' .. seq)
end
-- AckRange
function make.G(sid, first, last)
  for _, member in ipairs(entries(sid, first, last)) do
    remove_entry(sid, member)
    call('HDEL', P .. 'flight:' .. sid, 's' .. sub(member, 1, 8))
  end
end
-- Received
function make.I(sid, packet) call('HSET', P .. 'flight:' .. sid, 'r' .. packet, '') end
-- ReceivedReleased
function make.J(sid, packet) call('HDEL', P .. 'flight:' .. sid, 'r' .. packet) end
-- SaveSession
function make.V(sid, record, at)
  call('HSET', P .. 'session:' .. sid, 'record', record)
  if at == '' then call('ZREM', ENDS, sid) else call('ZADD', ENDS, at, sid) end
end
-- DropSession
function make.D(sid) drop_session(sid) end

-- A retained message begins with its version, then its stamp of 16 bytes.
local function is_later(topic, stamp)
  local known = call('HGET', P .. 'retained', topic)
  return not known or not is_before(stamp, sub(known, 2, 17))
end
-- PutRetained
function make.P(_, topic, record)
  if not is_later(topic, sub(record, 2, 17)) then return end
  call('HSET', P .. 'retained', topic, record)
  call('ZADD', P .. 'topics', 0, topic)
end
-- DropRetained
function make.Q(_, topic, stamp)
  if not is_later(topic, stamp) then return end
  call('HDEL', P .. 'retained', topic)
  call('ZREM', P .. 'topics', topic)
end
-- DropDelayed
function make.Z(_, id) call('ZREMRANGEBYLEX', P .. 'delayed', '[' .. id, '(' .. id .. '\255') end
-- PutDelayed
function make.Y(_, id, record)
  make.Z(_, id)
  call('ZADD', P .. 'delayed', 0, id .. record)
end

local at, last = 5 + 2 * tonumber(ARGV[4]), #ARGV
for i = 5, at - 1, 2 do
  if call('HSETNX', BODIES, ARGV[i], ARGV[i + 1]) == 1 then call('HSET', REFERENCES, ARGV[i], 0) end
  loose[ARGV[i]] = true
end
local refused, part, has_lost = {}, 0, false
while at <= last do
  part = part + 1
  local sid, epoch, stop = ARGV[at], ARGV[at + 1], at + 3 * (tonumber(ARGV[at + 2]) + 1)
  at = at + 3
  local is_owner = sid == ''
  if not is_owner then
    local known = call('HMGET', P .. 'session:' .. sid, 'epoch', 'node')
    local is_ours = ARGV[3] == '' or known[2] == ARGV[3]
    -- Only its owner changes a session. What nobody was told of may be dropped by others, at the epoch they saw.
    is_owner = known[1] and ((is_ours and not is_before(epoch, known[1])) or (ARGV[at] == 'D' and epoch == known[1]))
  end
  while is_owner and at < stop do
    local kind = ARGV[at]
    if kind == 'I' and has_lost then
      refused[#refused + 1] = -part
    else
      make[kind](sid, ARGV[at + 1], ARGV[at + 2])
    end
    at = at + 3
    is_owner = kind ~= 'D'
  end
  if at < stop then refused[#refused + 1] = part end
  while at < stop do
    has_lost = has_lost or ARGV[at] == 'E'
    at = at + 3
  end
  at = stop
end
let_go()
return refused
