"""What the checks of an account's passwords draw on. It lies in Redis, so that all workers share it."""

from booking.inventory import keys
from booking.inventory.batcher import CommandBatcher, PreparedCall
from booking.inventory.box_office import RateLimit
from booking.inventory.scripts import load

KNOWN_SECONDS = 86_400
"""How long an address that has logged in to an account is let in whatever others do (contract)."""


class PasswordChecks:
    """A bucket for each account, by its `email_key`, whether or not there is such an account."""

    def __init__(self, batcher: CommandBatcher, limit: RateLimit) -> None:
        self._batcher = batcher
        self._limit = limit

    async def begin(self, email_key: str, address: str) -> tuple[int, bool]:
        """Draws on the bucket, so that many checks at once are as many as it holds.

        Returns 0 or the milliseconds to wait, and whether it drew: not if it refuses, nor for an address that has
        logged in to the account within a day when the bucket is empty.
        """
        target = PreparedCall(
            load("begin_password_check"), self._keys(email_key, address), (self._limit.interval_us, self._limit.burst)
        )
        reply, _ = await self._batcher.submit(target)
        wait_ms, drew = reply.rows[0]
        return int(wait_ms), drew == 1

    async def end(self, email_key: str, address: str, *, drew: bool, was_right: bool) -> None:
        """To be told of each check that did not fail: gives back what it drew, and remembers who was right."""
        head = (self._limit.interval_us, self._limit.burst, int(drew), KNOWN_SECONDS * 1000 if was_right else 0)
        await self._batcher.submit(PreparedCall(load("end_password_check"), self._keys(email_key, address), head))

    def _keys(self, email_key: str, address: str) -> tuple[bytes, ...]:
        return keys.account_rate(email_key), keys.known_address(email_key, address)
