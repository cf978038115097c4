"""Tokens of mails that set a new password."""

import re

from booking.auth.tokens import InvalidToken, TokenVerifier
from booking.domain.reset_tokens import CHARACTERS_MAX, hash_of, new_nonce, reset_token

SECRET = b"the secret of these tests, of more than 32 bytes"


def test_a_token_is_256_bits_that_need_both_the_nonce_and_the_secret() -> None:
    nonces = {new_nonce() for _ in range(100)}
    tokens = {reset_token(secret, nonce) for nonce in nonces for secret in (SECRET, SECRET[::-1])}
    assert len(tokens) == 200
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", token) for token in tokens)
    assert CHARACTERS_MAX >= 43
    assert len({hash_of(token) for token in tokens}) == 200


def test_a_mail_that_is_sent_again_has_the_same_token() -> None:
    nonce = new_nonce()
    assert reset_token(SECRET, nonce) == reset_token(SECRET, nonce)


def test_a_reset_token_is_no_bearer_token() -> None:
    try:
        caller = TokenVerifier(SECRET).verify(reset_token(SECRET, new_nonce()))
    except InvalidToken:
        caller = None
    assert caller is None
