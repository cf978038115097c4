"""A sale's page while Redis is unavailable; the rest is in tests/contract/test_pages.py."""

import re
from dataclasses import replace
from hashlib import sha256
from typing import Any, cast

import pytest

from booking.domain.details import Details, Price, Visibility
from booking.domain.model import Event, Rules
from booking.inventory.box_office import BoxOffice
from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown, Overloaded
from booking.web.pages import PageEndpoints, rendered
from booking.web.pages.about import about, price_text
from booking.web.pages.static_files import FILES, FOLDER
from booking.web.times import FIRST, LAST, from_text

from .asgi import call, scope

EVENT = Event(7, Rules("A", 10), 9, 1, 0, 1, 0, 0, 2, 0, 0)


class Office:
    """Answers each read with the same value, or raises it."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    async def get_event(self, _: int) -> object:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


async def status_of(answer: object, event_id: str = "7") -> int:
    endpoints = PageEndpoints(cast("BoxOffice", Office(answer)))
    request: dict[str, Any] = scope(path=f"/sale/{event_id}") | {"path_params": {"event_id": event_id}}
    return (await call(endpoints.sale, request)).status


@pytest.mark.parametrize("failure", [InventoryUnavailable("gone"), OutcomeUnknown("gone"), Overloaded()])
async def test_a_sales_page_is_served_and_keeps_polling_while_redis_is_away(failure: Exception) -> None:
    assert await status_of(failure) == 200


async def test_the_page_of_an_unknown_sale_is_not_found() -> None:
    assert await status_of(None) == 404
    assert await status_of(EVENT) == 200
    assert await status_of(EVENT, "no number") == 404


TOLD = Details(
    "Doors <at> 7.\n\nBring a friend & a $name.",
    "Große Halle",
    from_text("2030-05-01T18:00:00Z"),
    from_text("2030-05-01T20:30:00Z"),
    "Europe/Berlin",
    Price(4_500, "EUR"),
)


def test_the_page_tells_the_details_and_what_a_preview_of_its_link_shows() -> None:
    pieces = about(replace(EVENT, rules=Rules('The "night" & <more>', 10, details=TOLD)))
    page = rendered("sale", "/below", "en", pieces | {"mail": "off"}).body.decode()
    assert "<title>The &quot;night&quot; &amp; &lt;more&gt;</title>" in page
    assert '<meta property="og:title" content="The &quot;night&quot; &amp; &lt;more&gt;">' in page
    assert (
        'property="og:description" content="Wednesday, 1 May 2030, 20:00 CEST (Europe/Berlin) · '
        "Wednesday, 1 May 2030, 22:30 CEST (Europe/Berlin) · Große Halle · 45.00 EUR · "
        "Doors &lt;at&gt; 7. Bring a friend"
    ) in page
    assert "Doors &lt;at&gt; 7.\n\nBring a friend &amp; a $name.</p>" in page
    assert "noindex" not in page


def test_a_page_tells_only_what_is_known_and_keeps_unlisted_events_from_engines() -> None:
    plain = about(EVENT)
    assert plain["about"] == ""
    assert "description" not in plain["meta"]
    for visibility in (Visibility.UNLISTED, Visibility.ARCHIVED):
        assert "noindex" in about(replace(EVENT, rules=Rules("A", 1, details=Details(visibility=visibility))))["meta"]
    long = about(replace(EVENT, rules=Rules("A", 1, details=Details("word " * 900))))
    (told,) = re.findall(r'og:description" content="([^"]*)"', long["meta"])
    assert (len(told), told[-5:]) == (200, "word…")


@pytest.mark.parametrize(
    ("price", "told"),
    [
        (Price(0, "EUR"), "free"), (Price(5, "EUR"), "0.05 EUR"), (Price(4_500, "JPY"), "4500 JPY"),
        (Price(1_005, "KWD"), "1.005 KWD"), (Price(2**53 - 1, "XXX"), "90071992547409.91 XXX"),
    ],
)  # fmt: skip
def test_a_price_has_the_digits_of_its_currency(price: Price, told: str) -> None:
    assert price_text(price) == told


def test_the_page_tells_the_details_in_german_too() -> None:
    told = about(replace(EVENT, rules=Rules("A", 10, details=TOLD)), "de")["about"]
    assert '<dt>Beginn</dt><dd dir="auto">Mittwoch, 1. Mai 2030, 20:00 CEST (Europe/Berlin)</dd>' in told
    assert '<dt>Preis</dt><dd dir="auto">45,00 EUR</dd>' in told


def test_a_time_of_an_event_without_a_zone_is_marked_for_the_readers_zone() -> None:
    details = Details(starts_at_ms=from_text("2030-05-01T18:00:00Z"))
    told = about(replace(EVENT, rules=Rules("A", 10, details=details)))
    assert '<time datetime="2030-05-01T18:00:00.000Z">Wednesday, 1 May 2030, 18:00 UTC</time>' in told["about"]
    assert "<time" not in about(replace(EVENT, rules=Rules("A", 10, details=TOLD)))["about"]


@pytest.mark.parametrize("at_ms", [FIRST, LAST])
@pytest.mark.parametrize("zone", [None, "Pacific/Auckland", "America/Adak"])
def test_any_time_in_any_zone_can_be_told(at_ms: int, zone: str | None) -> None:
    told = about(replace(EVENT, rules=Rules("A", 1, details=Details(starts_at_ms=at_ms, time_zone=zone))))
    assert f"({zone})" in told["about"] or " UTC</" in told["about"]


async def test_the_page_follows_a_change_of_the_details_or_the_state_and_no_other_booking() -> None:
    office = Office(EVENT)
    endpoints = PageEndpoints(cast("BoxOffice", office))
    request: dict[str, Any] = scope(path="/sale/7") | {"path_params": {"event_id": "7"}}
    bodies = []
    for change in (
        {},
        {"seq": 9, "available": 1},
        {"seq": 10, "available": 0},
        {"seq": 11, "available": 1, "waiting_count": 1},
        {"rules": Rules("B", 10), "rules_version": "10-1"},
    ):
        office._answer = replace(EVENT, **change)
        bodies.append((await call(endpoints.sale, request)).body)
    assert bodies[0] == bodies[1]
    assert b"&quot;would_wait&quot;:false" in bodies[1]
    assert b"&quot;would_wait&quot;:true" in bodies[2] == bodies[3]
    assert b"<title>B</title>" in bodies[4]


@pytest.mark.parametrize("public_url", [None, "https://example.com/shop"])
async def test_the_page_tells_its_address_as_the_operator_has_set_it(public_url: str | None) -> None:
    endpoints = PageEndpoints(cast("BoxOffice", Office(EVENT)), public_url=public_url)
    request: dict[str, Any] = scope(path="/shop/sale/7", headers=[(b"host", b"10.0.0.1")])
    request |= {"path_params": {"event_id": "7"}, "root_path": "/shop"}
    page = (await call(endpoints.sale, request)).body.decode()
    told = [] if public_url is None else ["https://example.com/shop/sale/7"]
    assert re.findall('<meta property="og:url" content="(.*)">', page) == told


def test_the_reference_is_drawn_by_the_file_that_its_licence_names() -> None:
    licence = (FOLDER / "rapidoc.LICENSE.txt").read_text(encoding="utf-8")
    assert f"SHA-256: {sha256(FILES['rapidoc.js'].body).hexdigest()}\n" in licence
