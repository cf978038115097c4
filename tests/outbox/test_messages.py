"""What mails say: subject, text and HTML, headers, and which mails are of no use any more."""

from dataclasses import replace
from email.message import EmailMessage

import pytest

from booking.domain.details import Details
from booking.domain.mails import Facts, Mail, MailKind
from booking.domain.model import Booking, BookingStatus, Rules, Source
from booking.domain.reset_tokens import hash_of, new_nonce, reset_token
from booking.ledger.mails import Reader
from booking.outbox.mail_texts import Language
from booking.outbox.messages import Messages

SECRET = b"the secret of these tests, of more than 32 bytes"
AT_MS = 1_796_068_800_000  # 2026-11-30T20:00:00Z
ENDS_MS = AT_MS + 900_000
DETAILS = Details(venue="The <Great> Hall", starts_at_ms=AT_MS + 86_400_000, time_zone="Europe/Berlin")
RULES = Rules("Rock & <Roll>", 10, details=DETAILS)
BOOKING = Booking(7, 5, "account:3", 2, BookingStatus.CONFIRMED, Source.WAITLIST, AT_MS)
HELD = replace(BOOKING, status=BookingStatus.HELD, expires_at_ms=ENDS_MS)
MESSAGES = Messages("Tickets <tickets@example.com>", "https://shop.example/tickets", SECRET)


def mail(kind: MailKind, **facts: object) -> Mail:
    told: Facts = {"number": 5, **facts}  # type: ignore[dict-item]  # texts, numbers and lists
    return Mail(f"{kind}-7-5", kind, 3, 7, told, AT_MS, AT_MS, ENDS_MS)


def message_of(one: Mail, booking: Booking | None = BOOKING, rules: Rules | None = RULES) -> EmailMessage:
    made = MESSAGES.of(one, Reader("account:3", "ann@example.com", booking, rules))
    assert made is not None
    return made


