"""The quick check of plain tokens gives the verdict of PyJWT on every token."""

import base64
import hashlib
import hmac
import json
import math
import time
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from booking.auth.tokens import InvalidToken, TokenVerifier
from booking.domain.callers import Caller

SECRET = b"the secret of these tests, of more than 32 bytes"
OTHER_SECRET = b"another secret, also of more than 32 bytes of text"
HEADER = b'{"alg":"HS256","typ":"JWT"}'


def base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def signed(text: bytes, secret: bytes = SECRET) -> bytes:
    return text + b"." + base64url(hmac.new(secret, text, hashlib.sha256).digest())


def token_of(claims: dict[str, Any]) -> bytes:
    return signed(base64url(HEADER) + b"." + base64url(json.dumps(claims).encode()))


def in_an_hour() -> int:
    return int(time.time()) + 3600


# Seconds from now; none so near that the clock's going on between two readers could matter.
MOMENTS = [int(time.time()) + offset for offset in (-7200, -90, -30, 30, 90, 7200)]
TIMES: list[Any] = [
    *MOMENTS, *map(float, MOMENTS), *map(str, MOMENTS), 0, -1, -0.0, 0.5, 2**53 - 1, 2**53, 2**63, 2**64, 10**400,
    -(2**53), -(10**400), 1e18, 1e400, -1e400, math.nan,
]  # fmt: skip
TEXTS: list[Any] = [
    "",
    "17",
    "account:17",
    "Zo\u00eb",
    "x" * 128,
    "x" * 129,
    "\U0001f39f" * 128,
    "a\0b",
    "\ud800",
    "e\u0301",
]
OTHERS: list[Any] = [None, True, False, [], {}, [1], {"a": 1}]
CLAIMS: dict[str, list[Any]] = {
    "sub": [*TEXTS, 17, *OTHERS],
    "exp": [*TIMES, *OTHERS],
    "iat": [*TIMES, *OTHERS],
    "nbf": [*TIMES, *OTHERS],
    "role": ["organizer", "admin", "user", "Organizer", ["organizer"], *TEXTS, *OTHERS],
    "iss": ["here", "there", ["here"], *TEXTS, *OTHERS],
    "aud": ["here", "there", ["here", "there"], ["there", 1], *TEXTS, *OTHERS],
    "jti": ["x", 1, *OTHERS],
    "other": ["x", 1, *OTHERS],
}
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)
claim = st.sampled_from([(name, value) for name, listed in CLAIMS.items() for value in listed]) | st.tuples(
    st.sampled_from(list(CLAIMS)), values
)


