"""Bearer tokens: which are accepted, which are refused, and what each role may do."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from .api import Api
from .client import Caller

Claims = dict[str, Any]
WRONG_SECRET = "another-secret-of-more-than-thirty-two-bytes"


def segment(value: object) -> str:
    """`value` encoded as a segment of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unsigned(api: Api, claims: Claims, algorithm: str) -> str:
    """A token of algorithm `none`, spelled as given."""
    return f"{segment({'alg': algorithm, 'typ': 'JWT'})}.{segment(claims)}."


def changed_afterwards(api: Api, claims: Claims) -> str:
    """A valid token whose claims were replaced under the old signature."""
    header, _, signature = jwt.encode(claims, api.secret, algorithm="HS256").split(".")
    return f"{header}.{segment({**claims, 'role': 'organizer'})}.{signature}"


def by_rsa(api: Api, claims: Claims) -> str:
    """A token signed with a key pair that the service does not know."""
    return jwt.encode(claims, rsa.generate_private_key(public_exponent=65_537, key_size=2048), algorithm="RS256")


FORGED: dict[str, Callable[[Api, Claims], str]] = {
    "none": lambda api, claims: unsigned(api, claims, "none"),
    "None": lambda api, claims: unsigned(api, claims, "None"),
    "NONE with a signature": lambda api, claims: unsigned(api, claims, "NONE") + "c2ln",
    "wrong secret": lambda _, claims: jwt.encode(claims, WRONG_SECRET, algorithm="HS256"),
    "HS384": lambda api, claims: jwt.encode(claims, api.secret, algorithm="HS384"),
    "HS512": lambda api, claims: jwt.encode(claims, api.secret, algorithm="HS512"),
    "RS256": by_rsa,
    "changed afterwards": changed_afterwards,
    "cut short": lambda api, claims: jwt.encode(claims, api.secret, algorithm="HS256")[:-2],
    "no signature": lambda api, claims: jwt.encode(claims, api.secret, algorithm="HS256").rsplit(".", 1)[0] + ".",
    "two parts": lambda api, claims: jwt.encode(claims, api.secret, algorithm="HS256").rsplit(".", 1)[0],
    "four parts": lambda api, claims: jwt.encode(claims, api.secret, algorithm="HS256") + ".x",
}


@pytest.fixture
def event_id(api: Api) -> int:
    """An event with a free ticket."""
    return api.event(available_tickets=10)


def refused(caller: Caller, event_id: int) -> bool:
    """Whether the call was refused with 401 and nothing was booked."""
    before = caller.http.get(f"/status/{event_id}").json()["data"]
    answer = caller.book(event_id)
    assert caller.http.get(f"/status/{event_id}").json()["data"]["seq"] == before["seq"] + (answer.status == 201)
    return answer.verdict == (401, "unauthenticated") and "bearer" in answer.headers["www-authenticate"].lower()


def test_a_valid_token_identifies_the_user(api: Api, event_id: int) -> None:
    user = api.user()
    answer = user.book(event_id)
    assert answer.status == 201
    assert answer.data["user_id"] == user.id


def test_the_authorization_scheme_ignores_case(api: Api, event_id: int) -> None:
    user = api.user()
    assert user.authorization is not None
    lower = {"Authorization": user.authorization.replace("Bearer", "bearer")}
    assert user.call("POST", "/book", {"event_id": event_id}, headers=lower).status == 201


@pytest.mark.parametrize("forgery", sorted(FORGED))
def test_a_forged_token_is_refused(api: Api, event_id: int, forgery: str) -> None:
    token = FORGED[forgery](api, api.claims("forger"))
    assert refused(api.with_token(token), event_id)


@pytest.mark.parametrize("claim", ["sub", "exp"])
def test_a_token_without_a_subject_or_an_expiry_is_refused(api: Api, event_id: int, claim: str) -> None:
    claims = api.claims("somebody")
    del claims[claim]
    assert refused(api.bearer("somebody", claims), event_id)


@pytest.mark.parametrize("subject", ["", "s" * 129, 17, 1.5, None, True, ["17"], {"id": "17"}])
def test_a_subject_is_a_non_empty_string_of_at_most_128_characters(api: Api, event_id: int, subject: Any) -> None:
    # PyJWT refuses to encode some of these, so the token is built by hand.
    payload = json.dumps({**api.claims("x"), "sub": subject}).encode()
    assert refused(api.with_token(jwt.api_jws.encode(payload, api.secret, algorithm="HS256")), event_id)


