-- bounds: the values that an organizer may set (contract). The web checks them first, with better messages; this check
-- holds for every caller.
local WHOLE = 9007199254740991 -- 2^53 - 1: a double holds every whole number up to here
local BOUNDS = {capacity = {1, 10000000}, max_per_user = {1, 100}, paused = {0, 1}, hold_ms = {0, 86400000},
  offer_seconds = {0, 604800}, payment_seconds = {60, 3600},
  starts_at_ms = {-WHOLE, WHOLE}, ends_at_ms = {-WHOLE, WHOLE},
  waitlist_limit = {0, WHOLE, none = true},
  opens_at = {-WHOLE, WHOLE, none = true}, closes_at = {-WHOLE, WHOLE, none = true}}

local function bounded(rule, value) -- returns a number, or nil for none; raises an error before the first write
  local bounds, number = BOUNDS[rule], tonumber(value)
  if bounds and bounds.none and value == '' then return nil end
  if not (bounds and number and number >= bounds[1] and number <= bounds[2] and number % 1 == 0) then
    error('an event cannot have ' .. rule .. ' = ' .. value)
  end
  return number
end
