-- ARGV: session, lower end of the range, how many entries, how many bytes. Answers 1 if there may be more, then each entry
-- and the message that it names, or nothing.
local queue, bodies, after = KEYS[1] .. 'queue:' .. ARGV[1], KEYS[1] .. 'bodies', ARGV[2]
local limit, room = tonumber(ARGV[3]), tonumber(ARGV[4])
local more, found, count = 1, {}, 0
while count < limit and room > 0 do
  -- A few at a time: what is read and not answered is copied for nothing.
  local step = math.min(limit - count, 16)
  local members = redis.call('ZRANGEBYLEX', queue, after, '+', 'LIMIT', 0, step)
  for _, member in ipairs(members) do
    if room <= 0 then break end
    local is_named = bit.band(string.byte(member, 10) or 0, 64) ~= 0
    local body = is_named and redis.call('HGET', bodies, string.sub(member, 11, 28)) or ''
    found[#found + 1] = member
    found[#found + 1] = body
    count = count + 1
    room = room - #member - #body
    after = '(' .. member
  end
  if #members < step then
    if room > 0 then more = 0 end
    break
  end
end
return { more, found }
