-- clock: Redis's own time, the only one that a rule of a sale goes by.
local call = redis.call
local now, now_us, now_text -- milliseconds, microseconds, and the milliseconds as text, once `read_clock` was called

local texts = {} -- what was written in this call already: one buyer's numbers are mostly the next one's, too

local function whole(number) -- Lua's own concatenation keeps 14 digits, too few for times after the year 5138
  local text = texts[number]
  if not text then
    text = string.format('%.0f', number)
    texts[number] = text
  end
  return text
end

local function read_clock()
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
  now_us = time[1] * 1000000 + time[2]
  now_text = whole(now)
end
