"""A forgotten password: a request, a token that comes by mail, a new password."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from booking.domain.reset_tokens import reset_token

from .api import Api, serving
from .client import Answer
from .test_account_changes import ENDED, NEW_PASSWORD, command, signed_in
from .test_accounts import PASSWORD, address, basic, log_in, register

WRONG = (401, "invalid_credentials")
CALLS = 120
"""A minute from one address: more than these tests make, but for the last one."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A service with mail whose server is away, so that every mail stays in the queue."""
    environment = {
        "BOOKING_SMTP_URL": "smtp://127.0.0.1:1",
        "BOOKING_MAIL_FROM": "tickets@example.com",
        "BOOKING_PUBLIC_URL": "https://tickets.example.com",
        "BOOKING_AUTH_RATE_LIMIT_PER_MINUTE": str(CALLS),
    }
    with serving(tmp_path_factory.mktemp("forgotten") / "data", environment) as api:
        yield api


def forgot(api: Api, email: str) -> Answer:
    """`POST /auth/forgot`."""
    return api.anyone.post("/auth/forgot", {"email": email})


def reset(api: Api, token: str, password: str = NEW_PASSWORD) -> Answer:
    """`POST /auth/reset`."""
    return api.anyone.post("/auth/reset", {"reset_token": token, "new_password": password})


def tokens(api: Api, email: str) -> list[str]:
    """The tokens in the queue of mails to an email, the oldest first."""
    database = Path(api.environment["BOOKING_DATA_DIR"]) / "booking.sqlite3"
    with closing(sqlite3.connect(database)) as connection:
        queued = [
            json.loads(row[0]) for row in connection.execute("SELECT data FROM mails WHERE kind = 'reset' ORDER BY id")
        ]
    return [reset_token(api.secret.encode(), one["nonce"]) for one in queued if one["email_key"] == email.casefold()]


@pytest.fixture
def email(api: Api) -> str:
    """The email of a new account."""
    email = address("Forgetful")
    register(api, email)
    return email


def test_every_email_gets_the_same_answer(api: Api, email: str) -> None:
    unknown = address()
    known_answer, unknown_answer = forgot(api, email), forgot(api, unknown)
    assert (known_answer.status, unknown_answer.status) == (202, 202)
    assert known_answer.body == unknown_answer.body
    assert known_answer.headers.keys() == unknown_answer.headers.keys()
    assert reset(api, tokens(api, unknown)[0]).verdict == WRONG
    assert log_in(api, unknown, NEW_PASSWORD).verdict == WRONG


def test_a_new_password_signs_in_and_ends_everything_of_before(api: Api, email: str) -> None:
    before = signed_in(api, email)
    forgot(api, email.upper())
    [token] = tokens(api, email)
    answer = reset(api, token)
    assert (answer.status, answer.data["user"]["email"]) == (200, email)
    assert api.with_token(answer.data["token"]).get("/bookings").status == 200
    for ended in (before, basic(api, email)):
        assert ended.get("/bookings").verdict == ENDED
    assert log_in(api, email).verdict == WRONG
    assert log_in(api, email, NEW_PASSWORD).status == 200


def test_a_token_works_once(api: Api, email: str) -> None:
    forgot(api, email)
    [token] = tokens(api, email)
    assert reset(api, token, "short").verdict == (422, "invalid_request")
    assert reset(api, token).status == 200
    assert reset(api, token, PASSWORD).verdict == WRONG
    assert log_in(api, email, NEW_PASSWORD).status == 200


def test_a_second_request_ends_the_first_token(api: Api, email: str) -> None:
    forgot(api, email)
    forgot(api, email)
    first, second = tokens(api, email)
    assert reset(api, first).verdict == WRONG
    assert reset(api, second).status == 200


def test_a_password_that_the_operator_sets_ends_the_token(api: Api, email: str) -> None:
    forgot(api, email)
    command(api, "set-password", email, password="set by the operator")
    assert reset(api, tokens(api, email)[0]).verdict == WRONG


@pytest.mark.parametrize("token", ["", "x", "x" * 43, "x" * 5_000, "\0", "🔑"])
def test_a_token_of_any_form_that_was_not_sent_is_refused(api: Api, token: str) -> None:
    assert reset(api, token).verdict == WRONG


def test_what_is_no_email_is_a_fault(api: Api) -> None:
    answer = forgot(api, "ann")
    assert (answer.verdict, answer.pointers) == ((422, "invalid_request"), {"/email"})
    missing = api.anyone.post("/auth/reset", {})
    assert (missing.verdict, missing.pointers) == ((422, "invalid_request"), {"/reset_token", "/new_password"})


def test_requests_draw_on_the_bucket_of_the_address(api: Api) -> None:
    answers = (forgot(api, address()) for _ in range(2 * CALLS))
    refused = next(answer for answer in answers if answer.status != 202)
    assert refused.verdict == (429, "rate_limited")
    assert refused.headers["ratelimit-policy"] == f'"auth";q={CALLS};w=60'
    assert log_in(api, address()).status == 429
