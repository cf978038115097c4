"""The HTML pages for buyers and organizers: templates that are filled in once, and sent from memory."""

from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path
from string import Template

from starlette.types import Receive, Scope, Send

from booking.domain.model import Event, EventState
from booking.inventory.box_office import BoxOffice
from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown, Overloaded
from booking.web.headers import fields_of
from booking.web.pages.about import about, would_wait
from booking.web.pages.languages import DEFAULT, TEXTS, filled_in, language_of, text, weighted
from booking.web.pages.static_assets import POLICY, REVALIDATE, StaticAsset
from booking.web.pages.static_files import ROOT, script_of
from booking.web.problems import KINDS, Problem
from booking.web.requests import event_id_of

FOLDER = Path(__file__).parent

VARY = b"accept-encoding, accept-language"

NO_STORE = b"no-store"

TICKET_POLICY = POLICY.replace(b"img-src 'self'", b"img-src 'self' blob:")
"""The policy of the page that shows tickets: it loads their pictures with the token, which an image's address lacks."""

RENDERED_MAX = 1_024
"""Sales whose page is kept in memory until it changes."""


class PageEndpoints:
    """The pages of a sale. A page holds no counters and nothing of a user: its script loads them.

    A sale's page holds what its organizer has set, so that a link to it can be previewed, and whether tickets can be
    booked, so that it shows that without another request. It is rendered once for each change of these. So thousands of
    users who reload a page cost only its bytes.
    """

    def __init__(self, office: BoxOffice, *, sends_mail: bool = False, public_url: str | None = None) -> None:
        self._office = office
        self._public_url = public_url
        self._mail = "on" if sends_mail else "off"
        self._rendered: dict[tuple[int, str, str], tuple[tuple[str, EventState, bool], StaticAsset]] = {}

    async def index(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        """`GET /`: the list of sales."""
        await _send(scope, send, "index", mail=self._mail)

    async def me(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        """`GET /me`: one's own tickets. Anyone can load the page, but its data need a token."""
        await _send(scope, send, "me", policy=TICKET_POLICY, mail=self._mail)

    async def console(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        """`GET /console`: the organizer's page. Anyone can load it, but its data need an organizer's token."""
        await _send(scope, send, "console", mail=self._mail)

    async def account(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        """`GET /account`: where the user of an account changes it."""
        await _send(scope, send, "account", mail=self._mail)

    async def reset(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        """`GET /reset`: where the link of a mail leads, with a token in its fragment; a new password is chosen here."""
        await _send(scope, send, "reset", mail=self._mail)

    async def webhooks(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        """`GET /console/webhooks`: the organizer's page for webhooks."""
        await _send(scope, send, "webhooks", mail=self._mail)

    async def sale(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        """`GET /sale/{event_id}`: the buyer's page, or a 404 page if there is no such sale."""
        event_id = event_id_of(scope["path_params"]["event_id"])
        try:
            event = None if event_id is None else await self._office.get_event(event_id)
        except (InventoryUnavailable, OutcomeUnknown, Overloaded):  # the page's script asks again later
            await self._sale(scope, None).send(scope, send, vary=VARY)
            return
        if event is None:
            await send_missing(scope, send, "event_not_found")
        else:
            await self._of_event(scope, event).send(scope, send, vary=VARY)

    def _of_event(self, scope: Scope, event: Event) -> StaticAsset:
        """The page of an event, in the language that the client prefers."""
        place = (event.id, root_of(scope), language_of(scope))
        version = (event.rules_tag, event.state, would_wait(event))
        known = self._rendered.get(place)
        if known is None or known[0] != version:
            if len(self._rendered) >= RENDERED_MAX:
                self._rendered.clear()
            known = self._rendered[place] = (version, self._sale(scope, event))
        return known[1]

    def _sale(self, scope: Scope, event: Event | None) -> StaticAsset:
        language = language_of(scope)
        # The Host of a request may be anyone's, and behind a proxy the scheme is not the public one.
        pieces = about(event, language, f"{self._public_url}/sale/{event.id}" if event and self._public_url else "")
        return rendered("sale", root_of(scope), language, pieces | {"mail": self._mail})


async def send_missing(scope: Scope, send: Send, code: str) -> None:
    """Sends the page that there is nothing at this address, with a link to the sales."""
    language = language_of(scope)
    shown = code if f"missing.{code}" in TEXTS[language] else "not_found"
    heading, detail = (escape(text(language, key)) for key in (f"missing.{shown}", f"missing.{shown}_text"))
    await _send(scope, send, "missing", 404, cache_control=NO_STORE, heading=heading, text=detail)


def wants_html(scope: Scope) -> bool:
    """Whether a client asks for HTML by name, and does not prefer JSON: a browser that opens an address.

    Of types with the same weight the client prefers the one that stands first.
    """
    accepted = sorted(weighted(fields_of(scope).get(b"accept", b"")), key=lambda accept: -accept[1])
    known = ("text/html", "application/json", "application/problem+json")
    return next((value for value, weight in accepted if weight > 0 and value in known), "") == "text/html"


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


async def _send(
    scope: Scope,
    send: Send,
    name: str,
    status: int = 200,
    *,
    policy: bytes = POLICY,
    cache_control: bytes = REVALIDATE,
    **pieces: str,
) -> None:
    """Sends a page in the language that the client prefers."""
    page = filled(name, root_of(scope), language_of(scope), **pieces)
    await page.send(scope, send, status, cache_control=cache_control, policy=policy, vary=VARY)


@cache
def filled(name: str, root: str, language: str = DEFAULT, **pieces: str) -> StaticAsset:
    """A page as `rendered` makes it. The result is cached: only for pages of which there are few."""
    return rendered(name, root, language, pieces)


def rendered(name: str, root: str, language: str, pieces: Mapping[str, str]) -> StaticAsset:
    """A page's template with its texts, with pieces of HTML, and with the addresses below `root`."""
    static = root + ROOT
    places = {"root": root, "static": static, "language": language, "script": f"{static}/{script_of(name, language)}"}
    return StaticAsset.of("text/html; charset=utf-8", _template(name, language).substitute(pieces, **places).encode())


@cache
def _template(name: str, language: str) -> Template:
    return Template(filled_in((FOLDER / f"{name}.html").read_text(encoding="utf-8"), language))
