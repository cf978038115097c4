-- change: lets an organizer change an event while it sells. A larger capacity promotes in the same step.
-- KEYS[1] event     hash    counters and rules
-- KEYS[2] bookings  hash    user -> record
-- KEYS[3] waiting   zset    users by the number of their booking, which is join order
-- KEYS[4] holds     zset    users by the end of their hold
-- KEYS[5] due       zset    of the shard: events by the end of their first hold
-- KEYS[6] changes   stream  of the shard: one entry a change
-- KEYS[7] epoch     string  of the shard
-- ARGV    founded event_id
-- ITEMS   rule value
-- USES    clock sale promote sweep commit view bounds
-- STATUSES CHANGED CHANGED_IN_PART EVENT_NOT_FOUND CAPACITY_BELOW_SOLD WINDOW_INVERTED
-- RETURNS the event's row, or a refusal
-- EVENTS  changed left promoted; expired by the sweep
local STEP = 5000 -- tickets added in one call while people wait, so that no call keeps others from Redis for long
if not sale then return {{EVENT_NOT_FOUND}} end
local name, status = call('HGET', event, 'name'), CHANGED
local wanted, pairs_to_write, differs = {}, {}, false
for rule in pairs({capacity = 1, opens_at = 1, closes_at = 1}) do wanted[rule] = sale[rule] end
for _, rule, value in items() do wanted[rule] = rule == 'name' and value or bounded(rule, value) end
if dead_left and wanted.capacity < sale.held + sale.sold then -- perhaps only for now
  commit()
  return {{CHANGED_IN_PART}}
end
local refusal = wanted.opens_at and wanted.closes_at and wanted.opens_at >= wanted.closes_at and {WINDOW_INVERTED}
  or wanted.capacity < sale.held + sale.sold and {CAPACITY_BELOW_SOLD, sale.held + sale.sold}
if refusal then
  commit() -- what was swept to come to this answer
  return {refusal}
end
if queue_length > 0 and wanted.capacity > sale.capacity + STEP then
  wanted.capacity, status = sale.capacity + STEP, CHANGED_IN_PART
end
sale.name = name
local smaller = wanted.capacity < sale.capacity
for _, rule in items() do
  if sale[rule] ~= wanted[rule] then differs = true end
end
sale.available = sale.available + wanted.capacity - sale.capacity
for _, rule in items() do
  sale[rule] = wanted[rule]
  pairs_to_write[#pairs_to_write + 1], pairs_to_write[#pairs_to_write + 2] = rule, wanted[rule] or ''
end
if differs then log(next_seq(), 'changed', rules(sale.name)) end
local largest = BOUNDS.max_per_user[2] -- no group is larger, so that no larger capacity makes one impossible
local people = smaller and sale.capacity < largest and call('ZRANGE', waiting, 0, -1) or {}
for at = 1, #people, 1000 do load({unpack(people, at, math.min(at + 999, #people))}) end
for _, user in ipairs(people) do
  local theirs = known[user]
  if theirs.status == 'w' and theirs.quantity > sale.capacity then
    leave_queue(user, theirs)
    theirs.status = 'k'
    emit('left', user, theirs)
  end
end
promote()
commit()
call('HSET', event, unpack(pairs_to_write))
return {view(status)}
