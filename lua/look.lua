-- look: reads one event, and the live bookings of those who ask, after letting go what is past its time.
-- KEYS[1] event     hash    counters and rules
-- KEYS[2] bookings  hash    user -> record
-- KEYS[3] waiting   zset    users by the number of their booking, which is join order
-- KEYS[4] holds     zset    users by the end of their hold
-- KEYS[5] due       zset    of the shard: events by the end of their first hold
-- KEYS[6] changes   stream  of the shard: one entry a change
-- KEYS[7] epoch     string  of the shard
-- ARGV    founded event_id
-- ITEMS   user
-- USES    clock sale promote sweep commit view
-- STATUSES FOUND SWEPT_IN_PART EVENT_NOT_FOUND BOOKING_NOT_FOUND
-- RETURNS the event's row, then one row an item: status; number (place in line); record; nothing
-- EVENTS  expired promoted by the sweep
if not sale then return {{EVENT_NOT_FOUND}} end
local owners = {}
for _, user in items() do owners[#owners + 1] = user end
call_up(owners)
commit()
local rows = {view(dead_left and SWEPT_IN_PART or FOUND)}
for _, user in items() do
  local mine = known[user]
  if not mine or mine.status == 'x' then
    rows[#rows + 1] = {BOOKING_NOT_FOUND, 0, '', ''}
  else
    local place = mine.status == 'w' and call('ZRANK', waiting, user) + 1 or 0
    rows[#rows + 1] = {FOUND, place, mine.record, ''}
  end
end
return rows
