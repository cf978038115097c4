-- caller: who asks, if it is not each item's own user. An organizer or a shop acts for buyers: the bucket and the
-- idempotency keys are the caller's. All items of a call have the same caller.
-- NEEDS   rates caller
local acting -- the caller that acts for the users; nil if each user asks for themselves

local function load_callers(users)
  if caller ~= '' then
    acting = caller
    load_buckets({acting})
  else
    load_buckets(users)
  end
end
