"""Which mails a change calls for, and to whom."""

from dataclasses import replace
from typing import Any

import pytest

from booking.domain.changes import BookingChange, ChangeKind
from booking.domain.details import Details, Visibility
from booking.domain.mails import LANES, Lane, MailKind
from booking.domain.model import Booking, BookingStatus, Rules, Source
from booking.ledger.mail_changes import Round
from booking.outbox.mail_decisions import REMINDED_MS_MIN, REMINDER_MS, changed_for_buyers, of_booking, of_event

AT_MS = 1_800_000_000_000
PROMOTED = BookingChange(
    event_id=7,
    seq=12,
    kind=ChangeKind.PROMOTED,
    at_ms=AT_MS,
    number=5,
    user_id="account:3",
    quantity=2,
    status=BookingStatus.CONFIRMED,
    source=Source.WAITLIST,
    created_at_ms=AT_MS - 1_000,
    expires_at_ms=None,
)
CANCELLED = replace(
    PROMOTED, kind=ChangeKind.CANCELLED, status=BookingStatus.CANCELLED, actor="organizer", reason="Sold twice"
)


def held(ms: int, **fields: Any) -> BookingChange:
    """A hold of this length, from the waiting list."""
    return replace(PROMOTED, status=BookingStatus.HELD, expires_at_ms=AT_MS + ms, **fields)


def kinds(change: BookingChange) -> list[MailKind]:
    return [mail.kind for mail in of_booking(change)]


@pytest.mark.parametrize("user_id", ["ann", "3", "account:", "account:x"])
def test_only_accounts_have_mail(user_id: str) -> None:
    for change in (PROMOTED, CANCELLED, held(3_600_000)):
        assert kinds(replace(change, user_id=user_id)) == []
    booking = Booking(7, 5, user_id, 1, BookingStatus.WAITING, Source.SALE, AT_MS)
    assert of_event(Round(7, 13, AT_MS, ["new_name"]), booking) is None


def test_a_promoted_buyer_is_told_at_once_until_the_hold_ends() -> None:
    (booked,) = of_booking(PROMOTED)
    assert (booked.kind, booked.account_id, booked.event_id, booked.due_at_ms) == (MailKind.PROMOTED, 3, 7, AT_MS)
    (offer,) = of_booking(held(120_000))
    assert (offer.kind, offer.due_at_ms, offer.expires_at_ms) == (MailKind.PROMOTED, AT_MS, AT_MS + 120_000)


@pytest.mark.parametrize("kind", [ChangeKind.HELD, ChangeKind.PROMOTED])
def test_a_hold_of_over_ten_minutes_is_reminded_of_five_minutes_before_its_end(kind: ChangeKind) -> None:
    others = [MailKind.PROMOTED] if kind is ChangeKind.PROMOTED else []
    assert kinds(held(REMINDED_MS_MIN, kind=kind)) == others
    *_, reminder = of_booking(held(REMINDED_MS_MIN + 1, kind=kind))
    assert reminder.kind is MailKind.ENDING
    assert reminder.due_at_ms == AT_MS + REMINDED_MS_MIN + 1 - REMINDER_MS
    assert reminder.expires_at_ms == AT_MS + REMINDED_MS_MIN + 1


def test_a_longer_hold_of_the_same_booking_has_a_reminder_of_its_own() -> None:
    names = {mail.name for ms in (900_000, 1_800_000) for mail in of_booking(held(ms, kind=ChangeKind.HELD))}
    assert len(names) == 2


@pytest.mark.parametrize(
    ("actor", "told"), [("organizer", 1), ("account:9", 1), ("account:3", 0), (None, 0), ("", 0), ("stripe", 0)]
)
def test_a_cancellation_is_told_if_another_user_caused_it(actor: str | None, told: int) -> None:
    assert kinds(replace(CANCELLED, actor=actor)) == [MailKind.CANCELLED] * told
    assert kinds(replace(CANCELLED, kind=ChangeKind.LEFT, actor=actor)) == [MailKind.CANCELLED] * told
    reduced = replace(CANCELLED, kind=ChangeKind.REDUCED, status=BookingStatus.CONFIRMED, actor=actor)
    assert kinds(reduced) == [MailKind.CANCELLED] * told


@pytest.mark.parametrize("kind", [ChangeKind.BOOKED, ChangeKind.JOINED, ChangeKind.CONFIRMED, ChangeKind.EXPIRED])
def test_what_buyers_see_on_the_page_anyway_is_not_told(kind: ChangeKind) -> None:
    assert kinds(replace(PROMOTED, kind=kind)) == []


BEFORE = Rules("A night", 10, details=Details(venue="Hall", starts_at_ms=AT_MS, ends_at_ms=AT_MS + 1))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "Another night"}, ["new_name"]),
        ({"capacity": 11}, []),
        ({"paused": True}, []),
        ({"closes_at_ms": AT_MS}, []),
        ({"details": replace(BEFORE.details, venue=None)}, ["new_venue"]),
        ({"details": replace(BEFORE.details, starts_at_ms=AT_MS - 1)}, ["new_starts"]),
        ({"details": replace(BEFORE.details, ends_at_ms=None)}, ["new_ends"]),
        ({"details": replace(BEFORE.details, time_zone="Europe/Berlin")}, ["new_starts", "new_ends"]),
        ({"details": replace(BEFORE.details, description="More", offer_seconds=60)}, []),
        ({"details": replace(BEFORE.details, visibility=Visibility.UNLISTED)}, []),
        ({"details": replace(BEFORE.details, visibility=Visibility.ARCHIVED)}, ["archived"]),
    ],
)
def test_name_venue_dates_and_archiving_are_told(change: dict[str, Any], told: list[str]) -> None:
    assert changed_for_buyers(BEFORE, replace(BEFORE, **change)) == told


def test_an_event_that_comes_back_from_the_archive_is_not_told() -> None:
    archived = replace(BEFORE, details=replace(BEFORE.details, visibility=Visibility.ARCHIVED))
    assert changed_for_buyers(archived, BEFORE) == []


def test_many_mails_about_an_event_are_in_another_lane_than_offers() -> None:
    assert LANES[MailKind.CHANGED] not in (LANES[MailKind.PROMOTED], LANES[MailKind.RESET], LANES[MailKind.CANCELLED])
    assert set(LANES) == set(MailKind)
    assert set(LANES.values()) == set(Lane)
