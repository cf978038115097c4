"""Authenticates a caller by the Authorization header: a bearer token, or an account's email and password."""

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
from booking.auth.tokens import InvalidToken, TokenVerifier, login_at
from booking.domain.accounts import Account
from booking.domain.callers import Caller, account_id_of, account_user_id
from booking.settings import ACCOUNT_PREFIX
from booking.web.account_tokens import AccountTokens
from booking.web.headers import fields_of
from booking.web.password_limits import Attempts, address_of

BASIC_BYTES_MAX = 4096
"""The longest email and password, in base64, that are accepted. A password of 256 characters fits."""

CACHE_SECONDS = 60.0
"""How long a correct email and password are cached, and not checked again.

An old password works for this long after a change at most. On organizers' endpoints it ends at once, because they read
the account each time.
"""

CACHE_MAX = 10_000
"""The most cached credentials, of about 500 bytes each. The least recently used one is removed."""

COMMA = ord(",")
"""A number, because `in` finds a number in bytes ten times as fast as a piece of bytes."""

REALM = "booking"
BASIC_CHALLENGE = f'Basic realm="{REALM}", charset="UTF-8"'
BEARER_CHALLENGE = f'Bearer realm="{REALM}"'

Scope = MutableMapping[str, Any]
FindAccount = Callable[[str], Awaitable[Account | None]]
"""Finds an account by its `email_key`."""


class Unauthenticated(Exception):
    """The credentials are missing or wrong.

    `detail` is a sentence for a person, and holds nothing from the request. `challenges` are the values of
    WWW-Authenticate headers, in ASCII. A caller who sent a token gets no Basic challenge, because browsers would then
    open their own login dialog.
    """

    def __init__(self, detail: str, challenges: tuple[str, ...]) -> None:
        super().__init__(detail)
        self.detail = detail
        self.challenges = challenges


@dataclass(frozen=True, slots=True)
class _CachedCredentials:
    caller: Caller
    until: float
    email_key: str
    password_hash: str = field(repr=False)
    """The account's hash when the password was checked. As long as the account has it, the password is right."""


