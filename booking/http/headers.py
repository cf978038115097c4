"""Header fields as bytes, and the heads of responses."""

from collections.abc import Sequence
from http import HTTPStatus

Header = tuple[bytes, bytes]
"""A field's name and value."""

STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus if status >= 200
}
LINE_ENDS = b"\r\n\0"
"""Bytes that no field may have (RFC 9110, section 5.5)."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE: Header = (b"connection", b"close")
CONNECTION_CLOSE = b"%b: %b\r\n" % CLOSE


def status_line(status: int) -> bytes:
    """The first line of a response."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def header_lines(headers: Sequence[Header]) -> bytes:
    """One line for each field. Raises RuntimeError for a field that would end its own line, as uvicorn does.

    uvicorn checks each field with two regular expressions; here one look covers all of them.
    """
    lines = b"\r\n".join([*map(b": ".join, headers), b""])
    if len(lines.translate(None, LINE_ENDS)) + 2 * len(headers) != len(lines):
        raise RuntimeError("Invalid HTTP header value.")
    return lines
