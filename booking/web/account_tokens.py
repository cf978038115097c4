"""Which tokens of accounts are still valid: a change of the account ends all tokens that were issued before it.

A worker keeps the recent changes in memory, so that buyers' calls need no look-up. It reads new ones every few seconds.
"""

import math
import time
from collections.abc import Awaitable, Callable

from booking.domain.callers import Caller, account_id_of

HORIZON_SECONDS = 25 * 3_600
"""Changes of this time are kept in memory. The account of an older token is looked up, and then kept, too.

The service's own tokens are never as old.
"""

RENEW_SECONDS = 5.0
"""The pause between two readings. A token has to be refused a minute after the change at the latest (contract)."""

OVERLAP_SECONDS = 600
"""Each reading includes the changes of this time: commits come late, and the clocks of several machines differ."""

LOOKED_UP_MAX = 100_000
"""Accounts in memory, at most, before the accounts of old tokens are looked up each time."""

Recent = Callable[[int], Awaitable[dict[str, int]]]
"""By user id: since when tokens are valid, of the accounts that were changed after a time (seconds since 1970)."""
LookUp = Callable[[int], Awaitable[int]]
"""Since when the tokens of one account are valid."""


class AccountTokens:
    """Tells ended tokens from valid ones. If the database is away, it goes by what it read last."""

    def __init__(self, recent: Recent, look_up: LookUp) -> None:
        self._recent = recent
        self._look_up = look_up
        self._valid_from: dict[str, int] = {}
        self._complete_from = math.inf
        """The changes since this time are in memory."""

    async def renew(self) -> None:
        """Reads the changes. Raises LedgerUnavailable."""
        horizon = int(time.time()) - HORIZON_SECONDS
        if not 0 <= horizon - self._complete_from < HORIZON_SECONDS:  # the first time, and then once a day
            self._valid_from, self._complete_from = await self._recent(horizon), horizon
        else:
            self._valid_from |= await self._recent(int(time.time()) - OVERLAP_SECONDS)

    def end(self, user_id: str, valid_from: int) -> None:
        """Ends the tokens of an account that was just changed by this worker."""
        self._valid_from[user_id] = valid_from

    def verdict(self, caller: Caller) -> bool | None:
        """Whether the credentials of a caller are still valid; None if the account has to be looked up."""
        account = caller.user_id
        valid_from = self._valid_from.get(account)
        if valid_from is not None:
            return caller.issued_at >= valid_from
        return True if caller.issued_at >= self._complete_from or account_id_of(account) is None else None

    async def are_valid(self, caller: Caller, *, recheck: bool) -> bool:
        """Like `verdict`; looks the account up if that is necessary, or always with `recheck`.

        Raises LedgerUnavailable.
        """
        verdict = self.verdict(caller)
        account_id = account_id_of(caller.user_id)
        if account_id is None or verdict is False or (verdict and not recheck):
            return verdict is not False
        valid_from = max(await self._look_up(account_id), self._valid_from.get(caller.user_id, 0))
        if len(self._valid_from) < LOOKED_UP_MAX:
            self._valid_from[caller.user_id] = valid_from
        return caller.issued_at >= valid_from
