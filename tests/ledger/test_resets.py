"""Requests for a new password: one token of one email is valid, once, for half an hour."""

import asyncio

import pytest
from sqlalchemy import func, select, update

from booking.domain.reset_tokens import hash_of, new_nonce, reset_token
from booking.ledger import Ledger
from booking.ledger.resets import KEPT_MS, LIFETIME_MS, REQUESTS_MAX
from booking.ledger.tables import mails, metadata, password_resets

SECRET = b"the secret of these tests, of more than 32 bytes"
EMAIL = "a@example.org"


async def requested(ledger: Ledger, email_key: str = EMAIL) -> str:
    """The token of a new request."""
    nonce = new_nonce()
    token = reset_token(SECRET, nonce)
    await ledger.request_reset(email_key, hash_of(token), nonce)
    return token


async def age(ledger: Ledger, by_ms: int) -> None:
    """Makes all requests older."""
    async with ledger._writing() as connection:
        older = update(password_resets).values(created_at_ms=password_resets.c.created_at_ms - by_ms)
        await connection.execute(older)


@pytest.fixture
async def account_id(ledger: Ledger) -> int:
    return (await ledger.add_account(EMAIL, EMAIL, "old")).id


async def test_a_token_sets_the_password_once_and_ends_all_tokens(ledger: Ledger, account_id: int) -> None:
    token = await requested(ledger)
    assert await ledger.is_valid_reset(hash_of(token))
    account = await ledger.reset_password(hash_of(token), "new")
    assert account is not None
    assert (account.id, account.password_hash) == (account_id, "new")
    assert await ledger.tokens_from(account_id) == account.tokens_from > 0
    assert not await ledger.is_valid_reset(hash_of(token))
    assert await ledger.reset_password(hash_of(token), "newer") is None
    assert await ledger.find_account(EMAIL) == account


async def test_of_many_who_use_a_token_at_once_one_succeeds(ledger: Ledger, account_id: int) -> None:
    token = await requested(ledger)
    outcomes = await asyncio.gather(*(ledger.reset_password(hash_of(token), f"new-{n}") for n in range(4)))
    (winner,) = [account for account in outcomes if account is not None]
    assert await ledger.find_account(EMAIL) == winner


async def test_a_second_request_ends_the_first_one_of_the_same_email_alone(ledger: Ledger, account_id: int) -> None:
    first, other = await requested(ledger), await requested(ledger, "b@example.org")
    second = await requested(ledger)
    assert not await ledger.is_valid_reset(hash_of(first))
    assert await ledger.reset_password(hash_of(first), "new") is None
    assert await ledger.is_valid_reset(hash_of(other))
    assert await ledger.reset_password(hash_of(second), "new") is not None


async def test_a_token_is_valid_for_30_minutes(ledger: Ledger, account_id: int) -> None:
    token = await requested(ledger)
    await age(ledger, LIFETIME_MS - 60_000)
    assert await ledger.is_valid_reset(hash_of(token))
    await age(ledger, 60_000)
    assert not await ledger.is_valid_reset(hash_of(token))
    assert await ledger.reset_password(hash_of(token), "new") is None


@pytest.mark.parametrize("change", ["password", "removal"])
async def test_a_change_of_the_account_ends_its_requests(ledger: Ledger, account_id: int, change: str) -> None:
    token = await requested(ledger)
    if change == "password":
        await ledger.change_account(EMAIL, password_hash="by the user")
    else:
        await ledger.remove_account(EMAIL)
        await ledger.add_account(EMAIL, EMAIL, "another user with the same email")
    assert not await ledger.is_valid_reset(hash_of(token))
    assert await ledger.reset_password(hash_of(token), "new") is None


async def test_a_flood_of_requests_queues_six_mails_an_hour_and_keeps_the_last_token(
    ledger: Ledger, account_id: int
) -> None:
    last = [await requested(ledger) for _ in range(REQUESTS_MAX)][-1]
    ignored = [await requested(ledger) for _ in range(3)]
    async with ledger.reading() as connection:
        assert await connection.scalar(select(func.count()).select_from(mails)) == REQUESTS_MAX
    assert [await ledger.is_valid_reset(hash_of(token)) for token in (last, *ignored)] == [True, False, False, False]
    await age(ledger, KEPT_MS + 1)
    assert await ledger.is_valid_reset(hash_of(await requested(ledger)))


async def test_an_email_without_an_account_leaves_the_same_rows_and_no_account(ledger: Ledger) -> None:
    token = await requested(ledger)
    async with ledger.reading() as connection:
        assert await connection.scalar(select(func.count()).select_from(mails)) == 1
    assert await ledger.reset_password(hash_of(token), "new") is None
    assert await ledger.find_account(EMAIL) is None


async def test_no_table_holds_a_token(ledger: Ledger, account_id: int) -> None:
    token = await requested(ledger)
    async with ledger.reading() as connection:
        rows = [row for table in metadata.sorted_tables for row in await connection.execute(select(table))]
    assert hash_of(token) in str(rows)
    assert token not in str(rows)
