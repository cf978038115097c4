"""Opens a sale and signs its buyers' tokens, for load tools that can't: with nothing but Python's standard library.

    python3 scripts/load/sale.py --buyers 20000 > sale.txt      for wrk.lua: the event's number, then a token a line

The secret is the service's own: BOOKING_JWT_SECRET, or jwt-secret in BOOKING_DATA_DIR (./data).
"""

import argparse
import hmac
import json
import os
import secrets
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

TOKEN_SECONDS = 3_600
"""Longer than any run."""

OPENING_SECONDS_MAX = 10.0
EXIT_NOT_BEGUN = 2

CLAIMS = {"iss": "BOOKING_JWT_ISSUER", "aud": "BOOKING_JWT_AUDIENCE"}
"""What the service may ask of a token besides, and the variable that says it."""


class SaleError(Exception):
    """There is no sale to play; one line that says why and what to do."""


def read_secret() -> bytes:
    """The secret that the service signs its own tokens with. Raises SaleError."""
    secret = os.environ.get("BOOKING_JWT_SECRET")
    if secret:
        return secret.encode()
    path = Path(os.environ.get("BOOKING_DATA_DIR", "data")) / "jwt-secret"
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise SaleError(
            f"the service's JWT secret can't be read ({error}); name it with BOOKING_JWT_SECRET or BOOKING_DATA_DIR"
        ) from None


def sign(secret: bytes, user_id: str, **claims: str) -> str:
    """An HS256 token in compact form (RFC 7515)."""
    asked_for = {claim: os.environ[name] for claim, name in CLAIMS.items() if os.environ.get(name)}
    payload = {"sub": user_id, "exp": int(time.time()) + TOKEN_SECONDS, **asked_for, **claims}
    signed = b".".join(_segment(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, payload))
    return (signed + b"." + _segment(hmac.digest(secret, signed, "sha256"))).decode()


def _segment(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")


def open_sale(url: str, secret: bytes, tickets: int) -> int:
    """Makes an event and gives its id. Raises SaleError."""
    body = {"event_name": f"Load test {secrets.token_hex(4)}", "available_tickets": tickets}
    token = sign(secret, "load-test", role="organizer")
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    try:
        # Whoever runs this names the service, and may call what they like.
        request = Request(f"{url}/initialize", json.dumps(body).encode(), headers)  # noqa: S310
        with urlopen(request, timeout=OPENING_SECONDS_MAX) as answer:  # noqa: S310
            return int(json.load(answer)["event_id"])
    except HTTPError as error:
        raise SaleError(f"{url} opened no sale: {error}; is the secret its own?") from None
    except URLError as error:
        raise SaleError(f"{url} can't be reached ({error.reason}); start it with scripts/serve") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SaleError(f"{url} is no booking service: {error!r}") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes a sale to standard output; returns the exit code."""
    parser = argparse.ArgumentParser(description="Writes a sale for scripts/load/wrk.lua to standard output.")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the running service (%(default)s)")
    parser.add_argument("--event-id", type=int, help="a sale that is there; else one is opened")
    parser.add_argument("--tickets", type=int, default=10_000, help="of the sale that is opened (%(default)s)")
    parser.add_argument("--buyers", type=int, default=20_000, help="tokens, each of another buyer (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        secret = read_secret()
        event_id = options.event_id or open_sale(options.url.rstrip("/"), secret, options.tickets)
    except SaleError as error:
        print(f"sale.py: {error}", file=sys.stderr)
        return EXIT_NOT_BEGUN
    print(f"event {event_id}")
    # Names of its own for each file, so that the same sale can be played on.
    run = secrets.token_hex(4)
    sys.stdout.writelines(f"{sign(secret, f'wrk-{run}-{number}')}\n" for number in range(options.buyers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
