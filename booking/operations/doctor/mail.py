"""Checks the mail server, the links in mails, and the queue."""

import time
from contextlib import suppress
from urllib.parse import urlsplit

from booking.domain.diagnosis import Finding, fault, ok, warning
from booking.ledger.errors import LedgerError
from booking.ledger.ledger import Ledger
from booking.ledger.mails import MailQueue
from booking.outbox.smtp import MailServer, ServerAway
from booking.settings import Settings, is_loopback

LATE_SECONDS = 300
"""A mail that should have been sent so long ago is late: its server defers it, or no process sends it."""


async def check_mail(settings: Settings) -> list[Finding]:
    """The findings. No mail is sent."""
    if settings.smtp_url is None or settings.mail_from is None or settings.public_url is None:
        return [ok("mail", "none is sent: BOOKING_SMTP_URL is not set")]
    server = MailServer(settings.smtp_url, settings.mail_from)
    try:
        async with server.connected():
            findings = [ok("mail", f"{server.location} takes mails from {settings.mail_from}")]
    except ServerAway as error:
        advice = (
            "start it, or correct BOOKING_SMTP_URL: host, port, user, password, smtps:// or smtp+starttls:// for TLS"
        )
        findings = [fault("mail", str(error), advice)]
    if server.sends_password_in_clear:
        findings.append(
            warning("mail", "the password of BOOKING_SMTP_URL is sent in clear", "use smtps:// or smtp+starttls://")
        )
    return [*findings, *_links(settings.public_url, settings.root_path), *await _queue(settings)]


def _links(public_url: str, root_path: str) -> list[Finding]:
    """Whether the links in mails lead to the pages, and over TLS."""
    url = urlsplit(public_url)
    if not url.path.endswith(root_path):
        found = f"BOOKING_PUBLIC_URL does not end with BOOKING_ROOT_PATH ({root_path}): the links may lead elsewhere"
        return [warning("links in mails", found, "set it to the address of the first page")]
    if url.scheme == "http" and not is_loopback(url.hostname):
        return [warning("links in mails", f"they lead to {public_url}, without TLS", "set an https:// address")]
    return [ok("links in mails", f"they lead to {public_url}")]


async def _queue(settings: Settings) -> list[Finding]:
    """The mails that are late. None if the database cannot be asked, which another check tells."""
    ledger = Ledger.open(settings.database_address)
    try:
        with suppress(LedgerError):
            backlog = await MailQueue(ledger).backlog(time.time_ns() // 1_000_000)
            late = max(oldest_ms for _, oldest_ms in backlog.values()) / 1_000
            mails = sum(count for count, _ in backlog.values())
            found = f"{mails} to send, the oldest for {late:.0f} s"
            if late > LATE_SECONDS:
                return [warning("queue of mails", found, "see the log of the outbox: why are they not sent?")]
            return [ok("queue of mails", found if mails else "empty")]
    finally:
        await ledger.close()
    return []
