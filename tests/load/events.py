"""Creates events for the tests of the load tools and reads them afterwards."""

from typing import Any

import httpx

from tests.fixtures.service import RunningService


def open_event(service: RunningService, tickets: int, **rules: object) -> int:
    """Creates an event and returns its id."""
    answer = httpx.post(
        f"{service.url}/initialize",
        json={"event_name": "For a load tool", "available_tickets": tickets, **rules},
        headers={"Authorization": f"Bearer {service.token('organizer', 'organizer')}"},
    )
    assert answer.status_code == 201, answer.text
    return int(answer.json()["event_id"])


def read_event(service: RunningService, event_id: int) -> dict[str, Any]:
    """The current state of the event."""
    event: dict[str, Any] = httpx.get(f"{service.url}/status/{event_id}").json()["data"]
    return event
