"""One sale for Locust: every turn of a user is a buyer with a token of their own, who books, and may look or cancel.

    locust -f scripts/load/locustfile.py --headless -u 64 -r 64 -t 10s --host http://127.0.0.1:8000

The secret is the service's own: BOOKING_JWT_SECRET, or jwt-secret in BOOKING_DATA_DIR (./data). Each answer has a line
of its own in Locust's table (`book 201`, `book 409 already_booked`), and Locust exits with 1 when one was none of the
sale's.
"""

import hmac
import itertools
import json
import os
import random
import secrets
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from locust import FastHttpUser, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import WorkerRunner

TOKEN_SECONDS = 3_600
"""Longer than any run."""

OPENING_SECONDS_MAX = 10.0
EXIT_NOT_BEGUN = 2

CLAIMS = {"iss": "BOOKING_JWT_ISSUER", "aud": "BOOKING_JWT_AUDIENCE"}
"""What the service may require of a token besides, and the variable that says it."""

OF_THE_SALE = {
    "book": {
        *("201", "202", "403 sale_not_open", "403 sale_paused", "403 sale_closed"),
        *("409 already_booked", "409 sold_out", "409 waitlist_full", "429 rate_limited"),
    },
    "status": {"200"},
    "cancel": {"200", "429 rate_limited"},
}
"""A sale answers so, and is well. What is none of these (a 5xx, a 401, an event that is not there) is a failure; so is
a cancel that finds no booking, since only those cancel who were given one."""


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
    body = {"event_name": f"Load test {secrets.token_hex(4)}", "available_tickets": tickets, "visibility": "unlisted"}
    token = sign(secret, "load-test", role="organizer")
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    try:
        # The address is chosen by the person who runs this.
        request = Request(f"{url}/initialize", json.dumps(body).encode(), headers)  # noqa: S310
        with urlopen(request, timeout=OPENING_SECONDS_MAX) as answer:  # noqa: S310
            return int(json.load(answer)["event_id"])
    except HTTPError as error:
        raise SaleError(f"{url} opened no sale: {error}; is the secret its own?") from None
    except URLError as error:
        raise SaleError(f"{url} can't be reached ({error.reason}); start it with scripts/serve") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SaleError(f"{url} is no booking service: {error!r}") from None


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    """The options of the sale, beside Locust's own; each may come from the environment, too."""
    sale = parser.add_argument_group("sale")
    sale.add_argument("--event-id", type=int, default=0, env_var="EVENT_ID", help="unset: opens a sale of its own")
    sale.add_argument("--tickets", type=int, default=10_000, env_var="TICKETS", help="of the sale that it opens")
    sale.add_argument("--cancel", type=float, default=0.1, env_var="CANCEL", help="share of the buyers who cancel")
    sale.add_argument("--status", type=float, default=0.2, env_var="STATUS", help="share of the buyers who look first")
    sale.add_argument("--pause", type=float, default=0.0, env_var="PAUSE", help="seconds between two buyers of a user")


@events.test_start.add_listener
def begin(environment: Environment, **_: object) -> None:
    """Opens the sale, unless one was named; a distributed run's workers hear its number from the master."""
    options = environment.parsed_options
    if isinstance(environment.runner, WorkerRunner) or (options.event_id and not hasattr(options, "opened_here")):
        return
    try:
        options.event_id, options.opened_here = open_sale(environment.host, read_secret(), options.tickets), True
    except SaleError as error:
        print(f"locustfile.py: {error}")
        environment.process_exit_code = EXIT_NOT_BEGUN
        environment.runner.quit()


class Buyer(FastHttpUser):
    """One buyer after the other, each as soon as the last has been answered (or `--pause` seconds later)."""

    def wait_time(self) -> float:
        """Seconds until the next buyer."""
        return float(self.environment.parsed_options.pause)

    def on_start(self) -> None:
        """Gives each buyer a name that no other user, process or run has."""
        self.secret = read_secret()
        self.buyers = (f"locust-{secrets.token_hex(6)}-{number}" for number in itertools.count())

    @task
    def buy(self) -> None:
        """One buyer: perhaps looks, books, perhaps cancels."""
        options = self.environment.parsed_options
        token = sign(self.secret, next(self.buyers))
        if random.random() < options.status:  # noqa: S311 - a load, not a secret
            self.call("status", "GET", f"/status/{options.event_id}")
        booked = self.call("book", "POST", "/book", token)
        if booked and random.random() < options.cancel:  # noqa: S311 - the same
            self.call("cancel", "POST", "/cancel", token)

    def call(self, name: str, method: str, path: str, token: str | None = None) -> bool:
        """Makes a call, has its answer counted under a name of its own, and tells whether it was a success."""
        more: dict[str, Any] = {}
        if token is not None:
            more["json"] = {"event_id": self.environment.parsed_options.event_id}
            more["headers"] = {"Authorization": f"Bearer {token}"}
        with self.client.request(method, path, name=name, catch_response=True, **more) as response:
            answer = str(response.status_code)
            if response.status_code >= 300:
                answer = f"{answer} {error_code(response)}"
            if answer in OF_THE_SALE[name]:
                response.request_meta["name"] = f"{name} {answer}"
                response.success()
            elif response.status_code:
                response.failure(answer)
            # If there was no answer at all, Locust itself says best what went wrong.
        return answer in ("200", "201", "202")


def error_code(response: Any) -> str:
    """The stable code of a refusal, which its body holds."""
    try:
        return str(response.json()["code"])
    except (ValueError, KeyError, TypeError):
        return "without a code"
