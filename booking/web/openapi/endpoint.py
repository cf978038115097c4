"""`GET /openapi.json`, `/docs` and `/problems`: prepared at the first call, then sent from memory."""

import asyncio
from functools import cache
from html import escape

from starlette.types import Receive, Scope, Send

from booking.web.openapi.document import document_bytes
from booking.web.pages import filled, root_of
from booking.web.pages.static_assets import POLICY, StaticAsset
from booking.web.problems import KINDS

REFERENCE_POLICY = POLICY.replace(b"style-src 'self'", b"style-src 'self' 'unsafe-inline'").replace(
    b"img-src 'self'", b"img-src 'self' data:"
)
"""RapiDoc has inline styles, and small images in them. As on every page, only the service's own scripts run."""


async def openapi(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # ASGI's signature
    """`GET /openapi.json`: the document."""
    await (await asyncio.to_thread(_json, root_of(scope))).send(scope, send)


async def docs(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # ASGI's signature
    """`GET /docs`: the document as a page, rendered by RapiDoc (https://rapidocweb.com)."""
    await filled("docs", root_of(scope)).send(scope, send, policy=REFERENCE_POLICY)


async def problems(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # ASGI's signature
    """`GET /problems`: all problem codes."""
    await _problems(root_of(scope)).send(scope, send)


@cache
def _json(root: str) -> StaticAsset:
    return StaticAsset.of("application/json", document_bytes(root))


def _problems(root: str) -> StaticAsset:
    rows = (
        f'<dt><a href="{root}/problems/{code}"><code>{code}</code></a> {kind.status}</dt><dd>{escape(kind.detail)}</dd>'
        for code, kind in sorted(KINDS.items())
    )
    return filled("problems", root, rows="\n        ".join(rows))
