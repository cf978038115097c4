-- clock: Redis's own time, the only one that a rule of a sale goes by.
local call = redis.call
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000) -- milliseconds

local function whole(number) -- Lua's own concatenation keeps 14 digits, too few for times after the year 5138
  return string.format('%.0f', number)
end
