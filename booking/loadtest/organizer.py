"""The organizer's side of a load test: opens a sale of its own, and looks at the event afterwards."""

import json
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from time import monotonic, sleep
from typing import Any

from booking.loadtest.plan import address_of

CALL_SECONDS_MAX = 5.0
STILL_SECONDS = 0.05
STILL_SECONDS_MAX = 5.0
"""How long changes may take to end whose clients no longer wait for them."""


class UnusableServiceError(Exception):
    """The test can't be run; one line that says why and what to do."""


@dataclass(frozen=True, slots=True)
class Organizer:
    """Talks to the service now and then, one connection a call. `token` opens the organizer's endpoints."""

    url: str
    token: str

    def open_sale(self, name: str, tickets: int, quantity_max: int) -> int:
        """Makes the event and gives its id. Raises UnusableServiceError."""
        rules: dict[str, object] = {"event_name": name, "available_tickets": tickets}
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
        """The event as it stands. Raises UnusableServiceError."""
        status, document = self._call("GET", f"/status/{event_id}")
        if status != 200:
            raise UnusableServiceError(f"{self.url} does not show the event: {status} {_why(document)}")
        event: dict[str, Any] = document["data"]
        return event

    @property
    def still_seconds_max(self) -> float:
        """How long `event_once_still` takes at most."""
        return STILL_SECONDS_MAX

    def event_once_still(self, event_id: int) -> dict[str, Any]:
        """The event once its `seq` stands still, or as it is after STILL_SECONDS_MAX.

        A change whose client was cut off may still be on its way. A service that restarts is given the same time.
        """
        end = monotonic() + STILL_SECONDS_MAX
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
            sleep(STILL_SECONDS)

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
