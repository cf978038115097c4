"""What a sale's page says about its event before any script runs: for people, and for those who are sent its link."""

from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import orjson

from booking.domain.details import Details, Price, Visibility
from booking.domain.model import Event
from booking.web.pages.languages import DEFAULT, text
from booking.web.responses import rules_data
from booking.web.times import EPOCH, to_text


class Fact(NamedTuple):
    """What is told of an event."""

    label: str
    told: str
    at: str = ""
    """The time that it tells, in RFC 3339, if the event has no zone: the page's script tells it in its reader's."""


Facts = list[Fact]

DESCRIPTION_CHARACTERS_MAX = 200
"""Characters of a description in the preview of a link; those that show one cut it off there or earlier."""

DIGITS = {
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"), 0),
    **dict.fromkeys(("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
}
"""Digits after the point of currencies that do not have two (ISO 4217, table A.1)."""


def about(event: Event | None, language: str = DEFAULT, address: str = "") -> dict[str, str]:
    """The pieces of HTML for the page's template; without an event those of a page that tells nothing of it.

    `address` is the page's own, with scheme and host; empty if it is not known.
    """
    if event is None:
        return {"title": escape(text(language, "sale.title")), "meta": "", "about": "", "event": ""}
    name, details = event.rules.name, event.rules.details
    facts = _named_facts(details, language)
    return {
        "title": escape(name),
        "meta": _meta(name, details, facts, address),
        "about": _about(details, facts, language),
        "event": escape(orjson.dumps(_for_script(event)).decode()),
    }


def _for_script(event: Event) -> dict[str, Any]:
    """What the page's script can show at once. It has no counters, so that few bookings change the page."""
    return {**rules_data(event.id, event.rules), "state": event.state, "would_wait": would_wait(event)}


def would_wait(event: Event) -> bool:
    """Whether a booking of one ticket would join the waiting list."""
    return event.available == 0 or event.waiting_count > 0


def _meta(name: str, details: Details, facts: Facts, address: str) -> str:
    """The tags that a preview of a link is made from (OpenGraph, ogp.me)."""
    parts = [fact.told for fact in facts]
    if details.description is not None:
        parts.append(" ".join(details.description.split()))
    told = " · ".join(parts)
    if len(told) > DESCRIPTION_CHARACTERS_MAX:
        told = told[: DESCRIPTION_CHARACTERS_MAX - 1].rstrip() + "…"
    tags = [
        *(
            f'<meta property="og:{kind}" content="{escape(content)}">'
            for kind, content in (("type", "website"), ("title", name), ("url", address))
            if content
        ),
        *((f'<meta name="description" property="og:description" content="{escape(told)}">',) if told else ()),
        *(('<meta name="robots" content="noindex">',) if details.visibility is not Visibility.LISTED else ()),
    ]
    return "\n    ".join(tags)


def _about(details: Details, facts: Facts, language: str) -> str:
    """The part of the page about the event itself; empty if nothing is told."""
    rows = "".join(f'<dt>{escape(fact.label)}</dt><dd dir="auto">{_marked_up(fact)}</dd>' for fact in facts)
    listed = f'<dl class="facts">{rows}</dl>' if rows else ""
    described = details.description and f'<p class="description" dir="auto">{escape(details.description)}</p>'
    if not (listed or described):
        return ""
    label = escape(text(language, "about.label"))
    return f'<section class="about" aria-label="{label}">{listed}{described or ""}</section>'


def _marked_up(fact: Fact) -> str:
    told = escape(fact.told)
    return f'<time datetime="{fact.at}">{told}</time>' if fact.at else told


def _named_facts(details: Details, language: str) -> Facts:
    zone = details.time_zone
    times = [
        Fact(text(language, label), time_text(at_ms, zone, language), "" if zone else to_text(at_ms))
        for label, at_ms in (("about.begins", details.starts_at_ms), ("about.ends", details.ends_at_ms))
        if at_ms is not None
    ]
    others = (("about.where", details.venue), ("about.price", details.price and price_text(details.price, language)))
    return [*times, *(Fact(text(language, label), told) for label, told in others if told)]


def time_text(at_ms: int, time_zone: str | None, language: str = DEFAULT) -> str:
    """A time as `Wednesday, 1 May 2030, 20:00 CEST (Europe/Berlin)`.

    The zone's abbreviation tells apart the two hours at the end of summer time.
    """
    at = EPOCH + timedelta(milliseconds=at_ms)
    try:
        local: datetime = at.astimezone(ZoneInfo(time_zone)) if time_zone else at
    except OverflowError:  # in the first or the last hours of the calendar
        local = at
    shown = text(language, "about.time").format(
        weekday=text(language, "about.weekdays").split()[local.weekday()],
        day=local.day,
        month=text(language, "about.months").split()[local.month - 1],
        year=local.year,
        time=f"{local:%H:%M %Z}",
    )
    return shown if local.tzinfo is UTC else f"{shown} ({local.tzinfo})"


def price_text(price: Price, language: str = DEFAULT) -> str:
    """A price as `45.00 EUR`; `free` for 0."""
    if not price.amount:
        return text(language, "about.free")
    digits = DIGITS.get(price.currency, 2)
    whole, part = divmod(price.amount, 10**digits)
    return (
        f"{whole}{text(language, 'about.point')}{part:0{digits}} {price.currency}"
        if digits
        else f"{whole} {price.currency}"
    )
