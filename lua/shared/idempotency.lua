-- idempotency: stores the first answer to a command under its idempotency key, and repeats it.
-- NEEDS   event rates | replay: an index in KEYS, 0 for none; request: "request id \n what was asked"
-- STATUSES IDEMPOTENCY_KEY_REUSED
local REPLAY_MS = 86400000 -- 24 h, from the contract
local answers, new_answers, refusals = {}, {}, {} -- by key, by key, by status

local function load_answers()
  if #KEYS == FIXED_KEYS then return end
  for i, text in ipairs(call('MGET', unpack(KEYS, FIXED_KEYS + 1))) do answers[KEYS[FIXED_KEYS + i]] = text end
end

local function earlier_answer(replay, request) -- returns a row, or nil if the key is new
  local text = answers[KEYS[tonumber(replay)]]
  if not text then return nil end
  local request_id, status, number, record, asked = string.match(text, '^(.-)\n(.-)\n(.-)\n(.-)\n(.*)$')
  if asked ~= string.match(request, '\n(.*)$') then return {IDEMPOTENCY_KEY_REUSED, 0, '', ''} end
  return {tonumber(status), tonumber(number), record, request_id}
end

local function answer(replay, request, status, number, text) -- returns a row, and stores it if the command has a key
  number, text = number or 0, text or ''
  if status >= FIRST_REFUSAL then refusals[status] = (refusals[status] or 0) + 1 end
  if replay ~= '0' then
    local key, request_id, asked = KEYS[tonumber(replay)], string.match(request, '^(.-)\n(.*)$')
    answers[key] = request_id .. '\n' .. status .. '\n' .. whole(number) .. '\n' .. text .. '\n' .. asked
    new_answers[key] = answers[key]
  end
  return {status, number, text, ''}
end

local function flush() -- after `commit`, because these writes need memory
  keep_buckets()
  for key, text in pairs(new_answers) do call('SET', key, text, 'PX', REPLAY_MS) end
  for status, count in pairs(refusals) do call('HINCRBY', event, 'refused:' .. status, count) end
end
