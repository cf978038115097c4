"""Rate limits on password checks: one bucket for each client address, and one for each account."""

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
    """The rate limit's key for a request's client: its IPv4 address, or the network of its IPv6 address."""
    client = scope.get("client")
    return client_network(client[0]) if client else "unknown"


class Attempts:
    """Limits password guessing, by login and by Basic credentials. Methods raise what a call to Redis raises."""

    def __init__(self, office: BoxOffice, checks: PasswordChecks, address_limit: RateLimit) -> None:
        self._office = office
        self._checks = checks
        self._address_limit = address_limit

    async def charge(self, address: str) -> None:
        """Takes a token from the bucket of an address. Raises Problem (429) if the bucket is empty."""
        wait_ms = await self._office.take_address_token(address, self._address_limit)
        if wait_ms:
            raise rate_limited("auth", self._address_limit, wait_ms)

    async def begin(self, email_key: str, address: str) -> bool:
        """Call this before a password is checked. Pass the result to `end`, as `drew`. Raises Problem (429)."""
        wait_ms, drew = await self._checks.begin(email_key, address)
        if wait_ms:
            raise rate_limited("account", FAILURES, wait_ms)
        return drew

    async def end(self, email_key: str, address: str, *, drew: bool, was_right: bool) -> None:
        """Call this after a password was right, or if it was not checked."""
        with suppress(InventoryUnavailable, OutcomeUnknown, Overloaded):  # the bucket refills by itself
            await self._checks.end(email_key, address, drew=drew, was_right=was_right)
