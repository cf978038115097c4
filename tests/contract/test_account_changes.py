"""Changes of an account, by its user or by the operator: its tokens end, and its role changes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.fixtures.commands import run_command
from tests.fixtures.waiting import eventually

from .api import Api
from .client import Answer, Caller, fresh
from .test_accounts import PASSWORD, address, basic, log_in, register
from .test_live import listening

NEW_PASSWORD = "another horse battery"
ENDED = (401, "unauthenticated")
FORBIDDEN = (403, "forbidden")


def command(api: Api, *arguments: str, password: str = "", code: int = 0) -> str:
    """Runs `booking user …`, which has to end with this exit code; returns what it printed."""
    done = run_command(["user", *arguments], api.environment, f"{password}\n")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def make(caller: Caller) -> Answer:
    """Creates an event as this caller."""
    return caller.post("/initialize", {"event_name": fresh("event"), "available_tickets": 1})


def change_password(caller: Caller, password: str = PASSWORD, new_password: str = NEW_PASSWORD) -> Answer:
    """`POST /auth/password`."""
    return caller.post("/auth/password", {"password": password, "new_password": new_password})


def signed_in(api: Api, email: str, password: str = PASSWORD) -> Caller:
    """The account, with a token from a new login."""
    answer = log_in(api, email, password)
    assert answer.status == 200, answer
    return api.with_token(answer.data["token"])


@pytest.fixture
def organizer(api: Api) -> tuple[str, Caller]:
    """The email of a new organizer, and the organizer with a token."""
    email = address("organizer")
    command(api, "add", email, "--role", "organizer", password=PASSWORD)
    return email, signed_in(api, email)


@pytest.mark.parametrize("by_password", [False, True])
def test_a_new_password_ends_every_token_but_the_one_that_it_returns(
    api: Api, organizer: tuple[str, Caller], by_password: bool
) -> None:
    email, caller = organizer
    other = signed_in(api, email)
    event_id = make(caller).body["event_id"]
    answer = change_password(basic(api, email) if by_password else caller)
    assert answer.status == 200
    assert answer.data["user"]["email"] == email
    for ended in (caller, other, basic(api, email)):
        assert make(ended).verdict == ENDED
        assert ended.get(f"/events/{event_id}/report").verdict == ENDED
        assert ended.get("/bookings").verdict == ENDED
    assert log_in(api, email).verdict == (401, "invalid_credentials")
    for valid in (
        api.with_token(answer.data["token"]),
        signed_in(api, email, NEW_PASSWORD),
        basic(api, email, NEW_PASSWORD),
    ):
        assert valid.get(f"/events/{event_id}/report").status == 200
        assert valid.get("/bookings").status == 200


def test_a_wrong_password_changes_nothing(api: Api, organizer: tuple[str, Caller]) -> None:
    email, caller = organizer
    assert change_password(caller, "not the password").verdict == (401, "invalid_credentials")
    refused = change_password(caller, PASSWORD, "short")
    assert (refused.verdict, refused.pointers) == ((422, "invalid_request"), {"/new_password"})
    assert api.anyone.post("/auth/password", {"password": PASSWORD, "new_password": NEW_PASSWORD}).verdict == ENDED
    assert make(caller).status == 201
    assert log_in(api, email).status == 200


def test_only_an_account_has_a_password(api: Api) -> None:
    assert change_password(api.user()).verdict == FORBIDDEN
    assert change_password(api.user("account:987654321")).verdict == FORBIDDEN


def test_a_password_may_be_changed_again_and_again_within_a_second(api: Api) -> None:
    email = address()
    caller = api.with_token(register(api, email).data["token"])
    for number in range(3):
        old_password = f"{NEW_PASSWORD}{number}" if number else PASSWORD
        answer = change_password(caller, old_password, f"{NEW_PASSWORD}{number + 1}")
        assert answer.status == 200
        assert caller.get("/bookings").verdict == ENDED
        caller = api.with_token(answer.data["token"])
    assert caller.get("/bookings").status == 200


CHANGES: dict[str, Callable[[Api, str], object]] = {
    "set-password": lambda api, email: command(api, "set-password", email, password=NEW_PASSWORD),
    "add": lambda api, email: command(api, "add", email, password=NEW_PASSWORD),
    "demote": lambda api, email: command(api, "demote", email),
    "remove": lambda api, email: command(api, "remove", email, "--yes"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_operators_change_ends_tokens_at_once_for_organizers_and_soon_for_buyers(
    api: Api, organizer: tuple[str, Caller], change: str
) -> None:
    email, caller = organizer
    event_id = make(caller).body["event_id"]
    user_id = api.look(event_id)["organizer_id"]
    signed_by_a_shop = api.bearer(user_id, {**api.claims(user_id), "role": "organizer", "iat": int(time.time())})
    without_time = api.bearer(user_id, {**api.claims(user_id), "role": "organizer"})
    assert signed_by_a_shop.get("/bookings").status == without_time.get("/bookings").status == 200
    CHANGES[change](api, email)
    for ended in (caller, signed_by_a_shop, without_time):
        assert make(ended).verdict == ENDED
        assert ended.change(event_id, paused=True).verdict == ENDED
        assert ended.get(f"/events/{event_id}/bookings").verdict == ENDED
        assert ended.post("/cancel", {"event_id": event_id, "user_id": "ann"}).verdict == ENDED
    buyers = (caller, signed_by_a_shop, without_time)
    eventually(lambda: {one.book(event_id).verdict for one in buyers} == {ENDED}, "a buyer's calls are refused, too")
    assert log_in(api, email).status == (200 if change == "demote" else 401)


def test_a_demotion_holds_in_every_worker_at_once(busy_api: Api) -> None:
    email = address("organizer")
    command(busy_api, "add", email, "--role", "organizer", password=PASSWORD)
    caller = signed_in(busy_api, email)
    new = {"event_name": "x", "available_tickets": 1}
    closing = {"Connection": "close"}  # each call has a connection of its own, and so any worker
    assert {caller.call("POST", "/initialize", new, headers=closing).status for _ in range(8)} == {201}
    command(busy_api, "demote", email)
    assert {caller.call("POST", "/initialize", new, headers=closing).status for _ in range(8)} == {401}


def test_a_demoted_organizer_is_a_user_with_the_same_password(api: Api, organizer: tuple[str, Caller]) -> None:
    email, _ = organizer
    password_caller = basic(api, email)
    assert make(password_caller).status == 201
    command(api, "demote", email)
    assert make(password_caller).verdict == make(signed_in(api, email)).verdict == FORBIDDEN


def test_an_account_is_promoted_to_an_organizer_and_to_an_administrator(
    api: Api, organizer: tuple[str, Caller]
) -> None:
    email = address()
    register(api, email)
    event_id = make(organizer[1]).body["event_id"]
    command(api, "promote", email)
    caller = signed_in(api, email)
    assert make(caller).status == 201
    assert caller.get(f"/events/{event_id}/report").verdict == FORBIDDEN
    command(api, "promote", email, "--role", "admin")
    assert signed_in(api, email).get(f"/events/{event_id}/report").status == 200
    assert basic(api, email).get(f"/events/{event_id}/report").status == 200
    assert "demote" in command(api, "promote", email, "--role", "organizer", code=1)


def test_accounts_are_listed_with_their_roles(api: Api, organizer: tuple[str, Caller]) -> None:
    email, buyer = address(), address()
    register(api, buyer)
    command(api, "add", email, "--role", "admin", password=PASSWORD)
    lines = {line.split()[2]: line.split()[1] for line in command(api, "list").splitlines()}
    assert (lines[email], lines[organizer[0]], lines[buyer]) == ("admin", "organizer", "user")
    assert {line.split()[1] for line in command(api, "list", "--role", "organizer").splitlines()} == {"organizer"}


def test_adding_an_account_again_never_takes_a_role_away(api: Api, organizer: tuple[str, Caller]) -> None:
    assert "an organizer" in command(api, "add", organizer[0], password=NEW_PASSWORD)
    assert make(signed_in(api, organizer[0], NEW_PASSWORD)).status == 201


def test_a_removed_account_is_gone_and_its_email_is_free(api: Api, organizer: tuple[str, Caller]) -> None:
    email, caller = organizer
    event_id = make(caller).body["event_id"]
    assert caller.book(event_id).status == 201
    assert "--yes" in command(api, "remove", email, code=2)
    assert "--force" in command(api, "remove", email, "--yes", code=1)
    assert caller.booking(event_id).status == 200
    command(api, "remove", email, "--yes", "--force")
    assert api.look(event_id)["tickets_sold"] == 0
    assert email not in command(api, "list")
    again = register(api, email)
    assert again.status == 201
    assert f"account:{again.data['user']['id']}" != api.look(event_id)["organizer_id"]
    command(api, "remove", email, "--yes")
    for name in ("set-password", "promote", "demote", "remove"):
        options = ["--yes"] if name == "remove" else []
        assert "no account has the email" in command(api, name, email, *options, password=NEW_PASSWORD, code=1)


def test_a_command_in_the_wrong_folder_makes_no_database(api: Api, tmp_path: Path) -> None:
    for name in ("list", "set-password", "promote", "demote"):
        arguments = [name, "--data-dir", str(tmp_path), *([] if name == "list" else ["a@example.com"])]
        assert "--data-dir" in command(api, *arguments, password=NEW_PASSWORD, code=2)
    assert list(tmp_path.iterdir()) == []


def has_ended(stream: Any) -> bool:
    """Reads a stream to its end. Raises httpx.TransportError if it is cut off."""
    try:
        while True:
            stream.next()
    except AssertionError as error:
        return str(error) == "the stream has ended"


def test_a_stream_of_a_private_booking_ends_with_its_token(api: Api) -> None:
    event_id = api.event()
    caller = api.bearer("ann", {"sub": "ann", "exp": int(time.time()) + 2})
    with listening(api, event_id, caller) as stream:
        assert has_ended(stream)
    # A timer and this clock differ by a millisecond or so.
    assert time.time() > caller_end(caller) - 0.1


def caller_end(caller: Caller) -> int:
    """When the token of a caller expires."""
    claims = jwt.decode((caller.authorization or "").split()[1], options={"verify_signature": False})
    end: int = claims["exp"]
    return end


@pytest.mark.parametrize("by_password", [False, True])
def test_a_stream_of_a_private_booking_ends_with_the_tokens_of_its_account(
    api: Api, organizer: tuple[str, Caller], by_password: bool
) -> None:
    email, caller = organizer
    event_id = make(caller).body["event_id"]
    with listening(api, event_id, basic(api, email) if by_password else caller) as stream:
        assert stream.next()[0] == "availability"
        command(api, "set-password", email, password=NEW_PASSWORD)
        assert has_ended(stream)