@st.composite
def nearly_good(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """Valid claims with one or two others added or replaced."""
    pairs: list[tuple[str, Any]] = [("sub", "17"), ("exp", in_an_hour()), ("iss", "here"), ("aud", "there")]
    pairs = pairs[: draw(st.sampled_from([2, 2, 3, 4]))]
    for extra in draw(st.lists(claim, max_size=2)):
        if draw(st.booleans()):
            pairs = [pair for pair in pairs if pair[0] != extra[0]]
        pairs.insert(draw(st.integers(0, len(pairs))), extra)
    return pairs


def object_text(pairs: list[tuple[str, Any]], spaced: bool, ascii_only: bool) -> bytes:
    """A JSON object that may name a claim twice."""
    colon, comma = (" : ", " , ") if spaced else (":", ",")
    members = [json.dumps(name) + colon + json.dumps(value, ensure_ascii=ascii_only) for name, value in pairs]
    return ("{" + comma.join(members) + "}").encode("utf-8", "surrogatepass")


json_objects = st.builds(object_text, nearly_good(), st.booleans(), st.booleans())
odd_payloads = (
    st.builds(object_text, st.lists(claim, max_size=5), st.booleans(), st.booleans())
    | values.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=30)
    | json_objects.map(lambda text: text.decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass"))
)
odd_headers = st.sampled_from(
    [b'{"typ":"JWT","alg":"HS256"}', b'{"alg":"HS256"}', b'{"alg":"none"}', b'{"alg":"HS512"}', b'{"alg":null}', b"[]",
     b'{"alg":"HS256","kid":"x"}', b'{"alg":"HS256","kid":1}', b'{"alg":"HS256","crit":["exp"]}', b'{"alg":"RS256"}',
     b'{"alg":"none","alg":"HS256"}', b""]
)  # fmt: skip


def odd(segment: bytes, how: str) -> bytes:
    match how:
        case "padded":
            return segment + b"=" * (-len(segment) % 4)
        case "over-padded":
            return segment + b"===="
        case "standard alphabet":
            return segment.replace(b"-", b"+").replace(b"_", b"/")
        case "trailing bits":
            last = base64.urlsafe_b64encode(b"\xff\xff\xff")[:1] if not segment else bytes([segment[-1] ^ 1])
            return segment[:-1] + last
        case "newline":
            return segment[:4] + b"\n" + segment[4:]
        case "space":
            return segment + b" "
        case "cut":
            return segment[:-1]
    return segment


ODDITIES = ["padded", "over-padded", "standard alphabet", "trailing bits", "newline", "space", "cut"]


@st.composite
def tokens(draw: st.DrawFn) -> bytes:
    """Half of all tokens have nothing odd but their claims; the others most often have one thing besides."""
    strange = draw(st.sampled_from([set(), {draw(st.integers(0, 7))}, {draw(st.integers(0, 7)) for _ in range(3)}]))
    header = draw(odd_headers) if 0 in strange else HEADER
    payload = draw(odd_payloads) if 1 in strange else draw(json_objects)
    segments = [base64url(header), base64url(payload)]
    for place in (0, 1):
        if 2 + place in strange:
            segments[place] = odd(segments[place], draw(st.sampled_from(ODDITIES)))
    text, signature = signed(b".".join(segments), OTHER_SECRET if 4 in strange else SECRET).rsplit(b".", 1)
    if 5 in strange:
        signature = odd(signature, draw(st.sampled_from(ODDITIES)))
    token = text + b"." + signature
    if 6 in strange:
        place = draw(st.integers(0, len(token) - 1))
        token = token[:place] + draw(st.binary(max_size=2)) + token[place + 1 :]
    if 7 in strange:
        token = token[: -draw(st.integers(1, 60))]
    return token


options = st.fixed_dictionaries(
    {}, optional={"issuer": st.just("here"), "audience": st.just("there"), "leeway_seconds": st.just(60)}
)


def by_the_contract(token: bytes, configured: dict[str, Any]) -> Caller | None:
    """The contract's verdict on a token, written as simply as possible; None if it is refused."""
    try:
        claims = jwt.decode(
            token,
            SECRET,
            algorithms=["HS256"],
            issuer=configured.get("issuer"),
            audience=configured.get("audience"),
            leeway=configured.get("leeway_seconds", 0),
            options={"require": ["exp", "sub"], "enforce_minimum_key_length": True, "verify_iat": False},
        )
    except jwt.PyJWTError:
        return None
    if "audience" not in configured and "aud" in claims:
        return None
    subject, role = claims["sub"], claims.get("role")
    storable = 1 <= len(subject) <= 128 and "\0" not in subject and not any("\ud800" <= c <= "\udfff" for c in subject)
    numbers = [claims[name] for name in ("exp", "iat", "nbf") if name in claims]
    timely = all(type(number) in (int, float) and -(2**53) < number < 2**53 for number in numbers)
    if not storable or not timely or not isinstance(role, str | None):
        return None
    issued_at, expires_at = int(claims.get("iat", 0)), int(claims["exp"]) + configured.get("leeway_seconds", 0)
    return Caller(subject, role in ("organizer", "admin"), role == "admin", issued_at, expires_at)


def by_the_service(token: bytes, configured: dict[str, Any]) -> Caller | None:
    try:
        return TokenVerifier(SECRET, **configured).verify(token)
    except InvalidToken:
        return None


@pytest.mark.parametrize("configured", [{}, {"issuer": "here"}, {"audience": "there"}, {"leeway_seconds": 60}])
def test_every_value_of_every_claim_gets_the_contract_s_verdict(configured: dict[str, Any]) -> None:
    verdicts = set()
    for name, listed in CLAIMS.items():
        for value in listed:
            for claims in ({}, {"iat": MOMENTS[0]}, {"iss": "here"}, {"aud": "there"}):
                token = token_of({"sub": "17", "exp": in_an_hour(), **claims, name: value})
                verdict = by_the_service(token, configured)
                assert verdict == by_the_contract(token, configured), (name, value)
                verdicts.add(verdict)
    assert {None, Caller("17", organizer=False), Caller("17", organizer=True)} <= verdicts


@pytest.mark.parametrize(
    "head",
    [HEADER, b'{"alg": "HS256", "typ": "JWT"}', b'{"typ":"JWT","alg":"HS256"}', b'{"alg":"HS256"}'],
)
def test_a_plain_token_needs_no_library_for_any_form_of_its_header(
    head: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = {"sub": "17", "exp": time.time() + 60.5, "iat": time.time() - 0.5, "email": "ann@example.com"}
    token = signed(base64url(head) + b"." + base64url(json.dumps(claims).encode()))
    verifier = TokenVerifier(SECRET)
    monkeypatch.setattr(verifier, "_verify_with_pyjwt", lambda _: pytest.fail("it was asked"))
    for _ in range(2):
        assert verifier.verify(token) == Caller("17", organizer=False)


def test_heads_of_those_without_the_secret_are_not_kept() -> None:
    verifier = TokenVerifier(SECRET)
    for spaces in range(100):
        head = b'{"alg":' + b" " * spaces + b'"HS256"}'
        with pytest.raises(InvalidToken):
            verifier.verify(signed(base64url(head) + b"." + base64url(b'{"sub":"17"}'), OTHER_SECRET))
    assert len(verifier._plain._headers) == 1


@settings(max_examples=400, deadline=None)
@given(token=tokens(), configured=options)
def test_every_token_gets_the_contract_s_verdict(token: bytes, configured: dict[str, Any]) -> None:
    assert by_the_service(token, configured) == by_the_contract(token, configured)


@settings(max_examples=300, deadline=None)
@given(
    subject=st.text(min_size=1, max_size=40),
    place=st.integers(0, 300),
    byte=st.integers(0, 255),
    kind=st.sampled_from(["replace", "insert", "delete", "leave"]),
)
def test_a_changed_byte_gets_the_contract_s_verdict(subject: str, place: int, byte: int, kind: str) -> None:
    token = bytearray(token_of({"sub": subject, "exp": in_an_hour()}))
    place %= len(token)
    if kind == "replace":
        token[place] = byte
    elif kind == "insert":
        token.insert(place, byte)
    elif kind == "delete":
        del token[place]
    assert by_the_service(bytes(token), {}) == by_the_contract(bytes(token), {})


@settings(max_examples=300, deadline=None)
@given(token=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_noise_is_an_invalid_token_and_nothing_else(token: bytes) -> None:
    assert by_the_service(token, {}) is None
