-- book: gives tickets of one event to buyers, or places on its waiting list, first come first served.
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
-- ARGV    founded event_id interval_us burst unsaved_limit
-- ITEMS   user quantity replay request
-- USES    clock sale promote line sweep rate rates admit commit
-- STATUSES BOOKED HELD JOINED ALREADY_WAITING ALREADY_BOOKED SALE_PAUSED SALE_NOT_OPEN SALE_CLOSED
--          QUANTITY_OVER_LIMIT SOLD_OUT WAITLIST_FULL LEDGER_BEHIND
-- RETURNS one row an item: status; number (place in line, wait in ms, opening); record or time; first request id
-- EVENTS  booked held joined; expired promoted by the sweep
unsaved_limit = tonumber(unsaved_limit)
local buyers, rows = {}, {}
for _, user in items() do buyers[#buyers + 1] = user end
if sale then call_up(buyers) end
load_buckets(buyers)

local function book(user, quantity) -- in the contract's order of checks
  local mine = known[user]
  if mine and mine.status == 'w' then return ALREADY_WAITING, place(mine), mine.record end
  if mine and mine.status ~= 'x' then return ALREADY_BOOKED, 0, mine.record end
  if sale.paused == 1 then return SALE_PAUSED end
  if sale.opens_at and now < sale.opens_at then return SALE_NOT_OPEN, sale.opens_at, now_text end
  if sale.closes_at and now >= sale.closes_at then return SALE_CLOSED end
  local most = math.min(sale.max_per_user, sale.capacity)
  if not (quantity >= 1 and quantity <= most and quantity % 1 == 0) then return QUANTITY_OVER_LIMIT end
  mine = {status = '', quantity = quantity, number = false, record = '',
    created = now_text, source = 's', expires = '0'}
  -- Dead holds that were too many to be swept at once are no reason to turn somebody away, or to make him wait.
  while not fits(quantity) and (queue_length == 0 or not has_place(quantity)) and sweep(quantity) do end
  if fits(quantity) then
    take(user, mine)
    return mine.status == 'h' and HELD or BOOKED, 0, mine.record
  end
  if sale.waitlist_limit == 0 then return SOLD_OUT end
  if not has_place(quantity) then return WAITLIST_FULL end
  mine.status, mine.expires, sale.backlog, queue_length = 'w', '0', sale.backlog + quantity, queue_length + 1
  mine.rank, newcomers[#newcomers + 1] = queue_length + #left_queue, user -- not on the list before `commit`
  emit('joined', user, mine)
  return JOINED, queue_length, mine.record
end

for i, user, quantity, replay, request in items() do
  rows[i] = admit(user, replay, request) or unsaved > unsaved_limit and {LEDGER_BEHIND, 0, '', ''}
    or decide(replay, request, book(user, tonumber(quantity) or 0))
end
if sale then commit() end
settle()
return rows
