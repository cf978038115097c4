"""How a caller who came too often is told so: Retry-After, and the fields of draft-ietf-httpapi-ratelimit-headers."""

from math import ceil

from booking.inventory.box_office import RateLimit
from booking.web.problems import Problem


def rate_limited(policy: str, limit: RateLimit, wait_ms: int) -> Problem:
    """429 for a bucket that is empty; `wait_ms` milliseconds from now it holds one call again."""
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
