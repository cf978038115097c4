"""Bearer tokens: signs the service's own tokens, and verifies these and an identity provider's."""

import time
from dataclasses import replace
from hmac import digest
from typing import Any

import jwt
import orjson
from jwt.algorithms import HMACAlgorithm
from jwt.types import Options

from booking.auth.key_set import BoundKey, KeySet, KeySetUnavailable, UnknownKey, bind_pem
from booking.auth.plain_tokens import ADMIN, HEADER, NUMERIC_DATE_MAX, ORGANIZER, SERVICE, PlainTokens, base64url
from booking.domain.callers import Caller, user_id_fault
from booking.logs import ThrottledLogger
from booking.settings import ACCOUNT_PREFIX

SECRET_BYTES_MIN = 32
"""An HS256 key must be at least as long as the hash (RFC 7518, section 3.2)."""

TOKEN_BYTES_MAX = 8192
"""A longer token is refused unread. Many servers limit a whole request head to this size."""

LOGIN_TIME = "auth_time"
"""The claim that says when the user proved who they are (OpenID Connect Core 1.0, section 2)."""

# `iat` is only information (RFC 7519, section 4.1.6): a token is valid even if its issuer's clock is a little fast.
_OPTIONS: Options = {"require": ["exp", "sub"], "enforce_minimum_key_length": True, "verify_iat": False}

_NO_AUDIENCE = ThrottledLogger("tokens with an audience (aud) are refused, because BOOKING_JWT_AUDIENCE is not set")

_REASONS: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.ExpiredSignatureError, "the token has expired"),
    (jwt.ImmatureSignatureError, "the token is not valid yet"),
    (jwt.InvalidIssuerError, "the token comes from another issuer"),
    (jwt.InvalidAlgorithmError, "the token's algorithm is not accepted"),
    (jwt.InvalidSignatureError, "the token's signature is wrong"),
    (jwt.PyJWTError, "the token is malformed"),
)


