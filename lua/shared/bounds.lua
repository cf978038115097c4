-- bounds: what an organizer may set at all (contract). The web says so more kindly, but is not the only one to check.
local WHOLE = 9007199254740991 -- up to here a double holds every whole number
local BOUNDS = {capacity = {1, 10000000}, max_per_user = {1, 100}, paused = {0, 1},
  waitlist_limit = {0, WHOLE, none = true},
  opens_at = {-WHOLE, WHOLE, none = true}, closes_at = {-WHOLE, WHOLE, none = true}}

local function bounded(rule, value) -- its number, or nil for none; an error comes before the first write
  local bounds, number = BOUNDS[rule], tonumber(value)
  if bounds and bounds.none and value == '' then return nil end
  if not (bounds and number and number >= bounds[1] and number <= bounds[2] and number % 1 == 0) then
    error('an event cannot have ' .. rule .. ' = ' .. value)
  end
  return number
end
