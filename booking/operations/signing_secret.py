"""All nodes sign and verify tokens with one secret. SQL has its fingerprint, by which a node with another is found."""

import hmac

from booking.domain.diagnosis import Finding, fault, ok
from booking.ledger.ledger import Ledger
from booking.settings import Settings, SettingsError

FINGERPRINT_OF = b"booking: fingerprint of the signing secret"
"""What the secret signs for its fingerprint. No token is signed over it: a token's signed part has a full stop."""

FINGERPRINT_DIGITS = 16
"""Hexadecimal digits of a fingerprint: two secrets have the same one in one of 2**64 cases."""


async def check_signing_secret(settings: Settings) -> None:
    """Raises SettingsError if another secret than this node's signs the service's tokens.

    The first node that starts with a database decides. Raises LedgerUnavailable.
    """
    if not is_shared(settings):
        return
    own = fingerprint(settings)
    ledger = Ledger.open(settings.database_address)
    try:
        agreed = await ledger.agree_on_signing_secret(own)
    finally:
        await ledger.close()
    if agreed != own:
        raise SettingsError(
            f"{_source(settings)} is not the secret of the other nodes on this database, which refuse its tokens; "
            "set BOOKING_JWT_SECRET to theirs, or replace it for all of them with booking rotate-secret"
        )


async def replace_signing_secret(settings: Settings) -> str:
    """Makes this node's secret the one that nodes must have to start. Returns what was done, in a sentence.

    Raises SettingsError, LedgerUnavailable.
    """
    own = fingerprint(settings)
    ledger = Ledger.open(settings.database_address)
    try:
        before = await ledger.signing_secret()
        await ledger.replace_signing_secret(own)
    finally:
        await ledger.close()
    if before == own:
        return f"{_source(settings)} is the service's secret already."
    return f"{_source(settings)} is the service's secret now. Start every node with it."


def compare_signing_secret(settings: Settings, agreed: str | None) -> list[Finding]:
    """A finding about this node's secret and the fingerprint in SQL; none if there is nothing to compare."""
    name = "shared secret"
    has_secret = settings.jwt_secret is not None or (settings.data_dir / "jwt-secret").exists()
    if agreed is None or not has_secret or not is_shared(settings):
        return []
    try:
        own = fingerprint(settings)
    except SettingsError:  # there is a finding about it
        return []
    if own == agreed:
        return [ok(name, "the one that the nodes on this database have")]
    return [
        fault(
            name,
            f"{_source(settings)} is not the secret of the nodes on this database: serve does not start",
            "set BOOKING_JWT_SECRET to theirs, or replace it for all of them with booking rotate-secret",
        )
    ]


def is_shared(settings: Settings) -> bool:
    """Whether nodes exchange tokens that are signed with the secret.

    They do not if none was set, and an outside provider signs all tokens: each node has a random one, then.
    """
    return settings.jwt_secret is not None or settings.has_accounts or not settings.has_outside_provider


def fingerprint(settings: Settings) -> str:
    """The fingerprint of this node's secret, from which the secret cannot be computed. Raises SettingsError."""
    try:
        secret = settings.signing_secret()
    except OSError as error:
        raise SettingsError(f"{error.filename}: {error.strerror}") from None
    return hmac.digest(secret, FINGERPRINT_OF, "sha256").hex()[:FINGERPRINT_DIGITS]


def _source(settings: Settings) -> str:
    return "BOOKING_JWT_SECRET" if settings.jwt_secret is not None else str(settings.data_dir / "jwt-secret")
