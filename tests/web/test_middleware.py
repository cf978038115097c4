"""Around a request: its id, its log line, and an answer for whatever is raised inside."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.testing import capture_logs

from booking.auth.key_set import KeySetUnavailable
from booking.auth.passwords import TooBusy
from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown, Overloaded, ShardFenced
from booking.ledger.errors import LedgerUnavailable
from booking.logs import ThrottledLogger
from booking.web import middleware as module
from booking.web.access_log import AccessLog, json_line
from booking.web.authentication import Unauthenticated
from booking.web.middleware import ExceptionMiddleware, RequestMiddleware
from booking.web.problems import Fault, Problem, invalid
from booking.web.request_ids import REQUEST_ID_BYTES_MAX
from booking.web.requests import REQUEST_ID, USER, read_json
from booking.web.responses import PlainResponse, send_response
from tests.fixtures.notes import Notes, take_notes
from tests.web.asgi import body, call, scope

SECRET = "SELECT password FROM accounts -- /srv/booking/secret.py"


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Notes:
    return take_notes(monkeypatch, module)


class Log:
    """An access log into a file."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("wb+", buffering=0)
        self.log = AccessLog(json_line, self.file.write, "node-1")

    def lines(self) -> list[dict[str, Any]]:
        self.log.flush()
        self.file.seek(0)
        return [orjson.loads(line) for line in self.file.read().splitlines()]


@pytest.fixture
def access(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / "access.log")
    yield log
    log.log.flush()
    log.file.close()


def raising(error: Exception) -> ASGIApp:
    async def application(_: Scope, __: Receive, ___: Send) -> None:
        raise error

    return application


async def fine(request: Scope, _: Receive, send: Send) -> None:
    request[USER] = "ann"
    await send_response(request, send, PlainResponse(200, orjson.dumps({"id": request[REQUEST_ID]})))


@pytest.mark.parametrize("given", [b"x", b"a-Z_0.9~!", b"x" * REQUEST_ID_BYTES_MAX])
async def test_a_requests_own_id_is_kept_and_returned_and_logged(access: Log, given: bytes) -> None:
    answer = await call(RequestMiddleware(fine, access.log), scope(headers=[(b"x-request-id", given)]))
    assert answer.header(b"x-request-id") == given
    assert answer.json == {"id": given.decode()}
    assert access.lines()[0]["request_id"] == given.decode()


@pytest.mark.parametrize("given", [b"", b"x" * (REQUEST_ID_BYTES_MAX + 1), b"a b", b"\xc3\xa9", b"a\tb", b"\x7f"])
async def test_an_id_that_is_none_is_replaced(access: Log, given: bytes) -> None:
    answer = await call(RequestMiddleware(fine, access.log), scope(headers=[(b"x-request-id", given)]))
    mine = answer.header(b"x-request-id")
    assert mine is not None
    assert mine != given
    assert 8 < len(mine) <= REQUEST_ID_BYTES_MAX


async def test_no_two_requests_and_no_two_workers_have_one_id(access: Log) -> None:
    one, other = RequestMiddleware(fine, access.log), RequestMiddleware(fine, access.log)
    seen = {(await call(each, scope())).header(b"x-request-id") for each in (one, other) for _ in range(20)}
    assert len(seen) == 40


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Problem("sold_out"), 409, "sold_out"),
        (invalid(Fault("/x", "x is wrong.")), 422, "invalid_request"),
        (Unauthenticated("Wrong.", ("Bearer", "Basic")), 401, "unauthenticated"),
        (HTTPException(404), 404, "not_found"),
        (HTTPException(405, headers={"Allow": "POST, GET"}), 405, "method_not_allowed"),
        (Overloaded(SECRET), 503, "overloaded"),
        (TooBusy(SECRET), 503, "overloaded"),
        (InventoryUnavailable(SECRET), 503, "inventory_unavailable"),
        (ShardFenced(SECRET), 503, "inventory_unavailable"),
        (OutcomeUnknown(SECRET), 503, "outcome_unknown"),
        (LedgerUnavailable(SECRET), 503, "database_unavailable"),
        (KeySetUnavailable(SECRET), 503, "identity_unavailable"),
        (RuntimeError(SECRET), 500, "internal_error"),
        (KeyError(SECRET), 500, "internal_error"),
    ],
)
async def test_any_exception_is_a_problem_without_internal_details(
    access: Log, notes: Notes, error: Exception, status: int, code: str
) -> None:
    for application in (raising(error), ExceptionMiddleware(raising(error))):
        answer = await call(RequestMiddleware(application, access.log), scope(headers=[(b"x-request-id", b"this-one")]))
        assert (answer.status, answer.json["code"], answer.json["status"]) == (status, code, status)
        assert answer.json["type"] == f"/problems/{code}"
        assert answer.json["request_id"] == "this-one"
        assert answer.json["error"] is True
        assert answer.json["message"] == answer.json["detail"]
        assert answer.header(b"content-type") == b"application/problem+json"
        assert answer.header(b"content-length") == str(len(answer.body)).encode()
        assert answer.header(b"x-request-id") == b"this-one"
        assert b"SELECT" not in answer.body
        assert b"/srv" not in answer.body
        assert (answer.header(b"retry-after") is not None) == (status == 503)
    assert [line["status"] for line in access.lines()] == [status, status]
    assert all(fields["request_id"] == "this-one" for _, _, fields in notes.lines)
    assert (code == "internal_error") == bool(notes.lines)


