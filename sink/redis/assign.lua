-- Makes the caller the owner of a partition in one slot, unless somebody has taken an epoch that is not below.
-- KEYS 1 the progress; ARGV 1 the epoch, then fields and values that say which partition it is.
-- Returns {0 or 1, the epoch that is there, next or ''}.
local stored = redis.call('HMGET', KEYS[1], 'epoch', 'next')
if stored[1] and stored[1] >= ARGV[1] then
  return {0, stored[1], stored[2] or ''}
end
redis.call('HSET', KEYS[1], 'epoch', unpack(ARGV))
return {1, ARGV[1], stored[2] or ''}
