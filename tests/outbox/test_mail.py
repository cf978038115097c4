"""Accounts are told by mail, by a real service over a real mail server."""

import re
import signal
from collections.abc import Iterator

import pytest

from tests.contract.client import fresh
from tests.contract.test_accounts import log_in
from tests.fixtures.mail_server import STANDS_STILL, TAKEN
from tests.fixtures.waiting import eventually
from tests.outbox.mailing import PUBLIC_URL, Buyer, Mailing, mailing, text_of

TOKEN = re.compile(rf"{PUBLIC_URL}/reset#token=([A-Za-z0-9_-]+)\n")


@pytest.fixture(scope="module")
def mails(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mailing]:
    with mailing(tmp_path_factory.mktemp("mail") / "data") as running:
        yield running


def test_a_forgotten_password_is_reset_by_the_link_of_a_mail(mails: Mailing) -> None:
    buyer = mails.buyer()
    unknown = f"{fresh('unknown')}@example.com"
    for email in (unknown, buyer.email.upper()):
        assert mails.api.anyone.post("/auth/forgot", {"email": email}).status == 202
    message = mails.server.wait_for(buyer.email)
    found = TOKEN.search(text_of(message))
    assert found is not None
    body = {"reset_token": found[1], "new_password": "another horse battery"}
    assert mails.api.anyone.post("/auth/reset", body).status == 200
    assert log_in(mails.api, buyer.email, "another horse battery").status == 200
    assert mails.server.to(unknown) == []


@pytest.mark.parametrize("hold_seconds", [0, 300])
def test_a_promoted_buyer_gets_a_mail_with_the_link_to_the_sale(mails: Mailing, hold_seconds: int) -> None:
    event_id, (holder,) = mails.api.sold_out(hold_seconds=hold_seconds, event_name="Rock & Roll")
    buyer = mails.buyer()
    assert buyer.caller.book(event_id).status == 202
    holder.cancel(event_id)
    message = mails.server.wait_for(buyer.email)
    start = "Confirm now" if hold_seconds else "Booked for you"
    assert message["Subject"] == f"{start}: 1 ticket for Rock & Roll"
    assert message["From"] == "Tickets <tickets@example.com>"
    assert f"\n{PUBLIC_URL}/sale/{event_id}\n" in text_of(message)


def test_a_hold_that_is_about_to_end_is_told_of_only_if_it_is_still_held(mails: Mailing) -> None:
    event_id = mails.api.event(available_tickets=3, hold_seconds=1_200)
    late, confirmed, gave_back = (mails.buyer(name) for name in ("late", "confirmed", "gave-back"))
    for buyer in (late, confirmed, gave_back):
        assert buyer.caller.book(event_id).status == 201
    confirmed.caller.confirm(event_id)
    gave_back.caller.cancel(event_id)
    eventually(lambda: mails.queued() >= 3, "the reminders are in the queue")
    mails.make_due()
    message = mails.server.wait_for(late.email)
    assert message["Subject"].startswith("Confirm soon: 1 ticket for")
    eventually(lambda: mails.queued() == 0, "no reminder is left")
    assert mails.subjects(confirmed) == mails.subjects(gave_back) == []


def test_a_buyer_is_told_why_the_organizer_cancelled_but_not_what_they_did(mails: Mailing) -> None:
    event_id = mails.api.event(available_tickets=1)
    owner, waiting, other = mails.buyer("owner"), mails.buyer("waiting"), mails.buyer("other")
    for buyer in (owner, waiting, other):
        buyer.caller.book(event_id)
    other.caller.cancel(event_id)
    user_ids = [booking["user_id"] for booking in mails.api.organizer.get(f"/events/{event_id}/bookings").data]
    for user_id in (user_ids[1], user_ids[2]):  # the newest first: other, waiting, owner
        body = {"event_id": event_id, "user_id": user_id, "reason": "The hall is too small."}
        assert mails.api.organizer.post("/cancel", body).status == 200
    booked = mails.server.wait_for(owner.email)
    waited = mails.server.wait_for(waiting.email)
    assert booked["Subject"].startswith("Cancelled: ")
    assert waited["Subject"].startswith("No longer on the waiting list: ")
    for message in (booked, waited):
        assert "The reason: The hall is too small." in text_of(message)
    assert mails.subjects(other) == []


def test_a_changed_event_is_told_to_those_who_have_a_booking_and_to_those_who_wait(mails: Mailing) -> None:
    event_id = mails.api.event(available_tickets=1, venue="Hall")
    has, waits, left = mails.buyer("has"), mails.buyer("waits"), mails.buyer("left")
    for buyer in (has, waits, left):
        buyer.caller.book(event_id)
    left.caller.cancel(event_id)
    mails.api.organizer.change(event_id, waitlist_limit=10)  # of no interest to buyers
    mails.api.organizer.change(event_id, venue="The Great Hall")
    for buyer in (has, waits):
        message = mails.server.wait_for(buyer.email)
        assert message["Subject"].startswith("Changed: ")
        assert "The place is now: The Great Hall" in text_of(message)
        assert "The name is now" not in text_of(message)
    eventually(lambda: mails.queued() == 0, "no mail is left")
    assert len(mails.subjects(has)) == len(mails.subjects(waits)) == 1
    assert mails.subjects(left) == []


def test_many_mails_about_a_changed_event_hold_up_no_promoted_buyer(mails: Mailing) -> None:
    event_id, (holder,) = mails.api.sold_out(hold_seconds=300)
    crowd = [mails.buyer("crowd") for _ in range(6)]
    for buyer in crowd:
        buyer.caller.book(event_id)
    mails.server.on_data = lambda address: STANDS_STILL if address.startswith("crowd") else TAKEN
    try:
        mails.api.organizer.change(event_id, event_name="Another night")
        eventually(lambda: any(mails.server.to(buyer.email) for buyer in crowd), "mails about the event are under way")
        other_event, (other_holder,) = mails.api.sold_out(hold_seconds=300)
        promoted = mails.buyer("promoted")
        promoted.caller.book(other_event)
        other_holder.cancel(other_event)
        assert mails.server.wait_for(promoted.email)["Subject"].startswith("Confirm now")
    finally:
        mails.server.on_data = lambda _: TAKEN
    del holder


def test_whatever_is_killed_every_promoted_buyer_is_told(mails: Mailing) -> None:
    event_id, (holder,) = mails.api.sold_out(available_tickets=1, max_per_user=1, hold_seconds=600)
    buyers = [mails.buyer("told") for _ in range(12)]
    for buyer in buyers:
        buyer.caller.book(event_id)
    mails.api.organizer.change(event_id, capacity=13)
    for number in range(4):
        least = 2 * number
        eventually(lambda: len(told(mails, buyers)) > least, "mails are under way")  # noqa: B023 - called at once
        killed = mails.service.kill("outbox", signal.SIGKILL)
        eventually(lambda: mails.service.parts().get("outbox", killed) != killed, "another one goes on")  # noqa: B023
    eventually(lambda: len(told(mails, buyers)) == len(buyers), "every buyer is told")
    for buyer in buyers:
        assert len({message["Message-ID"] for message in mails.server.to(buyer.email)}) == 1
    del holder


def told(mails: Mailing, buyers: list[Buyer]) -> set[str]:
    """The addresses that have a mail."""
    return {address for address, _ in mails.server.taken} & {buyer.email for buyer in buyers}
