"""Which tokens identify a user, and which are refused."""

import base64
import hashlib
import hmac
import json
import math
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from booking.auth.plain_tokens import NUMERIC_DATE_MAX
from booking.auth.tokens import TOKEN_BYTES_MAX, InvalidToken, TokenVerifier, sign_token
from booking.domain.callers import Caller

SECRET = b"the secret of these tests, of more than 32 bytes"
OTHER_SECRET = b"another secret, also of more than 32 bytes of text"
HEADER = b'{"alg":"HS256","typ":"JWT"}'

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def signed(text: bytes, secret: bytes = SECRET) -> bytes:
    return text + b"." + base64url(hmac.new(secret, text, hashlib.sha256).digest())


def token_of(payload: bytes | dict[str, Any], header: bytes = HEADER) -> bytes:
    """A correctly signed HS256 token with any payload, JSON or not."""
    if isinstance(payload, dict):
        payload = json.dumps(payload).encode()
    return signed(base64url(header) + b"." + base64url(payload))


def in_an_hour() -> int:
    return int(time.time()) + 3600


def reason_of(verifier: TokenVerifier, token: bytes | str) -> str:
    with pytest.raises(InvalidToken) as caught:
        verifier.verify(token)
    return caught.value.reason


@pytest.fixture
def verifier() -> TokenVerifier:
    return TokenVerifier(SECRET)


@pytest.fixture(scope="module")
def private_keys() -> dict[str, PrivateKey]:
    return {
        "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }


def pem(key: PrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


# Our own


def test_a_signed_token_names_its_user(verifier: TokenVerifier) -> None:
    assert verifier.verify(sign_token(SECRET, "17", None, 60)) == Caller("17", organizer=False)
    assert verifier.verify(sign_token(SECRET, "Zoë", "user", 60).encode()) == Caller("Zoë", organizer=False)
    assert verifier.verify(sign_token(SECRET, "17", "organizer", 60)) == Caller("17", organizer=True)


def test_every_jwt_reader_understands_a_signed_token() -> None:
    token = sign_token(SECRET, "17", "organizer", 60, issuer="here", audience="there", now=(now := int(time.time())))
    assert jwt.decode(token, SECRET, ["HS256"], issuer="here", audience="there") == {
        "sub": "17", "iat": now, "exp": now + 60, "role": "organizer", "iss": "here", "aud": "there",
    }  # fmt: skip
    assert base64url(HEADER).decode() == token.split(".")[0]


@pytest.mark.parametrize(
    "configured", [{}, {"issuer": "here"}, {"audience": "there"}, {"issuer": "a", "audience": "b"}]
)
@pytest.mark.parametrize("role", [None, "organizer"])
@pytest.mark.parametrize("subject", ["1", "12", "123", "Zoë \U0001f39f", "x" * 128])
def test_our_own_tokens_never_go_to_pyjwt(
    monkeypatch: pytest.MonkeyPatch, configured: dict[str, Any], role: str | None, subject: str
) -> None:
    verifier = TokenVerifier(SECRET, **configured)
    monkeypatch.setattr(jwt, "get_unverified_header", lambda _: pytest.fail("went to PyJWT"))
    assert verifier.verify(sign_token(SECRET, subject, role, 60, **configured)) == Caller(subject, role == "organizer")


@pytest.mark.parametrize("size", [32, 63, 64, 65, 200])
def test_a_secret_of_any_length_from_32_bytes_up_works(size: int) -> None:
    secret = bytes(range(256))[-size:]
    assert TokenVerifier(secret).verify(sign_token(secret, "17", None, 60)) == Caller("17", organizer=False)
    assert TokenVerifier(secret).verify(jwt.encode({"sub": "17", "exp": in_an_hour()}, secret)) is not None


@pytest.mark.parametrize("subject", ["", "x" * 129, "a\0b", "\ud800"])
def test_no_token_is_signed_for_an_invalid_subject(subject: str) -> None:
    with pytest.raises(ValueError, match="subject"):
        sign_token(SECRET, subject, None, 60)


# What is refused


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"sub": "17"}, "the token has no exp"),
        ({"exp": 1}, "the token has no sub"),
        ({"sub": "17", "exp": 1}, "the token has expired"),
        ({"sub": "17", "exp": in_an_hour(), "nbf": in_an_hour()}, "the token is not valid yet"),
        (
            {"sub": "17", "exp": in_an_hour(), "aud": "x"},
            "the token names an audience, and this service is configured without one",
        ),
        ({"sub": "17", "exp": in_an_hour(), "role": ["organizer"]}, "the token's role is not text"),
        ({"sub": "", "exp": in_an_hour()}, "the token's sub is empty"),
        ({"sub": "x" * 129, "exp": in_an_hour()}, "the token's sub has more than 128 characters"),
        ({"sub": "a\0b", "exp": in_an_hour()}, "the token's sub contains a NUL character"),
        (
            {"sub": "\ud800", "exp": in_an_hour()},
            "the token's sub contains a character that cannot be encoded as UTF-8",
        ),
        ({"sub": "17", "exp": str(in_an_hour())}, "the token's exp is not a time"),
        ({"sub": "17", "exp": in_an_hour(), "nbf": "1"}, "the token's nbf is not a time"),
        ({"sub": "17", "exp": in_an_hour(), "iat": False}, "the token's iat is not a time"),
        ({"sub": "17", "exp": NUMERIC_DATE_MAX + 1}, "the token's exp is not a time"),
        ({"sub": "17", "exp": 10**400}, "the token's exp is not a time"),
        ({"sub": "17", "exp": math.nan}, "the token is malformed"),
        ({"sub": "17", "exp": math.inf}, "the token is malformed"),
        ({"sub": "17", "exp": []}, "the token is malformed"),
        ({"sub": 17, "exp": in_an_hour()}, "the token is malformed"),
        ({"sub": ["17"], "exp": in_an_hour()}, "the token is malformed"),
        ({"sub": None, "exp": in_an_hour()}, "the token has no sub"),
        ({"sub": "17", "exp": in_an_hour(), "jti": 1}, "the token is malformed"),
    ],
)
def test_a_claim_that_is_missing_or_wrong_is_named(
    verifier: TokenVerifier, claims: dict[str, Any], reason: str
) -> None:
    assert reason_of(verifier, token_of(claims)) == reason