class InvalidToken(Exception):
    """The token is not valid. The reason is a text for the user, in ASCII, without any part of the token."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def sign_token(
    secret: bytes,
    subject: str,
    role: str | None,
    lifetime_seconds: int,
    *,
    issuer: str | None = None,
    audience: str | None = None,
    now: float | None = None,
    login_at: int | None = None,
) -> str:
    """An HS256 token for `subject` that expires `lifetime_seconds` after `now` (seconds since 1970; default: now).

    `login_at` (seconds since 1970) is when its user proved who they are. Raises ValueError if the subject cannot be a
    user's id.
    """
    fault = user_id_fault(subject)
    if fault is not None:
        raise ValueError(f"the subject {fault}")
    issued_at = int(time.time() if now is None else now)
    claims = {"sub": subject, "iat": issued_at, "exp": issued_at + lifetime_seconds}
    more = (("role", role), ("iss", issuer), ("aud", audience), (LOGIN_TIME, login_at))
    claims |= {name: value for name, value in more if value is not None}
    signed = HEADER + b"." + base64url(orjson.dumps(claims))
    return (signed + b"." + base64url(digest(secret, signed, "sha256"))).decode()


def login_at(token: bytes) -> int | None:
    """When the user of a token, which was verified before, proved who they are; None if it does not say so."""
    seconds = jwt.decode(token, options={"verify_signature": False}).get(LOGIN_TIME)
    if not isinstance(seconds, int | float) or not abs(seconds) <= NUMERIC_DATE_MAX:
        return None
    return int(seconds)


class TokenVerifier:
    """Authenticates the callers of tokens. Belongs to one event loop if it has a key set.

    The shared secret is only used with HS256, and each public key only with the algorithm of its type. If there is a
    key set, a token that names its key (`kid`) is checked with that key, and any other with the PEM. A token with an
    audience (`aud`) is refused if none is configured (RFC 7519, section 4.1.3); if its signature is valid, the log
    names the missing setting.

    Only a token that is signed with the shared secret can be for an account of the service (`account:…`). A provider's
    subjects get the prefix `subject_prefix`, which separates its users from those of the shared secret.
    """

    def __init__(
        self,
        secret: bytes,
        *,
        public_key: str | None = None,
        jwks_url: str | None = None,
        issuer: str | None = None,
        audience: str | None = None,
        leeway_seconds: int = 0,
        subject_prefix: str = "",
    ) -> None:
        """`secret` has at least 32 bytes, `public_key` is a PEM text of type RSA, P-256 or Ed25519.

        Raises ValueError, with a message for the operator, if a key cannot be used.
        """
        if len(secret) < SECRET_BYTES_MIN:
            raise ValueError(f"the shared secret needs at least {SECRET_BYTES_MIN} bytes")
        try:
            HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
        except jwt.InvalidKeyError:
            raise ValueError("the shared secret is a public key or a certificate; it has to be secret") from None
        self._secret = secret
        self._public_key = None if public_key is None else bind_pem(public_key)
        self._key_set = None if jwks_url is None else KeySet(jwks_url)
        self._issuer = issuer
        self._audience = audience
        self._leeway_seconds = leeway_seconds
        self._subject_prefix = subject_prefix
        self._plain = PlainTokens(secret, issuer, audience, leeway_seconds)

    def verify(self, token: bytes | str) -> Caller | None:
        """The token's caller; None if the provider's keys must be fetched first (see `verify_slowly`).

        Raises InvalidToken if the token is not valid, and KeySetUnavailable if the provider's key is not available.
        """
        if isinstance(token, str):
            try:
                token = token.encode("ascii")
            except UnicodeEncodeError:
                raise InvalidToken("the token is malformed") from None
        if len(token) > TOKEN_BYTES_MAX:
            raise InvalidToken(f"the token is longer than {TOKEN_BYTES_MAX} bytes")
        # PyJWT takes ten times as long, with the same result: a property test compares the two.
        caller = self._plain.authenticate(token)
        if caller is not None:
            return caller
        return self._verify_with_pyjwt(token)

    async def verify_slowly(self, token: bytes | str) -> Caller:
        """The token's caller, like `verify`; fetches the provider's keys if necessary (at most 2 s)."""
        if (caller := self.verify(token)) is None and self._key_set is not None:
            await self._key_set.fetch()
            caller = self.verify(token)
        if caller is None:
            raise KeySetUnavailable
        return caller

    def _verify_with_pyjwt(self, token: bytes) -> Caller | None:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise InvalidToken("the token is malformed") from None
        if header.get("alg") == "HS256":
            return self._caller(self._claims(token, self._secret, "HS256"))
        bound: BoundKey | None = self._public_key
        if self._key_set is not None and "kid" in header:
            try:
                bound = self._key_set.key_now(header["kid"])
            except UnknownKey:
                raise InvalidToken("the token names a key that its issuer does not publish") from None
            if bound is None:
                return None
        if bound is None:
            raise InvalidToken("the token's algorithm is not accepted")
        caller = self._caller(self._claims(token, bound.key, bound.algorithm))
        return replace(caller, user_id=self._foreign_user_id(caller.user_id))

    def _foreign_user_id(self, subject: str) -> str:
        """The user id of a provider's subject. Raises InvalidToken if it would be an account's id, or is not valid."""
        user_id = self._subject_prefix + subject
        # Both are checked: the prefix "acc" and the subject "ount:1" together would be an account's id, too.
        if subject.startswith(ACCOUNT_PREFIX) or user_id.startswith(ACCOUNT_PREFIX):
            raise InvalidToken("the token's sub is an account of the service, and its issuer cannot sign for accounts")
        fault = user_id_fault(user_id)
        if fault is not None:
            raise InvalidToken(f"the token's sub, with the prefix in front, {fault}")
        return user_id

    def _claims(self, token: bytes, key: Any, algorithm: str) -> dict[str, Any]:
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                options=_OPTIONS,
                issuer=self._issuer,
                audience=self._audience,
                leeway=self._leeway_seconds,
            )
        except jwt.MissingRequiredClaimError as error:
            raise InvalidToken(f"the token has no {error.claim}") from None
        except jwt.InvalidAudienceError:
            if self._audience is not None:
                raise InvalidToken("the token is meant for another audience") from None
            raise _unexpected_audience() from None
        except jwt.PyJWTError as error:
            raise InvalidToken(next(reason for kind, reason in _REASONS if isinstance(error, kind))) from None
        if self._audience is None and "aud" in claims:  # PyJWT accepts an empty one
            raise _unexpected_audience()
        return claims

    def _caller(self, claims: dict[str, Any]) -> Caller:
        """The caller in claims that PyJWT has accepted. PyJWT accepts text as a time, and any subject or role."""
        for name in ("exp", "nbf", "iat"):
            seconds = claims.get(name, 0)
            # `not … <=` also refuses NaN, for which every comparison is false.
            if type(seconds) not in (int, float) or not abs(seconds) <= NUMERIC_DATE_MAX:
                raise InvalidToken(f"the token's {name} is not a time")
        fault = user_id_fault(claims["sub"])
        if fault is not None:
            raise InvalidToken(f"the token's sub {fault}")
        role = claims.get("role")
        if role is not None and not isinstance(role, str):
            raise InvalidToken("the token's role is not text")
        admin = role == ADMIN
        return Caller(
            claims["sub"],
            admin or role == ORGANIZER,
            admin,
            int(claims.get("iat", 0)),
            int(claims["exp"]) + self._leeway_seconds,
            role == SERVICE,
        )


def _unexpected_audience() -> InvalidToken:
    _NO_AUDIENCE.error()
    return InvalidToken("the token names an audience, and this service is configured without one")
