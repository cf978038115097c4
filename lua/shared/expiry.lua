-- expiry: a hold is dead at its end, whether or not it was looked at since.
-- NEEDS   event tickets budget holds due
local TICKETS_STEP = 250 -- freed before a verb; as many people may move up then
local PIECE = 100 -- holds read at a time; each may be of a hundred tickets
local dead_left = false -- whether holds may be dead that this call has not expired
local dead, next_dead, read_count = {}, 1, 0 -- the dead ones that were read, by the end of their hold

local function expire(user) -- returns the tickets that it frees
  local booking = known[user]
  if not booking or booking.status ~= HELD_LETTER or tonumber(booking.expires) > now then return 0 end
  give_back(user, booking)
  booking.status = EXPIRED_LETTER
  emit('expired', user, booking)
  return booking.quantity
end

local function expire_holds(tickets) -- the oldest first, until so many are free
  local freed, whole_piece = 0, true
  while dead_left and freed < tickets do
    if next_dead > #dead then
      dead, next_dead = call('ZRANGEBYSCORE', holds, '-inf', now, 'LIMIT', read_count, PIECE), 1
      read_count = read_count + #dead
      load_bookings(dead)
    end
    whole_piece = #dead == PIECE
    if dead[next_dead] then freed = freed + expire(dead[next_dead]) end
    next_dead = next_dead + 1
    dead_left = whole_piece or next_dead <= #dead
  end
  if freed > 0 then promote() end
end

local function expire_own(user) -- before a verb decides about a booking whose hold may be among the dead that are left
  if dead_left and expire(user) > 0 then promote() end
end

local function expire_first() -- what every verb does before anything else
  if sale.prune_from or sale.holding + sale.hold_ms == 0 then return end
  dead_left = true
  call('ZSCORE', due, event_id) -- `commit` will write here: a wrongly typed key is an error now, not then
  if not pruned_from then expire_holds(TICKETS_STEP) end -- a call that went on with pruning has done enough
end
