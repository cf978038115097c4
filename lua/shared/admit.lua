-- admit: what comes before an item's own rules: its rate, the event, and the first answer if its key was used before.
-- NEEDS   sale rates | replay: a place in KEYS, 0 for none; request: "request id \n what was asked"
-- STATUSES EVENT_NOT_FOUND RATE_LIMITED IDEMPOTENCY_KEY_REUSED
local REPLAY_MS = 86400000 -- 24 h, from the contract
local strings, replays, tally = {}, {}, {}
for i, value in ipairs(#KEYS > FIXED_KEYS and call('MGET', unpack(KEYS, FIXED_KEYS + 1)) or {}) do
  strings[KEYS[FIXED_KEYS + i]] = value
end

local function admit(caller, replay, request) -- a row if the item ends here
  local wait_ms = spend(caller)
  if wait_ms then return {RATE_LIMITED, wait_ms, '', ''} end
  replay = replay ~= '0' and KEYS[tonumber(replay)]
  if not sale then return {EVENT_NOT_FOUND, 0, '', ''} end
  if replay and strings[replay] then
    local request_id, status, number, text, asked = string.match(strings[replay], '^(.-)\n(.-)\n(.-)\n(.-)\n(.*)$')
    if asked ~= string.match(request, '\n(.*)$') then return {IDEMPOTENCY_KEY_REUSED, 0, '', ''} end
    return {tonumber(status), tonumber(number), text, request_id}
  end
end

local function decide(replay, request, status, number, text) -- an item's own answer, kept under its key
  number, text, replay = number or 0, text or '', replay ~= '0' and KEYS[tonumber(replay)]
  if status >= FIRST_REFUSAL then tally[status] = (tally[status] or 0) + 1 end
  if replay then
    local request_id, asked = string.match(request, '^(.-)\n(.*)$')
    strings[replay] = request_id .. '\n' .. status .. '\n' .. whole(number) .. '\n' .. text .. '\n' .. asked
    replays[replay] = strings[replay]
  end
  return {status, number, text, ''}
end

local function settle() -- after `commit`: these are growing writes
  keep_buckets()
  for key, text in pairs(replays) do call('SET', key, text, 'PX', REPLAY_MS) end
  for status, count in pairs(tally) do call('HINCRBY', event, 'refused:' .. status, count) end
end