@pytest.mark.parametrize("subject", ["s" * 128, "ü" * 128, "🎟" * 128, "שלום", "a b", "a:b/c|d", "e\u0301", "-1", "0"])
def test_any_other_string_is_a_valid_subject(api: Api, event_id: int, subject: str) -> None:
    user = api.user(subject)
    booked = user.book(event_id)
    assert booked.status == 201
    assert booked.data["user_id"] == subject
    assert user.booking(event_id).data == booked.data


@pytest.mark.parametrize("moment", ["soon", None, True, [], {}, "", "1e400", "NaN", "-1"])
def test_an_expiry_that_is_not_in_the_future_is_refused(api: Api, event_id: int, moment: Any) -> None:
    payload = json.dumps({"sub": "x", "exp": moment}).encode()
    assert refused(api.with_token(jwt.api_jws.encode(payload, api.secret, algorithm="HS256")), event_id)


def test_an_expired_token_is_refused_with_no_leeway(api: Api, event_id: int) -> None:
    assert refused(api.bearer("x", {"sub": "x", "exp": int(time.time()) - 1}), event_id)
    assert refused(api.bearer("x", {"sub": "x", "exp": 0}), event_id)


def test_a_token_that_is_not_valid_yet_is_refused(api: Api, event_id: int) -> None:
    assert refused(api.bearer("x", {**api.claims("x"), "nbf": int(time.time()) + 60}), event_id)
    assert not refused(api.bearer("x", {**api.claims("x"), "nbf": int(time.time()) - 60}), event_id)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "bearer",
        "Bearer x",
        "Bearer a.b.c",
        "Bearer ..",
        "Token abc",
        "abc",
        "Bearer é.ü.ß",
        "Negotiate x",
    ],
)
def test_any_other_authorization_is_refused(api: Api, event_id: int, authorization: str) -> None:
    assert refused(Caller(api.http, "", authorization), event_id)


def test_missing_credentials_are_refused_wherever_they_are_required(api: Api, event_id: int) -> None:
    anyone = api.anyone
    answers = [
        anyone.book(event_id),
        anyone.cancel(event_id),
        anyone.confirm(event_id),
        anyone.booking(event_id),
        anyone.post("/initialize", {}),
        anyone.change(event_id, paused=True),
    ]
    assert [answer.verdict for answer in answers] == [(401, "unauthenticated")] * len(answers)
    assert api.look(event_id)["state"] == "open"


def test_a_token_of_100_kb_is_refused(api: Api, event_id: int) -> None:
    assert refused(api.bearer("x", {**api.claims("x"), "filler": "f" * 100_000}), event_id)


def test_a_token_with_additional_claims_is_valid(api: Api, event_id: int) -> None:
    claims = {**api.claims("curious"), "iat": int(time.time()), "name": "Zoë", "groups": [1, {"a": None}]}
    assert not refused(api.bearer("curious", claims), event_id)


@pytest.mark.parametrize("role", ["user", "", "Organizer", "organizer ", None, ["organizer"], True, 1, "Admin"])
def test_any_role_but_organizer_and_admin_is_a_user(api: Api, event_id: int, role: Any) -> None:
    caller = api.bearer("climber", {**api.claims("climber"), "role": role})
    refusal = 403 if isinstance(role, str | None) else 401
    assert caller.post("/initialize", {"event_name": "x", "available_tickets": 1}).status == refusal
    assert caller.change(event_id, paused=True).status == refusal
    assert api.look(event_id)["paused"] is False


def test_a_user_on_an_organizers_endpoint_is_forbidden(api: Api, event_id: int) -> None:
    user = api.user()
    new = {"event_name": "x", "available_tickets": 1}
    assert user.post("/initialize", new).verdict == (403, "forbidden")
    assert user.change(event_id, paused=True).verdict == (403, "forbidden")


def test_an_organizer_may_book_like_a_user(api: Api, event_id: int) -> None:
    answer = api.organizer.book(event_id)
    assert answer.status == 201
    assert answer.data["user_id"] == api.organizer.id


def test_public_endpoints_ignore_credentials(api: Api, event_id: int) -> None:
    stranger = Caller(api.http, "", "Bearer not.a.token")
    assert stranger.get(f"/status/{event_id}").status == 200
    assert stranger.get(f"/events/{event_id}").status == 200
    assert stranger.get("/events").status == 200
    assert stranger.post("/auth/login", {"email": "x@example.com", "password": "wrong"}).code == "invalid_credentials"
    assert api.http.get("/healthz", headers={"Authorization": "Bearer x"}).status_code == 200
