"""The organizer's part of a load test: opens a new sale, and reads the event after it."""

import json
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from time import monotonic, sleep
from typing import Any

from booking.loadtest.plan import address_of

CALL_SECONDS_MAX = 5.0
SETTLE_POLL_SECONDS = 0.05
SETTLE_SECONDS_MAX = 5.0
"""How long changes may still take whose clients have disconnected."""


class UnusableServiceError(Exception):
    """The test cannot be run. The message is one line with the reason and what to do."""


@dataclass(frozen=True, slots=True)
class Organizer:
    """Makes a few calls, each on a connection of its own. `token` is an organizer's token."""

    url: str
    token: str

    def open_sale(self, name: str, tickets: int, quantity_max: int) -> int:
        """Creates the event, and returns its id. Raises UnusableServiceError."""
        rules: dict[str, object] = {"event_name": name, "available_tickets": tickets, "visibility": "unlisted"}
        if quantity_max > 1:
            rules["max_per_user"] = quantity_max
        status, document = self._call("POST", "/initialize", rules)
        if status == 401:
            raise UnusableServiceError(
                f"{self.url} does not accept a token signed with this secret; name the service's own with"
                " --secret-file, BOOKING_JWT_SECRET or --data-dir"
            )
        if status != 201:
            raise UnusableServiceError(f"{self.url} opened no sale: {status} {_why(document)}")
        try:
            return int(document["event_id"])
        except (KeyError, TypeError, ValueError):
            raise UnusableServiceError(f"{self.url} is no booking service: its answer names no event") from None

    def event(self, event_id: int) -> dict[str, Any]:
        """The current event. Raises UnusableServiceError."""
        status, document = self._call("GET", f"/status/{event_id}")
        if status != 200:
            raise UnusableServiceError(f"{self.url} does not show the event: {status} {_why(document)}")
        event: dict[str, Any] = document["data"]
        return event

    @property
    def settle_seconds_max(self) -> float:
        """The longest time that `settled_event` takes."""
        return SETTLE_SECONDS_MAX

    def settled_event(self, event_id: int) -> dict[str, Any]:
        """The event when its `seq` no longer changes, or after SETTLE_SECONDS_MAX at the latest.

        A change may still be running after its client has disconnected. A restarting service gets the same time. Raises
        UnusableServiceError.
        """
        end = monotonic() + SETTLE_SECONDS_MAX
        last: dict[str, Any] | None = None
        while True:
            try:
                event = self.event(event_id)
            except UnusableServiceError:
                if monotonic() > end:
                    raise
            else:
                if (last is not None and event["seq"] == last["seq"]) or monotonic() > end:
                    return event
                last = event
            sleep(SETTLE_POLL_SECONDS)

    def _call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        host, port, secure = address_of(self.url)
        connection = (HTTPSConnection if secure else HTTPConnection)(host, port, timeout=CALL_SECONDS_MAX)
        headers = {"Authorization": f"Bearer {self.token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read()
        except (OSError, HTTPException) as error:
            raise UnusableServiceError(
                f"{self.url} can't be reached ({error or type(error).__name__}); start it with scripts/serve"
            ) from None
        finally:
            connection.close()
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, None


def _why(document: Any) -> str:
    return str(document.get("detail") or document.get("message")) if isinstance(document, dict) else "without a reason"
