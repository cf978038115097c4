-- bucket: a token bucket as one number, the time at which it will be full again (generic cell rate algorithm).
-- NEEDS   clock interval_us burst
local function read_limit()
  interval_us, burst = tonumber(interval_us), tonumber(burst)
end

local function possible(full_at) -- a later time was written while Redis's clock was ahead: then the bucket is full
  full_at = tonumber(full_at or 0) or 0
  if full_at > now_us + burst * interval_us then return 0 end
  return full_at
end

local function next_full(full_at) -- returns the new time, or nil and the milliseconds to wait
  local after = math.max(possible(full_at), now_us) + interval_us
  local early_us = after - now_us - burst * interval_us
  if early_us > 0 then return nil, math.ceil(early_us / 1000) end
  return after
end
