"""Hashes and verifies passwords with argon2id, on its own threads and with a bounded queue."""

import asyncio
import os
import secrets
import sys
import unicodedata
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import VerificationError

from booking.domain.accounts import PASSWORD_CHARACTERS_MAX

MEMORY_KIB = 19 * 1024
PASSES = 2
PARALLELISM = 1
"""The minimum for argon2id in OWASP's Password Storage Cheat Sheet: 19 MiB, two passes, parallelism 1."""

HASH_BYTES = 32
SALT_BYTES = 16

WAITING_MAX = 64
"""Passwords that may wait for a thread. Each takes some 25 ms, so a longer queue would take too long."""

NICENESS = 5
"""How much lower the threads' priority is: buyers' calls, on the event loop's thread, go first. At 19 a login takes
seconds on a busy machine."""

NORMALISED_CHARACTERS_MAX = 4 * PASSWORD_CHARACTERS_MAX
"""Longer text is not normalised, because that takes quadratic time. No decomposed password is longer."""

Result = TypeVar("Result")


class TooBusy(Exception):
    """Too many passwords wait to be checked; nothing was done."""


class Passwords:
    """The only place that knows how passwords are stored: as the hash of their NFC form in UTF-8, of any length.

    Keyboards send the same letters in different forms. Earlier versions hashed a password as it was sent, so a password
    is also tried as it is and in its NFD form. That is up to three checks, but one for a password in ASCII.
    """

    def __init__(self, threads: int, *, waiting_max: int = WAITING_MAX) -> None:
        """At most `threads` passwords are hashed at a time, with 19 MiB of memory each; `waiting_max` more may wait."""
        self._hasher = PasswordHasher(
            time_cost=PASSES,
            memory_cost=MEMORY_KIB,
            parallelism=PARALLELISM,
            hash_len=HASH_BYTES,
            salt_len=SALT_BYTES,
            type=Type.ID,
        )
        self._threads = ThreadPoolExecutor(threads, "passwords", _give_way)
        self._slots = BoundedSemaphore(threads + waiting_max)
        self._decoy = _decoy()

    async def hash(self, password: str) -> str:
        """The salted hash of `password`, which includes its own parameters, to be stored. Raises TooBusy."""
        return await self._work(lambda: self._hasher.hash(_forms(password)[0]))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether `password_hash` is the hash of `password`.

        None stands for an account that does not exist: the result is False, after the same work as for one that
        exists. Raises TooBusy, and argon2's InvalidHashError if `password_hash` is not a hash.
        """
        stored = self._decoy if password_hash is None else password_hash
        matches = await self._work(lambda: any(self._matches(stored, form) for form in _forms(password)))
        return matches and password_hash is not None

    def close(self) -> None:
        """Ends the threads. Waiting checks are cancelled, and running ones are completed (some 25 ms)."""
        self._threads.shutdown(cancel_futures=True)

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except VerificationError:
            return False

    async def _work(self, task: Callable[[], Result]) -> Result:
        if not self._slots.acquire(blocking=False):
            raise TooBusy
        try:
            done: Future[Result] = self._threads.submit(task)
        except RuntimeError:  # closed
            self._slots.release()
            raise
        # A cancelled caller frees its slot in the queue, but a running thread keeps its slot until it ends.
        done.add_done_callback(lambda _: self._slots.release())
        return await asyncio.wrap_future(done)


def _give_way() -> None:
    if sys.platform == "linux":  # elsewhere the whole process has one niceness
        os.nice(NICENESS)


def _forms(password: str) -> list[str]:
    """The forms of a password that its hash may be of, without repetitions; first the one that new hashes are of."""
    if password.isascii() or len(password) > NORMALISED_CHARACTERS_MAX:
        return [password]
    return list(
        dict.fromkeys((unicodedata.normalize("NFC", password), password, unicodedata.normalize("NFD", password)))
    )


def _decoy() -> str:
    """A hash that no password matches, with the parameters of real ones, so that a check takes as long.

    Its digest is random and not computed, so that creating it is cheap.
    """
    salt, digest = (
        b64encode(secrets.token_bytes(size)).rstrip(b"=").decode("ascii") for size in (SALT_BYTES, HASH_BYTES)
    )
    return f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={PARALLELISM}${salt}${digest}"
