-- budget: bounds the work of a call, so that no call blocks Redis for long.
-- NEEDS   event
-- STATUSES SEND_AGAIN
local CHANGES_MAX = 1000 -- after this many changes a call decides no further item; an item makes at most some 300

local function is_spent()
  return #entries >= CHANGES_MAX
end

local function must_wait(item) -- the first item ignores the budget, so that each call makes progress
  if sale and pruned_from then return true end -- also in the last step, which may have removed the item's user
  return item > 1 and is_spent()
end

local function send_again() -- nothing was done for this item: its command goes first into the next call
  return {SEND_AGAIN, 0, '', ''}
end
