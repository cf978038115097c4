"""A new password for a user who has forgotten theirs, by a link in a mail."""

import time

from starlette.types import Receive, Scope

from booking.auth.emails import email_key
from booking.auth.passwords import Passwords
from booking.domain.callers import account_user_id
from booking.domain.reset_tokens import CHARACTERS_MAX, hash_of, new_nonce, reset_token
from booking.ledger.ledger import Ledger
from booking.web.account_tokens import AccountTokens
from booking.web.endpoints.accounts import Doorway
from booking.web.problems import Fault, Problem
from booking.web.request_schemas import ForgotRequest, ResetRequest, validate
from booking.web.requests import read_json
from booking.web.responses import PlainResponse, success


class ResetEndpoints:
    """`/auth/forgot` and `/auth/reset`, of a service that sends mail.

    Each call takes a token from the bucket of its client address, whether it succeeds or not.
    """

    def __init__(
        self, ledger: Ledger, passwords: Passwords, account_tokens: AccountTokens, doorway: Doorway, secret: bytes
    ) -> None:
        """The tokens are made with `secret`."""
        self._ledger = ledger
        self._passwords = passwords
        self._account_tokens = account_tokens
        self._doorway = doorway
        self._secret = secret

    async def forgot(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`POST /auth/forgot`. Only writes the request, so that nothing here depends on whether there is an account."""
        await self._doorway.charge(scope)
        faults: list[Fault] = []
        request = validate(ForgotRequest, await read_json(scope, receive, faults), faults)
        nonce = new_nonce()
        await self._ledger.request_reset(email_key(request.email), hash_of(reset_token(self._secret, nonce)), nonce)
        return PlainResponse(202, success("If an account has this email, a mail is on its way.", {}))

    async def reset(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`POST /auth/reset`. It ends every token of the account, and returns a new one."""
        await self._doorway.charge(scope)
        faults: list[Fault] = []
        request = validate(ResetRequest, await read_json(scope, receive, faults), faults)
        began = time.time()
        token = request.reset_token
        # Checked before the password is hashed, which takes 25 ms.
        if len(token) > CHARACTERS_MAX or not await self._ledger.is_valid_reset(hash_of(token)):
            raise _wrong_token()
        password_hash = await self._passwords.hash(request.new_password)
        account = await self._ledger.reset_password(hash_of(token), password_hash)
        if account is None:
            raise _wrong_token()
        self._account_tokens.end(account_user_id(account.id), account.tokens_from)
        await self._doorway.remember(scope, email_key(account.email))
        return self._doorway.welcome(scope, 200, "Password changed successfully", account, began)


def _wrong_token() -> Problem:
    return Problem("invalid_credentials", "The link is not valid. It works once, for 30 minutes; have a new one sent.")
