"""A request that asks for another protocol, taken for what it is in this one: RFC 9110, section 7.8, allows that.

Java's HTTP client asks for HTTP/2 with its first request, whatever that is. The parser ends at such a request's head
and takes what follows, its body, for the other protocol; so the head is parsed again without the wish.
"""

from collections.abc import Iterable

WISHES = frozenset((b"upgrade", b"http2-settings"))
"""Headers, and words of Connection, that belong to it."""


def head_without_upgrade(method: bytes, url: bytes, version: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A request's head, whose headers' names are in lower case, without what asks for another protocol."""
    lines = [b"%b %b HTTP/%b" % (method, url, version.encode())]
    for name, value in headers:
        words = [value]
        if name == b"connection":
            words = [word for word in value.split(b",") if word.strip().lower() not in WISHES]
        if name not in WISHES and words:
            lines.append(b"%b: %b" % (name, b",".join(words)))
    return b"\r\n".join([*lines, b"", b""])
