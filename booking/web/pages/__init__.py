"""The pages that people see: HTML files filled in once, and the style they share."""

from functools import cache
from html import escape
from pathlib import Path
from string import Template

from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from booking.web.problems import KINDS, Problem

FOLDER = Path(__file__).parent

SECURITY_HEADERS = (
    (b"content-security-policy", b"default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


async def problem(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # ASGI's signature
    """`GET /problems/{code}`: a code explained to a person."""
    code = scope["path_params"]["code"]
    if code not in KINDS:
        raise Problem("not_found")
    await _send_page(send, _problem_page(code))


def static() -> Mount:
    """`/static`: the style sheet."""
    return Mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")


@cache
def _problem_page(code: str) -> bytes:
    kind = KINDS[code]
    page = Template((FOLDER / "problem.html").read_text(encoding="utf-8"))
    texts = {
        "title": kind.title,
        "detail": kind.detail,
        "advice": kind.advice,
        "code": code,
        "status": str(kind.status),
    }
    return page.substitute({name: escape(text) for name, text in texts.items()}).encode()


async def _send_page(send: Send, page: bytes) -> None:
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"%d" % len(page))]
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, *SECURITY_HEADERS]})
    await send({"type": "http.response.body", "body": page})
