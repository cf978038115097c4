"""Who is calling, by the Authorization header: a bearer token, or an account's email and password."""

import asyncio
import secrets
import time
from base64 import b64decode
from binascii import Error as Base64Error
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field, replace
from hmac import digest
from typing import Any

from booking.auth.emails import email_key
from booking.auth.passwords import Passwords
from booking.auth.tokens import InvalidToken, TokenVerifier
from booking.domain.accounts import Account
from booking.domain.callers import Caller, account_user_id
from booking.web.headers import fields_of
from booking.web.password_limits import Attempts, address_of

BASIC_BYTES_MAX = 4096
"""The longest email and password, in base64, that are looked at; with 256 characters of password there is room."""

REMEMBERED_SECONDS = 60.0
"""How long an email and password that were right are not checked again.

So long may they outlive a change of password, except on organizers' endpoints, which look at the account each time.
"""

REMEMBERED_MAX = 10_000
"""Remembered at a time, at some 500 bytes each; the one not used for longest makes room."""

REALM = "booking"
BASIC_CHALLENGE = f'Basic realm="{REALM}", charset="UTF-8"'
BEARER_CHALLENGE = f'Bearer realm="{REALM}"'

Scope = MutableMapping[str, Any]
FindAccount = Callable[[str], Awaitable[Account | None]]
"""Finds an account by its `email_key`."""


class Unauthenticated(Exception):
    """The credentials are missing or wrong.

    `detail` is a sentence for people and holds nothing of what was sent. `challenges` are the values of as many
    WWW-Authenticate headers, in ASCII. A caller who tried a token is not offered Basic: at that, browsers put up a
    dialog of their own in front of the page.
    """

    def __init__(self, detail: str, challenges: tuple[str, ...]) -> None:
        super().__init__(detail)
        self.detail = detail
        self.challenges = challenges


@dataclass(frozen=True, slots=True)
class _Remembered:
    caller: Caller
    until: float
    email_key: str
    password_hash: str = field(repr=False)
    """The account's when the password was right; while it has this one, the password is right."""


