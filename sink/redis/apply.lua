-- Applies a run of one partition's changes to one slot's rows, together with the partition's progress: all of it or nothing.
--
-- KEYS  1 the progress; then the key of each change's row, in their order
-- ARGV  1 epoch  2 first offset  3 offset behind the last  4 T, or ''  5 '1' where the batch begins here  6 whose rows these are
--       7 what the table's keys begin with  8 milliseconds that tombstones live  9 'hash' or 'string'
--       10 the stream's name, or ''  11 about how many entries it keeps
--       then for each change: offset, version, and
--         'd' and, where there is a stream, the entry's count and fields, or
--         'p', the row's count and fields (of a string: its text alone), the count of index entries and for each
--         field, suffix, count of scores and these; then the stream's entry as above
-- Offsets, versions and epochs are text of 19 digits: a Lua number is a double, which has 53 bits.
-- Returns {'done'}, {'lost', epoch, next}, {'refused', offset, why, key}, or {'ok', applied, stale}.
local epoch, from, to, through, first, owner, base = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local life, form, stream, entries = ARGV[8], ARGV[9], ARGV[10], ARGV[11]
local nothing = '-'

local progress = redis.call('HMGET', KEYS[1], 'epoch', 'next')
local next = progress[2]
if not progress[1] or progress[1] ~= epoch or (not next or next == nothing) and first ~= '1' or next and next ~= nothing and next < from then
  return {'lost', progress[1] or '', next or ''}
end
if not next or next == nothing then
  next = from
elseif next > to or next == to and from ~= to then
  return {'done'}
end

local function metaOf(key) return 'sluice:row:' .. key end
local function list(at) -- the count at `at` and as many values: where they begin, where they end
  return at + 1, at + tonumber(ARGV[at])
end
local types = {}
local function is(key, kind)
  local found = types[key]
  if not found then
    found = redis.call('TYPE', key).ok
    types[key] = found
  end
  return found == 'none' or found == kind
end

-- Look at everything first: a script that fails half way leaves what it wrote.
local at, changes = 12, {}
for i = 2, #KEYS do
  local c = {key = KEYS[i], offset = ARGV[at], version = ARGV[at + 1], put = ARGV[at + 2] == 'p', index = {}}
  at = at + 3
  if c.put then
    if form == 'hash' then
      c.first, c.last = list(at)
    else
      c.first, c.last = at, at
    end
    at = c.last + 1
    local count = tonumber(ARGV[at])
    at = at + 1
    for n = 1, count do
      local x = {field = ARGV[at], suffix = ARGV[at + 1]}
      x.first, x.last = list(at + 2)
      at = x.last + 1
      x.key = base .. '#' .. string.sub(x.field, 3) .. x.suffix
      c.index[n] = x
    end
  end
  if stream ~= '' then
    c.entryFirst, c.entryLast = list(at)
    at = c.entryLast + 1
  end
  if c.offset >= next then
    changes[#changes + 1] = c
    local meta = redis.call('HMGET', metaOf(c.key), 'v', 'o')
    if meta[1] and meta[2] ~= owner then
      return {'refused', c.offset, 'owner', meta[2] or ''}
    end
    if not meta[1] and redis.call('EXISTS', c.key) == 1 then
      return {'refused', c.offset, 'foreign', c.key}
    end
    for _, x in ipairs(c.index) do
      if not is(x.key, string.sub(x.field, 1, 1) == 's' and 'set' or 'zset') then
        return {'refused', c.offset, 'type', x.key}
      end
    end
  end
end
if stream ~= '' and not is(base .. '#' .. stream, 'stream') then
  return {'refused', from, 'type', base .. '#' .. stream}
end

local function leave(key, meta, keep) -- takes the row out of the indexes that its meta names, but for those in keep
  for i = 1, #meta, 2 do
    local field, suffix = meta[i], meta[i + 1]
    local kind = string.sub(field, 1, 2)
    if (kind == 's:' or kind == 'z:') and keep[field] ~= suffix then
      redis.call(kind == 's:' and 'SREM' or 'ZREM', base .. '#' .. string.sub(field, 3) .. suffix, key)
    end
  end
end
local function enter(key, x)
  if string.sub(x.field, 1, 1) == 's' then
    redis.call('SADD', x.key, key)
  elseif x.last == x.first then
    redis.call('ZADD', x.key, ARGV[x.first], key)
  else
    redis.call('GEOADD', x.key, ARGV[x.first], ARGV[x.last], key)
  end
end

local function move()
  redis.call('HSET', KEYS[1], 'next', to)
  if through ~= '' then
    redis.call('HSET', KEYS[1], 'through', through)
  end
end
-- A full server refuses a script at its first write only, and only if that one takes memory: DEL would open the door to all others.
local grows = false
for _, c in ipairs(changes) do grows = grows or c.put end
if grows then move() end

local applied, stale = 0, 0
for _, c in ipairs(changes) do
  local name = metaOf(c.key)
  local meta, version = redis.call('HGETALL', name), nil
  for i = 1, #meta, 2 do
    if meta[i] == 'v' then version = meta[i + 1] end
  end
  if version and version >= c.version then
    stale = stale + 1
  else
    applied = applied + 1
    local op = redis.call('DEL', c.key) == 1 and 'u' or 'c'
    local keep = {}
    for _, x in ipairs(c.index) do keep[x.field] = x.suffix end
    leave(c.key, meta, keep)
    redis.call('DEL', name)
    local fields = {'v', c.version, 'o', owner}
    if not c.put then
      op = op == 'u' and 'd' or nil
      redis.call('HSET', name, 'v', c.version, 'o', owner, 'd', '1')
      redis.call('PEXPIRE', name, life)
    else
      if form == 'hash' then
        redis.call('HSET', c.key, unpack(ARGV, c.first, c.last))
      else
        redis.call('SET', c.key, ARGV[c.first])
      end
      for _, x in ipairs(c.index) do
        enter(c.key, x)
        fields[#fields + 1] = x.field
        fields[#fields + 1] = x.suffix
      end
      redis.call('HSET', name, unpack(fields))
    end
    if stream ~= '' and op then
      redis.call('XADD', base .. '#' .. stream, 'MAXLEN', '~', entries, '*', 'op', op, 'key', c.key, 'version', c.version,
        unpack(ARGV, c.entryFirst, c.entryLast))
    end
  end
end
if not grows then move() end
return {'ok', applied, stale}
