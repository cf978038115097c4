"""Tokens of an outside provider, and what happens while it is away, slow or wrong."""

import asyncio
import base64
import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from booking.auth import key_set
from booking.auth.key_set import (
    BODY_BYTES_MAX,
    FRESH_SECONDS,
    REFRESH_SECONDS,
    RETRY_SECONDS,
    UNKNOWN_KEY_SECONDS,
    KeySet,
    KeySetUnavailable,
    UnknownKey,
)
from booking.auth.tokens import InvalidToken, TokenVerifier, sign_token
from booking.domain.callers import Caller

SECRET = b"the secret of these tests, of more than 32 bytes"
Jwk = dict[str, Any]
Respond = Callable[[BaseHTTPRequestHandler], None]


class Provider:
    """An identity provider on loopback: what it publishes, how it answers, and how often it was asked."""

    def __init__(self) -> None:
        self.keys: list[Any] = []
        self.asked = 0
        self.respond: Respond = self.publish
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                provider.respond(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Tests print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/keys?tenant=1"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def publish(self, handler: BaseHTTPRequestHandler) -> None:
        assert handler.path == "/keys?tenant=1"
        self.answer(handler, json.dumps({"keys": self.keys}).encode())

    @staticmethod
    def answer(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
RSA_JWK: Jwk = {**RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True), "kid": "rsa", "use": "sig", "alg": "RS256"}
EC_JWK: Jwk = {**ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True), "kid": "ec"}
ED_JWK: Jwk = {**OKPAlgorithm.to_jwk(ED_KEY.public_key(), as_dict=True), "kid": "ed"}


def token(key: Any, algorithm: str, kid: str | None, **claims: Any) -> str:
    headers = None if kid is None else {"kid": kid}
    return jwt.encode({"sub": "17", "exp": int(time.time()) + 3600, **claims}, key, algorithm, headers=headers)


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"), [(RSA_KEY, "RS256", "rsa"), (EC_KEY, "ES256", "ec"), (ED_KEY, "EdDSA", "ed")]
)
async def test_a_published_key_is_fetched_once_and_then_checks_without_waiting(
    provider: Provider, key: Any, algorithm: str, kid: str
) -> None:
    provider.keys = [RSA_JWK, EC_JWK, ED_JWK]
    verifier = TokenVerifier(SECRET, jwks_url=provider.url)
    theirs = token(key, algorithm, kid, role="organizer")
    assert verifier.verify(theirs) is None
    assert await verifier.verify_slowly(theirs) == Caller("17", organizer=True)
    assert verifier.verify(theirs) == Caller("17", organizer=True)
    assert provider.asked == 1


async def test_a_published_key_speaks_for_no_account_and_gets_the_prefix(provider: Provider) -> None:
    provider.keys = [EC_JWK]
    verifier = TokenVerifier(SECRET, jwks_url=provider.url, subject_prefix="idp:")
    assert await verifier.verify_slowly(token(EC_KEY, "ES256", "ec", sub="3")) == Caller("idp:3", organizer=False)
    with pytest.raises(InvalidToken, match="account"):
        verifier.verify(token(EC_KEY, "ES256", "ec", sub="account:3"))


async def test_our_own_tokens_need_no_provider(provider: Provider) -> None:
    verifier = TokenVerifier(SECRET, jwks_url=provider.url)
    own = sign_token(SECRET, "18", None, 60)
    assert verifier.verify(own) == await verifier.verify_slowly(own) == Caller("18", organizer=False)
    assert provider.asked == 0


async def test_a_token_that_proves_nothing_by_a_published_key_is_refused(provider: Provider) -> None:
    provider.keys = [RSA_JWK, EC_JWK]
    verifier = TokenVerifier(SECRET, jwks_url=provider.url)
    public = json.dumps(RSA_JWK)
    forgeries = {
        token(ec.generate_private_key(ec.SECP256R1()), "ES256", "ec"): "the token's signature is wrong",
        token(EC_KEY, "ES256", "rsa"): "the token's algorithm is not accepted",
        token(RSA_KEY, "RS512", "rsa"): "the token's algorithm is not accepted",
        token(RSA_KEY, "PS256", "rsa"): "the token's algorithm is not accepted",
        token(public + "x" * 32, "HS256", "rsa"): "the token's signature is wrong",
        token(EC_KEY, "ES256", None): "the token's algorithm is not accepted",
        token(EC_KEY, "ES256", "unheard of"): "the token names a key that its issuer does not publish",
        token(EC_KEY, "ES256", "ec", exp=1): "the token has expired",
        token(EC_KEY, "ES256", "ec", sub="x" * 129): "the token's sub has more than 128 characters",
    }
    for forged, reason in forgeries.items():
        with pytest.raises(InvalidToken) as caught:
            await verifier.verify_slowly(forged)
        assert caught.value.reason == reason
    assert provider.asked == 1


