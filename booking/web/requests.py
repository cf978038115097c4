"""Reads a request: its body, idempotency key, ids in the path, and the page of a list."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import orjson
from starlette.datastructures import QueryParams
from starlette.types import Message, Receive, Scope

from booking.domain.outcomes import IdempotencyKey
from booking.web.headers import fields_of
from booking.web.problems import Fault, Problem, invalid, pointer_to
from booking.web.responses import JSON

BODY_BYTES_MAX = 16 * 1024
"""The largest request body (contract)."""

REQUEST_ID = "booking.request_id"
USER = "booking.user"
"""Keys of the scope: the middleware stores the request's id, and endpoints the caller's user id, for the log line."""

DOUBLE_DIGITS_MAX = 308
"""A number with more digits before its decimal point may be infinite as a double."""

KEY_BYTES_MAX = 255
"""The longest Idempotency-Key (contract)."""

EVENT_ID_DIGITS_MAX = 15
"""Every JSON parser reads integers of this length exactly; real event ids are much shorter."""

LIMIT_DEFAULT, LIMIT_MAX = 20, 100
"""Items in a page of a list (contract)."""


class ClientGone(Exception):
    """The client closed the connection before its request was complete, so there is no client to respond to."""


async def until_disconnected(receive: Receive) -> None:
    """Returns once the client has closed its connection. The request's body is dropped."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def read_json(scope: Scope, receive: Receive, faults: list[Fault]) -> Any:
    """The parsed body. Checks media type, size and JSON, in the contract's order. Raises Problem, ClientGone.

    Repeated names are added to `faults`, so that they are reported together with other faults.
    """
    require_json(scope)
    return parse_json(await read_body(scope, receive), faults)


def require_json(scope: Scope) -> None:
    """Raises Problem if the body is declared to be of another media type."""
    media_type = fields_of(scope).get(b"content-type", JSON)
    if media_type != JSON and not _is_json(media_type):
        raise Problem("unsupported_media_type")


