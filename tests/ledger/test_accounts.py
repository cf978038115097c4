"""Accounts: one for each email, with an id that is never reused."""

import asyncio

import pytest

from booking.domain.accounts import Account, Role
from booking.ledger import EmailTaken, Ledger


async def test_an_account_is_found_by_its_normalized_email(ledger: Ledger) -> None:
    added = await ledger.add_account("Ada@Example.org", "ada@example.org", "hash-1")
    assert added == Account(added.id, "Ada@Example.org", "hash-1", organizer=False)
    assert await ledger.find_account("ada@example.org") == added
    assert await ledger.find_account("Ada@Example.org") is None


async def test_an_email_is_taken_once_if_many_ask_at_once(ledger: Ledger) -> None:
    outcomes = await asyncio.gather(
        *(ledger.add_account(f"ada{n}@example.org", "ada@example.org", f"hash-{n}") for n in range(8)),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, Account) for outcome in outcomes) == 1
    refusals = [outcome for outcome in outcomes if not isinstance(outcome, Account)]
    assert all(isinstance(refusal, EmailTaken) for refusal in refusals)
    assert all("ada" not in str(refusal) and "hash" not in str(refusal) for refusal in refusals)


async def test_an_id_is_not_given_again_after_a_deletion(ledger: Ledger) -> None:
    first = await ledger.add_account("a@example.org", "a@example.org", "hash")
    async with ledger._writing() as connection:
        await connection.exec_driver_sql("DELETE FROM users")
    second = await ledger.add_account("b@example.org", "b@example.org", "hash")
    assert second.id > first.id


async def test_an_account_is_changed_in_what_is_given(ledger: Ledger) -> None:
    added = await ledger.add_account("a@example.org", "a@example.org", "old")
    organizer = await ledger.change_account("a@example.org", role=Role.ORGANIZER)
    assert organizer == Account(added.id, "a@example.org", "old", organizer=True)
    renewed = await ledger.change_account("a@example.org", password_hash="new")
    assert renewed is not None
    assert renewed == Account(added.id, "a@example.org", "new", organizer=True, tokens_from=renewed.tokens_from)
    assert await ledger.change_account("a@example.org") == renewed
    assert await ledger.change_account("b@example.org", role=Role.ORGANIZER) is None


@pytest.mark.parametrize("email", ["ü@exämple.org", "o'hara@example.org", "名前@example.org", "🎟@example.org"])
async def test_an_email_comes_back_letter_for_letter(ledger: Ledger, email: str) -> None:
    await ledger.add_account(email, email, "hash")
    found = await ledger.find_account(email)
    assert found is not None
    assert found.email == email


def test_an_account_shows_neither_email_nor_hash() -> None:
    assert repr(Account(7, "ada@example.org", "$argon2id$", organizer=True)) == (
        "Account(id=7, organizer=True, admin=False, tokens_from=0)"
    )
