"""An organizer's webhook is told of the changes of their events, signed, in order, and at least once."""

from typing import Any

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from tests.contract.api import Api
from tests.contract.client import Answer, Caller, fresh
from tests.fixtures.commands import run_command
from tests.fixtures.waiting import eventually
from tests.outbox.receiver import Receiver, receiving

ALL = ["created", "changed", "booked", "held", "joined", "confirmed", "promoted", "cancelled", "left", "expired"]


def event(organizer: Caller, **fields: Any) -> int:
    """A new event of this organizer."""
    answer = organizer.post("/initialize", {"event_name": fresh("event"), "available_tickets": 1, **fields})
    assert answer.status == 201
    event_id: int = answer.body["event_id"]
    return event_id


def register(organizer: Caller, receiver: Receiver, **fields: Any) -> Any:
    """A new webhook of this organizer."""
    answer = organizer.post("/webhooks", {"url": receiver.url, **fields})
    assert answer.status == 201, answer
    assert answer.headers["location"] == f"/webhooks/{answer.data['id']}"
    return answer.data


def call(organizer: Caller, method: str, webhook: Any, rest: str = "", body: Any = None) -> Answer:
    """A call about this webhook."""
    return organizer.call(method, f"/webhooks/{webhook['id']}{rest}", body)


