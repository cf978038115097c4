-- change: changes an event's rules while it sells. A larger capacity promotes in the same step.
-- KEYS[1] event     hash    counters and rules
-- KEYS[2] bookings  hash    user -> record
-- KEYS[3] waiting   zset    users by the number of their booking, which is join order
-- KEYS[4] holds     zset    users by the end of their hold
-- KEYS[5] due       zset    of the shard: events by the end of their first hold
-- KEYS[6] changes   stream  of the shard: one entry a change
-- KEYS[7] epoch     string  of the shard
-- ARGV    expected_epoch event_id if_match caller
-- ITEMS   rule value
-- USES    clock shard record event tickets budget prune expiry commit view bounds details
-- STATUSES CHANGED MORE_TO_CHANGE EVENT_NOT_FOUND PRECONDITION_FAILED CAPACITY_BELOW_SOLD WINDOW_INVERTED
--          DATES_INVERTED
-- RETURNS the event's row, or a refusal
--         then the id of the newest entry, if one was written
-- EVENTS  changed left promoted; expired by the expiry before
local CAPACITY_STEP = 800 -- tickets added in one call while people wait, who may all be promoted

local failure = open_event()
if failure then return failure end
if not sale then return {{EVENT_NOT_FOUND}} end
if if_match ~= '' and if_match ~= '*' then -- tags that the caller has seen, separated by spaces
  local tag = string.match(expected_epoch, '^[^.]*') .. '-' .. (call('HGET', event, 'rules_version') or '0')
  if not string.find(' ' .. if_match .. ' ', ' ' .. tag .. ' ', 1, true) then return {{PRECONDITION_FAILED}} end
end
prune()
expire_first()

actor = caller
local wanted, status, differs = {}, CHANGED, false
for _, rule in ipairs({'capacity', 'opens_at', 'closes_at'}) do wanted[rule] = sale[rule] end
read_details()
local told = details_text()
for _, rule, value in items() do
  if DETAILS[rule] then
    set_detail(rule, value)
  elseif rule == 'name' then
    wanted.name = value
  else
    wanted[rule] = bounded(rule, value)
  end
end

local function refusal()
  -- While overdue holds are left, a smaller capacity may wrongly be refused, and a larger one may be too much work.
  if sale.prune_from or (overdue_left and wanted.capacity ~= sale.capacity) then return send_again() end
  if wanted.opens_at and wanted.closes_at and wanted.opens_at >= wanted.closes_at then return {WINDOW_INVERTED} end
  if ends_before_it_starts() then return {DATES_INVERTED} end
  local taken = sale.held + sale.sold
  if wanted.capacity < taken then return {CAPACITY_BELOW_SOLD, taken} end
  return nil
end

local refused = refusal()
if refused then
  commit() -- of the pruning and expiry before
  return {refused, newest_entry}
end
if waiting_count > 0 and wanted.capacity > sale.capacity + CAPACITY_STEP then
  wanted.capacity, status = sale.capacity + CAPACITY_STEP, MORE_TO_CHANGE
end
-- No group is larger than max_per_user's bound, so a capacity above it needs no pruning.
if wanted.capacity < math.min(sale.capacity, BOUNDS.max_per_user[2]) and waiting_count > 0 then
  sale.prune_from, prune_actor = 0, caller
end
sale.name = call('HGET', event, 'name')
sale.available = sale.available + wanted.capacity - sale.capacity
local fields = {}
for _, rule in items() do
  if not DETAILS[rule] then
    if sale[rule] ~= wanted[rule] then differs = true end
    sale[rule] = wanted[rule]
    fields[#fields + 1], fields[#fields + 2] = rule, wanted[rule] or ''
  end
end
if told ~= details_text() then
  differs = true
  for _, field in ipairs({detail_fields()}) do fields[#fields + 1] = field end
end
if differs then
  local seq = next_seq()
  fields[#fields + 1], fields[#fields + 2] = 'rules_version', seq .. '-' .. now_text
  log(seq, 'changed', rules(sale.name))
  if caller ~= '' then add_actor() end
  if #detail_names > 0 then add_field('d', details_text()) end
end
if sale.prune_from then prune() else promote() end
if sale.prune_from then status = MORE_TO_CHANGE end
commit()
if #fields > 0 then call('HSET', event, unpack(fields)) end -- none if all items are details that stay as they are
return {view(status), newest_entry}
