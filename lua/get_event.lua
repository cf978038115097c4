-- get_event: expires one event's overdue holds, then reads the event and the live bookings of the given users.
-- KEYS[1] event     hash    counters and rules
-- KEYS[2] bookings  hash    user -> record
-- KEYS[3] waiting   zset    users by the number of their booking, which is join order
-- KEYS[4] holds     zset    users by the end of their hold
-- KEYS[5] due       zset    of the shard: events by the end of their first hold
-- KEYS[6] changes   stream  of the shard: one entry a change
-- KEYS[7] epoch     string  of the shard
-- ARGV    expected_epoch event_id
-- ITEMS   user
-- USES    clock shard record event tickets budget prune expiry commit view
-- STATUSES FOUND EVENT_NOT_FOUND BOOKING_NOT_FOUND
-- RETURNS the event's row, then one row for each item: status; number (position); record; empty
-- EVENTS  left expired promoted by pruning and expiry
local failure = open_event()
if failure then return failure end
if not sale then return {{EVENT_NOT_FOUND}} end
prune()
expire_first()
if sale.prune_from or overdue_left then
  commit()
  return {send_again()} -- for all items: overdue holds or impossible groups are left, so the state is not final
end
local users = {}
for _, user in items() do users[#users + 1] = user end
load_bookings(users)
commit()

local function read(user)
  local mine = known[user]
  if not mine or mine.status == EXPIRED_LETTER then return {BOOKING_NOT_FOUND, 0, '', ''} end
  if mine.status == WAITING_LETTER then return {FOUND, call('ZRANK', waiting, user) + 1, mine.record, ''} end
  return {FOUND, 0, mine.record, ''}
end

local rows = {view(FOUND)}
for _, user in ipairs(users) do rows[#rows + 1] = read(user) end
return rows
