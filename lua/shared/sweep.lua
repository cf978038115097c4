-- sweep: a hold is dead at its end, whether or not anybody looked. Runs before anything that a verb does.
-- NEEDS   sale promote
local function sweep()
  if sale.holding == 0 and sale.hold_ms == 0 then return end
  call('ZSCORE', due, event_id) -- `commit` will write here: a wrongly typed key is an error now, not then
  local dead = call('ZRANGEBYSCORE', holds, '-inf', now)
  for at = 1, #dead, 1000 do load({unpack(dead, at, math.min(at + 999, #dead))}) end
  for _, user in ipairs(dead) do
    give_back(user, known[user])
    known[user].status = 'x'
    emit('expired', user, known[user])
  end
  if #dead > 0 then promote() end
end
if sale then sweep() end
