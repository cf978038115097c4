"""Tokens where an outside key, an issuer, an audience and a leeway are configured."""

import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .house import House

OUTSIDE = {"iss": "https://id.example.com", "aud": "booking"}


def verdict(house: House, token: str) -> tuple[int, Any]:
    """What a caller with this token is told about a booking they don't have."""
    return house.with_token(token).booking(house_event(house)).verdict


def house_event(house: House) -> int:
    """An event, made with a token that the strict house accepts."""
    claims = {**house.claims("boss"), **OUTSIDE, "role": "organizer"}
    answer = house.bearer("boss", claims).post("/initialize", {"event_name": "x", "available_tickets": 1})
    assert answer.status == 201
    event_id: int = answer.data["id"]
    return event_id


GOOD = (404, "booking_not_found")
REFUSED = (401, "unauthenticated")


def test_a_token_by_the_outside_key_is_good(strict_house: House, outside_key: ec.EllipticCurvePrivateKey) -> None:
    claims = {**strict_house.claims("guest"), **OUTSIDE}
    assert verdict(strict_house, jwt.encode(claims, outside_key, algorithm="ES256")) == GOOD


def test_the_shared_secret_goes_on_working_beside_it(strict_house: House) -> None:
    claims = {**strict_house.claims("guest"), **OUTSIDE}
    assert verdict(strict_house, jwt.encode(claims, strict_house.secret, algorithm="HS256")) == GOOD


def test_the_services_own_tokens_carry_what_is_configured(strict_house: House) -> None:
    body = {"email": "own@example.com", "password": "long enough"}
    token = strict_house.anyone.post("/auth/register", body).data["token"]
    assert verdict(strict_house, token) == GOOD


def test_a_token_by_another_key_of_the_same_kind_is_refused(strict_house: House) -> None:
    claims = {**strict_house.claims("guest"), **OUTSIDE}
    other = ec.generate_private_key(ec.SECP256R1())
    assert verdict(strict_house, jwt.encode(claims, other, algorithm="ES256")) == REFUSED


def test_the_public_key_is_never_a_shared_secret(strict_house: House, outside_key: ec.EllipticCurvePrivateKey) -> None:
    pem = outside_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    # PyJWT itself refuses to sign with a PEM text, so the signature is made by its algorithm directly.
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    header, payload, _ = jwt.encode({**strict_house.claims("x"), **OUTSIDE}, "k" * 32, algorithm="HS256").split(".")
    for key in (pem, pem.strip()):
        signature = jwt.utils.base64url_encode(algorithm.sign(f"{header}.{payload}".encode(), key)).decode()
        assert verdict(strict_house, f"{header}.{payload}.{signature}") == REFUSED


@pytest.mark.parametrize(
    "changed",
    [{"iss": "https://elsewhere.example.com"}, {"iss": None}, {"aud": "another"}, {"aud": None}, {"iss": 1},
     {"aud": 1}, {"aud": []}, {"aud": ["another"]}, {"aud": {"booking": 1}}],
)  # fmt: skip
def test_a_wrong_or_missing_issuer_or_audience_is_refused(strict_house: House, changed: dict[str, Any]) -> None:
    claims = {**strict_house.claims("guest"), **OUTSIDE, **changed}
    claims = {name: value for name, value in claims.items() if value is not None}
    # The signature layer alone, since the one above it refuses to write some of these.
    token = jwt.api_jws.encode(json.dumps(claims).encode(), strict_house.secret, algorithm="HS256")
    assert verdict(strict_house, token) == REFUSED


def test_an_audience_may_be_one_of_several(strict_house: House) -> None:
    claims = {**strict_house.claims("guest"), **OUTSIDE, "aud": ["another", "booking"]}
    assert verdict(strict_house, jwt.encode(claims, strict_house.secret, algorithm="HS256")) == GOOD


def test_the_leeway_forgives_clocks_that_differ_and_no_more(strict_house: House) -> None:
    now = int(time.time())
    moments = [({"exp": now - 15}, GOOD), ({"exp": now - 45}, REFUSED), ({"nbf": now + 15}, GOOD),
               ({"nbf": now + 60}, REFUSED)]  # fmt: skip
    for claims, expected in moments:
        token = jwt.encode({**strict_house.claims("guest"), **OUTSIDE, **claims}, strict_house.secret, "HS256")
        assert verdict(strict_house, token) == expected, claims