def segments_changed(change: Callable[[bytes, bytes, bytes], bytes]) -> bytes:
    return change(*token_of({"sub": "17", "exp": in_an_hour()}).split(b"."))


UNREADABLE = {
    "nothing": b"",
    "a word": b"x",
    "dots": b"..",
    "many dots": b"." * 1000,
    "not ASCII": "é.ü.ß".encode(),
    "NUL": b"\0.\0.\0",
    "two segments": segments_changed(lambda h, p, _: h + b"." + p),
    "four segments": segments_changed(lambda h, p, s: h + b"." + p + b"." + s + b"." + s),
    "no header": segments_changed(lambda _, p, s: b"." + p + b"." + s),
    "no payload": segments_changed(lambda h, _, s: h + b".." + s),
    "no payload, well signed": signed(base64url(HEADER) + b"."),
    "no signature": segments_changed(lambda h, p, _: h + b"." + p + b"."),
    "no dot before the signature": segments_changed(lambda h, p, s: h + b"." + p + b"x" + s),
    "a newline at the end": segments_changed(lambda h, p, s: h + b"." + p + b"." + s + b"\n"),
    "a space in front": segments_changed(lambda h, p, s: b" " + h + b"." + p + b"." + s),
    "too much padding": signed(base64url(HEADER) + b"." + base64url(b'{"sub":"17"}') + b"==="),
    "whitespace, well signed": signed(base64url(HEADER) + b".eyJz dWIi"),
    "a payload one character long": signed(base64url(HEADER) + b".e"),
    "a dot in the payload": signed(base64url(HEADER) + b".eyJz.dWIi"),
    "deep JSON": token_of(b'{"sub":' + b"[" * 2500 + b"]" * 2500 + b"}"),
    "a deep header": token_of({"sub": "17"}, b'{"alg":' + b"[" * 2500 + b"]" * 2500 + b"}"),
    "a number of 5000 digits": token_of(b'{"sub":"17","exp":' + b"9" * 5000 + b"}"),
    "not JSON": token_of(b"sub=17"),
    "not an object": token_of(b'["sub","exp"]'),
    "not UTF-8": token_of(b'{"sub":"\xff","exp":9999999999}'),
    "a list for an algorithm": token_of({"sub": "17", "exp": in_an_hour()}, b'{"alg":["HS256"]}'),
    "an object for an algorithm": token_of({"sub": "17", "exp": in_an_hour()}, b'{"alg":{"HS256":1}}'),
    "a number for a key's name": token_of({"sub": "17", "exp": in_an_hour()}, b'{"alg":"HS256","kid":1}'),
    "an unknown critical extension": token_of(
        {"sub": "17", "exp": in_an_hour()}, b'{"alg":"HS256","crit":["x"],"x":1}'
    ),
    "a payload kept elsewhere": signed(base64url(b'{"alg":"HS256","crit":["b64"],"b64":false}') + b"."),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_token_that_cannot_be_read_is_refused(verifier: TokenVerifier, name: str) -> None:
    assert reason_of(verifier, UNREADABLE[name]).startswith("the token")


@pytest.mark.parametrize("text", ["é.ü.ß", "\ud800", "🎟"])
def test_text_beyond_ascii_is_refused(verifier: TokenVerifier, text: str) -> None:
    assert reason_of(verifier, text) == "the token is malformed"


def test_a_token_of_100_kb_is_refused_unread(verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwt, "get_unverified_header", lambda _: pytest.fail("was read"))
    token = token_of({"sub": "17", "exp": in_an_hour(), "filler": "x" * 100_000})
    assert reason_of(verifier, token) == f"the token is longer than {TOKEN_BYTES_MAX} bytes"


def test_the_wrong_key_and_a_changed_payload_are_refused(verifier: TokenVerifier) -> None:
    assert reason_of(verifier, sign_token(OTHER_SECRET, "17", None, 60)) == "the token's signature is wrong"
    header, _, signature = sign_token(SECRET, "17", None, 60).split(".")
    _, payload, _ = sign_token(SECRET, "18", "organizer", 60).split(".")
    assert reason_of(verifier, f"{header}.{payload}.{signature}") == "the token's signature is wrong"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS384", "HS512", "hs256", "RS256", "", "x"])
def test_no_other_algorithm_goes_with_the_shared_secret(verifier: TokenVerifier, algorithm: str) -> None:
    header = json.dumps({"alg": algorithm, "typ": "JWT"}).encode()
    token = token_of({"sub": "17", "exp": in_an_hour()}, header)
    for forged in (token, token.rsplit(b".", 1)[0] + b"."):
        assert reason_of(verifier, forged) == "the token's algorithm is not accepted"


def test_a_refusal_never_repeats_the_token(verifier: TokenVerifier) -> None:
    canary = "canary"
    tokens = [
        token_of({"sub": canary * 100, "exp": in_an_hour()}),
        token_of({"sub": "17", "exp": canary}),
        token_of({"sub": "17", "exp": in_an_hour()}, json.dumps({"alg": canary}).encode()),
        token_of({"sub": "17", "exp": in_an_hour()}, json.dumps({"alg": "HS256", "crit": [canary]}).encode()),
        token_of(canary.encode()),
    ]
    for token in tokens:
        with pytest.raises(InvalidToken) as caught:
            verifier.verify(token)
        assert canary not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.reason.isascii()


def test_leeway_is_given_if_it_is_configured(verifier: TokenVerifier) -> None:
    lenient = TokenVerifier(SECRET, leeway_seconds=60)
    ago, soon = int(time.time()) - 30, int(time.time()) + 30
    for claims in ({"sub": "17", "exp": ago}, {"sub": "17", "exp": in_an_hour(), "nbf": soon}):
        assert lenient.verify(token_of(claims)) == Caller("17", organizer=False)
        assert reason_of(verifier, token_of(claims))


@pytest.mark.parametrize("extra", [{}, {"nbf": 0}])
@pytest.mark.parametrize("ahead_seconds", [2, 3600, 10**9])
def test_a_token_from_a_clock_that_is_fast_is_good(
    verifier: TokenVerifier, ahead_seconds: int, extra: dict[str, Any]
) -> None:
    claims = {"sub": "17", "exp": in_an_hour(), "iat": time.time() + ahead_seconds, **extra}
    assert verifier.verify(token_of(claims)) == Caller("17", organizer=False)


@pytest.mark.parametrize(("option", "claim"), [("issuer", "iss"), ("audience", "aud")])
def test_an_issuer_or_audience_that_is_configured_is_required(option: str, claim: str) -> None:
    configured: dict[str, Any] = {option: "right"}
    verifier = TokenVerifier(SECRET, **configured)
    claims = {"sub": "17", "exp": in_an_hour()}
    assert verifier.verify(token_of({**claims, claim: "right"})) == Caller("17", organizer=False)
    assert reason_of(verifier, token_of(claims)) == f"the token has no {claim}"
    assert "another" in reason_of(verifier, token_of({**claims, claim: "wrong"}))
    assert "another" in reason_of(verifier, token_of({**claims, claim: {"right": 1}}))


def test_one_of_several_audiences_is_enough() -> None:
    claims = {"sub": "17", "exp": in_an_hour(), "aud": ["there", "elsewhere"]}
    assert TokenVerifier(SECRET, audience="there").verify(token_of(claims)) == Caller("17", organizer=False)


# A public key


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_public_key_goes_with_the_algorithm_of_its_type(private_keys: dict[str, PrivateKey], algorithm: str) -> None:
    verifier = TokenVerifier(SECRET, public_key=pem(private_keys[algorithm]))
    claims = {"sub": "17", "exp": in_an_hour(), "role": "organizer"}
    assert verifier.verify(jwt.encode(claims, private_keys[algorithm], algorithm)) == Caller("17", organizer=True)
    for other in private_keys.keys() - {algorithm}:
        token = jwt.encode(claims, private_keys[other], other)
        assert reason_of(verifier, token) == "the token's algorithm is not accepted"
    assert verifier.verify(sign_token(SECRET, "18", None, 60)) == Caller("18", organizer=False)


@pytest.mark.parametrize("prefix", ["", "idp:", "account", "acc", "x" * 64])
def test_no_provider_speaks_for_an_account_whatever_the_prefix(
    private_keys: dict[str, PrivateKey], prefix: str
) -> None:
    verifier = TokenVerifier(SECRET, public_key=pem(private_keys["ES256"]), subject_prefix=prefix)
    rest = "account:1".removeprefix(prefix)
    for subject in {"account:1", "account:", rest}:
        token = jwt.encode({"sub": subject, "exp": in_an_hour()}, private_keys["ES256"], "ES256")
        assert "account" in reason_of(verifier, token)
        assert verifier.verify(sign_token(SECRET, subject, None, 60)) == Caller(subject, organizer=False)


def test_the_prefix_is_in_front_of_a_providers_subjects_alone(private_keys: dict[str, PrivateKey]) -> None:
    verifier = TokenVerifier(SECRET, public_key=pem(private_keys["ES256"]), subject_prefix="idp:")

    def by_the_provider(subject: str) -> str:
        return jwt.encode({"sub": subject, "exp": in_an_hour(), "role": "organizer"}, private_keys["ES256"], "ES256")

    assert verifier.verify(by_the_provider("3")) == Caller("idp:3", organizer=True)
    assert verifier.verify(sign_token(SECRET, "3", None, 60)) == Caller("3", organizer=False)
    assert verifier.verify(by_the_provider("x" * 124)) == Caller("idp:" + "x" * 124, organizer=True)
    assert reason_of(verifier, by_the_provider("x" * 125)).endswith("has more than 128 characters")
    assert reason_of(verifier, by_the_provider("")) == "the token's sub is empty"


def test_another_key_of_the_same_type_is_refused(private_keys: dict[str, PrivateKey]) -> None:
    verifier = TokenVerifier(SECRET, public_key=pem(private_keys["ES256"]))
    stranger = ec.generate_private_key(ec.SECP256R1())
    token = jwt.encode({"sub": "17", "exp": in_an_hour()}, stranger, "ES256")
    assert reason_of(verifier, token) == "the token's signature is wrong"


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
def test_an_rsa_key_goes_with_rs256_alone(private_keys: dict[str, PrivateKey], algorithm: str) -> None:
    verifier = TokenVerifier(SECRET, public_key=pem(private_keys["RS256"]))
    token = jwt.encode({"sub": "17", "exp": in_an_hour()}, private_keys["RS256"], algorithm)
    assert reason_of(verifier, token) == "the token's algorithm is not accepted"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_public_key_is_never_used_as_a_shared_secret(private_keys: dict[str, PrivateKey], algorithm: str) -> None:
    text = pem(private_keys[algorithm])
    verifier = TokenVerifier(SECRET, public_key=text)
    for secret in (text.encode(), text.strip().encode()):
        forged = signed(base64url(HEADER) + b"." + base64url(b'{"sub":"17","exp":9999999999}'), secret)
        assert reason_of(verifier, forged) == "the token's signature is wrong"


def test_a_key_that_could_not_be_used_is_refused_at_once(private_keys: dict[str, PrivateKey]) -> None:
    private = private_keys["RS256"].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    p384 = ec.generate_private_key(ec.SECP384R1())
    for text in (private.decode(), pem(short), pem(p384), "-----BEGIN nonsense"):
        with pytest.raises(ValueError, match="the public key cannot be used"):
            TokenVerifier(SECRET, public_key=text)
    with pytest.raises(ValueError, match="at least 32 bytes"):
        TokenVerifier(b"x" * 31)
    with pytest.raises(ValueError, match="has to be secret"):
        TokenVerifier(pem(private_keys["ES256"]).encode())
