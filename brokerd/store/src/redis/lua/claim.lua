-- ARGV: writer, number of the call, its node, client, epoch, node, 1 for a clean start, the highest epoch by which the
-- claimant may have it, or nothing. Answers 1 and the session, or 0 and the epoch
-- to go above.
if is_late(ARGV[1], ARGV[2], ARGV[3]) then
  return redis.error_reply('LATE a later call, or one of a later process of this node, was carried out')
end

local client, epoch, node = ARGV[4], ARGV[5], ARGV[6]
local sid = call('HGET', P .. 'clients', client)
if sid then
  local known = call('HMGET', P .. 'session:' .. sid, 'epoch', 'node')
  local is_again = known[1] == epoch and known[2] == node
  local is_held = ARGV[8] == '' or (known[2] == node and known[1] and not is_before(ARGV[8], known[1]))
  if known[1] and not is_again and not (is_before(known[1], epoch) and is_held) then return { 0, known[1] } end
  if not known[1] or ARGV[7] == '1' then
    drop_session(sid)
    sid = false
  end
end
if not sid then
  sid = string.format('%016x', call('INCR', P .. 'sids'))
  call('HSET', P .. 'clients', client, sid)
  call('ZADD', P .. 'sessions', 0, sid)
  call('HSET', P .. 'session:' .. sid, 'client', client)
end
call('HSET', P .. 'session:' .. sid, 'epoch', epoch, 'node', node)
return { 1, sid }
