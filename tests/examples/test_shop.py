"""The little shop of scripts/examples beside a real service, with a provider that loses answers and repeats itself."""

import hmac
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest

from booking.domain.model import PAYMENTS_MAX
from tests.contract.api import Api, open_api, serving
from tests.contract.client import Caller
from tests.examples.parts import EXAMPLES, KEY, Till, running_till
from tests.fixtures.ports import unused_port
from tests.fixtures.service import RunningService
from tests.fixtures.waiting import PATIENCE_SECONDS, eventually

ORGANIZER = "the-organizer"
MOODS = ("--repeats", "3", "--spread", "0.2", "--lose", "0.3", "--seed", "14")


@pytest.fixture(scope="module")
def api(service: RunningService) -> Iterator[Api]:
    with open_api(service) as opened:
        yield opened


@pytest.fixture(scope="module")
def till(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Till]:
    with running_till(service, tmp_path_factory.mktemp("till"), ORGANIZER, MOODS) as running:
        yield running


@pytest.fixture
def browser() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=PATIENCE_SECONDS, trust_env=False, follow_redirects=False) as client:
        yield client


@dataclass(slots=True)
class Held:
    """Tickets that are held for a buyer, and the link to pay them."""

    api: Api
    browser: httpx.Client
    buyer: Caller
    event_id: int
    payment_id: str
    link: str

    def press(self, method: str, url: str, form: dict[str, str] | None = None) -> httpx.Response:
        """What a buyer gets who presses a button, again while the shop asks for that."""
        answers: list[httpx.Response] = []

        def is_answered() -> bool:
            answers.append(self.browser.request(method, url, data=form))
            return answers[-1].status_code != 503

        eventually(is_answered, f"{url} answers")
        return answers[-1]

    def charge(self) -> str:
        """The address of the provider's page, to which the shop's button leads."""
        led = self.press("POST", self.link)
        assert led.status_code == 303, led.text
        return led.headers["location"]

    def give_back(self, quantity: int) -> None:
        """The buyer gives tickets back."""
        answer = self.buyer.post("/cancel", {"event_id": self.event_id, "quantity": quantity})
        assert answer.status == 200, answer

    def status(self) -> str:
        """The status of the buyer's booking."""
        return str(self.buyer.booking(self.event_id).data["status"])

    def kinds(self) -> list[str]:
        """The kinds of all changes of the event."""
        return [row["kind"] for row in self.api.organizer.get(f"/events/{self.event_id}/changes?limit=100").data]


def hold(api: Api, till: Till, browser: httpx.Client, quantity: int = 1, currency: str = "EUR") -> Held:
    """A buyer of a new event, which has no more tickets, begins to pay."""
    event_id = api.event(
        available_tickets=quantity,
        max_per_user=2,
        hold_seconds=600,
        price={"amount": 4500, "currency": currency},
        payment_url=till.payment_url,
    )
    buyer = api.user()
    assert buyer.book(event_id, quantity).status == 201
    begun = buyer.post("/checkout", {"event_id": event_id}).data
    return Held(api, browser, buyer, event_id, begun["payment_id"], begun["payment_url"])


def notice(payment_id: str, kind: str = "payment.paid") -> tuple[bytes, str]:
    """A notice of the provider, and its signature."""
    body = json.dumps({"id": 0, "type": kind, "payment_id": payment_id, "amount": 4500, "currency": "EUR"}).encode()
    return body, hmac.new(KEY.encode(), body, sha256).hexdigest()


def tell(till: Till, browser: httpx.Client, body: bytes, signature: str) -> int:
    return browser.post(f"{till.shop.url}/notices", content=body, headers={"Provider-Signature": signature}).status_code


def test_a_buyer_sees_the_order_pays_it_and_has_the_booking(api: Api, till: Till, browser: httpx.Client) -> None:
    held = hold(api, till, browser, quantity=2)
    shown = held.press("GET", held.link)
    assert shown.status_code == 200
    assert re.search(r"<td>2<.*<td>90\.00 EUR.*another \d+ min \d+ s", shown.text, re.DOTALL)
    back = held.press("POST", held.charge(), {"late": "0"})
    assert back.headers["location"].startswith(till.shop.url)
    eventually(lambda: held.status() == "confirmed", "the tickets are booked")
    eventually(lambda: "The tickets are yours" in held.press("GET", held.link).text, "the shop says so")
    eventually(lambda: till.untold()[held.payment_id] == 0, "every notice is acknowledged")
    assert (till.orders()[held.payment_id], till.refunds()[held.payment_id]) == ("booked", 0)
    eventually(lambda: held.kinds() == ["created", "held", "checkout", "confirmed"], "each is recorded once")


