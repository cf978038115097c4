-- confirm: makes held bookings of one event final.
-- KEYS[1] event     hash    counters and rules
-- KEYS[2] bookings  hash    user -> record
-- KEYS[3] waiting   zset    users by the number of their booking, which is join order
-- KEYS[4] holds     zset    users by the end of their hold
-- KEYS[5] due       zset    of the shard: events by the end of their first hold
-- KEYS[6] changes   stream  of the shard: one entry a change
-- KEYS[7] epoch     string  of the shard
-- KEYS[8] rates_even hash   callers and when their bucket is full again, of even windows
-- KEYS[9] rates_odd  hash   the same of odd windows
-- KEYS[*] answers   string  kept under idempotency keys, named by the items
-- ARGV    founded event_id interval_us burst
-- ITEMS   user replay request
-- USES    clock sale promote sweep rate rates admit commit
-- STATUSES CONFIRMED BOOKING_NOT_FOUND HOLD_EXPIRED STILL_WAITING
-- RETURNS one row an item: status; number (wait in ms); record; first request id
-- EVENTS  confirmed; expired promoted by the sweep
local owners, rows = {}, {}
for _, user in items() do owners[#owners + 1] = user end
if sale then call_up(owners) end
load_buckets(owners)

local function confirm(user)
  local mine = known[user]
  if not mine then return BOOKING_NOT_FOUND end
  if mine.status == 'x' then return HOLD_EXPIRED end
  if mine.status == 'w' then return STILL_WAITING end
  if mine.status == 'h' then
    sale.held, sale.holding = sale.held - mine.quantity, sale.holding - 1
    sale.sold, sale.bookings = sale.sold + mine.quantity, sale.bookings + 1
    left_holds[#left_holds + 1] = user
    mine.status, mine.expires = 'c', '0'
    emit('confirmed', user, mine)
  end
  return CONFIRMED, 0, mine.record
end

for i, user, replay, request in items() do
  rows[i] = admit(user, replay, request) or decide(replay, request, confirm(user))
end
if sale then commit() end
settle()
return rows
