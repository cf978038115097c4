-- verify_or_fence: checks whether a shard has every change that SQL has, and that the caller knows to be acknowledged.
-- If it has not, it is an old copy: it lacks the entry and was not trimmed up to it. Then it loses its epoch, so that
-- nothing is sold from it. If an acknowledged change is missing, the key `epoch` says so from then on.
-- KEYS[1] changes    stream  of the shard: one entry a change
-- KEYS[2] trimmed_to string  of the shard: the last cursor that the stream was trimmed to
-- KEYS[3] epoch      string  of the shard
-- ARGV    expected_epoch cursor acknowledged
-- USES    shard
-- RETURNS one row: 1 if the shard is whole, else 0; 1 if it had the expected epoch; the cursor it was trimmed to; what
--         this call found to be lost: "after upto"
local trimmed = redis.call('GET', trimmed_to) or '0-0'
local function parts(id) return tonumber(string.match(id, '^%d+')), tonumber(string.match(id, '%d+$')) end
local trimmed_ms, trimmed_number = parts(trimmed)

local function has(id)
  local ms, number = parts(id)
  if trimmed_ms > ms or (trimmed_ms == ms and trimmed_number >= number) then return true end
  return #redis.call('XRANGE', changes, id, id) == 1
end

local function fence(lost)
  redis.call('DEL', epoch) -- first, because a full Redis refuses SET as the first write
  if lost ~= '' then redis.call('SET', epoch, 'lost ' .. lost) end
end

local is_expected = read_epoch()
local lost = ''
-- Without any epoch, Redis was emptied. With another one, it was restored, and what was acknowledged before is over.
if acknowledged ~= '' and (is_expected or not redis.call('GET', epoch)) and not has(acknowledged) then
  local newest = redis.call('XREVRANGE', changes, '+', '-', 'COUNT', 1)[1] or {trimmed}
  lost = newest[1] .. ' ' .. acknowledged
end
if is_expected and lost == '' and has(cursor) then return {{1, 1, trimmed, ''}} end
if is_expected or lost ~= '' then fence(lost) end
return {{0, is_expected and 1 or 0, trimmed, lost}}
