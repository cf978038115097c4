-- book: gives buyers tickets of one event, or places on its waiting list, first come first served.
-- KEYS[1] event     hash    counters and rules
-- KEYS[2] bookings  hash    user -> record
-- KEYS[3] waiting   zset    users by the number of their booking, which is join order
-- KEYS[4] holds     zset    users by the end of their hold
-- KEYS[5] due       zset    of the shard: events by the end of their first hold
-- KEYS[6] changes   stream  of the shard: one entry a change
-- KEYS[7] epoch     string  of the shard
-- KEYS[8] rates_even hash   caller -> the time at which the bucket is full again, in even windows
-- KEYS[9] rates_odd  hash   the same in odd windows
-- KEYS[*] answers   list    a caller's first answers to idempotency keys; the items have their indexes
-- ARGV    expected_epoch event_id interval_us burst unsaved_limit caller
-- ITEMS   user quantity replay request
-- USES    clock shard record event tickets budget prune expiry waitlist bucket rates caller idempotency commit
-- STATUSES BOOKED HELD JOINED ALREADY_WAITING ALREADY_BOOKED SALE_PAUSED SALE_NOT_OPEN SALE_CLOSED
--          QUANTITY_OVER_LIMIT SOLD_OUT WAITLIST_FULL LEDGER_BEHIND EVENT_NOT_FOUND RATE_LIMITED
-- RETURNS one row for each item: status; number (position, wait in ms, opening time); record or time; first request id
--         then the id of the newest entry, if one was written
-- EVENTS  booked held joined; left expired promoted by pruning and expiry before
local TICKETS_PER_ITEM = 100 -- expired in one step for an item that too few tickets are free for
local buyers, rows = {}, {}

local failure = open_event()
if failure then return failure end
unsaved_limit = tonumber(unsaved_limit)
for _, user in items() do buyers[#buyers + 1] = user end
load_answers()
load_callers(buyers)
if sale then
  prune()
  expire_first()
  load_bookings(buyers)
end

-- Expires overdue holds that are left, until the item fits: a buyer must not be refused or put on the waiting list
-- because of them. Returns false if the item has to go to the next call.
local function free_tickets(item, user, quantity)
  if must_wait(item) then return false end
  expire_own(user)
  while overdue_left and not fits(quantity) and (waiting_count == 0 or not has_place(quantity)) do
    if is_spent() then return false end
    expire_holds(TICKETS_PER_ITEM)
  end
  return true
end

local function join(user, booking)
  booking.status = WAITING_LETTER
  sale.backlog, waiting_count = sale.backlog + booking.quantity, waiting_count + 1
  booking.rank, joined[#joined + 1] = waiting_count + #left_waiting, user -- not on the list before `commit`
  emit('joined', user, booking)
end

local function book(user, quantity) -- in the contract's order of checks
  local mine = known[user]
  if mine and mine.status == WAITING_LETTER then return ALREADY_WAITING, place(mine), mine.record end
  if mine and mine.status ~= EXPIRED_LETTER then return ALREADY_BOOKED, 0, mine.record end
  if sale.archived == 1 then return SALE_CLOSED end
  if sale.paused == 1 then return SALE_PAUSED end
  if sale.opens_at and now < sale.opens_at then return SALE_NOT_OPEN, sale.opens_at, now_text end
  if sale.closes_at and now >= sale.closes_at then return SALE_CLOSED end
  local most = math.min(sale.max_per_user, sale.capacity)
  if not (quantity >= 1 and quantity <= most and quantity % 1 == 0) then return QUANTITY_OVER_LIMIT end
  actor = acting or user
  -- All fields at once: a table that grows field by field costs more than the rest of this function.
  mine = {status = '', quantity = quantity, number = false, record = '', created = now_text, source = SALE_LETTER,
    expires = '0'}
  if fits(quantity) then
    if sale.hold_ms > 0 then
      take(user, mine, 'held', sale.hold_ms)
      return HELD, 0, mine.record
    end
    take(user, mine, 'booked', 0)
    return BOOKED, 0, mine.record
  end
  if sale.waitlist_limit == 0 then return SOLD_OUT end
  if not has_place(quantity) then return WAITLIST_FULL end
  join(user, mine)
  return JOINED, waiting_count, mine.record
end

local function decide(user, quantity, replay, request)
  local wait_ms = spend(acting or user)
  if wait_ms then return {RATE_LIMITED, wait_ms, '', ''} end
  if not sale then return {EVENT_NOT_FOUND, 0, '', ''} end
  local earlier = replay ~= '0' and earlier_answer(replay, request)
  if earlier then return earlier end
  if unsaved > unsaved_limit then return {LEDGER_BEHIND, 0, '', ''} end
  return answer(replay, request, book(user, quantity))
end

local is_behind = sale and (pruned_from or overdue_left) -- otherwise each item makes one change at most
for i, user, quantity, replay, request in items() do
  quantity = tonumber(quantity) or 0
  if (has_unread and is_unread(replay)) or (is_behind and not free_tickets(i, user, quantity)) then
    rows[i] = send_again()
  else
    rows[i] = decide(user, quantity, replay, request)
  end
end
if sale then commit() end
flush()
rows[#rows + 1] = newest_entry
return rows