@pytest.mark.parametrize(("currency", "price"), [("EUR", "45.00"), ("JPY", "4500"), ("KWD", "4.500")])
def test_a_price_has_the_digits_of_its_currency(
    api: Api, till: Till, browser: httpx.Client, currency: str, price: str
) -> None:
    held = hold(api, till, browser, currency=currency)
    for page in (held.link, held.charge()):
        assert re.search(rf"[ >]{re.escape(price)} {currency}", held.press("GET", page).text)


@pytest.mark.parametrize("charged", [False, True])
def test_an_old_link_does_not_begin_the_payment_of_a_later_hold(
    api: Api, till: Till, browser: httpx.Client, *, charged: bool
) -> None:
    held = hold(api, till, browser)
    assert 'http-equiv="refresh" content="3"' in held.press("GET", held.link).text
    if charged:
        held.charge()
    held.give_back(1)
    gone = held.press("GET", held.link)
    assert "not held for you any more" in gone.text
    assert ('http-equiv="refresh"' in gone.text) == charged, "only of a charge may something be told later"
    assert held.buyer.book(held.event_id).status == 201
    for method in ("GET", "POST", "GET"):
        held.press(method, held.link)
    assert "payment_id" not in held.buyer.booking(held.event_id).data
    assert held.kinds().count("checkout") <= 1


@pytest.mark.parametrize("changed", ["event_id", "user_id", "payment_id", "signature"])
def test_a_link_that_the_service_has_not_made_is_refused(
    api: Api, till: Till, browser: httpx.Client, changed: str
) -> None:
    held, other = hold(api, till, browser), hold(api, till, browser)
    query, of_other = (dict(parse_qsl(urlsplit(one.link).query)) for one in (held, other))
    for value in (
        of_other[changed],
        query[changed] + "0",
        "" if changed == "signature" else query[changed].upper() + "x",
    ):
        forged = f"{till.shop.url}/pay?{urlencode(query | {changed: value})}"
        statuses = {held.press(method, forged).status_code for method in ("GET", "POST")}
        assert statuses <= {403, 404}, value
    assert not {held.payment_id, other.payment_id} & till.orders().keys()


def test_a_notice_that_the_provider_has_not_signed_is_refused(api: Api, till: Till, browser: httpx.Client) -> None:
    held = hold(api, till, browser)
    assert held.press("GET", held.link).status_code == 200
    body, signature = notice(held.payment_id)
    for forged in ("", signature.upper(), notice("another")[1]):
        assert tell(till, browser, body, forged) == 400
    assert (till.orders()[held.payment_id], held.status()) == ("open", "held")
    assert tell(till, browser, *notice("unknown")) == 404, "it is not acknowledged"


def test_a_declined_card_changes_nothing_before_or_after_the_payment(
    api: Api, till: Till, browser: httpx.Client
) -> None:
    held = hold(api, till, browser)
    charge = held.charge()
    held.press("POST", charge, {"declined": "1"})
    assert tell(till, browser, *notice(held.payment_id, "payment.declined")) == 200
    assert (till.orders()[held.payment_id], held.status()) == ("charged", "held")
    held.press("POST", charge, {"late": "0"})
    eventually(lambda: till.orders()[held.payment_id] == "booked", "the shop hears of the payment")
    assert tell(till, browser, *notice(held.payment_id, "payment.declined")) == 200
    assert (till.orders()[held.payment_id], held.status()) == ("booked", "confirmed")


