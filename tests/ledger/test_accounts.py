"""Accounts: one for each email, with an id that is never reused."""

import asyncio
import time

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


async def test_a_new_password_and_a_lesser_role_end_tokens_and_a_greater_role_does_not(ledger: Ledger) -> None:
    added = await ledger.add_account("a@example.org", "a@example.org", "old")
    assert await ledger.tokens_from(added.id) == 0
    seen = [0]
    for change, ends in (
        ({"role": Role.ADMIN}, False),
        ({"role": Role.ORGANIZER}, True),
        ({"role": Role.ORGANIZER}, False),
        ({"password_hash": "new"}, True),
        ({"role": Role.USER}, True),
    ):
        before = int(time.time())
        account = await ledger.change_account("a@example.org", **change)
        assert account is not None
        assert (account.tokens_from > seen[-1]) is ends, change
        assert not ends or account.tokens_from > before
        assert await ledger.tokens_from(added.id) == account.tokens_from
        seen.append(account.tokens_from)
    assert await ledger.tokens_ended(seen[-1] - 1) == {f"account:{added.id}": seen[-1]}
    assert await ledger.tokens_ended(seen[-1]) == {}


async def test_of_two_who_change_a_password_at_once_one_succeeds(ledger: Ledger) -> None:
    await ledger.add_account("a@example.org", "a@example.org", "old")
    changed = await asyncio.gather(
        *(ledger.change_account("a@example.org", password_hash=f"new-{n}", old_hash="old") for n in range(4))
    )
    (winner,) = [account for account in changed if account is not None]
    assert await ledger.find_account("a@example.org") == winner


async def test_a_removed_account_leaves_its_id_and_the_end_of_its_tokens_alone(ledger: Ledger) -> None:
    added = await ledger.add_account("a@example.org", "a@example.org", "hash", Role.ADMIN)
    assert await ledger.remove_account("a@example.org") == added
    assert await ledger.remove_account("a@example.org") is None
    assert await ledger.find_account("a@example.org") is await ledger.find_account_by_id(added.id) is None
    assert [account async for account in ledger.accounts()] == []
    assert await ledger.tokens_from(added.id) > 0
    async with ledger.reading() as connection:
        row = (await connection.exec_driver_sql("SELECT * FROM users")).one()
    assert "example.org" not in str(row)
    assert "hash" not in str(row)
    again = await ledger.add_account("a@example.org", "a@example.org", "hash")
    assert again.id > added.id
    assert [account async for account in ledger.accounts()] == [again]


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


async def test_an_organizer_is_one_who_may_create_events_now(ledger: Ledger) -> None:
    await ledger.add_account("a@example.org", "a@example.org", "hash")
    assert not await ledger.has_organizer()
    for role in (Role.ORGANIZER, Role.ADMIN):
        await ledger.change_account("a@example.org", role=role)
        assert await ledger.has_organizer()
    await ledger.remove_account("a@example.org")
    assert not await ledger.has_organizer()
