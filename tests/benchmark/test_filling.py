"""The benchmark fills events by the service's own script."""

from contextlib import closing

import pytest
from redis import Redis

from booking.domain.outcomes import Status
from booking.settings import Settings
from scripts.benchmark.filling import CALL_ITEMS, EXCHANGE_CALLS, Filler
from scripts.benchmark.processes import PartError
from tests.contract.api import open_api
from tests.fixtures.service import RunningService

BUYERS = CALL_ITEMS * EXCHANGE_CALLS + CALL_ITEMS + 1


def test_an_event_is_filled_and_so_is_its_waiting_list(service: RunningService) -> None:
    settings = Settings.read({}, data_dir=service.data_dir)
    with open_api(service) as api, closing(Redis.from_url(settings.redis_address)) as redis:
        event_id = api.event(available_tickets=BUYERS)
        filler = Filler(redis, settings.shards)
        filler.book(event_id, BUYERS, "live", Status.BOOKED, print)
        filler.book(event_id, 3, "wait", Status.JOINED, print)
        event = api.look(event_id)
        assert (event["tickets_sold"], event["waiting_list_count"]) == (BUYERS, 3)
        with pytest.raises(PartError, match="not every booking was answered BOOKED"):
            filler.book(event_id, 1, "late", Status.BOOKED, print)
