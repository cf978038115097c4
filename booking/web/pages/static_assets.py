"""Files that are read once, when the process starts, and sent from memory: plain or compressed, as the client likes."""

import gzip
from dataclasses import dataclass
from hashlib import sha256

from starlette.types import Scope, Send

from booking.web.etags import has_version
from booking.web.headers import fields_of

GZIP_BYTES_MIN = 1_000
"""Below this a compressed file saves no packet."""

REVALIDATE = b"no-cache"
"""Kept by the client, who asks each time whether it still holds; the answer is a 304 without a body."""

FOR_EVER = b"public, max-age=31536000, immutable"
"""For an address that names its content: never asked for again."""

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
"""Nothing inline, nothing from elsewhere, no text of a user's ever read as HTML, no form that the browser sends."""

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
    """Empty where it would not be worth it."""

    etag: bytes

    @classmethod
    def of(cls, content_type: str, body: bytes) -> "StaticAsset":
        """The same for the same content in every process: the ETag is a hash, and the archive has no time in it."""
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
    ) -> None:
        """Answers a request with it, or says that the client's copy still holds."""
        headers = [(b"cache-control", cache_control), (b"etag", self.etag), (b"vary", b"accept-encoding")]
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
    """Whether the client says so; one that names gzip only to rule it out (`gzip;q=0`) gets it plain."""
    accepted = fields_of(scope).get(b"accept-encoding", b"")
    codings = [coding.replace(b" ", b"").lower() for coding in accepted.split(b",")]
    return any(coding.partition(b";")[0] == b"gzip" and not coding.endswith((b"q=0", b"q=0.0")) for coding in codings)
