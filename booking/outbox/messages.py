"""What a mail says: its message, made from what it tells, its reader's booking, and the event as it is now."""

from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import parseaddr
from hashlib import sha256

from booking.domain.mails import Mail, MailKind
from booking.domain.model import Booking, BookingStatus, Rules
from booking.domain.reset_tokens import hash_of, reset_token
from booking.ledger.mails import Reader
from booking.ledger.resets import token_hash_of
from booking.outbox.mail_texts import language

_CANCELLATIONS = {"cancelled": "cancelled", "left": "cancelled_waiting", "reduced": "reduced"}
"""The text for each kind of change."""

LIVE = (BookingStatus.CONFIRMED, BookingStatus.HELD, BookingStatus.WAITING)


class Messages:
    """Makes messages with the service's sender, address and secret."""

    def __init__(self, sender: str, public_url: str, secret: bytes) -> None:
        self._sender = sender
        self._site = public_url
        self._secret = secret
        self._domain = parseaddr(sender)[1].rpartition("@")[2]

    def of(self, mail: Mail, reader: Reader) -> EmailMessage | None:
        """The message for its reader; None if it is of no use any more."""
        if mail.kind is MailKind.RESET:
            token = reset_token(self._secret, str(mail.facts["nonce"]))
            if hash_of(token) != token_hash_of(mail):
                raise ValueError("this process has another BOOKING_JWT_SECRET than the one that took the request")
            return self._message(
                mail, reader, "reset", {"until": self._moment(mail.expires_at_ms)}, f"reset#token={token}"
            )
        if reader.booking is None or reader.rules is None or not _is_of_use(mail, reader.booking):
            return None
        name, facts = self._about_event(mail, reader.booking, reader.rules)
        return self._message(mail, reader, name, facts, f"sale/{mail.event_id}")

    def _about_event(self, mail: Mail, booking: Booking, rules: Rules) -> tuple[str, dict[str, str | None]]:
        """The name of its text, and what the text says."""
        words, zone = language(), rules.details.time_zone
        ends_at_ms, starts_at_ms = mail.facts.get("expires_at_ms"), rules.details.starts_at_ms
        facts: dict[str, str | None] = {
            "event": rules.name,
            "tickets": words.tickets(booking.quantity),
            "until": self._moment(ends_at_ms, zone) if isinstance(ends_at_ms, int) else None,
            "venue": rules.details.venue,
            "starts": None if starts_at_ms is None else self._moment(starts_at_ms, zone),
        }
        is_paid_for = rules.details.payment_url is not None
        match mail.kind:
            case MailKind.PROMOTED if not ends_at_ms:
                return "promoted_booked", facts
            case MailKind.PROMOTED:
                return "promoted_to_pay" if is_paid_for else "promoted_held", facts
            case MailKind.ENDING:
                return "ending_to_pay" if is_paid_for else "ending", facts
            case MailKind.CANCELLED:
                reason = mail.facts.get("reason")
                facts["reason"] = None if reason is None else str(reason)
                return _CANCELLATIONS[str(mail.facts["change"])], facts
            case MailKind.CHANGED:
                return "changed", facts | self._changes(mail, rules)
        return mail.kind.value, facts

    def _changes(self, mail: Mail, rules: Rules) -> dict[str, str | None]:
        """What has changed, as it is now: it may have changed once more since."""
        changed, details, words = mail.facts.get("changed"), rules.details, language()
        assert isinstance(changed, list)
        times = {"starts": details.starts_at_ms, "ends": details.ends_at_ms}
        told: dict[str, str | None] = {
            "new_name": rules.name,
            "new_venue": details.venue,
            **{
                f"new_{name}": None if at_ms is None else self._moment(at_ms, details.time_zone)
                for name, at_ms in times.items()
            },
            "archived": words.word("archived"),
        }
        return {name: (text or words.word("nothing")) if name in changed else None for name, text in told.items()}

    def _moment(self, at_ms: int, zone: str | None = None) -> str:
        return language().moment(at_ms, zone)

    def _message(self, mail: Mail, reader: Reader, name: str, facts: dict[str, str | None], path: str) -> EmailMessage:
        subject, text, html = language().mail(name, facts, f"{self._site}/{path}", self._site)
        message = EmailMessage()
        message["From"] = self._sender
        message["To"] = reader.email
        message["Subject"] = subject
        message["Date"] = datetime.fromtimestamp(mail.created_at_ms // 1000, UTC)
        # The same at each attempt, so that the reader's mail server can tell a repetition.
        message["Message-ID"] = f"<{sha256(mail.name.encode()).hexdigest()[:32]}@{self._domain}>"
        message["Auto-Submitted"] = "auto-generated"  # so that an out-of-office program does not answer (RFC 3834)
        message.set_content(text)
        message.add_alternative(html, subtype="html")
        return message


def _is_of_use(mail: Mail, booking: Booking) -> bool:
    """Whether its reader still has to be told. One who has confirmed or given back need not hear of the hold."""
    ends_at_ms = mail.facts.get("expires_at_ms")
    match mail.kind:
        case MailKind.PROMOTED | MailKind.ENDING:
            wanted = BookingStatus.HELD if ends_at_ms else BookingStatus.CONFIRMED
            return booking.status is wanted and booking.expires_at_ms == ends_at_ms
        case MailKind.CHANGED:
            return booking.status in LIVE
    return True
