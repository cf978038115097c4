"""What the doctor says of the settings by themselves."""

from pathlib import Path

import pytest

from booking.domain.diagnosis import Verdict
from booking.operations.doctor.configuration import check_settings, shown
from booking.settings import Settings


def told(environment: dict[str, str]) -> list[tuple[str, str, str]]:
    findings = check_settings(Settings.read(environment), environment)
    return [(one.verdict.value, one.found, one.advice) for one in findings]


def test_set_and_default_settings_are_reported(tmp_path: Path) -> None:
    assert told({}) == [("ok", "all by default", "")]
    ((verdict, found, _),) = told({"BOOKING_DATA_DIR": str(tmp_path), "BOOKING_QUEUE_LIMIT": "512"})
    assert verdict == "ok"
    assert found == f"set: data_dir {tmp_path}, queue_limit 512; all others by default"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BOOKING_JWT_SECRET", "hush-" * 10),
        ("BOOKING_REDIS_URL", "redis://:hush-@cache"),
        ("BOOKING_DATABASE_URL", "postgresql://shop:hush-@db/shop"),
        ("BOOKING_JWT_PUBLIC_KEY", "-----BEGIN hush------"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "key=hush-"),
    ],
)
def test_a_secret_is_never_printed(name: str, value: str) -> None:
    settings = Settings.read({name: value})
    assert "hush" not in str(told({name: value}))
    assert "hush" not in "".join(shown(settings, field) for field in Settings.model_fields)


def test_an_unknown_variable_is_reported_with_the_most_similar_setting() -> None:
    _, (verdict, found, advice) = told({"BOOKING_WORKER": "2"})
    assert (verdict, advice) == ("warning", "did you mean BOOKING_WORKERS?")
    assert "BOOKING_WORKER is not a setting" in found


def test_two_spellings_with_different_values_are_reported() -> None:
    assert len(told({"PORT": "1", "BOOKING_PORT": "1"})) == 1
    assert "PORT and BOOKING_PORT differ" in told({"PORT": "1", "BOOKING_PORT": "2"})[1][1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BOOKING_RATE_LIMIT", "off"),
        ("BOOKING_TRUSTED_PROXIES", "10.0.0.1, *"),
        ("BOOKING_CORS_ORIGINS", "*"),
        ("BOOKING_WORKERS", "64"),
    ],
)
def test_a_dangerous_setting_is_a_warning_that_names_what_to_set(name: str, value: str) -> None:
    (finding,) = check_settings(Settings.read({name: value}), {name: value})[1:]
    assert finding.verdict is Verdict.WARNING
    assert name in finding.advice
