"""Accounts of this service: registration, and login for a token."""

from collections.abc import Callable

from starlette.types import Receive, Scope

from booking.auth.emails import email_key
from booking.auth.passwords import Passwords
from booking.domain.accounts import Account
from booking.domain.callers import account_id_of, account_user_id
from booking.ledger.errors import EmailTaken
from booking.ledger.ledger import Ledger
from booking.web.account_tokens import AccountTokens
from booking.web.authentication import Credentials
from booking.web.password_limits import Attempts, address_of
from booking.web.problems import Fault, Problem
from booking.web.request_schemas import LoginRequest, PasswordRequest, RegisterRequest, validate
from booking.web.requests import USER, read_json
from booking.web.response_schemas import WelcomeData
from booking.web.responses import PlainResponse, success

Sign = Callable[[Account], str]
"""Signs a token for an account."""


class AccountEndpoints:
    """`/auth/*`. Each call takes a token from the bucket of its client address, whether it succeeds or not.

    `change_password` first authenticates the caller.
    """

    def __init__(
        self,
        ledger: Ledger,
        passwords: Passwords,
        credentials: Credentials,
        account_tokens: AccountTokens,
        sign: Sign,
        attempts: Attempts | None,
    ) -> None:
        """If `attempts` is None, there are no limits."""
        self._ledger = ledger
        self._passwords = passwords
        self._credentials = credentials
        self._account_tokens = account_tokens
        self._sign = sign
        self._attempts = attempts

    async def register(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`POST /auth/register`."""
        await self._charge(scope)
        faults: list[Fault] = []
        request = validate(RegisterRequest, await read_json(scope, receive, faults), faults)
        password_hash = await self._passwords.hash(request.password)
        try:
            key = email_key(request.email)
            account = await self._ledger.add_account(request.email, key, password_hash)
        except EmailTaken:
            raise Problem("email_taken") from None
        if self._attempts is not None:
            await self._attempts.end(key, address_of(scope), drew=False, was_right=True)
        return self._welcome(scope, 201, "Account created successfully", account)

    async def login(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`POST /auth/login`."""
        await self._charge(scope)
        faults: list[Fault] = []
        request = validate(LoginRequest, await read_json(scope, receive, faults), faults)
        account = await self._credentials.account(request.email, request.password, address_of(scope))
        if account is None:
            raise Problem("invalid_credentials")
        return self._welcome(scope, 200, "Logged in successfully", account)

    async def change_password(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`POST /auth/password`. It ends every token of the account, and returns a new one."""
        caller = await self._credentials.caller(scope, recheck=True)
        scope[USER] = caller.user_id
        account_id = account_id_of(caller.user_id)
        account = None if account_id is None else await self._ledger.find_account_by_id(account_id)
        if account is None:
            raise Problem("forbidden", "Only an account of this service has a password here.")
        await self._charge(scope)
        faults: list[Fault] = []
        request = validate(PasswordRequest, await read_json(scope, receive, faults), faults)
        checked = await self._credentials.account(account.email, request.password, address_of(scope))
        if checked is None:
            raise Problem("invalid_credentials", "The password is wrong.")
        new_hash = await self._passwords.hash(request.new_password)
        key = email_key(account.email)
        changed = await self._ledger.change_account(key, password_hash=new_hash, old_hash=checked.password_hash)
        if changed is None:  # somebody else has changed it since it was checked
            raise Problem("invalid_credentials", "The password is wrong.")
        self._account_tokens.end(caller.user_id, changed.tokens_from)
        return self._welcome(scope, 200, "Password changed successfully", changed)

    async def _charge(self, scope: Scope) -> None:
        if self._attempts is not None:
            await self._attempts.charge(address_of(scope))

    def _welcome(self, scope: Scope, status: int, message: str, account: Account) -> PlainResponse:
        scope[USER] = account_user_id(account.id)
        data: WelcomeData = {"token": self._sign(account), "user": {"id": account.id, "email": account.email}}
        return PlainResponse(status, success(message, data))
