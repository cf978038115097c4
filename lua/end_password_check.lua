-- end_password_check: returns the token of a check that did not fail. If the password was right, remembers the client's
-- address for `known_ms` (0: not at all).
-- KEYS[1] bucket    string  the time at which it will be full again
-- KEYS[2] known     string  exists if the client's address has logged in to the account recently
-- ARGV    interval_us burst drew known_ms
-- USES    clock bucket
-- RETURNS one row: 1
read_clock()
read_limit()
if drew == '1' then
  local full_at = possible(call('GET', bucket)) - interval_us
  call('DEL', bucket) -- after a command that frees memory, a full Redis takes the next one
  if full_at > now_us then call('SET', bucket, whole(full_at), 'PX', math.ceil((full_at - now_us) / 1000)) end
end
if tonumber(known_ms) > 0 then
  call('DEL', known)
  call('SET', known, 1, 'PX', known_ms)
end
return {{1}}
