"""A service that sends mail to a real mail server, and buyers with accounts."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

from tests.contract.api import Api, open_api
from tests.contract.client import Caller, fresh
from tests.contract.test_accounts import register
from tests.fixtures.mail_server import MailServer, mail_server
from tests.fixtures.service import RunningService, running_service

PUBLIC_URL = "https://tickets.example.com"


@dataclass(frozen=True, slots=True)
class Buyer:
    """An account with its email and a token."""

    email: str
    caller: Caller


@dataclass(frozen=True, slots=True)
class Mailing:
    """The service, and the mail server that it sends to."""

    service: RunningService
    api: Api
    server: MailServer

    def buyer(self, name: str = "ann") -> Buyer:
        """A new account."""
        email = f"{fresh(name)}@example.com"
        return Buyer(email, self.api.with_token(register(self.api, email).data["token"]))

    def subjects(self, buyer: Buyer) -> list[str]:
        """The subjects of the mails to a buyer."""
        return [str(message["Subject"]) for message in self.server.to(buyer.email)]

    def make_due(self) -> None:
        """Has mails with a time of their own sent now."""
        with closing(sqlite3.connect(self.service.data_dir / "booking.sqlite3", isolation_level=None)) as connection:
            connection.execute("UPDATE mails SET due_at_ms = 0")

    def queued(self) -> int:
        """How many mails are in the queue."""
        with closing(sqlite3.connect(self.service.data_dir / "booking.sqlite3")) as connection:
            (count,) = connection.execute("SELECT count(*) FROM mails").fetchone()
        return int(count)


@contextmanager
def mailing(data_dir: Path, public_url: str = PUBLIC_URL, **environment: str) -> Iterator[Mailing]:
    """Runs both."""
    with mail_server() as server:
        settings = {
            "BOOKING_SMTP_URL": server.url,
            "BOOKING_MAIL_FROM": "Tickets <tickets@example.com>",
            "BOOKING_PUBLIC_URL": public_url,
            "BOOKING_RATE_LIMIT": "off",
            **environment,
        }
        with running_service(data_dir, settings) as service, open_api(service) as api:
            yield Mailing(service, api, server)


def text_of(message: EmailMessage) -> str:
    """The plain text of a message."""
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")