class Credentials:
    """Authenticates callers, and caches correct passwords for a minute. Belongs to one event loop."""

    def __init__(
        self,
        tokens: TokenVerifier,
        passwords: Passwords,
        find_account: FindAccount | None,
        attempts: Attempts | None = None,
        account_tokens: AccountTokens | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """If `find_account` is None, the service has no accounts, and accepts no passwords.

        If `attempts` is None, there is no limit on password checks. If `account_tokens` is None, no token is ended.
        """
        self._attempts = attempts
        self._account_tokens = account_tokens
        self._challenges = (BEARER_CHALLENGE,) if find_account is None else (BEARER_CHALLENGE, BASIC_CHALLENGE)
        self._tokens = tokens
        self._passwords = passwords
        self._find_account = find_account
        self._clock = clock
        # The cache's keys are keyed hashes of the header, so that no password stays in memory.
        self._hash_key = secrets.token_bytes(32)
        self._cache: OrderedDict[bytes, _CachedCredentials] = OrderedDict()
        self._checking: dict[tuple[bytes, str], asyncio.Task[Caller | None]] = {}

    def caller_now(self, scope: Scope) -> Caller | None:
        """The caller of the request of an ASGI `scope`; None if only `caller` can find out.

        Raises Unauthenticated, and KeySetUnavailable if the key of the token's provider cannot be fetched.
        """
        is_bearer, value = self._authorization(scope)
        if not is_bearer:
            return self._cached_caller(self._cache_key(value))
        try:
            caller = self._tokens.verify(value)
        except InvalidToken as error:
            raise _bad_token(error) from None
        if caller is None or self._account_tokens is None or not caller.user_id.startswith(ACCOUNT_PREFIX):
            return caller
        verdict = self._account_tokens.verdict(caller)
        if verdict is False:
            raise _bad_token(_ENDED)
        return caller if verdict else None

    async def caller(self, scope: Scope, *, recheck: bool = False) -> Caller:
        """The caller, like `caller_now`; fetches a provider's keys or checks a password if necessary.

        `recheck` reads the account again. Organizers' endpoints use it, so that a change of an account applies at its
        next call. The password is checked again only if it was changed. Also raises TooBusy if too many passwords wait
        to be checked, Problem (429) if too many were tried, and LedgerUnavailable.
        """
        is_bearer, value = self._authorization(scope)
        if is_bearer:
            try:
                caller = await self._tokens.verify_slowly(value)
            except InvalidToken as error:
                raise _bad_token(error) from None
            tokens = self._account_tokens
            if tokens is not None and not await tokens.are_valid(caller, recheck=recheck):
                raise _bad_token(_ENDED)
            return caller
        key = self._cache_key(value)
        password_caller = await self._rechecked_caller(key) if recheck else self._cached_caller(key)
        if password_caller is None:
            email, password = _email_and_password(value)
            password_caller = await self._checked_once(key, email, password, address_of(scope))
        if password_caller is None:
            raise Unauthenticated("The email or the password is wrong.", (BASIC_CHALLENGE,))
        return password_caller

    async def renewable(self, scope: Scope) -> tuple[Caller, int]:
        """The account's caller of a token, and when its user logged in, in seconds since 1970.

        That is when the token was issued if it does not say so. Raises Unauthenticated for a password and for a token
        of no account, and as `caller` does.
        """
        is_bearer, value = self._authorization(scope)
        if not is_bearer:
            raise Unauthenticated("Only a token can be renewed.", (BEARER_CHALLENGE,))
        caller = await self.caller(scope)
        if account_id_of(caller.user_id) is None:
            raise Unauthenticated("Only a token of an account of this service can be renewed.", (BEARER_CHALLENGE,))
        at = login_at(value)
        return caller, caller.issued_at if at is None else at

    def was_ended(self, caller: Caller) -> bool:
        """Whether a change of the account has ended the credentials of a caller, as far as this worker knows."""
        return self._account_tokens is not None and self._account_tokens.verdict(caller) is False

    async def account(self, email: str, password: str, address: str) -> Account | None:
        """The account of `email` if `password` is right, else None, after the same amount of work.

        `address` is the client's address. This method does not take a token from its bucket; its callers do. Raises
        TooBusy, and Problem (429) if too many wrong passwords were tried for the account.
        """
        try:
            key = email_key(email)
        except ValueError:  # not an email address, so no account has it
            await self._passwords.verify(None, password)
            return None
        drew = self._attempts is not None and await self._attempts.begin(key, address)
        try:
            account = None if self._find_account is None else await self._find_account(key)
            right = await self._passwords.verify(None if account is None else account.password_hash, password)
        except Exception:  # not checked; if the client disconnects, that counts as a failed attempt
            if self._attempts is not None:
                await self._attempts.end(key, address, drew=drew, was_right=False)
            raise
        if right and self._attempts is not None:
            await self._attempts.end(key, address, drew=drew, was_right=True)
        return account if right else None

    def _authorization(self, scope: Scope) -> tuple[bool, bytes]:
        """Whether the request has a token (and not a password), and the credentials after the name of the scheme."""
        has_accounts = self._find_account is not None
        header = fields_of(scope).get(b"authorization")
        if header is None:
            wanted = "a bearer token, or an account's email and password" if has_accounts else "a bearer token"
            raise Unauthenticated(f"This needs {wanted}.", self._challenges)
        scheme, _, credentials = header.partition(b" ")
        scheme = scheme.lower()
        is_bearer, is_basic = scheme == b"bearer", has_accounts and scheme == b"basic"
        if not (is_bearer or is_basic):
            schemes = "Bearer or Basic" if has_accounts else "Bearer"
            raise Unauthenticated(f"The Authorization header's scheme has to be {schemes}.", self._challenges)
        if COMMA in credentials:  # a comma joins repeated headers, and neither scheme's credentials contain one
            raise Unauthenticated("There is more than one Authorization header.", self._challenges)
        if is_basic and len(credentials) > BASIC_BYTES_MAX:
            raise Unauthenticated("The email and password are too long.", (BASIC_CHALLENGE,))
        return is_bearer, credentials.strip(b" \t")

    def _cache_key(self, encoded: bytes) -> bytes:
        return digest(self._hash_key, encoded, "sha256")

    def _cached_caller(self, key: bytes) -> Caller | None:
        found = self._cache.get(key)
        if found is None:
            return None
        if self._clock() >= found.until or self.was_ended(found.caller):
            del self._cache[key]
            return None
        self._cache.move_to_end(key)
        return found.caller

    async def _rechecked_caller(self, key: bytes) -> Caller | None:
        """The cached caller with the account's current role; None if its password has changed."""
        found = None if self._cached_caller(key) is None else self._cache[key]
        if found is None or self._find_account is None:
            return None
        began = time.time()
        account = await self._find_account(found.email_key)
        if account is None or account.password_hash != found.password_hash:
            self._cache.pop(key, None)
            return None
        caller = _caller_of(account, began)
        if key in self._cache:
            self._cache[key] = replace(found, caller=caller)
        return caller

    async def _checked_once(self, key: bytes, email: str, password: str, address: str) -> Caller | None:
        """Checks a password, or joins a running check of the same one: a burst of a user's calls costs one check.

        Calls from different addresses do not share a check, because each address has its own rate limit.
        """
        check = key, address
        task = self._checking.get(check)
        if task is None:
            task = self._checking[check] = asyncio.create_task(self._check(key, email, password, address))
            task.add_done_callback(lambda done: self._checked(check, done))
        # `await task` would cancel the task if one of the waiting requests is cancelled; `wait` does not.
        await asyncio.wait([task])
        return task.result()

    async def _check(self, key: bytes, email: str, password: str, address: str) -> Caller | None:
        if self._attempts is not None:
            await self._attempts.charge(address)
        began = time.time()
        account = await self.account(email, password, address)
        if account is None:
            self._cache.pop(key, None)
            return None
        caller = _caller_of(account, began)
        until = self._clock() + CACHE_SECONDS
        self._cache[key] = _CachedCredentials(caller, until, email_key(email), account.password_hash)
        self._cache.move_to_end(key)
        if len(self._cache) > CACHE_MAX:
            self._cache.popitem(last=False)
        return caller

    def _checked(self, check: tuple[bytes, str], task: "asyncio.Task[Caller | None]") -> None:
        del self._checking[check]
        if not task.cancelled():
            task.exception()  # marks it as retrieved: all waiting requests may have been cancelled


def _email_and_password(encoded: bytes) -> tuple[str, str]:
    try:
        text = b64decode(encoded, validate=True).decode()
    except (Base64Error, UnicodeDecodeError):
        text = ""
    email, colon, password = text.partition(":")
    if not colon or "\0" in text:
        raise Unauthenticated("The email and password are not written as RFC 7617 asks.", (BASIC_CHALLENGE,))
    return email, password


def _caller_of(account: Account, began: float) -> Caller:
    """The caller of an account whose password was right.

    The account was read after `began` (seconds since 1970), so a change of it that came after the reading ends these
    credentials, too.
    """
    issued_at = max(int(began), account.tokens_from)
    return Caller(account_user_id(account.id), account.organizer, account.admin, issued_at)


_ENDED = InvalidToken("the account has been changed since the token was issued; log in again")
_OLD = InvalidToken("the login was too long ago; log in again")


def ended() -> Unauthenticated:
    """The error for a token that a change of its account has ended."""
    return _bad_token(_ENDED)


def too_old() -> Unauthenticated:
    """The error for a token that cannot be renewed any more."""
    return _bad_token(_OLD)


def _bad_token(error: InvalidToken) -> Unauthenticated:
    sentence = f"{error.reason[0].upper()}{error.reason[1:]}."
    challenge = f'{BEARER_CHALLENGE}, error="invalid_token", error_description="{sentence}"'
    return Unauthenticated(sentence, (challenge,))
