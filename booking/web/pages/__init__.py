"""The HTML pages for buyers and organizers: templates that are filled in once, and sent from memory."""

from functools import cache
from html import escape
from pathlib import Path
from string import Template

from starlette.types import Receive, Scope, Send

from booking.inventory.box_office import BoxOffice
from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown, Overloaded
from booking.web.pages.static_assets import StaticAsset
from booking.web.pages.static_files import FILES, ROOT, imports_of
from booking.web.problems import KINDS, Problem
from booking.web.requests import event_id_of

FOLDER = Path(__file__).parent


class PageEndpoints:
    """The pages of a sale. A page holds no event data: it is the same for all users, and its script loads the event.

    So thousands of users who reload a page cost only its bytes.
    """

    def __init__(self, office: BoxOffice) -> None:
        self._office = office

    async def index(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        """`GET /`: the list of sales."""
        await filled("index", root_of(scope)).send(scope, send)

    async def console(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        """`GET /console`: the organizer's page. Anyone can load it, but its data need an organizer's token."""
        await filled("console", root_of(scope)).send(scope, send)

    async def webhooks(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        """`GET /console/webhooks`: the organizer's page for webhooks."""
        await filled("webhooks", root_of(scope)).send(scope, send)

    async def sale(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        """`GET /sale/{event_id}`: the buyer's page, or a 404 page if there is no such sale."""
        event_id = event_id_of(scope["path_params"]["event_id"])
        if event_id is None or not await self._may_exist(event_id):
            await filled("no_sale", root_of(scope)).send(scope, send, 404)
        else:
            await filled("sale", root_of(scope)).send(scope, send)

    async def _may_exist(self, event_id: int) -> bool:
        """Whether there is such an event. True if Redis does not respond, too: the page's script asks again later."""
        try:
            return await self._office.get_event(event_id) is not None
        except (InventoryUnavailable, OutcomeUnknown, Overloaded):
            return True


async def problem(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # ASGI's signature
    """`GET /problems/{code}`: the page that explains a problem code."""
    code = scope["path_params"]["code"]
    if code not in KINDS:
        raise Problem("not_found")
    await _problem_page(code, root_of(scope)).send(scope, send)


def _problem_page(code: str, root: str) -> StaticAsset:
    kind = KINDS[code]
    texts = {
        "title": kind.title,
        "detail": kind.detail,
        "advice": kind.advice,
        "code": code,
        "status": str(kind.status),
    }
    return filled("problem", root, **{place: escape(text) for place, text in texts.items()})


def root_of(scope: Scope) -> str:
    """The path under which the service is served; empty if it is served at the top."""
    root: str = scope.get("root_path", "")
    return root


@cache
def filled(name: str, root: str, **pieces: str) -> StaticAsset:
    """A page's template, filled with pieces of HTML and with the addresses below `root`. The result is cached."""
    page = Template((FOLDER / f"{name}.html").read_text(encoding="utf-8"))
    script = f"{name}.js"
    preloads = "\n    ".join(
        f'<link rel="modulepreload" href="{root}{ROOT}/{needed}">'
        for needed in (imports_of(script) if script in FILES else ())
    )
    return StaticAsset.of(
        "text/html; charset=utf-8", page.substitute(pieces, root=root, static=root + ROOT, preloads=preloads).encode()
    )
