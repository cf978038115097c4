"""The file of tokens."""

from pathlib import Path

import jwt
import pytest

from scripts.benchmark import tokens
from scripts.benchmark.tokens import TOKEN_LIFE_S, Buyers, sign

SECRET = b"a secret of thirty-two bytes, or more"
NOW_S = 4_000_000_000


def test_a_token_is_one_that_pyjwt_accepts() -> None:
    token = sign(SECRET, "organizer", NOW_S, role="organizer")
    assert jwt.decode(token, SECRET, algorithms=["HS256"], options={"require": ["exp", "sub"]}) == {
        "sub": "organizer",
        "exp": NOW_S,
        "role": "organizer",
    }


def test_every_token_of_a_run_is_a_buyers_who_was_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "CHUNK_TOKENS", 7)
    buyers = Buyers(tmp_path, SECRET, NOW_S)
    lines = [line for number in (20, 1, 14) for line in buyers.file(number).read_text("ascii").splitlines()]
    claims = [jwt.decode(line, SECRET, algorithms=["HS256"]) for line in lines]
    assert len({claim["sub"] for claim in claims}) == len(lines) == 35
    assert {claim["exp"] for claim in claims} == {NOW_S + TOKEN_LIFE_S}