def test_a_payment_that_comes_too_late_is_given_back_once(api: Api, till: Till, browser: httpx.Client) -> None:
    held, other = hold(api, till, browser), api.user()
    charge = held.charge()
    assert held.buyer.cancel(held.event_id).status == 200
    assert other.book(held.event_id).status == 201
    held.press("POST", charge, {"late": "0"})
    eventually(lambda: till.orders()[held.payment_id] == "settled", "the refund is made and marked")
    for _ in range(3):
        assert tell(till, browser, *notice(held.payment_id)) == 200
    eventually(lambda: till.untold()[held.payment_id] == 0, "every notice is acknowledged")
    assert (till.orders()[held.payment_id], till.refunds()[held.payment_id]) == ("settled", 4500), "once"
    came_to = ["created", "held", "checkout", "cancelled", "held", "refund_due"]
    eventually(lambda: held.kinds() == came_to, "the refund is recorded once")
    assert api.organizer.get(f"/events/{held.event_id}/refunds?status=due").data == []
    assert "Your money is on its way back" in held.press("GET", held.link).text


def test_the_money_for_tickets_given_back_before_the_payment_is_given_back(
    api: Api, till: Till, browser: httpx.Client
) -> None:
    held = hold(api, till, browser, quantity=2)
    charge = held.charge()
    held.give_back(1)
    assert held.charge() == charge, "the order is shown again, and stays what was charged"
    held.press("POST", charge, {"late": "0"})
    eventually(lambda: till.orders()[held.payment_id] == "booked", "the rest is booked, and the part is given back")
    eventually(lambda: till.untold()[held.payment_id] == 0, "every notice is acknowledged")
    assert (till.paid()[held.payment_id], till.refunds()[held.payment_id]) == (9000, 4500)
    assert held.buyer.booking(held.event_id).data["quantity"] == 1
    shown = held.press("GET", held.link).text
    assert re.search(r"you kept<td>1<.*Given back<td>45\.00 EUR", shown), shown


def test_a_refund_is_of_all_that_was_charged_if_a_part_was_given_back_before(
    api: Api, till: Till, browser: httpx.Client
) -> None:
    held, other = hold(api, till, browser, quantity=2), api.user()
    charge = held.charge()
    held.give_back(1)
    held.give_back(1)
    assert other.book(held.event_id, 2).status == 201
    held.press("POST", charge, {"late": "0"})
    eventually(lambda: till.orders()[held.payment_id] == "settled", "the refund is made and marked")
    assert (till.paid()[held.payment_id], till.refunds()[held.payment_id]) == (9000, 9000)


def test_a_payment_whose_booking_was_cancelled_before_the_shop_heard_of_it_is_booked(
    api: Api, till: Till, browser: httpx.Client
) -> None:
    held = hold(api, till, browser, quantity=2)
    charge = held.charge()
    lost = {"event_id": held.event_id, "user_id": held.buyer.id, "payment_id": held.payment_id, "late": True}
    assert api.organizer.post("/confirm", lost).status == 200
    held.give_back(2)
    held.press("POST", charge, {"late": "0"})
    eventually(lambda: till.orders()[held.payment_id] == "booked", "the service has booked it once")
    assert till.refunds()[held.payment_id] == 0


def test_a_payment_that_the_service_has_forgotten_is_left_to_a_person(
    api: Api, till: Till, browser: httpx.Client
) -> None:
    held = hold(api, till, browser)
    charge = held.charge()
    held.give_back(1)
    for _ in range(PAYMENTS_MAX):
        assert held.buyer.book(held.event_id).status == 201
        assert held.buyer.post("/checkout", {"event_id": held.event_id}).status == 200
        held.give_back(1)
    held.press("POST", charge, {"late": "0"})
    eventually(lambda: till.orders()[held.payment_id] not in ("open", "charged"), "the shop hears of the payment")
    assert (till.orders()[held.payment_id], till.refunds()[held.payment_id]) == ("unclear", 0)


def test_a_payment_of_another_amount_is_left_to_a_person(api: Api, till: Till, browser: httpx.Client) -> None:
    held = hold(api, till, browser, quantity=2)
    held.charge()
    assert tell(till, browser, *notice(held.payment_id)) == 200
    assert (till.orders()[held.payment_id], till.refunds()[held.payment_id]) == ("unclear", 0)


def test_a_killed_shop_books_what_was_paid_meanwhile(api: Api, till: Till, browser: httpx.Client) -> None:
    held = hold(api, till, browser)
    charge = held.charge()
    till.shop.kill()
    held.press("POST", charge, {"late": "0"})
    eventually(lambda: till.attempts()[held.payment_id] > 0, "the provider finds no shop")
    assert held.status() == "held"
    till.shop.start()
    eventually(lambda: held.status() == "confirmed", "the tickets are booked")


