-- checkout: begins the payments of held bookings of one event. A hold gets the id of its payment, and is extended once.
-- KEYS[1] event     hash    counters and rules
-- KEYS[2] bookings  hash    user -> record
-- KEYS[3] waiting   zset    users by the number of their booking, which is join order
-- KEYS[4] holds     zset    users by the end of their hold
-- KEYS[5] due       zset    of the shard: events by the end of their first hold
-- KEYS[6] changes   stream  of the shard: one entry a change
-- KEYS[7] epoch     string  of the shard
-- KEYS[8] rates_even hash   caller -> the time at which the bucket is full again, in even windows
-- KEYS[9] rates_odd  hash   the same in odd windows
-- KEYS[10] payments hash    user -> their payments
-- KEYS[*] answers   list    a caller's first answers to idempotency keys; the items have their indexes
-- ARGV    expected_epoch event_id interval_us burst caller
-- ITEMS   user payment replay request
-- USES    clock shard record event tickets budget prune expiry bounds details bucket rates caller payments idempotency
--         commit
-- STATUSES CHECKED_OUT BOOKING_NOT_FOUND HOLD_EXPIRED STILL_WAITING EVENT_NOT_FOUND RATE_LIMITED
-- RETURNS one row for each item: status; number (wait in ms); record; first request id
--         after the record of a hold: a tab and the template of the event's payment link, if any. So a replay has
--         the link of the first answer
--         then the id of the newest entry, if one was written
-- EVENTS  checkout; left expired promoted by pruning and expiry before
local PAYMENT_MS = 900000 -- if the event does not say
local owners, rows = {}, {}

local failure = open_event()
if failure then return failure end
for _, user in items() do owners[#owners + 1] = user end
load_answers()
load_callers(owners)
if sale then
  prune()
  expire_first()
  load_bookings(owners)
  load_payments(owners)
  read_details()
end

local function with_link(record) -- the JSON of the template is its text in quotes: nothing in a URL is escaped
  local template = details.payment_url or ''
  if template == '' then return record end
  return record .. '\t' .. string.sub(template, 2, -2)
end

local function check_out(user, payment)
  expire_own(user)
  local mine = known[user]
  if not mine or mine.status == CANCELLED_LETTER then return BOOKING_NOT_FOUND end
  if mine.status == EXPIRED_LETTER then return HOLD_EXPIRED end
  if mine.status == WAITING_LETTER then return STILL_WAITING end
  if mine.status == HELD_LETTER and not mine.payment then
    mine.payment, actor = payment, acting or user
    mine.expires = whole(math.max(tonumber(mine.expires), now + (sale.payment_ms or PAYMENT_MS)))
    emit('checkout', user, mine)
    remember(user, payment_for(mine, payment))
  end
  if mine.status == CONFIRMED_LETTER then return CHECKED_OUT, 0, mine.record end -- nothing is left to pay
  return CHECKED_OUT, 0, with_link(mine.record)
end

local function decide(user, payment, replay, request)
  local wait_ms = spend(acting or user)
  if wait_ms then return {RATE_LIMITED, wait_ms, '', ''} end
  if not sale then return {EVENT_NOT_FOUND, 0, '', ''} end
  local earlier = replay ~= '0' and earlier_answer(replay, request)
  if earlier then return earlier end
  return answer(replay, request, check_out(user, payment))
end

for i, user, payment, replay, request in items() do
  rows[i] = (is_unread(replay) or must_wait(i)) and send_again() or decide(user, payment, replay, request)
end
if sale then
  commit()
  keep_payments()
end
flush()
rows[#rows + 1] = newest_entry
return rows
