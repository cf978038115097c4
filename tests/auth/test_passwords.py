"""Passwords are stored as hashes, checked with equal work, and in a bounded number at a time."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator

import pytest
from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import InvalidHashError

from booking.auth.passwords import Passwords, TooBusy


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    made = Passwords(2)
    yield made
    made.close()


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("passwords")]


class Gate:
    """Blocks every password check until it is opened, and counts the waiting checks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.arrived = threading.Semaphore(0)
        self.checks = 0
        really = PasswordHasher.verify

        def verify(hasher: PasswordHasher, password_hash: str, password: str) -> bool:
            self.checks += 1
            self.arrived.release()
            assert self.open.wait(30)
            return really(hasher, password_hash, password)

        monkeypatch.setattr(PasswordHasher, "verify", verify)


async def test_a_password_matches_its_own_hash_and_no_other(passwords: Passwords) -> None:
    kept = await passwords.hash("pässword 🔑")
    assert await passwords.verify(kept, "pässword 🔑")
    assert not await passwords.verify(kept, "password 🔑")
    assert not await passwords.verify(kept, "")


COMPOSED, DECOMPOSED, MIXED = "caf\u00e9 \u00fc \0 end", "cafe\u0301 u\u0308 \0 end", "caf\u00e9 u\u0308 \0 end"


@pytest.mark.parametrize("written", [COMPOSED, DECOMPOSED, MIXED])
async def test_a_password_is_the_same_in_each_form_of_its_letters(passwords: Passwords, written: str) -> None:
    kept = await passwords.hash(written)
    for form in (COMPOSED, DECOMPOSED, MIXED):
        assert await passwords.verify(kept, form)
    assert not await passwords.verify(kept, "cafe u \0 end")
    assert not await passwords.verify(kept, COMPOSED + "x")
    assert not await passwords.verify(None, written)


@pytest.mark.parametrize("written", [COMPOSED, DECOMPOSED, MIXED])
async def test_a_hash_of_an_earlier_version_still_matches_what_was_typed(passwords: Passwords, written: str) -> None:
    kept = PasswordHasher().hash(written)  # earlier versions did not normalise
    assert await passwords.verify(kept, written)


async def test_long_text_is_not_normalised(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("booking.auth.passwords.unicodedata", None)
    kept = await passwords.hash("e\u0301" * 600)
    assert await passwords.verify(kept, "e\u0301" * 600)


async def test_a_password_of_any_length_counts_to_its_last_character(passwords: Passwords) -> None:
    kept = await passwords.hash("x" * 16_000 + "y")
    assert await passwords.verify(kept, "x" * 16_000 + "y")
    assert not await passwords.verify(kept, "x" * 16_000 + "z")


async def test_a_hash_is_salted_argon2id_of_at_least_19_mib(passwords: Passwords) -> None:
    one, two = await passwords.hash("the same"), await passwords.hash("the same")
    assert one != two
    parameters = extract_parameters(one)
    assert parameters.type is Type.ID
    assert parameters.memory_cost >= 19 * 1024
    assert parameters.time_cost >= 2
    assert parameters.parallelism >= 1


async def test_an_account_that_does_not_exist_costs_the_same_work(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = await passwords.hash("right password")
    really, checked = PasswordHasher.verify, list[str]()

    def verify(hasher: PasswordHasher, password_hash: str, password: str) -> bool:
        checked.append(password_hash)
        return really(hasher, password_hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", verify)
    for password_hash in (kept, None):
        assert not await passwords.verify(password_hash, "wrong password")
    assert len(checked) == 2
    real, decoy = map(extract_parameters, checked)
    assert real == decoy


async def test_an_invalid_hash_is_an_error_and_not_a_wrong_password(passwords: Passwords) -> None:
    with pytest.raises(InvalidHashError):
        await passwords.verify("plain text", "plain text")
    kept = await passwords.hash("password")
    assert await passwords.verify(kept, "password")


async def test_a_full_password_queue_refuses_only_the_next_check(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    passwords = Passwords(1, waiting_max=2)
    try:
        admitted = [asyncio.create_task(passwords.verify(None, "x")) for _ in range(3)]
        await asyncio.to_thread(gate.arrived.acquire)
        with pytest.raises(TooBusy):
            await passwords.verify(None, "x")
        with pytest.raises(TooBusy):
            await passwords.hash("x")
        gate.open.set()
        assert await asyncio.gather(*admitted) == [False] * 3
        assert not await passwords.verify(None, "x")
    finally:
        gate.open.set()
        passwords.close()


async def test_a_caller_who_leaves_frees_their_place_in_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    passwords = Passwords(1, waiting_max=1)
    try:
        running = asyncio.create_task(passwords.verify(None, "x"))
        await asyncio.to_thread(gate.arrived.acquire)
        for _ in range(5):
            waiting = asyncio.create_task(passwords.verify(None, "x"))
            await asyncio.sleep(0)  # a turn of the loop, in which it takes its place
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        gate.open.set()
        assert await running is False
        assert gate.checks == 1
    finally:
        gate.open.set()
        passwords.close()


async def test_a_caller_who_leaves_does_not_free_a_working_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    passwords = Passwords(1, waiting_max=0)
    try:
        running = asyncio.create_task(passwords.verify(None, "x"))
        await asyncio.to_thread(gate.arrived.acquire)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        with pytest.raises(TooBusy):
            await passwords.verify(None, "x")
    finally:
        gate.open.set()
        passwords.close()


async def test_closing_ends_the_threads() -> None:
    passwords = Passwords(2)
    await asyncio.gather(passwords.verify(None, "x"), passwords.verify(None, "x"))
    assert own_threads()
    passwords.close()
    assert not own_threads()
    with pytest.raises(RuntimeError):
        await passwords.verify(None, "x")


@pytest.mark.skipif(sys.platform != "linux", reason="only in Linux do threads have a niceness of their own")
async def test_checks_run_at_a_lower_priority_than_buyers_calls(passwords: Passwords) -> None:
    await passwords.hash("x")
    own = os.getpriority(os.PRIO_PROCESS, 0)
    threads = [thread.native_id for thread in threading.enumerate() if thread.name.startswith("passwords")]
    assert threads
    assert all(os.getpriority(os.PRIO_PROCESS, thread or 0) > own for thread in threads)