async def test_unknown_keys_cause_one_fetch_in_thirty_seconds(provider: Provider) -> None:
    provider.keys = [EC_JWK]
    clock = Clock()
    keys = KeySet(provider.url, clock=clock)
    assert keys.key_now("ec") is None
    await keys.fetch()
    for name in ("x", "y", "z"):
        with pytest.raises(UnknownKey):
            keys.key_now(name)
    clock.now += UNKNOWN_KEY_SECONDS
    assert keys.key_now("ec") is not None
    assert keys.key_now("ed") is None
    provider.keys = [EC_JWK, ED_JWK]
    await keys.fetch()
    assert keys.key_now("ed") is not None
    assert provider.asked == 2


async def test_a_key_that_was_withdrawn_is_refused_after_ten_minutes(provider: Provider) -> None:
    provider.keys = [EC_JWK]
    clock = Clock()
    keys = KeySet(provider.url, clock=clock)
    await keys.fetch()
    provider.keys = [ED_JWK]
    clock.now += FRESH_SECONDS
    assert keys.key_now("ec") is None
    await keys.fetch()
    with pytest.raises(UnknownKey):
        keys.key_now("ec")


async def test_known_keys_stay_in_use_while_the_provider_is_away(provider: Provider) -> None:
    provider.keys = [EC_JWK]
    clock = Clock()
    keys = KeySet(provider.url, clock=clock)
    await keys.fetch()
    provider.respond = lambda handler: provider.answer(handler, b"", 503)
    clock.now += FRESH_SECONDS
    await keys.fetch()
    assert keys.key_now("ec") is not None
    with pytest.raises(KeySetUnavailable):
        keys.key_now("ed")
    clock.now += RETRY_SECONDS
    assert keys.key_now("ed") is None


async def settle(keys: KeySet) -> None:
    """Waits for the fetch that is under way."""
    assert keys._fetching is not None
    await keys._fetching


