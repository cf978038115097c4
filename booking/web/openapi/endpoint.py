"""`GET /openapi.json`, `/docs` and `/problems`: prepared at the first call, then sent from memory."""

import asyncio
from functools import cache
from html import escape
from pathlib import Path
from string import Template

from starlette.types import Receive, Scope, Send

from booking.web.openapi.document import document, document_bytes
from booking.web.openapi.reference import Reference
from booking.web.pages.prepared import Prepared

FOLDER = Path(__file__).parents[1] / "pages"


async def openapi(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # ASGI's signature
    """`GET /openapi.json`: the document."""
    await (await asyncio.to_thread(_json)).send(scope, send)


async def docs(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # ASGI's signature
    """`GET /docs`: the document as a page."""
    await (await asyncio.to_thread(_docs)).send(scope, send)


async def problems(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # ASGI's signature
    """`GET /problems`: every code there is."""
    await (await asyncio.to_thread(_problems)).send(scope, send)


@cache
def _json() -> Prepared:
    return Prepared.of("application/json", document_bytes())


@cache
def _docs() -> Prepared:
    shown = Reference(document())
    return _page(
        "docs",
        version=escape(document()["info"]["version"]),
        contents=shown.contents(),
        introduction=shown.introduction(),
        chapters=shown.chapters(),
        problems=shown.problems(),
        schemas=shown.schemas(),
    )


@cache
def _problems() -> Prepared:
    return _page("problems", problems=Reference(document()).problems())


def _page(name: str, **pieces: str) -> Prepared:
    """A page's file, filled with HTML."""
    page = Template((FOLDER / f"{name}.html").read_text(encoding="utf-8"))
    return Prepared.of("text/html; charset=utf-8", page.substitute(pieces).encode())
