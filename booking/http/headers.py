"""Header fields as bytes, and the heads of responses."""

from collections.abc import Sequence
from http import HTTPStatus

Header = tuple[bytes, bytes]
"""A field's name and value."""

STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus if status >= 200
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CONNECTION_CLOSE = b"connection: close\r\n"


def status_line(status: int) -> bytes:
    """The first line of a response."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def header_lines(headers: Sequence[Header]) -> bytes:
    """One line for each field. Raises RuntimeError for a field that would end its own line, as uvicorn does.

    uvicorn checks each field with two regular expressions; here one look covers all of them.
    """
    lines = b"".join(map(b"%b: %b\r\n".__mod__, headers))
    ends = len(headers)
    if lines.count(b"\n") != ends or lines.count(b"\r") != ends or b"\0" in lines:
        raise RuntimeError("Invalid HTTP header value.")
    return lines
