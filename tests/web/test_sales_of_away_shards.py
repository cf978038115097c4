"""The list of sales while the Redis server of some shards is away."""

from dataclasses import replace
from typing import Any, cast

import orjson
import pytest

from booking.domain.model import Event, Rules
from booking.inventory.errors import InventoryUnavailable
from booking.web.endpoints.events import EventEndpoints
from booking.web.local_limits import LocalBuckets
from tests.web.asgi import receiving, scope

EVENT = Event(1, Rules("sale", 10), 9, 1, 0, 1, 0, 0, 2, 0, 0)
SHARDS = 4


class Office:
    """Thirty events. The shards in `away` cannot be read."""

    shards = SHARDS

    def __init__(self, *away: int) -> None:
        self.away = away

    async def last_event_id(self) -> int:
        return 30

    async def get_event(self, event_id: int) -> Event:
        if event_id % SHARDS in self.away:
            raise InventoryUnavailable("its server is away")
        return replace(EVENT, id=event_id)


async def listed(office: Office, query: bytes) -> dict[str, Any]:
    endpoints = EventEndpoints(cast("Any", None), cast("Any", office), LocalBuckets(None, "reads"), cast("Any", None))
    response = await endpoints.index(scope(path="/events", query=query), receiving())
    body: dict[str, Any] = orjson.loads(response.body)
    return body


async def test_the_list_has_the_sales_that_can_be_read_and_names_the_others() -> None:
    body = await listed(Office(2), b"limit=5")
    assert [event["id"] for event in body["data"]] == [29, 28, 27, 25, 24]
    assert body["unavailable"] == [30, 26]
    assert body["has_more"] is True


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
async def test_pages_of_any_size_come_to_every_sale_that_can_be_read(limit: int) -> None:
    found, after = list[int](), b""
    while True:
        body = await listed(Office(1, 2, 3), b"limit=%d%s" % (limit, after))
        found += [event["id"] for event in body["data"]]
        if not body["has_more"]:
            break
        after = b"&starting_after=%d" % found[-1]
    assert found == [28, 24, 20, 16, 12, 8, 4]


async def test_if_no_sale_can_be_read_there_is_no_list() -> None:
    with pytest.raises(InventoryUnavailable):
        await listed(Office(*range(SHARDS)), b"")
