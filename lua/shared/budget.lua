-- budget: bounds a call's work, so that none keeps the other callers from Redis for long.
-- NEEDS   event
-- STATUSES SEND_AGAIN
local CHANGES_MAX = 1000 -- after so many a call decides no further item; each item makes some 300 at most

local function is_spent()
  return #entries >= CHANGES_MAX
end

local function must_wait(item) -- the first item waits for no budget, so that each call gets on
  if sale and sale.prune_from then return true end
  return item > 1 and is_spent()
end

local function send_again() -- nothing was done for this item: its command is to go first into the next call
  return {SEND_AGAIN, 0, '', ''}
end
