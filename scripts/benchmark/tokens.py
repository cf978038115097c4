"""Tokens of buyers who have never been seen before, one a line, for the load generator to read."""

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

TOKEN_LIFE_S = 3_600
"""Longer than any run."""

CHUNK_TOKENS = 10_000
"""Signed and written at a time, so that a long run's tokens never stand in memory together."""


def _segment(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")


HEADER = _segment(b'{"alg":"HS256","typ":"JWT"}')


def sign(secret: bytes, user_id: str, expires_at_s: int, **claims: str) -> str:
    """An HS256 token in compact form (RFC 7515); `expires_at_s` counts seconds since 1970."""
    payload = {"sub": user_id, "exp": expires_at_s, **claims}
    signed = HEADER + b"." + _segment(json.dumps(payload, separators=(",", ":")).encode())
    return (signed + b"." + _segment(hmac.digest(secret, signed, "sha256"))).decode()


class Buyers:
    """Hands out files of tokens; no two of its tokens name the same user."""

    def __init__(self, folder: Path, secret: bytes, now_s: float) -> None:
        self._folder = folder
        self._secret = secret
        self._expires_at_s = int(now_s) + TOKEN_LIFE_S
        self._seen = 0

    def take(self, number: int) -> Iterator[str]:
        """The tokens of the next `number` buyers."""
        first, self._seen = self._seen, self._seen + number
        return (sign(self._secret, f"buyer-{n:09d}", self._expires_at_s) for n in range(first, first + number))

    def file(self, number: int) -> Path:
        """Writes the tokens of the next `number` buyers to a file of their own, in chunks."""
        path = self._folder / f"tokens-{self._seen}.txt"
        tokens = self.take(number)
        with path.open("w", encoding="ascii") as file:
            for start in range(0, number, CHUNK_TOKENS):
                file.writelines(f"{next(tokens)}\n" for _ in range(min(CHUNK_TOKENS, number - start)))
        return path
