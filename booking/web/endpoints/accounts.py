"""Accounts of this service: registration, login for a token, its renewal, a new password, and the account's removal."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Receive, Scope

from booking.auth.emails import email_key
from booking.auth.passwords import Passwords
from booking.domain.accounts import Account
from booking.domain.callers import Caller, account_id_of, account_user_id
from booking.inventory.box_office import BoxOffice
from booking.ledger.errors import EmailTaken
from booking.ledger.ledger import Ledger
from booking.operations.read_your_writes import ReadYourWrites
from booking.web.account_tokens import AccountTokens
from booking.web.authentication import Credentials, ended, too_old
from booking.web.password_limits import Attempts, address_of
from booking.web.problems import Fault, Problem
from booking.web.request_schemas import LoginRequest, PasswordRequest, RegisterRequest, RemoveRequest, validate
from booking.web.requests import USER, read_body, read_json
from booking.web.response_schemas import UserData, WelcomeData
from booking.web.responses import PlainResponse, success

RENEWABLE_SECONDS = 86_400
"""How long after a login its token may be renewed (contract)."""

EVENT_IDS_MAX = 100
"""Events that the refusal of a removal names, at most."""

Sign = Callable[[Account, float, int | None], str]
"""Signs a token for an account, as of a time before the account was read, and of the time of the login.

Both are in seconds since 1970; None: the login is now. A change of the account after the first time ends the token.
"""


@dataclass(frozen=True, slots=True)
class Doorway:
    """What all calls that sign in share: the limit of the client's address, and the response with a token."""

    sign: Sign
    attempts: Attempts | None
    """None: there are no limits."""

    async def charge(self, scope: Scope) -> None:
        """Takes a token from the bucket of the client's address. Raises Problem (429)."""
        if self.attempts is not None:
            await self.attempts.charge(address_of(scope))

    async def remember(self, scope: Scope, key: str) -> None:
        """The client's address belongs to the account from now on, so that others' guesses do not lock it out."""
        if self.attempts is not None:
            await self.attempts.end(key, address_of(scope), drew=False, was_right=True)

    def welcome(
        self, scope: Scope, status: int, message: str, account: Account, began: float, login_at: int | None = None
    ) -> PlainResponse:
        """The response with a token for an account that was read after `began`."""
        scope[USER] = account_user_id(account.id)
        data: WelcomeData = {"token": self.sign(account, began, login_at), "user": user_data(account)}
        return PlainResponse(status, success(message, data))


def user_data(account: Account) -> UserData:
    """The JSON of an account."""
    return {"id": account.id, "email": account.email}


