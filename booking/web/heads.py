"""The bytes of an answer's head."""

from collections.abc import Sequence

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from booking.web.responses import Answer, Header

CLOSE: Header = (b"connection", b"close")


def header_lines(headers: Sequence[Header]) -> bytes:
    """A line for each header. Raises RuntimeError, as uvicorn does, for one that would end its own line.

    Uvicorn looks through each header with two regular expressions; here all of them are looked through at once.
    """
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    ends = len(headers)
    if lines.count(b"\n") != ends or lines.count(b"\r") != ends or b"\0" in lines:
        raise RuntimeError("Invalid HTTP header value.")
    return lines


def head_of(answer: Answer, beside: bytes) -> bytes:
    """An answer's head, with the lines `beside` in it."""
    status, lines = STATUS_LINE[answer.status], header_lines(answer.headers)
    if answer.media_type is None:
        return b"%b%b%b\r\n" % (status, beside, lines)
    media_type, length = answer.media_type, len(answer.body)
    return b"%b%bcontent-type: %b\r\ncontent-length: %d\r\n%b\r\n" % (status, beside, media_type, length, lines)
