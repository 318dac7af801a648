-- ARGV: now, how many sessions and entries to look at. Answers the sessions that ended with their clients, the entries
-- that left their queues, and 1 if nothing more is due.
local ended, gone = {}, {}
local sessions = call('ZRANGEBYSCORE', ENDS, '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, sid in ipairs(sessions) do
  ended[#ended + 1] = sid
  ended[#ended + 1] = drop_session(sid) or ''
end
local due = call('ZRANGEBYSCORE', DUE, '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, key in ipairs(due) do
  local sid, seq = sub(key, 1, 16), sub(key, 17)
  call('ZREM', DUE, key)
  -- One in flight stays: its exchange is finished first.
  if call('HEXISTS', P .. 'flight:' .. sid, 's' .. seq) == 0 then
    for _, member in ipairs(entries(sid, seq, seq)) do
      remove_entry(sid, member)
      gone[#gone + 1] = sid
      gone[#gone + 1] = seq
    end
  end
end
let_go()
local limit = tonumber(ARGV[2])
return { ended, gone, (#sessions < limit and #due < limit) and 1 or 0 }
