"""Tokens with a configured external key, issuer, audience and leeway."""

import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fixtures.service import running_service
from tests.fixtures.waiting import eventually

from .api import Api, open_api, serving
from .client import Caller

OUTSIDE = {"iss": "https://id.example.com", "aud": "booking"}


def trusting(outside_key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """The setting that makes the service trust this key."""
    public = outside_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return {"BOOKING_JWT_PUBLIC_KEY": public.decode()}


def verdict(api: Api, token: str) -> tuple[int, Any]:
    """The verdict on a token: a call about a booking that the caller does not have."""
    return api.with_token(token).booking(strict_event(api)).verdict


def strict_event(api: Api) -> int:
    """An event, created with a token that `strict_api` accepts."""
    claims = {**api.claims("boss"), **OUTSIDE, "role": "organizer"}
    answer = api.bearer("boss", claims).post("/initialize", {"event_name": "x", "available_tickets": 1})
    assert answer.status == 201
    event_id: int = answer.data["id"]
    return event_id


GOOD = (404, "booking_not_found")
REFUSED = (401, "unauthenticated")


def test_a_token_by_the_external_key_is_valid(strict_api: Api, outside_key: ec.EllipticCurvePrivateKey) -> None:
    claims = {**strict_api.claims("guest"), **OUTSIDE}
    assert verdict(strict_api, jwt.encode(claims, outside_key, algorithm="ES256")) == GOOD


def test_the_shared_secret_still_works_beside_an_external_key(strict_api: Api) -> None:
    claims = {**strict_api.claims("guest"), **OUTSIDE}
    assert verdict(strict_api, jwt.encode(claims, strict_api.secret, algorithm="HS256")) == GOOD


def test_the_services_own_tokens_carry_what_is_configured(
    outside_key: ec.EllipticCurvePrivateKey, tmp_path: Path
) -> None:
    environment = {"BOOKING_JWT_ISSUER": OUTSIDE["iss"], "BOOKING_JWT_AUDIENCE": OUTSIDE["aud"]}
    with serving(tmp_path / "data", {**environment, **trusting(outside_key), "BOOKING_ACCOUNTS": "on"}) as api:
        body = {"email": "own@example.com", "password": "long enough"}
        token = api.anyone.post("/auth/register", body).data["token"]
        assert verdict(api, token) == GOOD


def test_with_a_provider_there_are_accounts_only_if_configured(strict_api: Api) -> None:
    for path in ("/auth/register", "/auth/login"):
        body = {"email": "own@example.com", "password": "long enough"}
        assert strict_api.anyone.post(path, body).verdict == (404, "not_found")
        assert strict_api.anyone.get(path).verdict == (404, "not_found")
    answer = Caller(strict_api.http, "", "Basic b3duQGV4YW1wbGUuY29tOmxvbmcgZW5vdWdo").get("/bookings")
    assert answer.verdict == REFUSED
    assert answer.headers["www-authenticate"] == 'Bearer realm="booking"'


def test_a_providers_user_is_never_an_account_or_a_shared_secret_user(
    outside_key: ec.EllipticCurvePrivateKey, tmp_path: Path
) -> None:
    environment = {"BOOKING_ACCOUNTS": "on", "BOOKING_JWT_SUBJECT_PREFIX": "idp:", **trusting(outside_key)}
    with serving(tmp_path / "data", environment) as api:
        made = api.anyone.post("/auth/register", {"email": "own@example.com", "password": "long enough"}).data
        number, event_id = str(made["user"]["id"]), api.event(available_tickets=9)
        account = api.with_token(made["token"])
        assert account.book(event_id).data["user_id"] == f"account:{number}"

        def outsider(subject: str, **claims: object) -> Caller:
            return api.with_token(jwt.encode({**api.claims(subject), **claims}, outside_key, algorithm="ES256"))

        assert outsider(f"account:{number}").booking(event_id).verdict == REFUSED
        assert outsider(number).booking(event_id).verdict == GOOD, "the account's booking is not theirs"
        assert outsider(number).cancel(event_id).verdict == GOOD
        assert api.user(number).cancel(event_id).verdict == GOOD
        assert outsider(number).book(event_id).data["user_id"] == f"idp:{number}"
        assert api.user(number).book(event_id).data["user_id"] == number
        assert api.user(f"account:{number}").booking(event_id).data["user_id"] == f"account:{number}"

        def listed() -> set[str]:
            return {row["user_id"] for row in api.organizer.get(f"/events/{event_id}/bookings").data}

        eventually(lambda: listed() == {f"account:{number}", f"idp:{number}", number}, "SQL has all three")
        cancelled = api.organizer.post("/cancel", {"event_id": event_id, "user_id": f"account:{number}"})
        assert cancelled.data["user_id"] == f"account:{number}"


def test_a_token_by_another_key_of_the_same_kind_is_refused(strict_api: Api) -> None:
    claims = {**strict_api.claims("guest"), **OUTSIDE}
    other = ec.generate_private_key(ec.SECP256R1())
    assert verdict(strict_api, jwt.encode(claims, other, algorithm="ES256")) == REFUSED


def test_the_public_key_is_never_a_shared_secret(strict_api: Api, outside_key: ec.EllipticCurvePrivateKey) -> None:
    pem = outside_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    # PyJWT refuses to sign with a PEM text, so its algorithm is called directly.
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    header, payload, _ = jwt.encode({**strict_api.claims("x"), **OUTSIDE}, "k" * 32, algorithm="HS256").split(".")
    for key in (pem, pem.strip()):
        signature = jwt.utils.base64url_encode(algorithm.sign(f"{header}.{payload}".encode(), key)).decode()
        assert verdict(strict_api, f"{header}.{payload}.{signature}") == REFUSED


@pytest.mark.parametrize(
    "changed",
    [{"iss": "https://elsewhere.example.com"}, {"iss": None}, {"aud": "another"}, {"aud": None}, {"iss": 1},
     {"aud": 1}, {"aud": []}, {"aud": ["another"]}, {"aud": {"booking": 1}}],
)  # fmt: skip
def test_a_wrong_or_missing_issuer_or_audience_is_refused(strict_api: Api, changed: dict[str, Any]) -> None:
    claims = {**strict_api.claims("guest"), **OUTSIDE, **changed}
    claims = {name: value for name, value in claims.items() if value is not None}
    # Only the signature layer, since the layer above refuses to encode some of these.
    token = jwt.api_jws.encode(json.dumps(claims).encode(), strict_api.secret, algorithm="HS256")
    assert verdict(strict_api, token) == REFUSED


def test_one_of_several_audiences_of_a_token_is_enough(strict_api: Api) -> None:
    claims = {**strict_api.claims("guest"), **OUTSIDE, "aud": ["another", "booking"]}
    assert verdict(strict_api, jwt.encode(claims, strict_api.secret, algorithm="HS256")) == GOOD


def test_the_leeway_allows_only_for_different_clocks(strict_api: Api) -> None:
    now = int(time.time())
    moments = [({"exp": now - 15}, GOOD), ({"exp": now - 45}, REFUSED), ({"nbf": now + 15}, GOOD),
               ({"nbf": now + 60}, REFUSED)]  # fmt: skip
    for claims, expected in moments:
        token = jwt.encode({**strict_api.claims("guest"), **OUTSIDE, **claims}, strict_api.secret, "HS256")
        assert verdict(strict_api, token) == expected, claims


def test_a_token_with_an_audience_is_refused_and_the_log_names_the_missing_setting(
    outside_key: ec.EllipticCurvePrivateKey, tmp_path: Path
) -> None:
    with running_service(tmp_path / "data", trusting(outside_key)) as service, open_api(service) as api:
        forged = jwt.encode({**api.claims("guest"), "aud": "tickets"}, "another secret of enough bytes, 32")
        assert api.with_token(forged).get("/bookings").verdict == REFUSED
        assert "BOOKING_JWT_AUDIENCE" not in service.output
        token = jwt.encode({**api.claims("guest"), "aud": "tickets"}, outside_key, algorithm="ES256")
        answer = api.with_token(token).get("/bookings")
        assert answer.verdict == REFUSED
        assert "audience" in answer.body["detail"]
        service.logs("BOOKING_JWT_AUDIENCE is not set")
