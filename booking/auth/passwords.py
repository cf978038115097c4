"""Hashing and checking passwords with argon2id, on threads of its own and never more than those can keep up with."""

import asyncio
import secrets
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import VerificationError

MEMORY_KIB = 19 * 1024
PASSES = 2
LANES = 1
"""The least that OWASP's Password Storage Cheat Sheet asks of argon2id: 19 MiB, two passes, one lane."""

HASH_BYTES = 32
SALT_BYTES = 16

WAITING_MAX = 64
"""Passwords that may wait for a thread; at some 25 ms each, a longer queue would be answered too late to matter."""

Result = TypeVar("Result")


class TooBusy(Exception):
    """More passwords wait to be checked than can be checked in time; nothing was done."""


class Passwords:
    """The one place that knows how a password is kept. Passwords are taken as they are, in UTF-8, of any length."""

    def __init__(self, threads: int, *, waiting_max: int = WAITING_MAX) -> None:
        """`threads` passwords are worked on at a time, with 19 MiB of memory each; `waiting_max` more may wait."""
        self._hasher = PasswordHasher(
            time_cost=PASSES,
            memory_cost=MEMORY_KIB,
            parallelism=LANES,
            hash_len=HASH_BYTES,
            salt_len=SALT_BYTES,
            type=Type.ID,
        )
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._places = BoundedSemaphore(threads + waiting_max)
        self._decoy = _decoy()

    async def hash(self, password: str) -> str:
        """The text to keep instead of `password`: salted, and naming its own parameters. Raises TooBusy."""
        return await self._work(lambda: self._hasher.hash(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether `password` is the one that `password_hash` was made of.

        None stands for an account that does not exist: the answer is no, after the same work as for one that does.
        Raises TooBusy, and argon2's InvalidHashError when `password_hash` is no hash at all.
        """
        kept = self._decoy if password_hash is None else password_hash
        matches = await self._work(lambda: self._matches(kept, password))
        return matches and password_hash is not None

    def close(self) -> None:
        """Ends the threads; what waits is given up, what runs is waited for (some 25 ms)."""
        self._threads.shutdown(cancel_futures=True)

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except VerificationError:
            return False

    async def _work(self, task: Callable[[], Result]) -> Result:
        if not self._places.acquire(blocking=False):
            raise TooBusy
        try:
            done: Future[Result] = self._threads.submit(task)
        except RuntimeError:  # closed
            self._places.release()
            raise
        # A caller who goes away gives up the place in the queue, but a thread at work keeps its own until it ends.
        done.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(done)


def _decoy() -> str:
    """A hash that no password has, with the parameters of a real one: checking against it takes as long.

    Its digest is drawn, not worked out, so that having it costs no hashing.
    """
    salt, digest = (
        b64encode(secrets.token_bytes(size)).rstrip(b"=").decode("ascii") for size in (SALT_BYTES, HASH_BYTES)
    )
    return f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${digest}"