async def test_a_known_key_is_used_at_once_while_its_provider_hangs(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.keys = [EC_JWK]
    clock = Clock()
    keys = KeySet(provider.url, clock=clock)
    await keys.fetch()
    monkeypatch.setattr(key_set, "FETCH_SECONDS_MAX", 0.1)
    ends = threading.Event()
    provider.respond = lambda _: (ends.wait(20), None)[1]
    try:
        for at, asked in ((REFRESH_SECONDS, 2), (FRESH_SECONDS, 3), (10 * FRESH_SECONDS, 4)):
            clock.now = 1000.0 + at
            for _ in range(3):
                assert keys.key_now("ec") is not None
            await settle(keys)
            assert keys.key_now("ec") is not None
            assert provider.asked <= asked, "one fetch behind them all, and a pause after it"
            with pytest.raises(KeySetUnavailable):
                keys.key_now("ed")
    finally:
        ends.set()


async def test_a_key_in_use_is_fetched_again_behind_those_who_use_it(provider: Provider) -> None:
    provider.keys = [EC_JWK]
    clock = Clock()
    keys = KeySet(provider.url, clock=clock)
    await keys.fetch()
    clock.now += REFRESH_SECONDS - 1
    assert keys.key_now("ec") is not None
    assert provider.asked == 1
    provider.keys = [ED_JWK]
    clock.now += 1
    assert keys.key_now("ec") is not None
    await settle(keys)
    with pytest.raises(UnknownKey):
        keys.key_now("ec")
    assert keys.key_now("ed") is not None
    assert provider.asked == 2


async def test_known_keys_stay_in_use_while_the_provider_cannot_even_be_found(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up of its name cannot be ended, and keeps a thread: there is one at a time."""
    provider.keys = [EC_JWK]
    clock = Clock()
    keys = KeySet(provider.url, clock=clock)
    await keys.fetch()
    found = threading.Event()
    looked_up = []

    def look_up(*names: Any, **_: Any) -> Any:
        looked_up.append(names)
        found.wait(20)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(key_set, "FETCH_SECONDS_MAX", 0.05)
    try:
        for _ in range(3):
            clock.now += FRESH_SECONDS
            await keys.fetch()
            assert keys.key_now("ec") is not None
            with pytest.raises(KeySetUnavailable):
                keys.key_now("ed")
        assert len(looked_up) == 1
    finally:
        found.set()
        await keys.fetch()


async def test_many_who_wait_share_one_fetch(provider: Provider) -> None:
    provider.keys = [EC_JWK]
    verifier = TokenVerifier(SECRET, jwks_url=provider.url)
    calls = [asyncio.create_task(verifier.verify_slowly(token(EC_KEY, "ES256", "ec"))) for _ in range(20)]
    await asyncio.sleep(0)  # a turn of the loop, in which each of them begins
    calls[0].cancel()
    assert await asyncio.gather(*calls[1:]) == [Caller("17", organizer=False)] * 19
    assert provider.asked == 1


def babble(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\0" * 100_000)


def trickle(handler: BaseHTTPRequestHandler) -> None:
    """Sends a byte again and again without an end, so that no timeout of a socket is reached."""
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            handler.wfile.write(b"X")
            time.sleep(0.02)
    except OSError:
        handler.close_connection = True


FAILING: dict[str, Respond] = {
    "an error": lambda handler: Provider.answer(handler, b"{}", 500),
    "a redirect": lambda handler: Provider.answer(handler, b"", 302, Location="/keys?tenant=1"),
    "no JSON": lambda handler: Provider.answer(handler, b"<html>"),
    "deep JSON": lambda handler: Provider.answer(handler, b"[" * 100_000),
    "no key set": lambda handler: Provider.answer(handler, b"[]"),
    "no list of keys": lambda handler: Provider.answer(handler, b'{"keys": {}}'),
    "too much": lambda handler: Provider.answer(handler, b" " * (BODY_BYTES_MAX + 1)),
    "compressed": lambda handler: Provider.answer(handler, gzip.compress(b"{}"), Content_Encoding="gzip"),
    "not HTTP": babble,
    "a trickle": trickle,
}


@pytest.mark.parametrize("how", FAILING)
async def test_a_provider_that_fails_is_unavailable_for_a_while(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "a trickle":
        monkeypatch.setattr(key_set, "FETCH_SECONDS_MAX", 0.5)
    provider.respond = FAILING[how]
    verifier = TokenVerifier(SECRET, jwks_url=provider.url)
    theirs = token(EC_KEY, "ES256", "ec")
    for _ in range(3):
        with pytest.raises(KeySetUnavailable) as caught:
            await verifier.verify_slowly(theirs)
    assert caught.value.retry_after_seconds >= 1
    assert provider.asked == 1


async def test_a_provider_that_refuses_connections_is_unavailable(provider: Provider) -> None:
    verifier = TokenVerifier(SECRET, jwks_url="http://127.0.0.1:1/keys")
    with pytest.raises(KeySetUnavailable):
        await verifier.verify_slowly(token(EC_KEY, "ES256", "ec"))


async def test_an_https_provider_has_to_prove_who_it_is(provider: Provider) -> None:
    verifier = TokenVerifier(SECRET, jwks_url=provider.url.replace("http:", "https:"))
    with pytest.raises(KeySetUnavailable):
        await verifier.verify_slowly(token(EC_KEY, "ES256", "ec"))
    assert provider.asked == 0


@pytest.mark.parametrize(
    "unusable",
    [
        {**EC_JWK, "use": "enc"},
        {**EC_JWK, "alg": "ES384"},
        {**RSA_JWK, "kid": "ec", "alg": "RS512"},
        {**RSA_JWK, "kid": "ec", "alg": "ES256"},
        {**EC_JWK, "kid": 1},
        {**EC_JWK, "x": "AAAA"},
        {**EC_JWK, "x": 17},
        {**ECAlgorithm.to_jwk(EC_KEY, as_dict=True), "kid": "ec"},
        {**ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True), "kid": "ec"},
        {"kty": "oct", "kid": "ec", "k": base64.urlsafe_b64encode(SECRET).decode()},
        {"kty": "oct", "kid": "ec"},
        {"kty": ["EC"], "kid": "ec"},
        {"kty": "EC", "alg": ["ES256"], "kid": "ec"},
        {"kty": "EC", "alg": {"a": 1}, "kid": "ec"},
        {"kid": "ec"},
        "ec",
        None,
    ],
)
async def test_a_key_that_cannot_be_used_is_passed_over(provider: Provider, unusable: Any) -> None:
    provider.keys = [unusable, ED_JWK]
    keys = KeySet(provider.url)
    await keys.fetch()
    with pytest.raises(UnknownKey):
        keys.key_now("ec")
    assert keys.key_now("ed") is not None


async def test_beside_a_public_key_a_key_set_is_for_tokens_that_name_their_key(provider: Provider) -> None:
    provider.keys = [EC_JWK]
    pem = ED_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    verifier = TokenVerifier(SECRET, public_key=pem, jwks_url=provider.url)
    assert verifier.verify(token(ED_KEY, "EdDSA", None)) == Caller("17", organizer=False)
    assert await verifier.verify_slowly(token(EC_KEY, "ES256", "ec")) == Caller("17", organizer=False)
