"""How strong the shared secret is, and whether keys from outside can be used."""

import secrets
from pathlib import Path

import pytest

from booking.domain.diagnosis import Finding
from booking.operations.doctor.credentials import check_credentials, weakness
from booking.settings import Settings


def is_empty(folder: Path) -> bool:
    return not list(folder.iterdir())


async def only(settings: Settings) -> Finding:
    (finding,) = await check_credentials(settings)
    return finding


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("short", "fewer than 32"),
        ("abcdefgh" * 4, "repeats itself"),
        ("a" * 40, "repeats itself"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "2 different characters"),
        ("abcdefghijklmnopqrstuvwxyz0123456789", "counts"),
        ("my-Super-Secret-0f9d-that-nobody-knows", "attackers try first"),
        ("ChangeMe!ChangeMe?ChangeMe.8642913750", "attackers try first"),
        ("an hour before the doors open and the queue is long", "words"),
        ("correct-horse-battery-staple-and-more", "words"),
    ],
)
def test_a_weak_secret_is_distinguished_from_a_random_one(secret: str, said: str) -> None:
    assert said in (weakness(secret) or "")


def test_a_random_secret_is_never_called_weak() -> None:
    for _ in range(300):
        for made in (secrets.token_urlsafe(48), secrets.token_hex(32), secrets.token_urlsafe(24)):
            assert weakness(made) is None, made


async def test_the_data_folders_secret_is_checked_and_never_created(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert "none yet" in (await only(settings)).found
    assert is_empty(tmp_path)
    settings.signing_secret()
    finding = await only(settings)
    assert (finding.verdict, "looks random" in finding.found) == ("ok", True)
    path = tmp_path / "jwt-secret"
    assert path.read_text() not in finding.found
    path.chmod(0o644)
    finding = await only(settings)
    assert (finding.verdict, finding.advice) == ("warning", f"chmod 600 {path}")
    path.chmod(0o600)
    path.write_text("cut off")
    assert (await only(settings)).verdict == "fault"
    path.write_bytes(b"\xff")
    assert "cannot be read" in (await only(settings)).found


async def test_a_weak_secret_in_the_environment_is_a_warning_that_does_not_repeat_it() -> None:
    finding = await only(Settings(jwt_secret="password" * 5))
    assert finding.verdict == "warning"
    assert "password" not in finding.found + finding.advice


async def test_a_public_key_and_a_key_set_are_checked() -> None:
    settings = Settings(jwt_secret=secrets.token_hex(32), jwt_public_key="-----BEGIN nothing-----")
    _, public, *_ = await check_credentials(settings)
    assert (public.name, public.verdict) == ("public key", "fault")
    settings = Settings(jwt_secret=secrets.token_hex(32), jwt_jwks_url="http://127.0.0.1:1/keys")
    _, key_set, *_ = await check_credentials(settings)
    assert (key_set.name, key_set.verdict) == ("key set", "fault")
    assert "BOOKING_JWT_JWKS_URL" in key_set.advice


async def test_users_of_a_provider_that_could_be_those_of_the_shared_secret_are_a_warning() -> None:
    outside = {"jwt_secret": secrets.token_hex(32), "jwt_jwks_url": "http://127.0.0.1:1/keys"}
    *_, users = await check_credentials(Settings.model_validate(outside))
    assert (users.name, users.verdict) == ("user ids", "warning")
    assert "accounts are off" in users.found
    assert "BOOKING_JWT_SUBJECT_PREFIX" in users.advice
    *_, users = await check_credentials(
        Settings.model_validate({**outside, "jwt_subject_prefix": "idp:", "accounts": "on"})
    )
    assert users.verdict == "ok"
    assert "accounts are on" in users.found


async def test_a_provider_without_an_audience_is_a_warning_that_names_the_setting() -> None:
    outside = {"jwt_secret": secrets.token_hex(32), "jwt_jwks_url": "http://127.0.0.1:1/keys"}
    *_, audience, _ = await check_credentials(Settings.model_validate(outside))
    assert (audience.name, audience.verdict) == ("audience", "warning")
    assert "BOOKING_JWT_AUDIENCE" in audience.found
    *_, audience, _ = await check_credentials(Settings.model_validate({**outside, "jwt_audience": "tickets"}))
    assert (audience.name, audience.verdict) == ("audience", "ok")
