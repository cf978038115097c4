"""Which passwords are checked at all: each check draws on its client address's bucket, and on its account's."""

from contextlib import suppress

from starlette.types import Scope

from booking.inventory.box_office import BoxOffice, RateLimit
from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown, Overloaded
from booking.inventory.password_checks import PasswordChecks
from booking.settings import client_network
from booking.web.rate_limits import rate_limited

FAILURES = RateLimit(burst=30, per_second=0.5)
"""Wrong passwords for one account: 30 a minute (contract)."""


def address_of(scope: Scope) -> str:
    """What the client of a request is counted under: its address, or the network that it may choose addresses from."""
    client = scope.get("client")
    return client_network(client[0]) if client else "unknown"


class Attempts:
    """The limits on guessing passwords, whichever way they come in. Raises what a call to Redis raises."""

    def __init__(self, office: BoxOffice, checks: PasswordChecks, address_limit: RateLimit) -> None:
        self._office = office
        self._checks = checks
        self._address_limit = address_limit

    async def charge(self, address: str) -> None:
        """Takes one call out of an address's bucket. Raises Problem (429) if it is empty."""
        wait_ms = await self._office.take_address_token(address, self._address_limit)
        if wait_ms:
            raise rate_limited("auth", self._address_limit, wait_ms)

    async def begin(self, email_key: str, address: str) -> bool:
        """Before a password of an account is checked; what it answers is for `end`. Raises Problem (429)."""
        wait_ms, drew = await self._checks.begin(email_key, address)
        if wait_ms:
            raise rate_limited("account", FAILURES, wait_ms)
        return drew

    async def end(self, email_key: str, address: str, *, drew: bool, was_right: bool) -> None:
        """After a check that did not fail: it was right, or never took place."""
        with suppress(InventoryUnavailable, OutcomeUnknown, Overloaded):  # what it drew comes back by itself in time
            await self._checks.end(email_key, address, drew=drew, was_right=was_right)