def test_a_killed_shop_finishes_the_refund_that_it_owed(api: Api, till: Till, browser: httpx.Client) -> None:
    held, other = hold(api, till, browser), api.user()
    held.press("POST", held.charge(), {"late": "3600"})
    held.buyer.cancel(held.event_id)
    assert other.book(held.event_id).status == 201
    till.provider.kill()
    assert tell(till, browser, *notice(held.payment_id)) == 200
    assert till.orders()[held.payment_id] == "refund_due"
    till.shop.kill()
    till.provider.start()
    till.shop.start()
    eventually(lambda: till.orders()[held.payment_id] == "settled", "the refund is made and marked")
    assert till.refunds()[held.payment_id] == 4500, "once"
    assert held.kinds().count("refund_due") == 1


async def test_unknown_events_do_not_keep_the_shop_from_selling_a_known_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service allows so few reads that unknown events use them up; every event is read again each time."""
    monkeypatch.syspath_prepend(EXAMPLES)
    shop: Any = import_module("shop")
    monkeypatch.setattr(shop, "EVENT_SECONDS", 0.0)
    limits = {"BOOKING_READ_RATE_LIMIT_BURST": "6", "BOOKING_READ_RATE_LIMIT_PER_SECOND": "0.001"}
    with serving(tmp_path, limits) as api:
        event_id = str(api.event(price={"amount": 4500, "currency": "EUR"}))
        token = str(api.organizer.authorization).removeprefix("Bearer ")
        environment = {"SHOP_SERVICE_TOKEN": "", "SHOP_ORGANIZER_TOKEN": token, "SHOP_PROVIDER_KEY": KEY}
        service = shop.Service(shop.Settings.read(environment | {"SHOP_SERVICE_URL": api.base_url}))
        known = await service.event(event_id)
        for _ in range(6):
            with pytest.raises(shop.Refused):
                await service.event("998")

        async def ask_for_others() -> None:
            for unknown in range(999, 1010):
                with pytest.raises(shop.Refused):
                    await service.event(str(unknown))

        with pytest.raises(shop.TryAgain):
            await ask_for_others()
        assert await service.event(event_id) == known
        await service.close()


def test_the_readmes_command_opens_a_sale_and_sells_it(
    service: RunningService, api: Api, browser: httpx.Client, tmp_path: Path
) -> None:
    """The environment is there already, so the script that makes it is replaced."""
    scripts = tmp_path / "scripts"
    shutil.copytree(EXAMPLES, scripts / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "environment").write_text(
        f"set -euo pipefail\nlaunched_from=$PWD checkout={tmp_path}\nmake_environment() {{ :; }}\n"
    )
    urls = {name: f"http://127.0.0.1:{unused_port()}" for name in ("SHOP_URL", "SHOP_PROVIDER_URL")}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("BOOKING_", "SHOP_"))}
    environment |= urls | {
        "BOOKING_DATA_DIR": str(service.data_dir),
        "BOOKING_JWT_SECRET": service.secret,
        "SHOP_SERVICE_URL": service.base_url,
        "SHOP_DATA_DIR": str(tmp_path / "data"),
    }
    with subprocess.Popen(
        [scripts / "examples" / "shop"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            told = process.stdout.readline()
            opened = re.fullmatch(rf"open {service.base_url}/sale/(\d+) and book; .*\n", told)
            assert opened, told
            event_id, buyer = int(opened[1]), api.user()
            assert buyer.book(event_id).status == 201
            begun = buyer.post("/checkout", {"event_id": event_id}).data
            held = Held(api, browser, buyer, event_id, begun["payment_id"], begun["payment_url"])
            eventually(lambda: answers(browser, urls["SHOP_URL"]), "the shop listens")
            eventually(lambda: answers(browser, urls["SHOP_PROVIDER_URL"]), "the provider listens")
            held.press("POST", held.charge(), {"late": "0"})
            eventually(lambda: held.status() == "confirmed", "the tickets are booked")
        finally:
            process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
    assert not any(answers(browser, url) for url in urls.values()), "both have ended"


def answers(browser: httpx.Client, url: str) -> bool:
    try:
        return browser.get(f"{url}/").status_code == 404
    except httpx.TransportError:
        return False
