"""The log line of a request: its fields, when it is written, and what is never in it."""

from pathlib import Path

import orjson
import pytest
from starlette.routing import Route

from booking.web.access_log import FLUSH_LINES, AccessLog, console_line, json_line
from booking.web.requests import USER
from tests.fixtures.waiting import eventually_async
from tests.web.asgi import scope


def route(path: str) -> Route:
    return Route(path, lambda _: None)


async def test_an_access_log_line_has_exactly_its_documented_fields(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        log = AccessLog(json_line, file.write, "node-1")
        headers = [(b"authorization", b"Bearer hush"), (b"cookie", b"hush")]
        request = scope("POST", "/events/hush@example.com/booking", headers, b"token=hush")
        log.write(
            {**request, "route": route("/events/{event_id}/booking"), USER: "17", "client": ("203.0.113.9", 4711)},
            201,
            1_234,
            "an-id",
        )
        log.flush()
    text = (tmp_path / "log").read_bytes()
    assert b"hush" not in text
    line = orjson.loads(text)
    assert line.pop("at").endswith("Z")
    assert line == {
        "level": "info",
        "event": "request",
        "method": "POST",
        "route": "/events/{event_id}/booking",
        "status": 201,
        "duration_ms": 1.234,
        "user": "17",
        "client": "203.0.113.9",
        "request_id": "an-id",
        "node": "node-1",
    }


async def test_an_email_as_a_user_id_is_logged_as_its_hash(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        log = AccessLog(json_line, file.write, "node-1")
        for user in ("zoe@example.com", "zoe@example.com", "ann@example.com"):
            log.write({**scope(), USER: user}, 200, 1, "an-id")
        log.flush()
    text = (tmp_path / "log").read_text()
    assert "example.com" not in text
    users = [orjson.loads(line)["user"] for line in text.splitlines()]
    assert users[0] == users[1] != users[2]
    assert users[0].startswith("sha256:")


async def test_lines_are_written_soon_or_when_there_are_many(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb", buffering=0) as file:
        log = AccessLog(json_line, file.write, "node-1")
        for number in range(FLUSH_LINES - 1):
            log.write(scope(), 200, 1, str(number))
        assert path.read_bytes() == b""
        log.write(scope(), 200, 1, "last")
        assert len(path.read_bytes().splitlines()) == FLUSH_LINES
        log.write(scope(), 200, 1, "late")
        await eventually_async(lambda: len(path.read_bytes().splitlines()) > FLUSH_LINES, "the last line is written")
        assert orjson.loads(path.read_bytes().splitlines()[-1])["request_id"] == "late"
        log.flush()


async def test_whatever_a_proxy_says_of_the_address_a_line_stays_short(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        log = AccessLog(json_line, file.write, "node-1")
        for client in (("x" * 100_000, 0), None):
            log.write({**scope(), "client": client}, 200, 1, "an-id")
        log.flush()
    lines = (tmp_path / "log").read_bytes().splitlines()
    assert [orjson.loads(line)["client"] for line in lines] == ["x" * 64, None]


def line(user: str | None, route: str | None = "/book", client: str | None = "203.0.113.9") -> bytes:
    return console_line(
        {
            "at": "2026-11-22T21:30:00.125Z",
            "status": 201,
            "method": "POST",
            "route": route,
            "duration_ms": 1.5,
            "user": user,
            "client": client,
            "request_id": "an-id",
        }
    )


def test_a_human_readable_log_entry_is_one_line() -> None:
    text = line("17").decode()
    assert text.startswith("21:30:00.125 201 POST   /book ")
    assert text.endswith("1.500 ms  user=17 from=203.0.113.9 id=an-id\n")
    assert " -  " in line(None, None).decode()
    assert "user=- " in line(None, None).decode()


@pytest.mark.parametrize("field", ["user", "client"])
def test_no_user_id_and_no_address_forges_a_line_or_colours_the_terminal(field: str) -> None:
    hostile = "x\n21:30:00.125 201 POST /book\r\x1b[31m\x85\u2028"
    text = line(hostile) if field == "user" else line("17", client=hostile)
    assert text.count(b"\n") == 1
    assert b"\r" not in text
    assert b"\x1b" not in text
    assert len(text.decode().splitlines()) == 1


@pytest.mark.parametrize(("status", "colour"), [(201, b"\x1b[32m"), (409, b"\x1b[33m"), (503, b"\x1b[31m")])
def test_on_a_terminal_a_status_has_the_colour_of_its_kind(status: int, colour: bytes) -> None:
    fields = {"at": "2026-11-22T21:30:00.125Z", "status": status, "method": "POST", "route": "/book"}
    fields |= {"duration_ms": 1.5, "user": None, "client": None, "request_id": "an-id"}
    coloured = console_line(fields, colours=True)
    assert coloured.count(b"\x1b") == 2
    assert colour + str(status).encode() + b"\x1b[0m" in coloured
    assert b"\x1b" not in console_line(fields)
