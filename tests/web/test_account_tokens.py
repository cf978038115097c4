"""Ended tokens are told from valid ones out of memory; an account is looked up only for old tokens, or if asked to."""

import time

import pytest

from booking.domain.callers import Caller
from booking.ledger import LedgerUnavailable
from booking.web.account_tokens import HORIZON_SECONDS, AccountTokens

NOW = int(time.time()) + 3_600
"""Ahead, so that it is recent also if the tests before these take long."""

OLD = int(time.time()) - HORIZON_SECONDS - 100


def caller(issued_at: int, user_id: str = "account:7") -> Caller:
    return Caller(user_id, organizer=True, issued_at=issued_at)


class Database:
    """Accounts, by user id, with the time from which their tokens are valid. It counts the look-ups."""

    def __init__(self) -> None:
        self.valid_from: dict[str, int] = {}
        self.looked_up = 0
        self.is_away = False

    async def recent(self, since: int) -> dict[str, int]:
        if self.is_away:
            raise LedgerUnavailable
        return {user: second for user, second in self.valid_from.items() if second > since}

    async def look_up(self, account_id: int) -> int:
        if self.is_away:
            raise LedgerUnavailable
        self.looked_up += 1
        return self.valid_from.get(f"account:{account_id}", 0)


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def tokens(database: Database) -> AccountTokens:
    return AccountTokens(database.recent, database.look_up)


async def test_a_recent_token_needs_no_look_up(database: Database, tokens: AccountTokens) -> None:
    database.valid_from = {"account:7": NOW}
    await tokens.renew()
    verdicts = [tokens.verdict(caller(issued_at)) for issued_at in (NOW - 1, NOW, NOW + 5)]
    assert verdicts == [False, True, True]
    assert tokens.verdict(caller(NOW - 60, "account:8")) is True
    assert database.looked_up == 0


async def test_a_change_is_seen_at_the_next_reading(database: Database, tokens: AccountTokens) -> None:
    await tokens.renew()
    assert tokens.verdict(caller(NOW)) is True
    database.valid_from = {"account:7": NOW + 1}
    await tokens.renew()
    assert tokens.verdict(caller(NOW)) is False


async def test_the_account_of_an_old_token_is_looked_up_once(database: Database, tokens: AccountTokens) -> None:
    database.valid_from = {"account:7": OLD}
    await tokens.renew()
    for issued_at, is_valid in ((OLD - 1, False), (OLD, True), (0, False)):
        assert await tokens.are_valid(caller(issued_at), recheck=False) is is_valid
        assert tokens.verdict(caller(issued_at)) is is_valid
    assert database.looked_up == 1
    database.valid_from = {"account:7": NOW}
    await tokens.renew()
    assert tokens.verdict(caller(OLD)) is False


async def test_a_recheck_sees_a_change_at_once(database: Database, tokens: AccountTokens) -> None:
    await tokens.renew()
    assert await tokens.are_valid(caller(NOW), recheck=True)
    database.valid_from = {"account:7": NOW + 1}
    assert await tokens.are_valid(caller(NOW), recheck=False)
    assert not await tokens.are_valid(caller(NOW), recheck=True)
    assert tokens.verdict(caller(NOW)) is False, "and from then on without a look-up"


async def test_without_the_database_the_last_reading_holds(database: Database, tokens: AccountTokens) -> None:
    database.valid_from = {"account:7": NOW}
    await tokens.renew()
    database.is_away = True
    with pytest.raises(LedgerUnavailable):
        await tokens.renew()
    assert [tokens.verdict(caller(NOW - 1)), tokens.verdict(caller(NOW))] == [False, True]
    with pytest.raises(LedgerUnavailable):
        await tokens.are_valid(caller(NOW), recheck=True)


@pytest.mark.parametrize(
    "user_id", ["ann", "7", "account:", "account:x", "account:07", "account:" + "9" * 30, "account:\u0667"]
)
async def test_a_user_id_that_is_no_accounts_is_never_looked_up(
    database: Database, tokens: AccountTokens, user_id: str
) -> None:
    assert await tokens.are_valid(caller(0, user_id), recheck=True)
    assert database.looked_up == 0
