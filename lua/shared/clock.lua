-- clock: Redis's own time, the only one that a rule of a sale goes by.
local call = redis.call
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000) -- milliseconds

local texts = {} -- what was written in this call already: one buyer's numbers are mostly the next one's, too

local function whole(number) -- Lua's own concatenation keeps 14 digits, too few for times after the year 5138
  local text = texts[number]
  if not text then
    text = string.format('%.0f', number)
    texts[number] = text
  end
  return text
end
