"""The public keys of an external identity provider, fetched from its JWKS URL and cached."""

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
"""The time limit of a fetch, with the DNS look-up, and the longest time that a request waits for a fetch."""

BODY_BYTES_MAX = 256 * 1024
"""The largest key set that is accepted; usual ones have a few kilobytes."""

REFRESH_SECONDS = 300.0
"""The age at which the keys are fetched again in the background, while requests use the old ones."""

FRESH_SECONDS = 600.0
"""A revoked key is refused after this time at the latest, if the provider responds."""

UNKNOWN_KEY_SECONDS = 30.0
"""Tokens with an unknown key cause at most one fetch in this time, so that they cannot overload the provider."""

RETRY_SECONDS = 5.0
"""The pause after a fetch that failed."""

_FAILURES = (OSError, ValueError, httpx.HTTPError, httpx.InvalidURL)
"""The exceptions that `_read` and `_signing_keys` raise."""

RSA_BITS_MIN = 2048
"""RFC 7518, section 3.3."""

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

_log = structlog.get_logger(__name__)


class UnknownKey(Exception):
    """The provider publishes no key with this name."""


class KeySetUnavailable(Exception):
    """The provider's keys cannot be fetched now; the caller has made no error."""

    retry_after_seconds = int(RETRY_SECONDS)


@dataclass(frozen=True, slots=True)
class BoundKey:
    """A public key and the one algorithm it may be used with."""

    key: PublicKey
    algorithm: str


def bind(key: object) -> BoundKey:
    """Binds `key` to the algorithm of its type.

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
    """The public key of a PEM text. Raises ValueError, with a message for the operator, if it cannot be used."""
    try:
        return bind(load_pem_public_key(text.encode()))
    except ValueError as error:
        raise ValueError(f"the public key cannot be used: {error}") from None


class KeySet:
    """One provider's signing keys by name (`kid`). Belongs to one event loop.

    Known keys stay in use while the provider is unavailable, and requests do not wait for it then.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._keys: dict[str, BoundKey] = {}
        self._refresh_at = self._fresh_until = self._next_fetch_at = clock()
        self._failed = False
        self._fetching: asyncio.Task[None] | None = None

    def key_now(self, name: str) -> BoundKey | None:
        """The key called `name`; None if the keys must be fetched first.

        A known key is returned at once; if it is old, a fetch starts in the background. But if it is no longer fresh
        and the last fetch did not fail, it must be fetched first, because it may be revoked. Raises UnknownKey, or
        KeySetUnavailable for a short time after a failed fetch.
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
        """Fetches the keys, or waits for the running fetch; returns after FETCH_SECONDS_MAX at the latest."""
        # `wait_for` would cancel the shared fetch if one of the waiting requests is cancelled; `wait` does not.
        _, unfinished = await asyncio.wait([self._begin_fetch()], timeout=FETCH_SECONDS_MAX)
        if unfinished:
            self._delay_next_fetch()

    def _begin_fetch(self) -> asyncio.Task[None]:
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    def _delay_next_fetch(self) -> None:
        self._failed = True
        self._next_fetch_at = self._clock() + RETRY_SECONDS

    async def _fetch(self) -> None:
        # A hanging DNS look-up occupies a thread and cannot be cancelled. The fetch counts as running until the look-up
        # ends, so that retries do not occupy more and more threads.
        host = urlsplit(self._url).hostname
        look_up = asyncio.ensure_future(asyncio.get_running_loop().getaddrinfo(host, None))
        try:
            async with asyncio.timeout(FETCH_SECONDS_MAX):
                await asyncio.shield(look_up)
                self._keys = _signing_keys(await _read(self._url))
        except _FAILURES as error:
            self._delay_next_fetch()
            _log.warning("key_set_unavailable", host=host, reason=str(error) or type(error).__name__)
        else:
            self._failed = False
            now = self._clock()
            self._refresh_at, self._fresh_until = now + REFRESH_SECONDS, now + FRESH_SECONDS
            self._next_fetch_at = now + UNKNOWN_KEY_SECONDS
        await asyncio.wait([look_up])


async def published_keys(url: str) -> dict[str, BoundKey]:
    """The provider's current keys by name, without caching. Raises KeySetUnavailable with the reason."""
    try:
        async with asyncio.timeout(FETCH_SECONDS_MAX):
            return _signing_keys(await _read(url))
    except _FAILURES as error:
        raise KeySetUnavailable(str(error) or type(error).__name__) from None


async def _read(url: str) -> bytes:
    """The body at `url`. Redirects are not followed, because they could lead to any host. Proxies are not used.

    Raises ValueError if the status is not 200 or the body is larger than BODY_BYTES_MAX, and httpx's exceptions.
    """
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    # The system's certificate authorities, instead of httpx's own. They take milliseconds to load, so in a thread.
    verify = await asyncio.to_thread(ssl.create_default_context) if url.startswith("https:") else False
    async with (
        httpx.AsyncClient(verify=verify, timeout=FETCH_SECONDS_MAX, trust_env=False, follow_redirects=False) as client,
        client.stream("GET", url, headers=headers) as response,
    ):
        if response.status_code != httpx.codes.OK:
            raise ValueError(f"answered {response.status_code}")
        body = bytearray()
        async for chunk in response.aiter_raw():  # not decompressed: a compressed body could grow without bound
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                raise ValueError(f"answered more than {BODY_BYTES_MAX} bytes")
    return bytes(body)


def _signing_keys(body: bytes) -> dict[str, BoundKey]:
    """The usable keys by name; others are ignored, as RFC 7517, section 5, requires.

    Raises ValueError if `body` is not a JWKS.
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