def test_a_webhook_is_told_the_rows_of_the_feed_signed_with_its_secret(
    api: Api, organizer: Caller, receiver: Receiver
) -> None:
    webhook = register(organizer, receiver, kinds=ALL)
    event_id = event(organizer)
    first, second = api.users(2)
    first.book(event_id)
    second.book(event_id)
    organizer.post("/cancel", {"event_id": event_id, "user_id": first.id, "reason": "Sold twice"})
    eventually(lambda: len(receiver.told) == 5, "five changes are told")
    rows = organizer.get(f"/events/{event_id}/changes").data
    messages = receiver.messages
    assert [message.verify(webhook["secret"])["data"] for message in messages] == rows
    assert [message.id for message in messages] == [f"{webhook['id']}-{event_id}-{seq}" for seq in range(1, 6)]
    assert [message.kind for message in messages] == [
        "event.created",
        "booking.booked",
        "booking.joined",
        "booking.cancelled",
        "booking.promoted",
    ]
    assert [message.body["timestamp"] for message in messages] == [row["at"] for row in rows]
    with pytest.raises(WebhookVerificationError):
        messages[0].verify("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


def test_by_default_a_webhook_is_told_of_what_needs_an_answer(api: Api, organizer: Caller, receiver: Receiver) -> None:
    webhook = register(organizer, receiver)
    assert webhook["kinds"] == ["changed", "confirmed", "promoted", "cancelled", "expired"]
    event_id = event(organizer)
    user = api.user()
    user.book(event_id)
    user.cancel(event_id)
    organizer.change(event_id, paused=True)
    eventually(lambda: len(receiver.told) == 2, "two changes are told")
    assert [message.kind for message in receiver.messages] == ["booking.cancelled", "event.changed"]


def test_a_new_webhook_begins_with_what_comes_next(api: Api, organizer: Caller, receiver: Receiver) -> None:
    event_id = event(organizer)
    eventually(lambda: organizer.get(f"/events/{event_id}/changes").data != [], "the database has the event")
    register(organizer, receiver, kinds=ALL)
    api.user().book(event_id)
    eventually(lambda: receiver.told != [], "something is told")
    assert receiver.told == [(event_id, 2)]


def test_a_webhook_of_one_event_is_told_of_no_other(api: Api, organizer: Caller, receiver: Receiver) -> None:
    one, other = event(organizer), event(organizer)
    with receiving() as beside:
        register(organizer, receiver, kinds=["booked"], event_id=one)
        register(organizer, beside, kinds=["booked"])
        for event_id in (other, one):
            api.user().book(event_id)
        eventually(lambda: receiver.told != [] and len(beside.told) == 2, "the bookings are told")
        assert {place[0] for place in beside.told} == {one, other}
    assert {place[0] for place in receiver.told} == {one}


def test_what_fails_is_sent_again_with_the_same_id_and_holds_up_its_event_alone(
    api: Api, organizer: Caller, receiver: Receiver
) -> None:
    bad, good = event(organizer, available_tickets=9), event(organizer, available_tickets=9)
    register(organizer, receiver, kinds=["booked"])
    others = {(good, 2), (good, 3)}
    receiver.answer = lambda message: 500 if message.place == (bad, 2) and not others <= {*receiver.told} else 204
    for event_id in (bad, bad, good, good):
        api.user().book(event_id)
    eventually(lambda: len(receiver.told) == 4, "all bookings are told")
    assert receiver.in_order()
    assert receiver.told[-1] == (bad, 3)
    repeated = {message.id for message in receiver.messages if message.place == (bad, 2)}
    assert len(repeated) == 1


def test_the_deliveries_tell_what_was_answered(api: Api, organizer: Caller, receiver: Receiver) -> None:
    webhook = register(organizer, receiver, kinds=["booked"])
    receiver.answer, receiver.body = (lambda _: 500), b"Ours is broken \xff"
    event_id = event(organizer)
    api.user().book(event_id)
    eventually(lambda: call(organizer, "GET", webhook, "/deliveries").data != [], "the attempt is listed")
    (delivery,) = call(organizer, "GET", webhook, "/deliveries").data
    told = {name: delivery[name] for name in ("type", "event_id", "seq", "attempt", "delivered", "status", "error")}
    assert told == {
        "type": "booking.booked",
        "event_id": event_id,
        "seq": 2,
        "attempt": 1,
        "delivered": False,
        "status": 500,
        "error": "It has answered 500.",
    }
    assert delivery["answer"] == "Ours is broken \N{REPLACEMENT CHARACTER}"


def test_410_disables_at_once_and_a_repaired_webhook_goes_on_where_it_stood(
    api: Api, organizer: Caller, receiver: Receiver
) -> None:
    webhook = register(organizer, receiver, kinds=["booked"])
    receiver.answer = lambda _: 410
    event_id = event(organizer, available_tickets=3)
    api.user().book(event_id)
    eventually(lambda: call(organizer, "GET", webhook).data["status"] == "disabled", "it is disabled")
    assert call(organizer, "GET", webhook).data["disabled_reason"] == "It has answered 410 Gone."
    api.user().book(event_id)
    receiver.answer = lambda _: 204
    seen = len(receiver.messages)
    answer = call(organizer, "PATCH", webhook, body={"status": "enabled"})
    assert (answer.status, answer.data["status"], answer.data["disabled_reason"]) == (200, "enabled", None)
    eventually(lambda: len(receiver.messages) >= seen + 2, "both bookings are told")
    assert [message.place for message in receiver.messages[seen:]] == [(event_id, 2), (event_id, 3)]


def test_a_redirect_is_not_followed(api: Api, organizer: Caller, receiver: Receiver) -> None:
    with receiving() as elsewhere:
        webhook = register(organizer, receiver, kinds=["booked"])
        receiver.answer, receiver.headers = (lambda _: 307), {"location": elsewhere.url}
        answer = call(organizer, "POST", webhook, "/test")
        assert elsewhere.messages == []
    assert (answer.data["delivered"], answer.data["status"]) == (False, 307)
    assert answer.data["error"] == "It has answered 307; redirects are not followed."


def test_a_test_message_tells_what_was_answered(organizer: Caller, receiver: Receiver) -> None:
    webhook = register(organizer, receiver)
    receiver.answer, receiver.body = (lambda _: 200), b"thanks"
    answer = call(organizer, "POST", webhook, "/test")
    assert (answer.status, answer.data["delivered"], answer.data["answer"]) == (200, True, "thanks")
    (message,) = receiver.messages
    assert message.verify(webhook["secret"])["data"] == {"webhook_id": webhook["id"]}
    assert (message.kind, message.id) == ("webhook.test", answer.data["message_id"])


def test_after_a_rotation_both_secrets_sign(organizer: Caller, receiver: Receiver) -> None:
    webhook = register(organizer, receiver)
    rotated = call(organizer, "POST", webhook, "/rotate")
    assert rotated.status == 200
    assert rotated.data["secret"] != webhook["secret"]
    call(organizer, "POST", webhook, "/test")
    for secret in (rotated.data["secret"], webhook["secret"]):
        assert receiver.messages[0].verify(secret)["type"] == "webhook.test"


def test_a_replay_tells_an_events_changes_once_more(api: Api, organizer: Caller, receiver: Receiver) -> None:
    webhook = register(organizer, receiver, kinds=["booked"])
    event_id = event(organizer, available_tickets=9)
    for _ in range(3):
        api.user().book(event_id)
    eventually(lambda: len(call(organizer, "GET", webhook, "/deliveries").data) == 3, "three bookings are told")
    first = [message.id for message in receiver.messages]
    assert call(organizer, "POST", webhook, "/replay", {"event_id": event_id, "after": 2}).status == 202
    eventually(lambda: len(receiver.messages) == 5, "two bookings are told again")
    assert [message.id for message in receiver.messages[3:]] == first[1:]


def test_a_removed_webhook_is_told_nothing_more(api: Api, organizer: Caller, receiver: Receiver) -> None:
    with receiving() as beside:
        event_id = event(organizer, available_tickets=9)
        webhook = register(organizer, receiver, kinds=["booked"])
        register(organizer, beside, kinds=["booked"])
        assert call(organizer, "DELETE", webhook).status == 200
        api.user().book(event_id)
        eventually(lambda: beside.told != [], "the other one is told")
    assert receiver.messages == []
    assert call(organizer, "GET", webhook).verdict == (404, "webhook_not_found")


def test_the_secret_is_told_only_when_it_is_made(organizer: Caller, receiver: Receiver) -> None:
    webhook = register(organizer, receiver, description="The shop")
    assert webhook["secret"].startswith("whsec_")
    shown = call(organizer, "GET", webhook)
    assert {**shown.data, "secret": webhook["secret"]} == webhook
    listed = organizer.get("/webhooks")
    assert listed.data == [shown.data]
    assert "whsec_" not in listed.content.decode()
    assert "secret" not in call(organizer, "PATCH", webhook, body={"description": "x"}).data


def test_a_webhook_is_its_organizers_alone(api: Api, organizer: Caller, receiver: Receiver) -> None:
    webhook = register(organizer, receiver)
    other = api.bearer("the-other", {**api.claims("the-other"), "role": "organizer"})
    admin = api.bearer("an-admin", {**api.claims("an-admin"), "role": "admin"})
    calls = [
        ("GET", "", None),
        ("PATCH", "", {"description": "mine"}),
        ("DELETE", "", None),
        ("POST", "/rotate", None),
        ("POST", "/test", None),
        ("POST", "/replay", {"event_id": 1, "after": 0}),
        ("GET", "/deliveries", None),
    ]
    for method, rest, body in calls:
        assert call(other, method, webhook, rest, body).verdict == (403, "forbidden")
        assert call(api.user(), method, webhook, rest, body).verdict == (403, "forbidden")
    assert other.get("/webhooks").data == []
    assert receiver.messages == []
    assert webhook["id"] in [one["id"] for one in admin.get("/webhooks?limit=100").data]
    assert call(admin, "GET", webhook).status == 200


def test_a_body_that_nothing_reads_must_not_be_too_large_either(
    api: Api, organizer: Caller, receiver: Receiver
) -> None:
    webhook = register(organizer, receiver)
    place = f"/webhooks/{webhook['id']}"
    for method, rest in (("POST", "/rotate"), ("POST", "/test"), ("DELETE", "")):
        refused = organizer.call(method, place + rest, content=b" " * 16_385)
        assert refused.verdict == (413, "body_too_large")
    assert receiver.messages == []
    assert organizer.call("POST", f"{place}/test", content=b" " * 16_384).status == 200
    assert receiver.messages[0].verify(webhook["secret"])


def test_a_webhook_for_another_organizers_event_is_refused(api: Api, organizer: Caller, receiver: Receiver) -> None:
    event_id = api.event()
    answer = organizer.post("/webhooks", {"url": receiver.url, "event_id": event_id})
    assert answer.verdict == (403, "forbidden")
    webhook = register(organizer, receiver)
    replayed = call(organizer, "POST", webhook, "/replay", {"event_id": event_id, "after": 0})
    assert replayed.verdict == (403, "forbidden")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/url"),
        ({"url": "ftp://example.com/"}, "/url"),
        ({"url": "https://user:word@example.com/"}, "/url"),
        ({"url": "https://example.com/#part"}, "/url"),
        ({"url": "https://10.0.0.1/"}, "/url"),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "/url"),
        ({"url": "http://93.184.216.34/"}, "/url"),
        ({"url": "https://example.com/" + "x" * 2_000}, "/url"),
        ({"url": "https://example.com/", "kinds": []}, "/kinds"),
        ({"url": "https://example.com/", "kinds": ["sold", "booked"]}, "/kinds/0"),
        ({"url": "https://example.com/", "description": "two\nlines"}, "/description"),
        ({"url": "https://example.com/", "secret": "mine"}, "/secret"),
    ],
)
def test_a_webhook_with_a_fault_is_refused_with_its_place(organizer: Caller, body: Any, pointer: str) -> None:
    answer = organizer.post("/webhooks", body)
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {pointer}


def test_the_webhooks_of_an_account_end_with_its_role(api: Api, receiver: Receiver) -> None:
    email, password = f"{fresh('boss')}@example.com", "correct horse battery staple"
    assert api.anyone.post("/auth/register", {"email": email, "password": password}).status == 201
    environment = {**api.environment}
    assert run_command(["user", "promote", email], environment).returncode == 0
    answer = api.anyone.post("/auth/login", {"email": email, "password": password})
    boss = api.with_token(answer.data["token"], f"account:{answer.data['user']['id']}")
    webhook = register(boss, receiver, kinds=["created"])
    assert run_command(["user", "demote", email], environment).returncode == 0
    admin = api.bearer("an-admin", {**api.claims("an-admin"), "role": "admin"})
    eventually(lambda: call(admin, "GET", webhook).data["status"] == "disabled", "it is disabled")
    assert call(admin, "GET", webhook).data["disabled_reason"] == "Its owner is no organizer any more."
