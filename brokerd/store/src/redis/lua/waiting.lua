-- ARGV: session, lower end of the range, how many entries. Answers the head of each and its size.
local members = redis.call('ZRANGEBYLEX', KEYS[1] .. 'queue:' .. ARGV[1], ARGV[2], '+', 'LIMIT', 0, ARGV[3])
local found = {}
for i, member in ipairs(members) do
  found[2 * i - 1] = string.sub(member, 1, 64)
  found[2 * i] = #member
end
return found
