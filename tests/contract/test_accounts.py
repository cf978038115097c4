"""The service's own accounts: registering, logging in, and calling with Basic credentials."""

import base64
from typing import Any

import jwt
import pytest

from tests.fixtures.commands import run_command

from .api import Api
from .client import Answer, Caller, fresh

PASSWORD = "correct horse battery"


def register(api: Api, email: str, password: str = PASSWORD) -> Answer:
    """`POST /auth/register`."""
    return api.anyone.post("/auth/register", {"email": email, "password": password})


def log_in(api: Api, email: str, password: str = PASSWORD) -> Answer:
    """`POST /auth/login`."""
    return api.anyone.post("/auth/login", {"email": email, "password": password})


def address(prefix: str = "buyer") -> str:
    """A new email address."""
    return f"{fresh(prefix)}@example.com"


def basic(api: Api, email: str, password: str = PASSWORD) -> Caller:
    """A caller who sends email and password with each call."""
    return Caller(api.http, "", "Basic " + base64.b64encode(f"{email}:{password}".encode()).decode())


def test_registering_gives_a_token_and_a_user(api: Api) -> None:
    email = address()
    answer = register(api, email)
    assert answer.status == 201
    assert answer.data["user"]["email"] == email
    assert type(answer.data["user"]["id"]) is int
    claims = jwt.decode(answer.data["token"], api.secret, algorithms=["HS256"])
    assert claims["sub"] == f"account:{answer.data['user']['id']}"


def test_logging_in_gives_a_token_that_lives_an_hour(api: Api) -> None:
    email = address()
    user = register(api, email).data["user"]
    answer = log_in(api, email)
    assert answer.status == 200
    assert answer.data["user"] == user
    claims = jwt.decode(answer.data["token"], api.secret, algorithms=["HS256"])
    assert claims["sub"] == f"account:{user['id']}"
    assert claims["exp"] - claims["iat"] == 3_600


def test_the_tokens_of_registration_and_login_are_for_the_same_user(api: Api) -> None:
    email = address()
    first = register(api, email).data
    second = log_in(api, email).data
    event_id = api.event()
    booked = api.with_token(first["token"]).book(event_id)
    assert booked.status == 201
    assert booked.data["user_id"] == f"account:{first['user']['id']}"
    assert api.with_token(second["token"]).booking(event_id).data == booked.data


def test_an_account_is_no_organizer(api: Api) -> None:
    caller = api.with_token(register(api, address()).data["token"])
    assert caller.post("/initialize", {"event_name": "x", "available_tickets": 1}).verdict == (403, "forbidden")


def test_the_password_is_never_in_an_answer(api: Api) -> None:
    email = address()
    answers = [register(api, email), register(api, email), log_in(api, email), log_in(api, email, "wrong one")]
    assert [answer.status for answer in answers] == [201, 409, 200, 401]
    assert not [answer for answer in answers if PASSWORD.encode() in answer.content or b"argon2" in answer.content]


def test_an_email_can_be_registered_once_whatever_its_case(api: Api) -> None:
    email = address("Mixed.Case")
    assert register(api, email).status == 201
    assert register(api, email).verdict == (409, "email_taken")
    assert register(api, email.lower(), "another password").verdict == (409, "email_taken")
    assert register(api, email.upper()).verdict == (409, "email_taken")
    assert log_in(api, email.swapcase()).status == 200


@pytest.mark.parametrize(
    "email",
    ["", " ", "nobody", "@example.com", "a@", "a@b", "a b@example.com", "a@@example.com", "a@exam ple.com",
     "a@example..com", ".a@example.com", "a" * 300 + "@example.com", "a@" + "b" * 64 + ".com", "a\u0000@example.com",
     "a@example.com\n", "<a@example.com>", "a@-example.com", "a\u202e@example.com\u0000"],
)  # fmt: skip
def test_a_bad_email_is_refused(api: Api, email: str) -> None:
    answer = register(api, email)
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {"/email"}


@pytest.mark.parametrize("password", ["", "1234567", "p" * 257, "🔑" * 7, "é" * 257])
def test_a_password_is_8_to_256_characters(api: Api, password: str) -> None:
    answer = register(api, address(), password)
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {"/password"}


@pytest.mark.parametrize("password", ["12345678", "p" * 256, "🔑" * 8, "🔑" * 256, "        ", "pass:word:☃"])
def test_any_password_within_the_bounds_logs_in_again(api: Api, password: str) -> None:
    email = address()
    assert register(api, email, password).status == 201
    assert log_in(api, email, password).status == 200
    assert log_in(api, email, password[:-1] + "?").verdict == (401, "invalid_credentials")


