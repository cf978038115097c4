-- sweep: a hold is dead at its end, whether or not anybody looked. Runs before anything that a verb does.
-- NEEDS   sale promote
local STEP = 2000 -- tickets freed before a verb, so that no call keeps everyone else from Redis for long
local PIECE = 20 -- holds read at a time; each may be of a hundred tickets
local swept, dead_left = 0, sale and sale.holding + sale.hold_ms > 0 -- of the holds as they were before this call

local function let_go(user) -- returns the tickets that it frees
  local booking = known[user]
  if not (booking and booking.status == 'h' and tonumber(booking.expires) <= now) then return 0 end
  give_back(user, booking)
  booking.status = 'x'
  emit('expired', user, booking)
  return booking.quantity
end

local function sweep(tickets) -- the oldest first, until so many are free; whether there were any
  local freed = 0
  while dead_left and freed < tickets do
    local dead = call('ZRANGEBYSCORE', holds, '-inf', now, 'LIMIT', swept, PIECE)
    swept, dead_left = swept + #dead, #dead == PIECE
    load(dead)
    for _, user in ipairs(dead) do freed = freed + let_go(user) end
  end
  if freed > 0 then promote() end
  return freed > 0
end

local function call_up(users) -- those whom a verb is about, their own dead holds let go
  local freed = 0
  load(users)
  for _, user in ipairs(dead_left and users or {}) do freed = freed + let_go(user) end
  if freed > 0 then promote() end
end

if dead_left then
  call('ZSCORE', due, event_id) -- `commit` will write here: a wrongly typed key is an error now, not then
  sweep(STEP)
end
