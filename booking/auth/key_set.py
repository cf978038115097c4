"""The public keys of an outside identity provider, fetched from its JWKS address and kept."""

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

FETCH_SECONDS_MAX = 2.0
"""How long a fetch may take, and how long a request waits for one."""

BODY_BYTES_MAX = 256 * 1024
"""The largest key set that is read; real ones have a few kilobytes."""

FRESH_SECONDS = 600.0
"""A key that its provider withdraws is refused after this time at the latest, as long as the provider answers."""

UNKNOWN_KEY_SECONDS = 30.0
"""Tokens that name an unknown key cause one fetch in this time, so that nobody can make us hammer the provider."""

RETRY_SECONDS = 5.0
"""The pause after a fetch that failed."""

RSA_BITS_MIN = 2048
"""RFC 7518, section 3.3."""

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

_log = structlog.get_logger(__name__)


class UnknownKey(Exception):
    """The provider publishes no key of this name."""


class KeySetUnavailable(Exception):
    """The provider's keys cannot be had just now, which is no fault of the caller's."""

    retry_after_seconds = int(RETRY_SECONDS)


@dataclass(frozen=True, slots=True)
class BoundKey:
    """A public key and the one algorithm it may be used with."""

    key: PublicKey
    algorithm: str


def bind(key: object) -> BoundKey:
    """Gives `key` the algorithm that belongs to its type.

    Raises ValueError for a private key, a type that is not accepted, or an RSA key of fewer than 2048 bits.
    """
    if isinstance(key, RSAPublicKey):
        if key.key_size < RSA_BITS_MIN:
            raise ValueError(f"an RSA key needs at least {RSA_BITS_MIN} bits")
        return BoundKey(key, "RS256")
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return BoundKey(key, "ES256")
    if isinstance(key, Ed25519PublicKey):
        return BoundKey(key, "EdDSA")
    raise ValueError("has to be a public key of type RSA, P-256 or Ed25519")


def bind_pem(text: str) -> BoundKey:
    """The public key of a PEM text. Raises ValueError, with a message for whoever set it, if it cannot be used."""
    try:
        return bind(load_pem_public_key(text.encode()))
    except ValueError as error:
        raise ValueError(f"the public key cannot be used: {error}") from None


class KeySet:
    """One provider's signing keys by their names (`kid`). Belongs to one event loop.

    Keys that are known stay in use while the provider is away.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = urlsplit(url)
        self._clock = clock
        self._keys: dict[str, BoundKey] = {}
        self._fresh_until = self._next_fetch_at = clock()
        self._failed = False
        self._fetching: asyncio.Task[None] | None = None

    def key_now(self, name: str) -> BoundKey | None:
        """The key called `name`; None when it takes a fetch to know.

        Raises UnknownKey, or KeySetUnavailable soon after a fetch that failed.
        """
        now = self._clock()
        key = self._keys.get(name)
        if key is not None and now < self._fresh_until:
            return key
        if now >= self._next_fetch_at:
            return None
        if key is not None:
            return key
        if self._failed:
            raise KeySetUnavailable
        raise UnknownKey

    async def fetch(self) -> None:
        """Fetches the keys, or joins the fetch that is under way; returns after two seconds even if it still is.

        Such a one has failed for now: finding a host and connecting to each of its addresses may take far longer.
        """
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch())
        # Unlike wait_for, this leaves the fetch alone when one of those who wait goes away.
        _, under_way = await asyncio.wait([self._fetching], timeout=FETCH_SECONDS_MAX)
        if under_way:
            self._put_off()

    def _put_off(self) -> None:
        self._failed = True
        self._next_fetch_at = self._clock() + RETRY_SECONDS

    async def _fetch(self) -> None:
        try:
            self._keys = _signing_keys(await asyncio.to_thread(_read, self._url))
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._put_off()
            _log.warning("key_set_unavailable", host=self._url.hostname, reason=str(error) or type(error).__name__)
        else:
            self._failed = False
            now = self._clock()
            self._fresh_until, self._next_fetch_at = now + FRESH_SECONDS, now + UNKNOWN_KEY_SECONDS


async def published_keys(url: str) -> dict[str, BoundKey]:
    """The keys that the provider publishes now, by name, for whoever only looks. Raises KeySetUnavailable, with why."""
    try:
        return _signing_keys(await asyncio.to_thread(_read, urlsplit(url)))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise KeySetUnavailable(str(error) or type(error).__name__) from None


def _read(url: SplitResult) -> bytes:
    """The body at `url`, read within the time and size allowed. Redirects are not followed: they could lead anywhere.

    Raises OSError or HTTPException when it cannot be had, ValueError when it is not a plain 200 or too large.
    """
    deadline = time.monotonic() + FETCH_SECONDS_MAX
    host = url.hostname or ""
    if url.scheme == "https":
        context = ssl.create_default_context()
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, url.port, timeout=FETCH_SECONDS_MAX, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, url.port, timeout=FETCH_SECONDS_MAX)
    with contextlib.closing(connection):
        connection.connect()
        # A socket's timeout starts anew with each byte; this one ends a server that trickles.
        cut = threading.Timer(max(deadline - time.monotonic(), 0.0), _shut, [connection.sock])
        cut.daemon = True
        cut.start()
        try:
            target = (url.path or "/") + (f"?{url.query}" if url.query else "")
            connection.request("GET", target, headers={"Accept": "application/json"})
            with connection.getresponse() as response:
                if response.status != http.client.OK:
                    raise ValueError(f"answered {response.status}")
                body = response.read(BODY_BYTES_MAX + 1)
        finally:
            cut.cancel()
            cut.join()
    if len(body) > BODY_BYTES_MAX:
        raise ValueError(f"answered more than {BODY_BYTES_MAX} bytes")
    return body


def _shut(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _signing_keys(body: bytes) -> dict[str, BoundKey]:
    """Keys that can be used, by name; others are passed over, as RFC 7517, section 5, asks.

    Raises ValueError when `body` is not a JWKS.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("did not answer JSON") from None
    match document:
        case {"keys": list(listed)}:
            pass
        case _:
            raise ValueError("did not answer a key set")
    keys: dict[str, BoundKey] = {}
    for item in listed:
        name = item.get("kid") if isinstance(item, dict) else None
        if not isinstance(name, str) or item.get("use", "sig") != "sig":
            continue
        try:
            bound = bind(jwt.PyJWK(item).key)
        except (jwt.PyJWTError, LookupError, ValueError, TypeError):
            continue
        if item.get("alg", bound.algorithm) == bound.algorithm:
            keys[name] = bound
    return keys
