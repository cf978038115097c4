-- bucket: a token bucket as one number, the time at which it will be full again (generic cell rate algorithm).
-- NEEDS   clock interval_us burst
local function read_limit()
  interval_us, burst = tonumber(interval_us), tonumber(burst)
end

local function next_full(full_at) -- returns the new time, or nil and the milliseconds to wait
  local after = math.max(tonumber(full_at or 0) or 0, now_us) + interval_us
  local early_us = after - now_us - burst * interval_us
  if early_us > 0 then return nil, math.ceil(early_us / 1000) end
  return after
end
