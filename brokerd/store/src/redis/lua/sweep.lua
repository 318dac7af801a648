-- ARGV: how many entries. Removes so many of a session that is gone; answers 1 if there is more, and how many messages
-- are stored for many.
local more, sid = 0, call('SRANDMEMBER', P .. 'garbage')
if sid then
  local limit = tonumber(ARGV[1])
  local members = call('ZRANGE', P .. 'queue:' .. sid, 0, limit - 1)
  for _, member in ipairs(members) do remove_entry(sid, member) end
  let_go()
  if #members < limit then
    call('UNLINK', P .. 'flight:' .. sid)
    call('SREM', P .. 'garbage', sid)
  end
  more = math.min(call('SCARD', P .. 'garbage'), 1)
end
return { more, call('HLEN', BODIES) }
