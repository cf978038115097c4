-- create: creates an event.
-- KEYS[1] event     hash    counters and rules
-- KEYS[2] bookings  hash    user -> record
-- KEYS[3] waiting   zset    users by the number of their booking, which is join order
-- KEYS[4] holds     zset    users by the end of their hold
-- KEYS[5] due       zset    of the shard: events by the end of their first hold
-- KEYS[6] changes   stream  of the shard: one entry a change
-- KEYS[7] epoch     string  of the shard
-- ARGV    expected_epoch event_id name capacity max_per_user hold_ms waitlist_limit opens_at closes_at organizer_id
-- ITEMS   detail value
-- USES    clock shard record event commit view bounds details
-- STATUSES CREATED EVENT_EXISTS WINDOW_INVERTED DATES_INVERTED
-- RETURNS the event's row, or a refusal
--         then the id of the newest entry, if one was written
-- EVENTS  created
local failure = open_event()
if failure then return failure end
if sale then return {{EVENT_EXISTS}} end
sale = {held = 0, sold = 0, bookings = 0, holding = 0, backlog = 0, seq = 0, paused = 0,
  capacity = bounded('capacity', capacity), max_per_user = bounded('max_per_user', max_per_user),
  hold_ms = bounded('hold_ms', hold_ms), waitlist_limit = bounded('waitlist_limit', waitlist_limit),
  opens_at = bounded('opens_at', opens_at), closes_at = bounded('closes_at', closes_at)}
sale.available = sale.capacity
if sale.opens_at and sale.closes_at and sale.opens_at >= sale.closes_at then return {{WINDOW_INVERTED}} end
for _, detail, value in items() do set_detail(detail, value) end
if ends_before_it_starts() then return {{DATES_INVERTED}} end
local seq = next_seq()
log(seq, 'created', rules(name))
add_field('o', organizer_id)
if #detail_names > 0 then
  add_field('d', details_text())
  call('HSET', event, detail_fields())
end
call('HSET', event, 'name', name, 'capacity', capacity, 'max_per_user', max_per_user, 'hold_ms', hold_ms,
  'waitlist_limit', waitlist_limit, 'opens_at', opens_at, 'closes_at', closes_at, 'paused', 0, 'created_at', now,
  'rules_version', seq .. '-' .. now_text, 'organizer_id', organizer_id)
commit()
return {view(CREATED), newest_entry}