def parts(message: EmailMessage) -> tuple[str, str]:
    """The text and the HTML."""
    text, html = message.iter_parts()
    assert (text.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    return text.get_content(), html.get_content()


OF_EVENTS = {
    "held": (mail(MailKind.PROMOTED, expires_at_ms=ENDS_MS), HELD, "Confirm now: 2 tickets for Rock & <Roll>"),
    "booked": (mail(MailKind.PROMOTED, expires_at_ms=None), BOOKING, "Booked for you: 2 tickets for Rock & <Roll>"),
    "ending": (mail(MailKind.ENDING, expires_at_ms=ENDS_MS), HELD, "Confirm soon: 2 tickets for Rock & <Roll>"),
    "cancelled": (mail(MailKind.CANCELLED, reason=None, change="cancelled"), BOOKING, "Cancelled: Rock & <Roll>"),
    "off the list": (mail(MailKind.CANCELLED, change="left"), BOOKING, "No longer on the waiting list: Rock & <Roll>"),
    "reduced": (mail(MailKind.CANCELLED, change="reduced"), BOOKING, "Fewer tickets: Rock & <Roll>"),
    "changed": (mail(MailKind.CHANGED, changed=["new_name"]), BOOKING, "Changed: Rock & <Roll>"),
}


@pytest.mark.parametrize("name", OF_EVENTS)
def test_a_mail_about_an_event_leads_to_its_page_and_names_it_in_text_and_html(name: str) -> None:
    one, booking, subject = OF_EVENTS[name]
    message = message_of(one, booking)
    text, html = parts(message)
    assert message["Subject"] == subject
    assert "\nhttps://shop.example/tickets/sale/7\n" in text
    assert 'href="https://shop.example/tickets/sale/7"' in html
    assert "Rock & <Roll>" in text
    assert "Rock &amp; &lt;Roll&gt;" in html
    assert "{" not in text + html.replace("{", "", 0)
    assert "None" not in text


def test_times_are_told_in_the_events_zone_and_name_it() -> None:
    text, _ = parts(message_of(mail(MailKind.PROMOTED, expires_at_ms=ENDS_MS), HELD))
    assert "held for you until 21:15 on 30 November 2026 (CET)" in text
    assert "Time: 21:00 on 1 December 2026 (CET)" in text
    assert "Place: The <Great> Hall" in text
    text, _ = parts(message_of(mail(MailKind.PROMOTED, expires_at_ms=ENDS_MS), HELD, Rules("Plain", 1)))
    assert "20:15 on 30 November 2026 (UTC)" in text
    assert "Place" not in text
    assert "Time" not in text


def test_a_hold_that_is_paid_for_in_a_shop_is_not_said_to_be_confirmed() -> None:
    rules = replace(RULES, details=replace(DETAILS, payment_url="https://shop.example/{signature}"))
    for kind, subject in ((MailKind.PROMOTED, "Pay now: 2 tickets for"), (MailKind.ENDING, "Pay soon: 2 tickets for")):
        message = message_of(mail(kind, expires_at_ms=ENDS_MS), HELD, rules)
        assert str(message["Subject"]).startswith(subject)
        text, html = parts(message)
        assert "onfirm" not in text + html
    booked = message_of(mail(MailKind.PROMOTED, expires_at_ms=None), BOOKING, rules)
    assert str(booked["Subject"]).startswith("Booked for you")


def test_the_organizers_reason_is_told_if_there_is_one() -> None:
    text, html = parts(message_of(mail(MailKind.CANCELLED, reason="The <band> is ill", change="cancelled")))
    assert "The reason: The <band> is ill" in text
    assert "The &lt;band&gt; is ill" in html
    assert "reason" not in parts(message_of(mail(MailKind.CANCELLED, reason=None, change="cancelled")))[0]


def test_a_change_of_the_event_is_told_as_it_is_now() -> None:
    text, _ = parts(message_of(mail(MailKind.CHANGED, changed=["new_venue", "new_ends", "archived"])))
    assert "The place is now: The <Great> Hall" in text
    assert "It ends now: not known any more" in text
    assert "The event is archived" in text
    assert "The name is now" not in text


def test_a_reset_leads_to_its_page_with_the_token_in_the_fragment() -> None:
    nonce = new_nonce()
    asked = replace(mail(MailKind.RESET, nonce=nonce), name=f"reset-{hash_of(reset_token(SECRET, nonce))}")
    message = message_of(asked, None, None)
    text, html = parts(message)
    link = f"https://shop.example/tickets/reset#token={reset_token(SECRET, nonce)}"
    assert f"\n{link}\n" in text
    assert link in html
    assert message["Subject"] == "Choose a new password"
    other = Messages("tickets@example.com", "https://shop.example", SECRET[::-1])
    with pytest.raises(ValueError, match="BOOKING_JWT_SECRET"):
        other.of(asked, Reader("account:3", "ann@example.com"))


def test_a_mail_has_the_same_message_id_at_each_attempt_and_another_than_other_mails() -> None:
    one = mail(MailKind.CHANGED, changed=["new_name"])
    first, again = message_of(one), message_of(replace(one, attempts=3))
    assert first["Message-ID"] == again["Message-ID"]
    assert first["Message-ID"].endswith("@example.com>")
    assert first["Message-ID"] != message_of(replace(one, name="another"))["Message-ID"]
    assert (first["From"], first["To"]) == ("Tickets <tickets@example.com>", "ann@example.com")
    assert first["Auto-Submitted"] == "auto-generated"


@pytest.mark.parametrize(
    ("kind", "expires_at_ms", "booking"),
    [
        (MailKind.PROMOTED, ENDS_MS, BOOKING),
        (MailKind.PROMOTED, ENDS_MS, replace(HELD, expires_at_ms=ENDS_MS + 1)),
        (MailKind.PROMOTED, None, replace(BOOKING, status=BookingStatus.CANCELLED)),
        (MailKind.ENDING, ENDS_MS, BOOKING),
        (MailKind.ENDING, ENDS_MS, replace(HELD, status=BookingStatus.EXPIRED)),
        (MailKind.ENDING, ENDS_MS, None),
    ],
)
def test_a_mail_about_a_hold_that_is_over_is_of_no_use(
    kind: MailKind, expires_at_ms: int | None, booking: Booking | None
) -> None:
    one = mail(kind, expires_at_ms=expires_at_ms)
    assert MESSAGES.of(one, Reader("account:3", "ann@example.com", booking, RULES)) is None


def test_every_language_has_every_text() -> None:
    names = {
        "reset",
        "promoted_held",
        "promoted_booked",
        "ending",
        "cancelled",
        "cancelled_waiting",
        "changed",
        "reduced",
    }
    for name in ("en",):
        words = Language(name)
        assert {words.tickets(1), words.tickets(2)} == {"1 ticket", "2 tickets"}
        facts = dict.fromkeys(("event", "tickets", "until", "venue", "starts", "reason", "archived"), "x")
        for text in names:
            subject, plain, html = words.mail(text, facts, "https://a.example/sale/1", "https://a.example")
            assert subject
            assert "https://a.example/sale/1" in plain
            assert f'<html lang="{name}">' in html
