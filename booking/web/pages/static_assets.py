"""Static assets: files that are read once at the start and sent from memory, compressed if the client accepts it."""

import gzip
from dataclasses import dataclass
from hashlib import sha256

from starlette.types import Scope, Send

from booking.web.etags import has_version
from booking.web.headers import fields_of

GZIP_BYTES_MIN = 1_000
"""Compression of a smaller file would not save a packet."""

REVALIDATE = b"no-cache"
"""The client caches the file, but asks each time whether it has changed; if not, the response is a 304."""

IMMUTABLE = b"public, max-age=31536000, immutable"
"""For an address that changes with its content: the client never asks again."""

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
"""Content-Security-Policy: nothing inline, nothing from other origins, no HTML from strings, no form submission."""

SECURITY_HEADERS = (
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


@dataclass(frozen=True, slots=True)
class StaticAsset:
    """One file."""

    content_type: bytes
    body: bytes
    zipped: bytes
    """The body compressed with gzip; empty if the body is too small."""

    etag: bytes

    @classmethod
    def of(cls, content_type: str, body: bytes) -> "StaticAsset":
        """Makes an asset. All processes make the same asset: the ETag is a hash, and gzip stores no time."""
        zipped = gzip.compress(body, mtime=0) if len(body) >= GZIP_BYTES_MIN else b""
        return cls(content_type.encode(), body, zipped, b'W/"%b"' % sha256(body).hexdigest()[:20].encode())

    async def send(
        self,
        scope: Scope,
        send: Send,
        status: int = 200,
        *,
        cache_control: bytes = REVALIDATE,
        policy: bytes = POLICY,
        vary: bytes = b"accept-encoding",
    ) -> None:
        """Sends the file, or a 304 if the client has this version."""
        headers = [(b"cache-control", cache_control), (b"etag", self.etag), (b"vary", vary)]
        if status == 200 and has_version(scope, self.etag):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        body = self.body
        if self.zipped and _takes_gzip(scope):
            body = self.zipped
            headers.append((b"content-encoding", b"gzip"))
        headers += [
            (b"content-type", self.content_type),
            (b"content-length", b"%d" % len(body)),
            (b"content-security-policy", policy),
            *SECURITY_HEADERS,
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _takes_gzip(scope: Scope) -> bool:
    """Whether the client accepts gzip. `gzip;q=0` means that it does not."""
    accepted = fields_of(scope).get(b"accept-encoding", b"")
    codings = [coding.replace(b" ", b"").lower() for coding in accepted.split(b",")]
    return any(coding.partition(b";")[0] == b"gzip" and not coding.endswith((b"q=0", b"q=0.0")) for coding in codings)
