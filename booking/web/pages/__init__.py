"""The HTML pages for buyers and organizers: templates that are filled in once, and sent from memory."""

from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path
from string import Template

from starlette.types import Receive, Scope, Send

from booking.domain.model import Event
from booking.inventory.box_office import BoxOffice
from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown, Overloaded
from booking.web.pages.about import about
from booking.web.pages.static_assets import StaticAsset
from booking.web.pages.static_files import FILES, ROOT, imports_of
from booking.web.problems import KINDS, Problem
from booking.web.requests import event_id_of

FOLDER = Path(__file__).parent

RENDERED_MAX = 1_024
"""Sales whose page is kept in memory until their organizer changes them."""


class PageEndpoints:
    """The pages of a sale. A page holds no counters and nothing of a user: its script loads them.

    A sale's page holds what its organizer has set, so that a link to it can be previewed. It is rendered once for each
    change of that. So thousands of users who reload a page cost only its bytes.
    """

    def __init__(self, office: BoxOffice) -> None:
        self._office = office
        self._rendered: dict[int, tuple[tuple[str, str], StaticAsset]] = {}

    async def index(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        """`GET /`: the list of sales."""
        await filled("index", root_of(scope)).send(scope, send)

    async def console(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        """`GET /console`: the organizer's page. Anyone can load it, but its data need an organizer's token."""
        await filled("console", root_of(scope)).send(scope, send)

    async def sale(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        """`GET /sale/{event_id}`: the buyer's page, or a 404 page if there is no such sale."""
        event_id, root = event_id_of(scope["path_params"]["event_id"]), root_of(scope)
        try:
            event = None if event_id is None else await self._office.get_event(event_id)
        except (InventoryUnavailable, OutcomeUnknown, Overloaded):  # the page's script asks again later
            await rendered("sale", root, about(None)).send(scope, send)
            return
        if event is None:
            await filled("no_sale", root).send(scope, send, 404)
        else:
            await self._of_event(event, root).send(scope, send)

    def _of_event(self, event: Event, root: str) -> StaticAsset:
        version = (event.rules_tag, root)
        known = self._rendered.get(event.id)
        if known is None or known[0] != version:
            if len(self._rendered) >= RENDERED_MAX:
                self._rendered.clear()
            known = self._rendered[event.id] = (version, rendered("sale", root, about(event)))
        return known[1]


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
    """A page as `rendered` makes it. The result is cached: only for pages of which there are few."""
    return rendered(name, root, pieces)


def rendered(name: str, root: str, pieces: Mapping[str, str]) -> StaticAsset:
    """A page's template, filled with pieces of HTML and with the addresses below `root`."""
    script = f"{name}.js"
    preloads = "\n    ".join(
        f'<link rel="modulepreload" href="{root}{ROOT}/{needed}">'
        for needed in (imports_of(script) if script in FILES else ())
    )
    places = {**pieces, "root": root, "static": root + ROOT, "preloads": preloads}
    return StaticAsset.of("text/html; charset=utf-8", _template(name).substitute(places).encode())


@cache
def _template(name: str) -> Template:
    return Template((FOLDER / f"{name}.html").read_text(encoding="utf-8"))