@pytest.mark.parametrize("field", ["email", "password"])
@pytest.mark.parametrize("value", [None, 1, True, [], {}, ["a@example.com"]])
def test_email_and_password_are_text(api: Api, field: str, value: Any) -> None:
    body = {"email": address(), "password": PASSWORD, field: value}
    for path in ("/auth/register", "/auth/login"):
        answer = api.anyone.post(path, body)
        assert answer.verdict == (422, "invalid_request")
        assert answer.pointers == {f"/{field}"}


def test_an_unknown_email_and_a_wrong_password_get_the_same_answer(api: Api) -> None:
    email = address()
    register(api, email)
    wrong = log_in(api, email, "not the password")
    unknown = log_in(api, address())
    assert wrong.verdict == unknown.verdict == (401, "invalid_credentials")
    same = ("type", "title", "status", "detail", "code", "message")
    assert [wrong.body[field] for field in same] == [unknown.body[field] for field in same]


@pytest.mark.parametrize("password", ["", "x", "p" * 257, "p" * 10_000])
def test_a_password_of_invalid_length_is_a_wrong_password_at_login(api: Api, password: str) -> None:
    email = address()
    register(api, email)
    assert log_in(api, email, password).verdict == (401, "invalid_credentials")
    assert log_in(api, address(), password).verdict == (401, "invalid_credentials")


@pytest.mark.parametrize("email", ["", "nobody", "a b@example.com"])
def test_an_invalid_email_gets_the_same_answer_as_an_unknown_one_at_login(api: Api, email: str) -> None:
    assert log_in(api, email).verdict == (401, "invalid_credentials")


def test_basic_credentials_work_wherever_a_bearer_token_does(api: Api) -> None:
    email = address()
    user = register(api, email).data["user"]
    caller = basic(api, email)
    event_id = api.event()
    booked = caller.book(event_id)
    assert booked.status == 201
    assert booked.data["user_id"] == f"account:{user['id']}"
    assert caller.booking(event_id).data == booked.data
    assert caller.confirm(event_id).status == 200
    assert caller.cancel(event_id).status == 200


def test_basic_credentials_ignore_the_case_of_the_email(api: Api) -> None:
    email = address()
    register(api, email)
    assert basic(api, email.upper()).book(api.event()).status == 201


def test_a_basic_password_may_contain_colons_and_unicode(api: Api) -> None:
    email = address()
    register(api, email, "päss:wörd:🔑")
    assert basic(api, email, "päss:wörd:🔑").book(api.event()).status == 201


def test_basic_with_a_wrong_password_or_an_unknown_email_is_refused(api: Api) -> None:
    email = address()
    register(api, email)
    event_id = api.event()
    assert basic(api, email).booking(event_id).verdict == (404, "booking_not_found")
    for caller in (basic(api, email, "wrong password"), basic(api, address()), basic(api, email, "")):
        assert caller.book(event_id).verdict == (401, "unauthenticated")
    assert api.look(event_id)["available_tickets"] == 1


@pytest.mark.parametrize(
    "credentials", [b"", b"!!!", b"YTpi=", b"YQ", base64.b64encode(b"no-colon"), base64.b64encode(b"\xff:\xfe"),
                    base64.b64encode(b":"), base64.b64encode(b"a\x00b:password"), b"\xff\xfe"]
)  # fmt: skip
def test_basic_that_cannot_be_read_is_refused(api: Api, credentials: bytes) -> None:
    headers = {"Authorization": b" ".join([b"Basic", credentials]).strip()}
    answer = api.anyone.call("POST", "/book", {"event_id": 1}, headers=headers)
    assert answer.verdict == (401, "unauthenticated")


def test_a_users_basic_credentials_are_forbidden_on_an_organizers_endpoint(api: Api) -> None:
    email = address("organizer")
    register(api, email)
    new = {"event_name": fresh("event"), "available_tickets": 1}
    assert basic(api, email).post("/initialize", new).verdict == (403, "forbidden")


def test_booking_user_add_makes_an_organizer(api: Api) -> None:
    email = address("organizer")
    done = run_command(["user", "add", email, "--organizer"], api.environment, f"{PASSWORD}\n")
    assert done.returncode == 0, done.stderr
    new = {"event_name": fresh("event"), "available_tickets": 1}
    assert basic(api, email).post("/initialize", new).status == 201
    token = log_in(api, email).data["token"]
    assert api.with_token(token).post("/initialize", new).status == 201


def test_an_account_made_an_administrator_may_cancel_anothers_booking_at_once(api: Api) -> None:
    email, owner, event_id = address("organizer"), api.user(), api.event()
    register(api, email)
    owner.book(event_id)
    named = {"event_id": event_id, "user_id": owner.id}
    assert basic(api, email).post("/cancel", named).verdict == (403, "forbidden")
    promoted = run_command(["user", "add", email, "--role", "admin"], api.environment, f"{PASSWORD}\n")
    assert promoted.returncode == 0, promoted.stderr
    assert basic(api, email).post("/cancel", named).status == 200