def parse_json(body: bytes, faults: list[Fault]) -> Any:
    """The value of a body. Names that it repeats are added to `faults`. Raises Problem if it is not JSON."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "infinity" not in error.msg:
            raise Problem("malformed_json") from None
        value = _with_numbers_out_of_range(body)
    # Each member has a colon, so only a body with more colons than members can repeat a name.
    if type(value) is dict and body.count(b":") > len(value):
        faults += [Fault(pointer_to(*place), f"{place[-1]} is there more than once.") for place in _repeated(body)]
    return value


async def read_body(scope: Scope, receive: Receive, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """The whole body. Raises Problem if it has more than `bytes_max` bytes, and ClientGone."""
    declared = fields_of(scope).get(b"content-length", b"")
    # A limit has five digits or more, so the length of most bodies need not be read.
    declared_too_large = len(declared) > 4 and int(declared.lstrip(b"0") or b"0") > bytes_max
    body = b""
    if not declared_too_large:
        message = await receive()
        body = message.get("body", b"")
        if message.get("more_body") or message["type"] == "http.disconnect":  # never on our own server
            body = await _read_on(receive, message, body, bytes_max)
    if declared_too_large or len(body) > bytes_max:
        raise Problem(
            "body_too_large",
            f"The body is larger than {bytes_max // 1024} KiB.",
            headers=[(b"connection", b"close")],
        )
    return body


def _with_numbers_out_of_range(body: bytes) -> Any:
    """Parses numbers too large for a double as infinite: they are valid JSON (RFC 8259, section 6)."""
    try:
        value = json.loads(
            body, parse_int=lambda text: float(text) if len(text) > DOUBLE_DIGITS_MAX else int(text), parse_constant=int
        )
        orjson.dumps(value)  # raises for other values that orjson does not accept
    except (ValueError, TypeError, RecursionError):
        raise Problem("malformed_json") from None
    return value


def _repeated(body: bytes) -> list[list[str]]:
    """The places of names that an object has more than once: parsers differ in which value they use (RFC 8259).

    Objects in lists are not checked, because no field of the API takes a list.
    """
    try:
        return _repeated_in(json.loads(body, object_pairs_hook=_Members), [])
    except RecursionError:
        raise Problem("malformed_json") from None


class _Members(list[tuple[str, Any]]):
    """An object of JSON with its members in order, repeated ones included."""


def _repeated_in(members: _Members, place: list[str]) -> list[list[str]]:
    repeated = [[*place, name] for name, times in Counter(name for name, _ in members).items() if times > 1]
    for name, value in members:
        if isinstance(value, _Members):
            repeated += _repeated_in(value, [*place, name])
    return repeated


async def _read_on(receive: Receive, message: Message, body: bytes, bytes_max: int) -> bytes:
    """The whole body that begins with `message`. Reading stops soon after `bytes_max`. Raises ClientGone."""
    while message.get("more_body") and len(body) <= bytes_max:
        message = await receive()
        body += message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise ClientGone
    return body


def _is_json(content_type: bytes) -> bool:
    media_type = content_type.partition(b";")[0].strip().lower()
    return media_type == JSON or (media_type.startswith(b"application/") and media_type.endswith(b"+json"))


def read_idempotency_key(scope: Scope, faults: list[Fault]) -> IdempotencyKey | None:
    """The Idempotency-Key header, bare or as a quoted string. A fault is added to `faults`."""
    value = fields_of(scope).get(b"idempotency-key")
    if value is None:
        return None
    value = value.strip()
    if len(value) >= 2 and value.startswith(b'"') and value.endswith(b'"'):
        value = value[1:-1]
    if 1 <= len(value) <= KEY_BYTES_MAX and all(0x21 <= byte <= 0x7E for byte in value):
        return IdempotencyKey(value.decode(), scope[REQUEST_ID])
    detail = f"Idempotency-Key has to be 1 to {KEY_BYTES_MAX} visible ASCII characters, once."
    faults.append(Fault("Idempotency-Key", detail))
    return None


def read_event_id(scope: Scope) -> int:
    """The event's id in the path. Raises Problem if it cannot be an event's id."""
    event_id = event_id_of(scope["path_params"]["event_id"])
    if event_id is None:
        raise Problem("event_not_found")
    return event_id


def event_id_of(text: str) -> int | None:
    """The event id in `text`, as a decimal number; None if it is not one."""
    if text.isascii() and text.isdigit() and text[0] != "0" and len(text) <= EVENT_ID_DIGITS_MAX:
        return int(text)
    return None


def booking_id_of(text: str) -> tuple[int, int] | None:
    """The two parts of a booking's id, event id and number; None if `text` is not a booking's id."""
    event_text, _, number_text = text.partition("-")
    event_id, number = (event_id_of(part) if part else None for part in (event_text, number_text))
    return None if event_id is None or number is None else (event_id, number)


Place = TypeVar("Place")


@dataclass(frozen=True, slots=True)
class Page(Generic[Place]):
    """The requested page of a list."""

    limit: int
    starting_after: Place | None


def read_page(
    scope: Scope, parse_place: Callable[[str], Place | None], faults: list[Fault] | None = None
) -> Page[Place]:
    """The `limit` and `starting_after` of a list's query; `parse_place` parses the latter.

    Raises Problem with their faults, after those that are already in `faults`.
    """
    query = QueryParams(scope["query_string"])
    faults = [] if faults is None else faults
    text = query.get("limit", str(LIMIT_DEFAULT))
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= LIMIT_MAX):
        faults.append(Fault("?limit", f"limit has to be a whole number from 1 to {LIMIT_MAX}."))
    starting_after = query.get("starting_after")
    place = None if starting_after is None else parse_place(starting_after)
    if starting_after is not None and place is None:
        faults.append(not_in_list())
    if faults:
        raise invalid(*faults)
    return Page(int(text), place)


def read_flag(scope: Scope, name: str, faults: list[Fault]) -> bool:
    """Whether the query says `name=true`; false without it. Any other value is added to `faults`."""
    value = QueryParams(scope["query_string"]).get(name, "false")
    if value not in ("true", "false"):
        faults.append(Fault(f"?{name}", f"{name} has to be true or false."))
    return value == "true"


def not_in_list() -> Fault:
    """The fault of a `starting_after` that is not in the list."""
    return Fault("?starting_after", "starting_after has to be the id of something in the list.")
