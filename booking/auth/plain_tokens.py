"""Verifies plain tokens, HS256 without special claims, in a tenth of a library's time. Most tokens are plain."""

import time
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from hashlib import sha256
from hmac import compare_digest

import orjson

from booking.domain.callers import USER_ID_CHARACTERS_MAX, Caller

NUMERIC_DATE_MAX = 2**53 - 1
"""The largest time of a claim: JSON parsers may read larger numbers differently (RFC 7493, section 2.2)."""

ORGANIZER, ADMIN = "organizer", "admin"
"""The roles that the organizer's endpoints require: for the caller's own events, and for all events."""

SERVICE = "service"
"""The role of a shop's backend, which acts for its buyers."""

_URL_ALPHABET = bytes.maketrans(b"+/", b"-_")
# Back to the standard alphabet. Characters that base64url does not have become one that base64 does not have either, so
# that encoding the decoded bytes cannot give the same text.
_STANDARD_ALPHABET = bytes.maketrans(b"-_+/=", b"+/!!!")
_PADDING = (b"", b"", b"==", b"=")

_BLOCK_BYTES = 64  # SHA-256's block size

PLAIN_HEADERS = ({"alg": "HS256", "typ": "JWT"}, {"alg": "HS256"})
"""The headers of plain tokens, which need only the shared secret."""

HEADERS_MAX = 64
"""Encoded headers that are cached. They differ in spaces and order; each library writes one."""

SPECIAL_CLAIMS = frozenset({"nbf", "aud", "iss", "jti"})
"""Claims for which a token may be refused, besides those that are checked here."""


def base64url(data: bytes) -> bytes:
    """`data` in base64url without padding, as RFC 7515 requires."""
    return b2a_base64(data, newline=False).translate(_URL_ALPHABET).rstrip(b"=")


HEADER = base64url(b'{"alg":"HS256","typ":"JWT"}')
"""The encoded header of the tokens that the service itself signs."""


class PlainTokens:
    """Authenticates plain tokens. All others, and invalid ones, are left to PyJWT, which reports what is wrong."""

    def __init__(self, secret: bytes, issuer: str | None, audience: str | None, leeway_seconds: int) -> None:
        # HMAC (RFC 2104) is two hashes, each of which begins with a block made from the key. To hash these blocks once
        # and continue with copies takes a third of hmac.digest's time.
        block = (secret if len(secret) <= _BLOCK_BYTES else sha256(secret).digest()).ljust(_BLOCK_BYTES, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in block))
        self._leeway_seconds = leeway_seconds
        self._expected = {name: text for name, text in (("iss", issuer), ("aud", audience)) if text is not None}
        self._special = SPECIAL_CLAIMS - self._expected.keys()
        self._headers = {HEADER}

    def authenticate(self, token: bytes) -> Caller | None:
        """The caller of a plain token with a valid signature and valid claims; None if PyJWT must check it."""
        signed, _, signature = token.rpartition(b".")
        header, _, payload = signed.partition(b".")
        known = header in self._headers
        if not known and not _is_plain(header):
            return None
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(signed)
        outer.update(inner.digest())
        expected = b2a_base64(outer.digest(), newline=False).translate(_URL_ALPHABET)
        if not compare_digest(expected, signature + b"="):
            return None
        if not known and len(self._headers) < HEADERS_MAX:  # the signature is valid, so strangers cannot fill the cache
            self._headers.add(header)
        return self._caller(payload)

    def _caller(self, payload: bytes) -> Caller | None:
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
            admin = role == ADMIN
            return Caller(subject, admin or role == ORGANIZER, admin, issued_at, expires_at + leeway, role == SERVICE)
        return None


def _whole(seconds: object) -> int | None:
    """A time without parts of a second, which PyJWT cuts off, too; None if it is not a number."""
    return int(seconds) if type(seconds) in (int, float) else None  # type: ignore[call-overload]  # it is one of them


def _is_plain(header: bytes) -> bool:
    return _json_in(header) in PLAIN_HEADERS


def _json_in(part: bytes) -> object:
    """The JSON value of a part of a token; None if it is not valid base64url or not JSON."""
    padded = part.translate(_STANDARD_ALPHABET) + _PADDING[len(part) & 3]
    try:
        text = a2b_base64(padded)
        return orjson.loads(text) if b2a_base64(text, newline=False) == padded else None
    except (Base64Error, orjson.JSONDecodeError):
        return None
