"""What a sale's page says about its event before any script runs: for people, and for those who are sent its link."""

from datetime import UTC, datetime, timedelta
from html import escape
from zoneinfo import ZoneInfo

from booking.domain.details import Details, Price, Visibility
from booking.domain.model import Event
from booking.web.times import EPOCH

DESCRIPTION_CHARACTERS_MAX = 200
"""Characters of a description in the preview of a link; those that show one cut it off there or earlier."""

DIGITS = {
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"), 0),
    **dict.fromkeys(("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
}
"""Digits after the point of currencies that do not have two (ISO 4217, table A.1)."""


def about(event: Event | None) -> dict[str, str]:
    """The pieces of HTML for the page's template; without an event those of a page that tells nothing of it."""
    if event is None:
        return {"title": "Sale", "meta": "", "about": ""}
    name, details = event.rules.name, event.rules.details
    return {"title": escape(name), "meta": _meta(name, details), "about": _facts(details)}


def _meta(name: str, details: Details) -> str:
    """The tags that a preview of a link is made from (OpenGraph, ogp.me)."""
    facts = [text for _, text in _named_facts(details)]
    if details.description is not None:
        facts.append(" ".join(details.description.split()))
    told = " · ".join(facts)
    if len(told) > DESCRIPTION_CHARACTERS_MAX:
        told = told[: DESCRIPTION_CHARACTERS_MAX - 1].rstrip() + "…"
    tags = [
        *(
            f'<meta property="og:{kind}" content="{escape(text)}">'
            for kind, text in (("type", "website"), ("title", name))
        ),
        *((f'<meta name="description" property="og:description" content="{escape(told)}">',) if told else ()),
        *(('<meta name="robots" content="noindex">',) if details.visibility is not Visibility.LISTED else ()),
    ]
    return "\n    ".join(tags)


def _facts(details: Details) -> str:
    """The part of the page about the event itself; empty if nothing is told."""
    facts = "".join(f'<dt>{label}</dt><dd dir="auto">{escape(text)}</dd>' for label, text in _named_facts(details))
    listed = f'<dl class="facts">{facts}</dl>' if facts else ""
    described = details.description and f'<p class="description" dir="auto">{escape(details.description)}</p>'
    if not (listed or described):
        return ""
    return f'<section class="about" aria-label="About the event">{listed}{described or ""}</section>'


def _named_facts(details: Details) -> list[tuple[str, str]]:
    starts, ends = (_time(at_ms, details.time_zone) for at_ms in (details.starts_at_ms, details.ends_at_ms))
    told = (
        ("Begins", starts),
        ("Ends", ends),
        ("Where", details.venue),
        ("Price", details.price and price_text(details.price)),
    )
    return [(label, text) for label, text in told if text]


def _time(at_ms: int | None, time_zone: str | None) -> str | None:
    """A time as `Wednesday, 1 May 2030, 20:00 (Europe/Berlin)`."""
    if at_ms is None:
        return None
    at = EPOCH + timedelta(milliseconds=at_ms)
    try:
        local: datetime = at.astimezone(ZoneInfo(time_zone)) if time_zone else at
    except OverflowError:  # in the first or the last hours of the calendar
        local = at
    zone = "UTC" if local.tzinfo is UTC else str(local.tzinfo)
    return f"{local:%A}, {local.day} {local:%B} {local.year}, {local:%H:%M} ({zone})"


def price_text(price: Price) -> str:
    """A price as `45.00 EUR`; `free` for 0."""
    if not price.amount:
        return "free"
    digits = DIGITS.get(price.currency, 2)
    whole, part = divmod(price.amount, 10**digits)
    return f"{whole}.{part:0{digits}} {price.currency}" if digits else f"{whole} {price.currency}"