class Credentials:
    """Tells who is calling, and remembers for a minute whose password was right. Belongs to one event loop."""

    def __init__(
        self,
        tokens: TokenVerifier,
        passwords: Passwords,
        find_account: FindAccount | None,
        attempts: Attempts | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without `find_account` the service has no accounts, and nobody gets in by a password.

        Without `attempts` passwords may be tried without limit.
        """
        self._attempts = attempts
        self._challenges = (BEARER_CHALLENGE,) if find_account is None else (BEARER_CHALLENGE, BASIC_CHALLENGE)
        self._tokens = tokens
        self._passwords = passwords
        self._find_account = find_account
        self._clock = clock
        # What is remembered is found by a keyed hash of the header, so that no password stays in memory.
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._checking: dict[tuple[bytes, str], asyncio.Task[Caller | None]] = {}

    def caller_now(self, scope: Scope) -> Caller | None:
        """Who sent the request of an ASGI `scope`; None when it takes `caller` to know.

        Raises Unauthenticated, and KeySetUnavailable for a token that only an absent provider could vouch for.
        """
        is_bearer, value = self._authorization(scope)
        return self._bearer(value) if is_bearer else self._recall(self._name(value))

    async def caller(self, scope: Scope, *, afresh: bool = False) -> Caller:
        """As `caller_now`, waiting for a provider's keys or a password's check where that is needed.

        `afresh` looks at the account again: for an organizer's endpoints, so that an account made an organizer is one
        at its next call, and one that no longer is, is not. Its password is checked again only if it was changed.
        Raises TooBusy, too, when too many passwords wait to be checked, and Problem (429) when too many were tried.
        """
        is_bearer, value = self._authorization(scope)
        if is_bearer:
            try:
                return await self._tokens.verify_slowly(value)
            except InvalidToken as error:
                raise _bad_token(error) from None
        name = self._name(value)
        caller = await self._recall_afresh(name) if afresh else self._recall(name)
        if caller is None:
            email, password = _email_and_password(value)
            caller = await self._checked_once(name, email, password, address_of(scope))
        if caller is None:
            raise Unauthenticated("The email or the password is wrong.", (BASIC_CHALLENGE,))
        return caller

    async def account(self, email: str, password: str, address: str) -> Account | None:
        """The account of `email` if `password` is its own, else None after the same work.

        `address` is the client's, whose own bucket is the caller's business. Raises TooBusy, and Problem (429) when
        too many wrong passwords have been tried for the account.
        """
        try:
            key = email_key(email)
        except ValueError:  # an address that nobody can have registered
            await self._passwords.verify(None, password)
            return None
        drew = self._attempts is not None and await self._attempts.begin(key, address)
        try:
            account = None if self._find_account is None else await self._find_account(key)
            right = await self._passwords.verify(None if account is None else account.password_hash, password)
        except Exception:  # it was not checked; a client that has gone meanwhile counts as a failure
            if self._attempts is not None:
                await self._attempts.end(key, address, drew=drew, was_right=False)
            raise
        if right and self._attempts is not None:
            await self._attempts.end(key, address, drew=drew, was_right=True)
        return account if right else None

    def _authorization(self, scope: Scope) -> tuple[bool, bytes]:
        """Whether the request carries a token rather than a password, and what follows the scheme's name."""
        has_accounts = self._find_account is not None
        header = fields_of(scope).get(b"authorization")
        if header is None:
            wanted = "a bearer token, or an account's email and password" if has_accounts else "a bearer token"
            raise Unauthenticated(f"This needs {wanted}.", self._challenges)
        scheme, _, credentials = header.partition(b" ")
        is_bearer, is_basic = scheme.lower() == b"bearer", has_accounts and scheme.lower() == b"basic"
        if not (is_bearer or is_basic):
            schemes = "Bearer or Basic" if has_accounts else "Bearer"
            raise Unauthenticated(f"The Authorization header's scheme has to be {schemes}.", self._challenges)
        if b"," in credentials:  # which neither has
            raise Unauthenticated("There is more than one Authorization header.", self._challenges)
        if is_basic and len(credentials) > BASIC_BYTES_MAX:
            raise Unauthenticated("The email and password are too long.", (BASIC_CHALLENGE,))
        return is_bearer, credentials.strip(b" \t")

    def _bearer(self, token: bytes) -> Caller | None:
        try:
            return self._tokens.verify(token)
        except InvalidToken as error:
            raise _bad_token(error) from None

    def _name(self, encoded: bytes) -> bytes:
        return digest(self._key, encoded, "sha256")

    def _recall(self, name: bytes) -> Caller | None:
        found = self._remembered.get(name)
        if found is None:
            return None
        if self._clock() >= found.until:
            del self._remembered[name]
            return None
        self._remembered.move_to_end(name)
        return found.caller

    async def _recall_afresh(self, name: bytes) -> Caller | None:
        """Who is remembered, with the role that the account has now; None if its password has been changed."""
        found = None if self._recall(name) is None else self._remembered[name]
        if found is None or self._find_account is None:
            return None
        account = await self._find_account(found.email_key)
        if account is None or account.password_hash != found.password_hash:
            self._remembered.pop(name, None)
            return None
        caller = Caller(account_user_id(account.id), account.organizer)
        if name in self._remembered:
            self._remembered[name] = replace(found, caller=caller)
        return caller

    async def _checked_once(self, name: bytes, email: str, password: str, address: str) -> Caller | None:
        """Checks a password, or joins the check of the same one: a burst of one user's calls costs a single check.

        Only of the same address's: it is that address's bucket that may refuse it.
        """
        what = name, address
        task = self._checking.get(what)
        if task is None:
            task = self._checking[what] = asyncio.create_task(self._check(name, email, password, address))
            task.add_done_callback(lambda done: self._checked(what, done))
        # Unlike awaiting the task itself, this leaves it to the others when one of those who wait goes away.
        await asyncio.wait([task])
        return task.result()

    async def _check(self, name: bytes, email: str, password: str, address: str) -> Caller | None:
        if self._attempts is not None:
            await self._attempts.charge(address)
        account = await self.account(email, password, address)
        if account is None:
            self._remembered.pop(name, None)
            return None
        caller = Caller(account_user_id(account.id), account.organizer)
        until = self._clock() + REMEMBERED_SECONDS
        self._remembered[name] = _Remembered(caller, until, email_key(email), account.password_hash)
        self._remembered.move_to_end(name)
        if len(self._remembered) > REMEMBERED_MAX:
            self._remembered.popitem(last=False)
        return caller

    def _checked(self, what: tuple[bytes, str], task: "asyncio.Task[Caller | None]") -> None:
        del self._checking[what]
        if not task.cancelled():
            task.exception()  # looked at here for the case that everyone who waited has gone away


def _email_and_password(encoded: bytes) -> tuple[str, str]:
    try:
        text = b64decode(encoded, validate=True).decode()
    except (Base64Error, UnicodeDecodeError):
        text = ""
    email, colon, password = text.partition(":")
    if not colon or "\0" in text:
        raise Unauthenticated("The email and password are not written as RFC 7617 asks.", (BASIC_CHALLENGE,))
    return email, password


def _bad_token(error: InvalidToken) -> Unauthenticated:
    sentence = f"{error.reason[0].upper()}{error.reason[1:]}."
    challenge = f'{BEARER_CHALLENGE}, error="invalid_token", error_description="{sentence}"'
    return Unauthenticated(sentence, (challenge,))
