"""The response to a rate-limited call: Retry-After, and the fields of draft-ietf-httpapi-ratelimit-headers."""

from math import ceil

from booking.inventory.box_office import RateLimit
from booking.web.problems import Problem


def rate_limited(policy: str, limit: RateLimit, wait_ms: int) -> Problem:
    """The problem (429) for an empty bucket, which has a token again in `wait_ms` milliseconds."""
    window = ceil(limit.burst / limit.per_second)
    wait = max(1, ceil(wait_ms / 1000))
    return Problem(
        "rate_limited",
        f"There were too many requests. Try again in {wait} s.",
        headers=[
            (b"retry-after", b"%d" % wait),
            (b"ratelimit-policy", f'"{policy}";q={limit.burst};w={window}'.encode()),
            (b"ratelimit", f'"{policy}";r=0;t={wait}'.encode()),
        ],
    )
