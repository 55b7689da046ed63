-- Applies a run of one partition's changes to one slot's rows, together with the partition's progress: all of it or nothing.
--
-- KEYS  1 the progress; then the key of each change's row, in their order; in a cluster then all others that are written, by which the
--       server knows that they are all there: while a slot moves to another node, they may not be
-- ARGV  1 epoch  2 first offset  3 offset behind the last  4 T, or ''  5 '1' where the batch begins here  6 whose rows these are
--       7 what the table's keys begin with  8 milliseconds that tombstones live  9 'hash' or 'string'
--       10 the stream's name, or ''  11 about how many entries it keeps  12 how many changes  13 '1' in a cluster
--       then for each change: offset, version, and
--         'd' and, where there is a stream, the entry's count and fields, or
--         'p', the row's count and fields (of a string: its text alone), the count of index entries and for each
--         field, suffix, count of scores and these; then the stream's entry as above
-- Offsets, versions and epochs are text of 19 digits: a Lua number is a double, which has 53 bits.
-- Returns {'done'}, {'lost', epoch, next}, {'refused', offset, why, key}, {'moving', key}, or {'ok', applied, stale}.
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

-- Look at everything first, for a script that fails half way leaves what it wrote.
local function indexKey(field, suffix) return base .. '#' .. string.sub(field, 3) .. suffix end
local function indexKind(field) -- nil where the field is no index's
  local kind = string.sub(field, 1, 2)
  return kind == 's:' and 'set' or kind == 'z:' and 'zset' or nil
end
local at, changes = 14, {}
for i = 2, 1 + tonumber(ARGV[12]) do
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
      c.index[n] = x
    end
  end
  if stream ~= '' then
    c.entryFirst, c.entryLast = list(at)
    at = c.entryLast + 1
  end
  if c.offset >= next then
    changes[#changes + 1] = c
    local meta, version, whose = redis.call('HGETALL', metaOf(c.key)), nil, nil
    for n = 1, #meta, 2 do
      local field, value = meta[n], meta[n + 1]
      if field == 'v' then version = value elseif field == 'o' then whose = value end
      local kind = indexKind(field)
      if kind and not is(indexKey(field, value), kind) then
        return {'refused', c.offset, 'type', indexKey(field, value)}
      end
      if kind and ARGV[13] == '1' and types[indexKey(field, value)] == 'none' then
        return {'moving', indexKey(field, value)} -- it has this row in it, so it must be somewhere
      end
    end
    if version and whose ~= owner then
      return {'refused', c.offset, 'owner', whose or ''}
    end
    if not version and redis.call('EXISTS', c.key) == 1 then
      return {'refused', c.offset, 'foreign', c.key}
    end
    for _, x in ipairs(c.index) do
      if not is(indexKey(x.field, x.suffix), indexKind(x.field)) then
        return {'refused', c.offset, 'type', indexKey(x.field, x.suffix)}
      end
    end
  end
end
if stream ~= '' and not is(base .. '#' .. stream, 'stream') then
  return {'refused', from, 'type', base .. '#' .. stream}
end

local function leave(key, field, suffix)
  redis.call(indexKind(field) == 'set' and 'SREM' or 'ZREM', indexKey(field, suffix), key)
end
local function enter(key, x)
  local index = indexKey(x.field, x.suffix)
  if indexKind(x.field) == 'set' then
    redis.call('SADD', index, key)
  elseif x.last == x.first then
    redis.call('ZADD', index, ARGV[x.first], key)
  else
    redis.call('GEOADD', index, ARGV[x.first], ARGV[x.last], key)
  end
end
-- A row is changed rather than deleted and made again: in a slot that is about to move the server makes no new keys.
local function writeRow(c)
  if form ~= 'hash' then
    return redis.call('SET', c.key, ARGV[c.first])
  end
  if redis.call('TYPE', c.key).ok ~= 'hash' then redis.call('DEL', c.key) end
  redis.call('HSET', c.key, unpack(ARGV, c.first, c.last))
  if redis.call('HLEN', c.key) == (c.last - c.first + 1) / 2 then return end
  local has = {}
  for n = c.first, c.last, 2 do has[ARGV[n]] = true end
  for _, field in ipairs(redis.call('HKEYS', c.key)) do
    if not has[field] then redis.call('HDEL', c.key, field) end
  end
end

-- A full server refuses a script at its first write only, and only if that one takes memory: else all of it may be written. The
-- progress itself moves last: an error of the server half way lets the same changes come again.
for _, c in ipairs(changes) do
  if c.put then
    redis.call('HSET', KEYS[1], 'epoch', epoch)
    break
  end
end
local applied, stale = 0, 0
for _, c in ipairs(changes) do
  local name = metaOf(c.key)
  local meta, version = redis.call('HGETALL', name), nil
  for n = 1, #meta, 2 do
    if meta[n] == 'v' then version = meta[n + 1] end
  end
  if version and version >= c.version then
    stale = stale + 1
  else
    applied = applied + 1
    local there = redis.call('EXISTS', c.key) == 1
    local keep, fields = {v = c.version, o = owner}, {'v', c.version, 'o', owner}
    if c.put then
      writeRow(c)
      for _, x in ipairs(c.index) do
        enter(c.key, x)
        keep[x.field] = x.suffix
        fields[#fields + 1] = x.field
        fields[#fields + 1] = x.suffix
      end
    else
      redis.call('DEL', c.key)
      keep.d = '1'
      fields[#fields + 1] = 'd'
      fields[#fields + 1] = '1'
    end
    for n = 1, #meta, 2 do
      local field, value = meta[n], meta[n + 1]
      if indexKind(field) and keep[field] ~= value then leave(c.key, field, value) end
      if not keep[field] then redis.call('HDEL', name, field) end
    end
    redis.call('HSET', name, unpack(fields))
    if c.put then
      redis.call('PERSIST', name)
    else
      redis.call('PEXPIRE', name, life)
    end
    local op = c.put and (there and 'u' or 'c') or there and 'd' or nil
    if stream ~= '' and op then
      redis.call('XADD', base .. '#' .. stream, 'MAXLEN', '~', entries, '*', 'op', op, 'key', c.key, 'version', c.version,
        unpack(ARGV, c.entryFirst, c.entryLast))
    end
  end
end
redis.call('HSET', KEYS[1], 'next', to)
if through ~= '' then
  redis.call('HSET', KEYS[1], 'through', through)
end
return {'ok', applied, stale}
