"""The public keys of an outside identity provider, fetched from its JWKS address and kept."""

import asyncio
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

FETCH_SECONDS_MAX = 2.0
"""How long a fetch may take, from the look-up of the provider's name on, and how long a request waits for one."""

BODY_BYTES_MAX = 256 * 1024
"""The largest key set that is read; real ones have a few kilobytes."""

REFRESH_SECONDS = 300.0
"""The age at which the keys are fetched again, behind the requests that use them."""

FRESH_SECONDS = 600.0
"""A key that its provider withdraws is refused after this time at the latest, as long as the provider answers."""

UNKNOWN_KEY_SECONDS = 30.0
"""Tokens that name an unknown key cause one fetch in this time, so that nobody can make us hammer the provider."""

RETRY_SECONDS = 5.0
"""The pause after a fetch that failed."""

_FAILURES = (OSError, ValueError, httpx.HTTPError, httpx.InvalidURL)
"""What `_read` and `_signing_keys` raise."""

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

    Keys that are known stay in use while the provider is away, and are never waited for then.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._keys: dict[str, BoundKey] = {}
        self._refresh_at = self._fresh_until = self._next_fetch_at = clock()
        self._failed = False
        self._fetching: asyncio.Task[None] | None = None

    def key_now(self, name: str) -> BoundKey | None:
        """The key called `name`; None if it takes a fetch to know.

        A known key is good at once: one that is due is fetched again in the background. The exception is a key that
        nobody has used for so long that it is no longer fresh, and whose provider has not failed: it may be withdrawn.
        Raises UnknownKey, or KeySetUnavailable soon after a fetch that failed.
        """
        now = self._clock()
        key = self._keys.get(name)
        if key is not None and (now < self._fresh_until or self._failed):
            if now >= max(self._refresh_at, self._next_fetch_at):
                self._begin_fetch()
            return key
        if now >= self._next_fetch_at:
            return None
        if self._failed:
            raise KeySetUnavailable
        raise UnknownKey

    async def fetch(self) -> None:
        """Fetches the keys, or joins the fetch that is under way; returns after two seconds even if it still is."""
        # Unlike wait_for, this leaves the fetch alone when one of those who wait goes away.
        _, under_way = await asyncio.wait([self._begin_fetch()], timeout=FETCH_SECONDS_MAX)
        if under_way:
            self._put_off()

    def _begin_fetch(self) -> asyncio.Task[None]:
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    def _put_off(self) -> None:
        self._failed = True
        self._next_fetch_at = self._clock() + RETRY_SECONDS

    async def _fetch(self) -> None:
        # A look-up that hangs keeps a thread, which cannot be cancelled. It counts as a fetch under way until it ends,
        # so that retries do not take one thread after the other.
        host = urlsplit(self._url).hostname
        look_up = asyncio.ensure_future(asyncio.get_running_loop().getaddrinfo(host, None))
        try:
            async with asyncio.timeout(FETCH_SECONDS_MAX):
                await asyncio.shield(look_up)
                self._keys = _signing_keys(await _read(self._url))
        except _FAILURES as error:
            self._put_off()
            _log.warning("key_set_unavailable", host=host, reason=str(error) or type(error).__name__)
        else:
            self._failed = False
            now = self._clock()
            self._refresh_at, self._fresh_until = now + REFRESH_SECONDS, now + FRESH_SECONDS
            self._next_fetch_at = now + UNKNOWN_KEY_SECONDS
        await asyncio.wait([look_up])


async def published_keys(url: str) -> dict[str, BoundKey]:
    """The keys that the provider publishes now, by name, without keeping them. Raises KeySetUnavailable, with why."""
    try:
        async with asyncio.timeout(FETCH_SECONDS_MAX):
            return _signing_keys(await _read(url))
    except _FAILURES as error:
        raise KeySetUnavailable(str(error) or type(error).__name__) from None


async def _read(url: str) -> bytes:
    """The body at `url`. Redirects are not followed: they could lead anywhere. Proxies are not used.

    Raises ValueError if it is not a plain 200 or larger than BODY_BYTES_MAX, and what httpx raises if it cannot be had.
    """
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    # The system's authorities, which take milliseconds to load; httpx brings its own.
    verify = await asyncio.to_thread(ssl.create_default_context) if url.startswith("https:") else False
    async with (
        httpx.AsyncClient(verify=verify, timeout=FETCH_SECONDS_MAX, trust_env=False, follow_redirects=False) as client,
        client.stream("GET", url, headers=headers) as response,
    ):
        if response.status_code != httpx.codes.OK:
            raise ValueError(f"answered {response.status_code}")
        body = bytearray()
        async for chunk in response.aiter_raw():  # as sent: what a compressed body grows to has no bound
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                raise ValueError(f"answered more than {BODY_BYTES_MAX} bytes")
    return bytes(body)


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
