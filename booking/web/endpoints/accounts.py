"""Accounts of this service: registration, and login for a token."""

from collections.abc import Callable

from starlette.types import Receive, Scope

from booking.auth.emails import email_key
from booking.auth.passwords import Passwords
from booking.auth.plain_tokens import ORGANIZER
from booking.domain.accounts import Account
from booking.domain.callers import account_user_id
from booking.ledger.errors import EmailTaken
from booking.ledger.ledger import Ledger
from booking.web.authentication import Credentials
from booking.web.password_limits import Attempts, address_of
from booking.web.problems import Fault, Problem
from booking.web.request_schemas import LoginRequest, RegisterRequest, validate
from booking.web.requests import USER, read_json
from booking.web.response_schemas import WelcomeData
from booking.web.responses import PlainResponse, success

Sign = Callable[[str, str | None], str]
"""Signs a token for a subject and a role."""


class AccountEndpoints:
    """`/auth/*`. Each call first takes a token from the bucket of its client address, whether it succeeds or not."""

    def __init__(
        self,
        ledger: Ledger,
        passwords: Passwords,
        credentials: Credentials,
        sign: Sign,
        attempts: Attempts | None,
    ) -> None:
        """If `attempts` is None, there are no limits."""
        self._ledger = ledger
        self._passwords = passwords
        self._credentials = credentials
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

    async def _charge(self, scope: Scope) -> None:
        if self._attempts is not None:
            await self._attempts.charge(address_of(scope))

    def _welcome(self, scope: Scope, status: int, message: str, account: Account) -> PlainResponse:
        user_id = scope[USER] = account_user_id(account.id)
        token = self._sign(user_id, ORGANIZER if account.organizer else None)
        data: WelcomeData = {"token": token, "user": {"id": account.id, "email": account.email}}
        return PlainResponse(status, success(message, data))
