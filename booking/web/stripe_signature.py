"""Verifies the `Stripe-Signature` of an event, by Stripe's published scheme (docs.stripe.com/webhooks/signature)."""

import time
from collections.abc import Callable
from hmac import compare_digest, digest

TOLERANCE_SECONDS = 300
"""How far the time of a signature may be from now (contract; Stripe's libraries have the same default)."""

SIGNATURES_MAX = 16
"""Signatures that are compared. While a secret is rolled there are two."""


def is_signed(secret: bytes, header: bytes, body: bytes, *, clock: Callable[[], float] = time.time) -> bool:
    """Whether one of the signatures `v1` in the header is that of the body with this secret, at about this time.

    The header is "t=seconds,v1=hex,v1=hex". The signature is HMAC-SHA256 of the time, a full stop and the body. Other
    schemes in the header are ignored, because an older one may be weaker.
    """
    pairs = [part.strip().partition(b"=") for part in header.split(b",")]
    times = [value for name, _, value in pairs if name == b"t"]
    if len(times) != 1 or not times[0].isdigit() or abs(clock() - int(times[0][:20])) > TOLERANCE_SECONDS:
        return False
    expected = digest(secret, times[0] + b"." + body, "sha256").hex().encode()
    signatures = [value for name, _, value in pairs if name == b"v1"]
    return any(compare_digest(expected, signature) for signature in signatures[:SIGNATURES_MAX])
