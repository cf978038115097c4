"""The rate limit of an account's password checks. Its token buckets are in Redis, so that all workers share them."""

from booking.inventory import keys
from booking.inventory.batcher import PreparedCall
from booking.inventory.box_office import RateLimit
from booking.inventory.primary_batchers import PrimaryBatchers
from booking.inventory.scripts import load

KNOWN_SECONDS = 86_400
"""How long an address that has logged in to an account is exempt from the account's limit (contract)."""


class PasswordChecks:
    """A token bucket for each `email_key`, even if it belongs to no account."""

    def __init__(self, batchers: PrimaryBatchers, limit: RateLimit) -> None:
        self._batchers = batchers
        self._limit = limit

    async def begin(self, email_key: str, address: str) -> tuple[int, bool]:
        """Takes a token before a check, so that checks at the same time are limited, too.

        Returns 0 or the milliseconds to wait, and whether it took a token. If the bucket is empty, it takes none: an
        address that has logged in to the account within a day may go on, any other has to wait.
        """
        prepared = PreparedCall(
            load("begin_password_check"), self._keys(email_key, address), (self._limit.interval_us, self._limit.burst)
        )
        reply, _ = await self._batchers.of_key(prepared.keys[0]).submit(prepared)
        wait_ms, drew = reply.rows[0]
        return int(wait_ms), drew == 1

    async def end(self, email_key: str, address: str, *, drew: bool, was_right: bool) -> None:
        """Call it after each check that did not fail. Returns the token, and remembers an address that was right."""
        head = (self._limit.interval_us, self._limit.burst, int(drew), KNOWN_SECONDS * 1000 if was_right else 0)
        prepared = PreparedCall(load("end_password_check"), self._keys(email_key, address), head)
        await self._batchers.of_key(prepared.keys[0]).submit(prepared)

    def _keys(self, email_key: str, address: str) -> tuple[bytes, ...]:
        return keys.account_rate(email_key), keys.known_address(email_key, address)
