"""Checks what tokens are verified with: the shared secret, the public key and the key set."""

import re
import stat
from itertools import pairwise

from booking.auth.key_set import KeySetUnavailable, bind_pem, published_keys
from booking.domain.diagnosis import Finding, fault, ok, warning
from booking.settings import JWT_SECRET_BYTES_MIN, Settings

MAKE_ONE = "openssl rand -base64 48 makes a good one; all users have to log in again"

DISTINCT_MIN = 10
"""Different characters in a secret. 32 random hexadecimal digits have fewer in about one of ten thousand cases."""

WORDS = re.compile(r"[A-Za-z]?[a-z]{2,}(?:[ _.,-]+[A-Za-z]?[a-z]+)+[.!?]?\d{0,4}")
KNOWN = re.compile(
    r"secret|password|passw0rd|change.?me|example|your.?(?:256|key|jwt)|qwerty|letmein|12345678", re.IGNORECASE
)


async def check_credentials(settings: Settings) -> list[Finding]:
    """One finding for the shared secret, and one for each other credential that is set."""
    findings = [_secret(settings)]
    if settings.jwt_public_key is not None:
        findings.append(_public_key(settings.jwt_public_key))
    if settings.jwt_jwks_url is not None:
        findings.append(await _key_set(settings.jwt_jwks_url))
    if settings.has_outside_provider:
        findings += [_audience(settings), _users(settings)]
    return findings


def weakness(secret: str) -> str | None:
    """Why this secret is easy to guess, as the end of a sentence; None if it looks random."""
    if len(secret.encode()) < JWT_SECRET_BYTES_MIN:
        return f"has fewer than {JWT_SECRET_BYTES_MIN} bytes"
    if secret in (secret + secret)[1:-1]:
        return "repeats itself"
    if len(set(secret)) < DISTINCT_MIN:
        return f"has only {len(set(secret))} different characters"
    if sum(abs(ord(one) - ord(other)) <= 1 for one, other in pairwise(secret)) > len(secret) / 2:
        return "counts up or down"
    if KNOWN.search(secret):
        return "contains a word that attackers try first"
    if WORDS.fullmatch(secret):
        return "consists of words"
    return None


def _secret(settings: Settings) -> Finding:
    name = "token secret"
    if settings.jwt_secret is not None:
        return _strength(name, "BOOKING_JWT_SECRET", settings.jwt_secret, f"set another: {MAKE_ONE}")
    path = settings.data_dir / "jwt-secret"
    try:
        secret, mode = path.read_text(encoding="utf-8").strip(), path.stat().st_mode
    except FileNotFoundError:
        return ok(name, "none yet; the first start creates a random one in the data folder")
    except (OSError, ValueError) as error:
        advice = "delete it, and the next start creates a new one"
        return fault(name, f"{path} cannot be read ({type(error).__name__})", advice)
    if mode & 0o077:
        return warning(name, f"{path} can be read by other users ({stat.S_IMODE(mode):04o})", f"chmod 600 {path}")
    return _strength(name, str(path), secret, f"delete {path}, and the next start creates a new one")


def _strength(name: str, where: str, secret: str, advice: str) -> Finding:
    weak = weakness(secret)
    if weak is None:
        return ok(name, f"{where}, {len(secret.encode())} bytes, looks random")
    make = fault if len(secret.encode()) < JWT_SECRET_BYTES_MIN else warning
    return make(name, f"{where} {weak}: an attacker who guesses it can act as any user or organizer", advice)


def _users(settings: Settings) -> Finding:
    """Whether user ids of the provider differ from those of tokens with the shared secret; an account's always do."""
    name = "user ids"
    accounts = f"the service's own accounts are {'on' if settings.has_accounts else 'off'}"
    if settings.jwt_subject_prefix:
        return ok(name, f"a provider's begin with {settings.jwt_subject_prefix}; {accounts}")
    found = f"tokens of the provider and of the shared secret with the same sub are one user; {accounts}"
    return warning(name, found, "set BOOKING_JWT_SUBJECT_PREFIX before the first sale, or sign no such tokens")


def _audience(settings: Settings) -> Finding:
    """Whether a provider's tokens with an `aud` can be accepted; most providers write one."""
    if settings.jwt_audience is not None:
        return ok("audience", f"tokens must have the aud {settings.jwt_audience}")
    found = "BOOKING_JWT_AUDIENCE is not set: every token with an aud is refused"
    return warning("audience", found, "set it to this service's aud at your provider, unless its tokens have none")


def _public_key(text: str) -> Finding:
    try:
        algorithm = bind_pem(text).algorithm
    except ValueError as error:
        return fault("public key", str(error), "BOOKING_JWT_PUBLIC_KEY takes an RSA, P-256 or Ed25519 public key (PEM)")
    return ok("public key", f"for {algorithm}")


async def _key_set(url: str) -> Finding:
    try:
        keys = await published_keys(url)
    except KeySetUnavailable as error:
        return fault("key set", f"cannot be read: {error}", "check that BOOKING_JWT_JWKS_URL answers this machine")
    if not keys:
        return fault("key set", "it has no usable key", "publish a signing key for RS256, ES256 or EdDSA, with a kid")
    return ok("key set", f"{len(keys)} keys ({', '.join(sorted({key.algorithm for key in keys.values()}))})")
