-- vouch: tells whether a shard has all that the database has of it. One that has not loses its epoch, and with it every
-- sale: it is an old copy, which neither holds the cursor's entry nor was ever let go as far as that.
-- KEYS[1] changes   stream  of the shard: one entry a change
-- KEYS[2] mark      string  of the shard: the last cursor that was let go up to
-- KEYS[3] epoch     string  of the shard
-- ARGV    founded cursor
-- RETURNS one row: 1 if the shard is whole, else 0; whether it was of this founding until now; the mark
local let_go = redis.call('GET', mark) or '0-0'
if redis.call('GET', epoch) ~= founded then return {{0, 0, let_go}} end
local function parts(id) return tonumber(string.match(id, '^%d+')), tonumber(string.match(id, '%d+$')) end
local mark_ms, mark_number = parts(let_go)
local ms, number = parts(cursor)
if mark_ms > ms or (mark_ms == ms and mark_number >= number) then return {{1, 1, let_go}} end
if #redis.call('XRANGE', changes, cursor, cursor) == 1 then return {{1, 1, let_go}} end
redis.call('DEL', epoch)
return {{0, 1, let_go}}
