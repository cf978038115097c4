"""A sale's page while Redis is unavailable; the rest is in tests/contract/test_pages.py."""

from hashlib import sha256
from typing import Any, cast

import pytest

from booking.inventory.box_office import BoxOffice
from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown, Overloaded
from booking.web.pages import PageEndpoints
from booking.web.pages.static_files import FILES, FOLDER

from .asgi import call, scope


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
    assert await status_of(object()) == 200
    assert await status_of(object(), "no number") == 404


def test_the_reference_is_drawn_by_the_file_that_its_licence_names() -> None:
    licence = (FOLDER / "rapidoc.LICENSE.txt").read_text(encoding="utf-8")
    assert f"SHA-256: {sha256(FILES['rapidoc.js'].body).hexdigest()}\n" in licence
