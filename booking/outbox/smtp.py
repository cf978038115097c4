"""The mail server: connections to it, and what became of a mail that was sent over one of them."""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from email.message import EmailMessage
from email.utils import parseaddr
from urllib.parse import unquote, urlsplit

import aiosmtplib

from booking.settings import SMTP_PORTS, is_loopback

CONNECT_SECONDS_MAX = 10.0
"""How long the server may take to accept a connection, with TLS and the login."""

ANSWER_SECONDS_MAX = 60.0
"""How long it may take for one answer.

RFC 5321, section 4.5.3.2, allows minutes. A mail that was given up too early may be sent twice, with the same
Message-ID; one that waits for minutes comes too late for a hold.
"""

_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
"""An enhanced status code (RFC 3463)."""


class ServerAway(Exception):
    """The server cannot be used now: it is away, refuses the login, or refuses the sender. No mail was sent.

    The message says why, without the password.
    """


class Deferred(Exception):
    """This mail was not sent, or its answer did not come; a later attempt may succeed. The message says why."""


class Refused(Exception):
    """The server refuses this mail for good. The message says why, without the address."""


class MailServer:
    """Sends mails through one server. Each connection belongs to one task."""

    def __init__(
        self,
        url: str,
        sender: str,
        *,
        connect_seconds: float = CONNECT_SECONDS_MAX,
        answer_seconds: float = ANSWER_SECONDS_MAX,
    ) -> None:
        """`url` is BOOKING_SMTP_URL, and `sender` BOOKING_MAIL_FROM."""
        parts = urlsplit(url)
        self._scheme = parts.scheme.lower()
        self._host = parts.hostname or ""
        self._port = parts.port or SMTP_PORTS[self._scheme]
        self._user = None if parts.username is None else unquote(parts.username)
        self._password = None if parts.password is None else unquote(parts.password)
        self._sender = parseaddr(sender)[1]
        self._connect_seconds = connect_seconds
        self._answer_seconds = answer_seconds
        self._tls: ssl.SSLContext | None = None

    @property
    def location(self) -> str:
        """Host and port, for messages."""
        return f"{self._host}:{self._port}"

    @property
    def sends_password_in_clear(self) -> bool:
        """Whether the password goes over a network without TLS."""
        return self._scheme == "smtp" and self._password is not None and not is_loopback(self._host)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator["MailConnection"]:
        """A connection that is logged in, if there is a user. Raises ServerAway."""
        smtp = aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            username=self._user,
            password=self._password,
            local_hostname=socket.gethostname(),  # the default may wait for a name server
            timeout=self._answer_seconds,
            use_tls=self._scheme == "smtps",
            start_tls=self._scheme == "smtp+starttls",
            tls_context=await self._tls_context(),
        )
        try:
            try:
                async with asyncio.timeout(self._connect_seconds):
                    await smtp.connect()
            except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
                raise ServerAway(f"{self.location}: {_reason(error)}") from None
            yield MailConnection(smtp, self._sender)
            with suppress(aiosmtplib.SMTPException, OSError):
                await smtp.quit(timeout=self._connect_seconds)
        finally:
            smtp.close()

    async def _tls_context(self) -> ssl.SSLContext | None:
        """The system's certificate authorities. They take milliseconds to load, so once and in a thread."""
        if self._tls is None and self._scheme != "smtp":
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        return self._tls


class MailConnection:
    """One connection to the mail server."""

    def __init__(self, smtp: aiosmtplib.SMTP, sender: str) -> None:
        self._smtp = smtp
        self._sender = sender

    @property
    def is_usable(self) -> bool:
        """Whether another mail can be sent over it."""
        return self._smtp.is_connected

    async def send(self, message: EmailMessage, recipient: str) -> None:
        """Returns once the server has taken the mail. Raises Deferred, Refused, or ServerAway if nothing was sent."""
        try:
            await self._smtp.send_message(message, sender=self._sender, recipients=[recipient])
        except aiosmtplib.SMTPSenderRefused as error:
            raise ServerAway(f"the sender is refused: {_reason(error)}") from None
        except aiosmtplib.SMTPRecipientsRefused as error:
            _refuse(error.recipients[0])
        except aiosmtplib.SMTPResponseException as error:
            _refuse(error)
        except (aiosmtplib.SMTPNotSupported, ValueError) as error:  # an address that this server cannot be told
            raise Refused(_reason(error)) from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            self._smtp.close()  # what comes now would be taken for the answer to the next mail
            raise Deferred(_reason(error)) from None


def _refuse(error: aiosmtplib.SMTPResponseException) -> None:
    """Raises Refused for a permanent failure (RFC 5321, section 4.2.1), else Deferred."""
    raise (Refused if 500 <= error.code <= 599 else Deferred)(_reason(error)) from None


def _reason(error: BaseException) -> str:
    """Why it failed. A server's own text may hold the address, so only its codes are told."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        status = _STATUS.match(error.message)
        answered = f"it answered {error.code}{f' {status[0]}' if status else ''}"
        return f"{answered} to the login" if isinstance(error, aiosmtplib.SMTPAuthenticationError) else answered
    if isinstance(error, ssl.SSLError | ssl.CertificateError):
        return f"TLS failed ({getattr(error, 'verify_message', None) or error.reason or type(error).__name__})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error.__cause__, ssl.SSLError | OSError):
        return _reason(error.__cause__)
    if isinstance(error, aiosmtplib.SMTPServerDisconnected):
        return "it closed the connection"
    if isinstance(error, aiosmtplib.SMTPNotSupported | ValueError):
        return "it does not take such an address"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if isinstance(error, aiosmtplib.SMTPException) else type(error).__name__
