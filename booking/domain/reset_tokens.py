"""Tokens that set a new password, which are sent by mail.

A token is made of a random nonce and the secret that signs tokens. The queue of mails keeps the nonce until the mail is
sent, and the account's request keeps the token's hash. So a mail that is sent again has the same token, and who reads
the database has no valid one.
"""

import secrets
from base64 import urlsafe_b64encode
from hashlib import sha256
from hmac import digest

NONCE_BYTES = 32
"""256 bits, all of which the token depends on."""

CHARACTERS_MAX = 256
"""Longer text is refused unread; a token has 43 characters."""

_PURPOSE = b"booking: token for a new password\0"
"""What is signed differs from every bearer token, which begins with a header in base64url."""


def new_nonce() -> str:
    """A random text of 64 hexadecimal digits."""
    return secrets.token_hex(NONCE_BYTES)


def reset_token(secret: bytes, nonce: str) -> str:
    """The token of a nonce, for the link in the mail."""
    return urlsafe_b64encode(digest(secret, _PURPOSE + nonce.encode("ascii"), "sha256")).rstrip(b"=").decode()


def hash_of(token: str) -> str:
    """What is stored of a token. A fast hash is enough, because the token itself cannot be guessed."""
    return sha256(token.encode()).hexdigest()
