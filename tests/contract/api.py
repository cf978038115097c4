"""A client for a running service: callers with tokens, and events on sale."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt

from tests.fixtures.service import RunningService, running_service
from tests.fixtures.waiting import eventually

from .client import ANSWER_SECONDS_MAX, Answer, Caller, RawConnection, fresh

TOKEN_SECONDS = 600
CONNECTIONS_MAX = 64


@dataclass(frozen=True, slots=True)
class Api:
    """One running service, and the secret that its tokens are signed with."""

    http: httpx.Client
    base_url: str
    secret: str
    environment: Mapping[str, str]
    """The environment with which the service's own commands find its data folder."""

    @property
    def anyone(self) -> Caller:
        """A caller who sends no credentials."""
        return Caller(self.http)

    @property
    def organizer(self) -> Caller:
        """The organizer, always the same one."""
        return self.bearer("the-organizer", {**self.claims("the-organizer"), "role": "organizer"})

    @property
    def raw_connection(self) -> RawConnection:
        """A raw connection."""
        url = urlsplit(self.base_url)
        assert url.hostname is not None
        assert url.port is not None
        return RawConnection(url.hostname, url.port)

    def user(self, user_id: str | None = None) -> Caller:
        """A new user, or the one with this id."""
        user_id = fresh("user") if user_id is None else user_id
        return self.bearer(user_id, self.claims(user_id))

    def users(self, count: int) -> list[Caller]:
        """`count` users."""
        return [self.user() for _ in range(count)]

    def claims(self, user_id: str) -> dict[str, Any]:
        """The claims of a valid token of `user_id`."""
        return {"sub": user_id, "exp": int(time.time()) + TOKEN_SECONDS}

    def bearer(self, user_id: str, claims: dict[str, Any]) -> Caller:
        """A caller whose token has exactly these claims."""
        return self.with_token(jwt.encode(claims, self.secret, algorithm="HS256"), user_id)

    def with_token(self, token: str, user_id: str = "") -> Caller:
        """A caller with this token."""
        return Caller(self.http, user_id, f"Bearer {token}")

    def initialize(self, **fields: Any) -> Answer:
        """`POST /initialize` by the organizer, by default with a new name and one ticket."""
        return self.organizer.post("/initialize", {"event_name": fresh("event"), "available_tickets": 1, **fields})

    def event(self, **fields: Any) -> int:
        """The id of a new event."""
        answer = self.initialize(**fields)
        assert answer.status == 201, answer
        event_id: int = answer.body["event_id"]
        return event_id

    def sold_out(self, **fields: Any) -> tuple[int, list[Caller]]:
        """The id of a new event whose tickets are all booked, and the users who booked them one by one."""
        event_id = self.event(**fields)
        buyers = self.users(fields.get("available_tickets", 1))
        for buyer in buyers:
            answer = buyer.book(event_id)
            assert answer.status == 201, answer
        return event_id, buyers

    def look(self, event_id: int) -> Any:
        """The event, read from `/status`."""
        answer = self.anyone.get(f"/status/{event_id}")
        assert answer.status == 200, answer
        return answer.data


def until_past(moment: str) -> None:
    """Waits until a time (RFC 3339) is in the past, by the clock that this process shares with Redis."""
    end = datetime.fromisoformat(moment)
    eventually(lambda: datetime.now(UTC) > end, f"it is past {moment}")


@contextmanager
def open_api(service: RunningService) -> Iterator[Api]:
    """A client for a running service. It follows no redirects and uses no proxy."""
    limits = httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX)
    with httpx.Client(
        base_url=service.base_url, timeout=ANSWER_SECONDS_MAX, limits=limits, trust_env=False, follow_redirects=False
    ) as http:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BOOKING_")}
        environment |= {"BOOKING_DATA_DIR": str(service.data_dir), "BOOKING_JWT_SECRET": service.secret}
        yield Api(http, service.base_url, service.secret, environment)


@contextmanager
def serving(data_dir: Path, environment: Mapping[str, str]) -> Iterator[Api]:
    """Runs a new service with these settings."""
    with running_service(data_dir, environment) as service, open_api(service) as api:
        yield api