async def test_an_unreachable_server_is_logged_but_not_for_every_request(
    access: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_UNAVAILABLE", ThrottledLogger("inventory unavailable"))
    monkeypatch.setattr(module, "_NO_DATABASE", ThrottledLogger("database unavailable"))
    with capture_logs() as lines:
        for error in (InventoryUnavailable("why"), LedgerUnavailable("why")):
            for _ in range(3):
                await call(RequestMiddleware(raising(error), access.log), scope())
    assert [(line["event"], line["reason"], line["log_level"]) for line in lines] == [
        ("inventory unavailable", "why", "error"),
        ("database unavailable", "why", "error"),
    ]


async def test_an_unexpected_error_is_logged_with_its_traceback(access: Log, notes: Notes) -> None:
    error = RuntimeError("boom")
    answer = await call(RequestMiddleware(raising(error), access.log), scope())
    assert notes.lines == [("error", "a request failed", {"request_id": answer.json["request_id"], "exc_info": error})]


async def test_www_authenticate_and_allow_are_sent_as_headers(access: Log) -> None:
    middleware = RequestMiddleware(raising(Unauthenticated("Wrong.", ("Bearer", "Basic"))), access.log)
    challenges = [value for name, value in (await call(middleware, scope())).headers if name == b"www-authenticate"]
    assert challenges == [b"Bearer", b"Basic"]
    middleware = RequestMiddleware(raising(HTTPException(405, headers={"Allow": "POST, GET, HEAD"})), access.log)
    assert (await call(middleware, scope())).header(b"allow") == b"GET, HEAD, POST"


@pytest.mark.parametrize("wrap", [lambda application: application, ExceptionMiddleware])
async def test_an_error_behind_half_an_answer_closes_the_connection_and_adds_nothing(
    access: Log, notes: Notes, wrap: Any
) -> None:
    async def half(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        await call(RequestMiddleware(wrap(half), access.log), scope())
    assert access.lines()[0]["status"] == 200


@pytest.mark.parametrize("wrap", [lambda application: application, ExceptionMiddleware])
async def test_a_client_that_goes_before_its_body_is_whole_gets_no_answer_and_a_log_line(
    access: Log, wrap: Any
) -> None:
    async def reads(request: Scope, receive: Receive, _: Send) -> None:
        await read_json(request, receive, [])

    (half,) = body(b'{"event_id": ')
    answer = await call(RequestMiddleware(wrap(reads), access.log), scope("POST"), {**half, "more_body": True})
    assert (answer.status, answer.body) == (0, b"")
    assert access.lines()[0]["status"] == 499


async def test_a_lifespan_passes_through(access: Log) -> None:
    seen = []

    async def application(request: Scope, _: Receive, __: Send) -> None:
        seen.append(request["type"])

    await call(RequestMiddleware(application, access.log), {"type": "lifespan"})
    assert seen == ["lifespan"]
    assert access.lines() == []


async def test_a_refusal_that_a_task_has_raised_is_freed_without_the_collector(access: Log) -> None:
    """A storm of them stopped the worker for a tenth of a second, when the collector freed 50,000 objects at once."""
    refusals: list[weakref.ref[Problem]] = []

    async def refuse() -> None:
        refusal = Problem("rate_limited")
        refusals.append(weakref.ref(refusal))
        raise refusal

    async def application(_: Scope, __: Receive, ___: Send) -> None:
        task = asyncio.create_task(refuse())  # as checks of passwords are: several requests share one
        await asyncio.wait([task])
        task.result()

    gc.disable()
    try:
        answer = await call(RequestMiddleware(application, access.log), scope("GET", "/bookings"))
        assert answer.status == 429
        assert refusals[0]() is None
    finally:
        gc.enable()
