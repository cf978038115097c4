-- expiry: a hold is overdue at its end, and no call decides anything before it has expired the holds it depends on.
-- NEEDS   event tickets budget holds due
local TICKETS_STEP = 150 -- freed before a command; as many users may be promoted then
local PAGE = 100 -- holds read at a time; a hold has up to 100 tickets
local overdue_left = false -- whether there may be overdue holds that this call has not expired
local overdue, next_overdue, read_count = {}, 1, 0 -- users read so far, by the end of their hold

local function expire(user) -- returns the number of freed tickets
  local booking = known[user]
  if not booking or booking.status ~= HELD_LETTER or tonumber(booking.expires) > now then return 0 end
  give_back(user, booking)
  booking.status, actor = EXPIRED_LETTER, ''
  emit('expired', user, booking)
  return booking.quantity
end

local function expire_holds(tickets) -- the oldest first, until this many tickets are freed
  local freed, is_full_page = 0, true
  while overdue_left and freed < tickets do
    if next_overdue > #overdue then
      overdue, next_overdue = call('ZRANGEBYSCORE', holds, '-inf', now, 'LIMIT', read_count, PAGE), 1
      read_count = read_count + #overdue
      load_bookings(overdue)
    end
    is_full_page = #overdue == PAGE
    if overdue[next_overdue] then freed = freed + expire(overdue[next_overdue]) end
    next_overdue = next_overdue + 1
    overdue_left = is_full_page or next_overdue <= #overdue
  end
  if freed > 0 then promote() end
end

local function expire_own(user) -- before a command about a booking whose hold may be overdue
  if overdue_left and expire(user) > 0 then promote() end
end

local function expire_first() -- before every command
  if sale.prune_from or sale.holding + sale.hold_ms + (sale.offer_ms or 0) == 0 then return end
  overdue_left = true
  call('ZSCORE', due, event_id) -- `commit` writes this key: a wrong type has to raise an error now, before any write
  if not pruned_from then expire_holds(TICKETS_STEP) end -- pruning has used this call's budget
end
