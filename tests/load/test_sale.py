"""What wrk is given: a sale that is open, and tokens that the service takes, each of another buyer."""

import pytest

from booking.auth.tokens import TokenVerifier
from scripts.load.sale import EXIT_NOT_BEGUN, main, sign
from tests.fixtures.service import RunningService
from tests.load.events import read_event


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BOOKING_JWT_SECRET", "BOOKING_DATA_DIR", "BOOKING_JWT_ISSUER", "BOOKING_JWT_AUDIENCE"):
        monkeypatch.delenv(name, raising=False)


def test_a_sale_is_opened_and_every_token_is_another_buyers(
    service: RunningService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BOOKING_JWT_SECRET", service.secret)
    assert main(["--url", service.url + "/", "--tickets", "7", "--buyers", "50"]) == 0
    first, *tokens = capsys.readouterr().out.splitlines()
    event = read_event(service, int(first.removeprefix("event ")))
    assert (event["capacity"], event["state"]) == (7, "open")
    verifier = TokenVerifier(service.secret.encode())
    carriers = [verifier.verify(token) for token in tokens]
    assert len({carrier.user_id for carrier in carriers if carrier and not carrier.organizer}) == 50


def test_a_sale_that_is_there_is_taken_and_new_buyers_come_each_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BOOKING_JWT_SECRET", "a secret of at least thirty-two bytes")
    lines: list[str] = []
    for _ in range(2):
        assert main(["--event-id", "17", "--buyers", "3"]) == 0
        lines += capsys.readouterr().out.splitlines()
    assert lines.count("event 17") == 2
    assert len(set(lines)) == 7


def test_a_token_says_what_the_service_asks_of_its_issuer_and_audience(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = b"a secret of at least thirty-two bytes"
    verifier = TokenVerifier(secret, issuer="shop", audience="tickets")
    monkeypatch.setenv("BOOKING_JWT_ISSUER", "shop")
    monkeypatch.setenv("BOOKING_JWT_AUDIENCE", "tickets")
    carrier = verifier.verify(sign(secret, "ada"))
    assert carrier is not None
    assert carrier.user_id == "ada"


@pytest.mark.parametrize(
    ("secret", "arguments", "line"),
    [
        (None, [], "jwt secret can't be read"),
        ("another service's secret, just as long as it needs", [], "opened no sale: http error 401"),
        ("another service's secret, just as long as it needs", ["--url", "http://127.0.0.1:9"], "can't be reached"),
    ],
)
def test_where_there_is_no_sale_one_line_says_why(
    secret: str | None,
    arguments: list[str],
    line: str,
    service: RunningService,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BOOKING_DATA_DIR", "/nowhere")
    if secret is not None:
        monkeypatch.setenv("BOOKING_JWT_SECRET", secret)
    assert main(["--url", service.url, *arguments]) == EXIT_NOT_BEGUN
    told = capsys.readouterr()
    assert line in told.err.lower()
    assert (told.out, told.err.count("\n")) == ("", 1)
