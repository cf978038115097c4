"""Tokens as nearly everybody writes them, checked at a tenth of a library's price: HS256, and no special claim."""

import time
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from hashlib import sha256
from hmac import compare_digest

import orjson

from booking.domain.callers import USER_ID_CHARACTERS_MAX, Caller

NUMERIC_DATE_MAX = 2**53 - 1
"""The last second a claim may name: beyond it not every JSON reader sees the same number (RFC 7493, section 2.2)."""

ORGANIZER = "organizer"
"""The `role` that opens the organizer's endpoints."""

_URL_ALPHABET = bytes.maketrans(b"+/", b"-_")
# Back to the standard alphabet. What base64url does not have turns into a character that base64 never writes, so that
# writing the decoded bytes again cannot give the same text.
_STANDARD_ALPHABET = bytes.maketrans(b"-_+/=", b"+/!!!")
_PADDING = (b"", b"", b"==", b"=")

_BLOCK_BYTES = 64  # what SHA-256 hashes at a time

HEADS = ({"alg": "HS256", "typ": "JWT"}, {"alg": "HS256"})
"""The heads that ask for nothing but the shared secret, however they are spelled."""

HEADS_MAX = 64
"""Spellings that are remembered; they differ by spaces and order, and a library has one."""

SPECIAL_CLAIMS = frozenset({"nbf", "aud", "iss", "jti"})
"""Claims that a token may be refused for, besides those that are looked at here."""


def base64url(data: bytes) -> bytes:
    """Without padding, as RFC 7515 has it."""
    return b2a_base64(data, newline=False).translate(_URL_ALPHABET).rstrip(b"=")


HEAD = base64url(b'{"alg":"HS256","typ":"JWT"}')
"""The head of the tokens that the service itself signs."""


class PlainTokens:
    """Knows the carriers of plain tokens. Whatever is not plainly good is left to PyJWT, which says what is wrong."""

    def __init__(self, secret: bytes, issuer: str | None, audience: str | None, leeway_seconds: int) -> None:
        # HMAC (RFC 2104) is two hashes that begin with blocks made of the key. Hashing those once, and going on from
        # copies, takes a third of hmac.digest's time.
        block = (secret if len(secret) <= _BLOCK_BYTES else sha256(secret).digest()).ljust(_BLOCK_BYTES, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in block))
        self._leeway_seconds = leeway_seconds
        self._expected = {name: text for name, text in (("iss", issuer), ("aud", audience)) if text is not None}
        self._special = SPECIAL_CLAIMS - self._expected.keys()
        self._heads = {HEAD}

    def authenticate(self, token: bytes) -> Caller | None:
        """The carrier of a plain token whose signature and every claim are good; None if PyJWT should look at it."""
        signed, _, signature = token.rpartition(b".")
        head, _, payload = signed.partition(b".")
        known = head in self._heads
        if not known and not _is_plain(head):
            return None
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(signed)
        outer.update(inner.digest())
        right = b2a_base64(outer.digest(), newline=False).translate(_URL_ALPHABET)
        if not compare_digest(right, signature + b"="):
            return None
        if not known and len(self._heads) < HEADS_MAX:  # only who has the secret comes here, so nobody else can fill it
            self._heads.add(head)
        return self._authenticate_by(payload)

    def _authenticate_by(self, payload: bytes) -> Caller | None:
        claims = _json_in(payload)
        if type(claims) is not dict:
            return None
        subject, expires_at, issued_at = claims.get("sub"), claims.get("exp"), claims.get("iat", 0)
        if type(expires_at) is not int or type(issued_at) is not int:
            expires_at, issued_at = _whole(expires_at), _whole(issued_at)
        role = claims.get("role", "")
        if expires_at is None or issued_at is None or type(subject) is not str or type(role) is not str:
            return None
        now, leeway = time.time(), self._leeway_seconds
        if (
            0 < len(subject) <= USER_ID_CHARACTERS_MAX
            and "\0" not in subject
            and now - leeway < expires_at <= NUMERIC_DATE_MAX
            and abs(issued_at) <= NUMERIC_DATE_MAX
            and self._special.isdisjoint(claims)
            and (not self._expected or all(claims.get(name) == text for name, text in self._expected.items()))
        ):
            return Caller(subject, role == ORGANIZER)
        return None


def _whole(seconds: object) -> int | None:
    """What counts of a time, if it is one: PyJWT cuts off parts of a second."""
    return int(seconds) if type(seconds) in (int, float) else None  # type: ignore[call-overload]  # it is one of them


def _is_plain(head: bytes) -> bool:
    return _json_in(head) in HEADS


def _json_in(part: bytes) -> object:
    """What a token's part says; None where it is not written as base64url has to be, or is no JSON."""
    padded = part.translate(_STANDARD_ALPHABET) + _PADDING[len(part) & 3]
    try:
        text = a2b_base64(padded)
        return orjson.loads(text) if b2a_base64(text, newline=False) == padded else None
    except (Base64Error, orjson.JSONDecodeError):
        return None
