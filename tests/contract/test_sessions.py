"""An account's session: its token is renewed for a day after the login, and it ends with the account."""

import time
from typing import Any

import jwt
import pytest

from .api import Api
from .client import Answer, Caller
from .test_account_changes import ENDED, FORBIDDEN, change_password, command, make, signed_in
from .test_accounts import PASSWORD, address, basic, log_in, register

DAY = 86_400
HOUR = 3_600


def claims_of(answer: Answer) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(answer.data["token"], options={"verify_signature": False})
    return claims


def renew(caller: Caller) -> Answer:
    """`POST /auth/renew`."""
    return caller.call("POST", "/auth/renew")


def remove(caller: Caller, password: str = PASSWORD) -> Answer:
    """`DELETE /auth/account`."""
    return caller.call("DELETE", "/auth/account", {"password": password})


def logged_in_ago(api: Api, user_id: str, seconds: int, **more: Any) -> Caller:
    """An account's caller, with the token of a login that was so many seconds ago."""
    now = int(time.time())
    return api.bearer(user_id, {"sub": user_id, "iat": now, "exp": now + HOUR, "auth_time": now - seconds, **more})


@pytest.fixture
def account(api: Api) -> tuple[str, str]:
    """The email and the user id of a new account."""
    email = address()
    return email, f"account:{register(api, email).data['user']['id']}"


def test_a_renewed_token_is_the_same_users_and_valid_for_an_hour(api: Api, account: tuple[str, str]) -> None:
    email, user_id = account
    first = log_in(api, email)
    answer = renew(api.with_token(first.data["token"]))
    assert (answer.status, answer.data["user"]) == (200, first.data["user"])
    claims, before = claims_of(answer), claims_of(first)
    assert (claims["sub"], claims["exp"] - claims["iat"]) == (user_id, HOUR)
    assert claims["auth_time"] == before["auth_time"] == before["iat"]
    for token in (first.data["token"], answer.data["token"]):
        assert api.with_token(token).get("/bookings").status == 200


def test_a_token_is_never_renewed_beyond_a_day_after_the_login(api: Api, account: tuple[str, str]) -> None:
    _, user_id = account
    late = renew(logged_in_ago(api, user_id, DAY - HOUR // 2))
    assert late.status == 200
    claims = claims_of(late)
    assert claims["exp"] == claims["auth_time"] + DAY
    assert renew(api.with_token(late.data["token"])).status == 200
    assert renew(logged_in_ago(api, user_id, DAY)).verdict == ENDED


def test_a_token_that_names_no_login_counts_from_its_issue(api: Api, account: tuple[str, str]) -> None:
    _, user_id = account
    now = int(time.time())
    claims = {"sub": user_id, "exp": now + HOUR}
    assert renew(api.bearer(user_id, {**claims, "iat": now - DAY + 60})).status == 200
    assert renew(api.bearer(user_id, {**claims, "iat": now - DAY})).verdict == ENDED
    assert renew(api.bearer(user_id, claims)).verdict == ENDED
    assert renew(logged_in_ago(api, user_id, 0, auth_time="yesterday")).status == 200


def test_only_a_valid_token_of_an_account_is_renewed(api: Api, account: tuple[str, str]) -> None:
    email, user_id = account
    for caller in (api.anyone, basic(api, email), api.user(), api.user("account:987654321")):
        answer = renew(caller)
        assert answer.verdict == ENDED
        assert "Bearer" in answer.headers["www-authenticate"]
    now = int(time.time())
    assert renew(api.bearer(user_id, {"sub": user_id, "iat": now - HOUR, "exp": now - 1})).verdict == ENDED


def test_a_changed_password_ends_renewal_at_once(api: Api, account: tuple[str, str]) -> None:
    email, _ = account
    stolen = signed_in(api, email)
    renewed = api.with_token(renew(stolen).data["token"])
    assert change_password(signed_in(api, email)).status == 200
    for caller in (stolen, renewed):
        assert renew(caller).verdict == ENDED


def test_a_renewed_token_has_the_role_that_the_account_has_now(api: Api, account: tuple[str, str]) -> None:
    email, _ = account
    caller = signed_in(api, email)
    command(api, "promote", email)
    assert make(caller).verdict == FORBIDDEN
    assert make(api.with_token(renew(caller).data["token"])).status == 201


@pytest.mark.parametrize("by_password", [False, True])
def test_a_removed_account_is_erased_and_its_bookings_stay(
    api: Api, account: tuple[str, str], by_password: bool
) -> None:
    email, user_id = account
    caller = signed_in(api, email)
    event_id = api.event()
    assert caller.book(event_id).status == 201
    assert caller.cancel(event_id).status == 200
    answer = remove(basic(api, email) if by_password else caller)
    assert (answer.status, answer.data) == (200, {"id": int(user_id.partition(":")[2]), "email": email})
    assert log_in(api, email).verdict == (401, "invalid_credentials")
    for ended in (caller, basic(api, email)):
        assert ended.get("/bookings").verdict == ENDED
        assert renew(ended).verdict == ENDED
    assert email not in command(api, "list")
    (booking,) = api.organizer.get(f"/events/{event_id}/bookings").data
    assert (booking["user_id"], booking["status"]) == (user_id, "cancelled")
    again = register(api, email)
    assert (again.status, f"account:{again.data['user']['id']}" == user_id) == (201, False)


@pytest.mark.parametrize("live", ["confirmed", "held", "waiting"])
def test_an_account_with_a_live_booking_is_not_removed(api: Api, account: tuple[str, str], live: str) -> None:
    email, _ = account
    caller = signed_in(api, email)
    event_id = api.sold_out()[0] if live == "waiting" else api.event(hold_seconds=600 if live == "held" else 0)
    assert caller.book(event_id).data["status"] == live
    refused = remove(caller)
    assert (refused.verdict, refused.data) == ((409, "has_live_bookings"), {"event_ids": [event_id]})
    assert caller.cancel(event_id).status == 200
    assert remove(caller).status == 200


def test_only_the_right_password_removes_an_account(api: Api, account: tuple[str, str]) -> None:
    email, _ = account
    caller = signed_in(api, email)
    assert remove(caller, "not the password").verdict == (401, "invalid_credentials")
    missing = caller.call("DELETE", "/auth/account", {})
    assert (missing.verdict, missing.pointers) == ((422, "invalid_request"), {"/password"})
    assert caller.call("DELETE", "/auth/account").verdict == (400, "malformed_json")
    assert remove(api.anyone).verdict == ENDED
    assert remove(api.user()).verdict == FORBIDDEN
    assert caller.get("/bookings").status == 200


def test_without_mail_no_password_is_reset(api: Api, account: tuple[str, str]) -> None:
    body = {"email": account[0]}
    assert api.anyone.post("/auth/forgot", body).verdict == (404, "not_found")
    assert api.anyone.post("/auth/reset", {"reset_token": "x", "new_password": PASSWORD}).verdict == (404, "not_found")


def test_a_renewal_is_refused_with_a_body_that_is_too_large(api: Api, account: tuple[str, str]) -> None:
    caller = api.with_token(log_in(api, account[0]).data["token"])
    assert caller.call("POST", "/auth/renew", content=b" " * 16_385).verdict == (413, "body_too_large")
