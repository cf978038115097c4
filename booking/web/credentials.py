"""Who is calling, by the Authorization header: a bearer token, or an account's email and password."""

import asyncio
import secrets
import time
import unicodedata
from base64 import b64decode
from binascii import Error as Base64Error
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from hmac import digest
from typing import Any

from email_validator import EmailNotValidError, validate_email

from booking.domain.accounts import Account
from booking.domain.callers import Caller, account_user_id
from booking.web.fields import fields_of
from booking.web.passwords import Passwords
from booking.web.tokens import InvalidToken, TokenVerifier

BASIC_BYTES_MAX = 4096
"""The longest email and password, in base64, that are looked at; with 256 characters of password there is room."""

EMAIL_CHARACTERS_MAX = 1000
"""No address is longer, however it is spelled: kept, it has 254 at most. What is longer could take 50 ms to refuse."""

REMEMBERED_SECONDS = 60.0
"""How long an email and password that were right are not checked again, and so outlive a change of password."""

REMEMBERED_MAX = 10_000
"""Remembered at a time, at some 300 bytes each; the one not used for longest makes room."""

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


def normalise_email(text: str) -> str:
    """`text` as an address to keep and to show, without asking the network.

    Raises ValueError, with a sentence for people, if it is not an address.
    """
    if len(text) > EMAIL_CHARACTERS_MAX:
        raise ValueError("The email address is too long.")
    try:
        return validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError as error:
        raise ValueError(str(error)) from None


def email_key(text: str) -> str:
    """What two spellings of one address have in common: accounts are kept and found by it.

    Raises ValueError if `text` is not an address.
    """
    return unicodedata.normalize("NFC", normalise_email(text).casefold())


@dataclass(frozen=True, slots=True)
class _Remembered:
    caller: Caller
    until: float


class Credentials:
    """Tells who is calling, and remembers for a minute whose password was right. Belongs to one event loop."""

    def __init__(
        self,
        tokens: TokenVerifier,
        passwords: Passwords,
        find_account: FindAccount | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without `find_account` the service has no accounts, and nobody gets in by a password."""
        self._challenges = (BEARER_CHALLENGE,) if find_account is None else (BEARER_CHALLENGE, BASIC_CHALLENGE)
        self._tokens = tokens
        self._passwords = passwords
        self._find_account = find_account
        self._clock = clock
        # What is remembered is found by a keyed hash of the header, so that no password stays in memory.
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._checking: dict[bytes, asyncio.Task[Caller | None]] = {}

    def caller_now(self, scope: Scope) -> Caller | None:
        """Who sent the request of an ASGI `scope`; None when it takes `caller` to know.

        Raises Unauthenticated, and KeySetUnavailable for a token that only an absent provider could vouch for.
        """
        is_bearer, value = self._authorization(scope)
        return self._bearer(value) if is_bearer else self._recall(self._name(value))

    async def caller(self, scope: Scope, *, afresh: bool = False) -> Caller:
        """As `caller_now`, waiting for a provider's keys or a password's check where that is needed.

        `afresh` forgets what was remembered: for an organizer's endpoints, so that an account made an organizer is one
        at its next call, and one that no longer is, is not.
        Raises TooBusy, too, when too many passwords wait to be checked.
        """
        is_bearer, value = self._authorization(scope)
        if is_bearer:
            try:
                return await self._tokens.verify_slowly(value)
            except InvalidToken as error:
                raise _bad_token(error) from None
        name = self._name(value)
        caller = None if afresh else self._recall(name)
        if caller is None:
            email, password = _email_and_password(value)
            caller = await self._checked_once(name, email, password)
        if caller is None:
            raise Unauthenticated("The email or the password is wrong.", (BASIC_CHALLENGE,))
        return caller

    async def account(self, email: str, password: str) -> Account | None:
        """The account of `email` if `password` is its own, else None after the same work. Raises TooBusy."""
        try:
            key = email_key(email)
        except ValueError:
            account = None  # an address that nobody can have registered
        else:
            account = None if self._find_account is None else await self._find_account(key)
        right = await self._passwords.verify(None if account is None else account.password_hash, password)
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

    async def _checked_once(self, name: bytes, email: str, password: str) -> Caller | None:
        """Checks a password, or joins the check of the same one: a burst of one user's calls costs a single check."""
        task = self._checking.get(name)
        if task is None:
            task = self._checking[name] = asyncio.create_task(self._check(name, email, password))
            task.add_done_callback(lambda done: self._checked(name, done))
        # Unlike awaiting the task itself, this leaves it to the others when one of those who wait goes away.
        await asyncio.wait([task])
        return task.result()

    async def _check(self, name: bytes, email: str, password: str) -> Caller | None:
        account = await self.account(email, password)
        if account is None:
            self._remembered.pop(name, None)
            return None
        caller = Caller(account_user_id(account.id), account.organizer)
        self._remembered[name] = _Remembered(caller, self._clock() + REMEMBERED_SECONDS)
        self._remembered.move_to_end(name)
        if len(self._remembered) > REMEMBERED_MAX:
            self._remembered.popitem(last=False)
        return caller

    def _checked(self, name: bytes, task: "asyncio.Task[Caller | None]") -> None:
        del self._checking[name]
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