class AccountEndpoints:
    """`/auth/*`. Each call takes a token from the bucket of its client address, whether it succeeds or not.

    Calls that need a caller first authenticate it.
    """

    def __init__(
        self,
        ledger: Ledger,
        office: BoxOffice,
        read_your_writes: ReadYourWrites,
        passwords: Passwords,
        credentials: Credentials,
        account_tokens: AccountTokens,
        doorway: Doorway,
    ) -> None:
        self._ledger = ledger
        self._office = office
        self._read_your_writes = read_your_writes
        self._passwords = passwords
        self._credentials = credentials
        self._account_tokens = account_tokens
        self._doorway = doorway

    async def register(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`POST /auth/register`."""
        await self._doorway.charge(scope)
        faults: list[Fault] = []
        request = validate(RegisterRequest, await read_json(scope, receive, faults), faults)
        began = time.time()
        password_hash = await self._passwords.hash(request.password)
        try:
            key = email_key(request.email)
            account = await self._ledger.add_account(request.email, key, password_hash)
        except EmailTaken:
            raise Problem("email_taken") from None
        await self._doorway.remember(scope, key)
        return self._doorway.welcome(scope, 201, "Account created successfully", account, began)

    async def login(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`POST /auth/login`."""
        await self._doorway.charge(scope)
        faults: list[Fault] = []
        request = validate(LoginRequest, await read_json(scope, receive, faults), faults)
        began = time.time()
        account = await self._credentials.account(request.email, request.password, address_of(scope))
        if account is None:
            raise Problem("invalid_credentials")
        return self._doorway.welcome(scope, 200, "Logged in successfully", account, began)

    async def renew(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`POST /auth/renew`. The old token stays valid."""
        began = time.time()
        caller, login_at = await self._credentials.renewable(scope)
        scope[USER] = caller.user_id
        await self._doorway.charge(scope)
        if login_at + RENEWABLE_SECONDS <= began:
            raise too_old()
        account = await self._ledger.find_account_by_id(account_id_of(caller.user_id) or 0)
        if account is None or caller.issued_at < account.tokens_from:
            raise ended()
        await read_body(scope, receive)
        return self._doorway.welcome(scope, 200, "Renewed successfully", account, began, login_at)

    async def change_password(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`POST /auth/password`. It ends every token of the account, and returns a new one."""
        caller, account = await self._account(scope)
        await self._doorway.charge(scope)
        faults: list[Fault] = []
        request = validate(PasswordRequest, await read_json(scope, receive, faults), faults)
        began = time.time()
        checked = await self._checked(scope, account, request.password)
        new_hash = await self._passwords.hash(request.new_password)
        key = email_key(account.email)
        changed = await self._ledger.change_account(key, password_hash=new_hash, old_hash=checked.password_hash)
        if changed is None:  # another call has changed it since it was checked
            raise _wrong_password()
        self._account_tokens.end(caller.user_id, changed.tokens_from)
        return self._doorway.welcome(scope, 200, "Password changed successfully", changed, began)

    async def remove(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`DELETE /auth/account`. It erases the email and the hash, and ends every token of the account."""
        caller, account = await self._account(scope)
        await self._doorway.charge(scope)
        faults: list[Fault] = []
        request = validate(RemoveRequest, await read_json(scope, receive, faults), faults)
        await self._checked(scope, account, request.password)
        live = await self._live_events(caller.user_id)
        if live:
            raise Problem("has_live_bookings", data={"event_ids": live[:EVENT_IDS_MAX]})
        removed = await self._ledger.remove_account(email_key(account.email))
        if removed is None or removed.id != account.id:  # another call has removed it
            raise ended()
        self._account_tokens.end(caller.user_id, max(removed.tokens_from, int(time.time())) + 1)
        # A call that was under way may have booked meanwhile, and no token is left to cancel that with.
        booked_meanwhile = await self._live_events(caller.user_id)
        await asyncio.gather(*(self._office.cancel(event_id, caller.user_id) for event_id in booked_meanwhile))
        return PlainResponse(200, success("Account removed successfully", user_data(removed)))

    async def _account(self, scope: Scope) -> tuple[Caller, Account]:
        """The caller and its account. Raises Problem if it belongs to no account."""
        caller = await self._credentials.caller(scope, recheck=True)
        scope[USER] = caller.user_id
        account_id = account_id_of(caller.user_id)
        account = None if account_id is None else await self._ledger.find_account_by_id(account_id)
        if account is None:
            raise Problem("forbidden", "Only an account of this service has a password here.")
        return caller, account

    async def _checked(self, scope: Scope, account: Account, password: str) -> Account:
        """The account as it was when its password was checked. Raises Problem if the password is wrong."""
        checked = await self._credentials.account(account.email, password, address_of(scope))
        if checked is None or checked.id != account.id:
            raise _wrong_password()
        return checked

    async def _live_events(self, user_id: str) -> list[int]:
        if not await self._read_your_writes.saved():
            raise Problem("database_unavailable", "The database does not have all bookings yet.")
        return await self._ledger.live_events(user_id)


def _wrong_password() -> Problem:
    return Problem("invalid_credentials", "The password is wrong.")
