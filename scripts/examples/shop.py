"""A little shop that takes the money for tickets of the booking service. One file, to be read from top to bottom.

1. A buyer holds tickets and presses *Pay* on the service's page. The service leads them to our page `/pay`, with the
   event, the buyer, the payment, and a signature that only the service and we can make.
2. `/pay` verifies the signature, asks the service what is held, writes the order into our book, and shows it. Its
   button makes a charge at the payment provider and leads the buyer to the provider's page.
3. The provider tells `/notices` that the buyer has paid: late, several times, in any order. We ask the service what the
   payment came to. It is a booking, or a refund that is due, and always the same for one payment.
4. A notice is acknowledged once its outcome is in our book, never before. The provider repeats it until then.
5. A refund that is due is made at the provider, once for each payment. Then it is marked as done at the service. The
   money for tickets that a buyer gave back before they paid is given back in the same way.

Every step may be repeated, and the book knows which are done. So a shop that is killed at any point goes on from there.
"""

import argparse
import asyncio
import hmac
import json
import logging
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from html import escape
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

log = logging.getLogger("shop")

CALL_SECONDS_MAX = 5.0
"""How long the service and the provider have to answer. Then the call is repeated."""

AGAIN_SECONDS = 1.0
"""The pause after which a refund that could not be finished is tried again."""

EVENT_SECONDS = 60.0
"""How long what we know of an event is used: its name, its price and its payment secret."""

REFUSED_SECONDS, REFUSED_MAX = 10.0, 1_000
"""How long it is remembered that an event is not ours, and of how many."""

PAYMENTS_REMEMBERED = 32
"""The payments of a buyer that the service remembers for an event: the last ones (contract)."""

REFRESH_SECONDS, SLOW_REFRESH_SECONDS = 3, 30
"""How often the page of an order is loaded again: while it can be paid, and while a payment may still be told."""

REFUNDS_AT_ONCE = 8
"""Refunds that are finished side by side."""

DIGITS = {
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"), 0),
    **dict.fromkeys(("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
}
"""Digits after the point of currencies that do not have two (ISO 4217, table A.1)."""

BODY_BYTES_MAX = 16 * 1024
"""The largest notice."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The shop's settings. `read` takes them from the environment."""

    url: str
    """Our own address, as buyers and the provider reach it."""
    service_url: str
    service_token: str
    """With the role `service`, which may act for any buyer: `booking token --user shop --role service`."""
    organizer_token: str
    """Of the organizer of our events: it reads their payment secrets, and marks refunds as done."""
    provider_url: str
    provider_key: str
    """Our secret at the provider: it opens the provider's API, and signs the provider's notices."""
    data_dir: Path

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Settings":
        """Raises KeyError if a token or the key is missing."""
        return cls(
            environment.get("SHOP_URL", "http://127.0.0.1:8010"),
            environment.get("SHOP_SERVICE_URL", "http://127.0.0.1:8000"),
            environment["SHOP_SERVICE_TOKEN"],
            environment["SHOP_ORGANIZER_TOKEN"],
            environment.get("SHOP_PROVIDER_URL", "http://127.0.0.1:8020"),
            environment["SHOP_PROVIDER_KEY"],
            Path(environment.get("SHOP_DATA_DIR", "data/shop")),
        )


# The book


class State(StrEnum):
    """The state of an order. It only ever moves down this list."""

    OPEN = "open"
    """The buyer has seen it, and cannot pay it yet."""
    CHARGED = "charged"
    """The buyer can pay it at the provider. From now on its quantity and its amount stay."""
    PART_DUE = "part_due"
    """It is paid, and fewer tickets are booked than were charged: the buyer gave some back before they paid."""
    BOOKED = "booked"
    """It is paid, the service has booked the tickets, and no money has to be given back. This is an end."""
    REFUND_DUE = "refund_due"
    """It is paid, and the tickets are gone."""
    REFUNDED = "refunded"
    """The provider has given the money back."""
    SETTLED = "settled"
    """The service knows that the money was given back. This is an end."""
    UNCLEAR = "unclear"
    """It is paid with another amount, or the service does not know the payment. A person has to look at it."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a buyer pays for. `amount` is the price of all its tickets, in minor units of the currency (cents, yen)."""

    payment_id: str
    event_id: int
    user_id: str
    quantity: int
    amount: int
    currency: str
    held_until: str | None
    """When its tickets are not held any more, as the service told last; None: they were given back, or have expired."""
    booked: int = 0
    """The tickets that the service has booked for the payment."""
    state: State = State.OPEN

    @property
    def is_paid(self) -> bool:
        """Whether the provider has told that it is paid."""
        return self.state not in (State.OPEN, State.CHARGED)

    @property
    def is_payable(self) -> bool:
        """Whether it can be paid now."""
        return not self.is_paid and self.held_until is not None

    @property
    def back(self) -> int:
        """The amount to give back once it is paid: that of the tickets that were charged and are not booked."""
        return self.amount // self.quantity * (self.quantity - self.booked)

    def price(self, amount: int) -> str:
        """An amount in the order's currency, as people read it."""
        digits = DIGITS.get(self.currency, 2)
        return f"{Decimal(amount).scaleb(-digits):f} {self.currency}"


UNFINISHED = "state IN ('part_due', 'refund_due', 'refunded')"


class Book:
    """The orders, in SQLite. Each method is one transaction, and it is on the disk when the method returns."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._sql = sqlite3.connect(file, isolation_level=None)
        self._sql.execute("PRAGMA journal_mode=WAL")
        self._sql.execute("PRAGMA synchronous=FULL")  # a commit survives the power, too
        self._sql.execute(
            "CREATE TABLE IF NOT EXISTS orders (payment_id TEXT PRIMARY KEY, event_id INTEGER NOT NULL,"
            " user_id TEXT NOT NULL, quantity INTEGER NOT NULL, amount INTEGER NOT NULL, currency TEXT NOT NULL,"
            " held_until TEXT, booked INTEGER NOT NULL, state TEXT NOT NULL) WITHOUT ROWID"
        )
        self._sql.execute(f"CREATE INDEX IF NOT EXISTS unfinished ON orders (state) WHERE {UNFINISHED}")

    def order(self, payment_id: str) -> Order | None:
        """The order of a payment; None if there is none."""
        row = self._sql.execute("SELECT * FROM orders WHERE payment_id = ?", (payment_id,)).fetchone()
        return None if row is None else _order(row)

    def keep(self, order: Order) -> None:
        """Writes a new order. Of an order that is open, the quantity and the amount are replaced."""
        self._sql.execute(
            "INSERT INTO orders"
            " VALUES (:payment_id, :event_id, :user_id, :quantity, :amount, :currency, :held_until, :booked, :state)"
            " ON CONFLICT (payment_id) DO UPDATE SET quantity = excluded.quantity, amount = excluded.amount,"
            " currency = excluded.currency WHERE state = 'open'",
            asdict(order),
        )

    def hold(self, payment_id: str, until: str | None) -> None:
        """Writes when the hold of an order ends. Once it is None, it stays so."""
        self._sql.execute(
            "UPDATE orders SET held_until = ? WHERE payment_id = ? AND held_until IS NOT NULL", (until, payment_id)
        )

    def move(self, order: Order, after: State, booked: int | None = None) -> None:
        """Moves an order on, unless another call has done so since it was read. `booked` is new if it is not None."""
        self._sql.execute(
            "UPDATE orders SET state = ?, booked = coalesce(?, booked) WHERE payment_id = ? AND state = ?",
            (after, booked, order.payment_id, order.state),
        )

    def unfinished(self) -> list[Order]:
        """The orders whose refund is not finished."""
        rows = self._sql.execute(f"SELECT * FROM orders WHERE {UNFINISHED}")  # noqa: S608 - a constant
        return [_order(row) for row in rows]

    def close(self) -> None:
        """Closes the file."""
        self._sql.close()


def _order(row: Any) -> Order:
    *fields, state = row
    return Order(*fields, State(state))


# The two others: the booking service and the payment provider


class TryAgain(Exception):
    """The other side is away, or its answer was lost. Every call of the shop may be made again."""


class Refused(Exception):
    """What a buyer asks for is not possible: a status of HTTP, and a sentence for the buyer."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class Peer:
    """One of the two others, over HTTP."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=CALL_SECONDS_MAX, trust_env=False)

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def ask(
        self, method: str, path: str, token: str, body: Mapping[str, object] | None = None, key: str | None = None
    ) -> tuple[int, Any]:
        """The status and the JSON of the answer. Raises TryAgain if there is none, or if it is no decision."""
        headers = {"Authorization": f"Bearer {token}"} | ({} if key is None else {"Idempotency-Key": key})
        try:
            answer = await self._http.request(method, path, json=body, headers=headers)
        except httpx.TransportError as error:
            raise TryAgain(f"{method} {path}: {error!r}") from error
        if answer.status_code >= 500 or answer.status_code in (401, 429):
            raise TryAgain(f"{method} {path}: {answer.status_code} {answer.text}")
        try:
            return answer.status_code, answer.json()
        except ValueError as error:
            raise TryAgain(f"{method} {path}: {answer.status_code} without JSON") from error


@dataclass(frozen=True, slots=True)
class Link:
    """The way from the service to our page: what `payment_url` was filled in with."""

    event_id: str
    user_id: str
    payment_id: str
    signature: str

    @property
    def query(self) -> str:
        """The link's query, for the way back to the same page."""
        return urlencode(asdict(self))

    def is_signed(self, secret: str) -> bool:
        """Whether the service has made this link. The comparison takes as long for any signature."""
        message = f"{self.event_id}\n{self.user_id}\n{self.payment_id}"
        made = hmac.new(secret.encode(), message.encode(), sha256).hexdigest()
        return hmac.compare_digest(made.encode(), self.signature.encode())


@dataclass(frozen=True, slots=True)
class Event:
    """What the shop needs of an event. `amount` is the price of one ticket in minor units."""

    name: str
    amount: int
    currency: str
    secret: str
    until: float
    """When it has to be read again, by the event loop's clock."""


class Service(Peer):
    """The booking service, as far as the shop needs it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.service_url)
        self._token, self._organizer = settings.service_token, settings.organizer_token
        self._events: dict[str, Event] = {}
        self._refused: dict[str, tuple[float, str]] = {}
        """What is not ours: until when that is used, and what a buyer is told."""

    async def event(self, event_id: str) -> Event:
        """An event of ours. Raises Refused if it is not ours or has no price.

        Anyone can name an event, and our calls to the service are limited. So a refusal is remembered, and an event
        that we know stays known while the service does not answer us.
        """
        now = asyncio.get_running_loop().time()
        known = self._events.get(event_id)
        if known is not None and known.until > now:
            return known
        refused_until, said = self._refused.pop(event_id, (now, ""))
        if refused_until <= now:
            try:
                self._events[event_id] = event = await self._read_event(event_id, now + EVENT_SECONDS)
            except TryAgain:
                if known is None:
                    raise
                return known
            except Refused as refused:
                refused_until, said = now + REFUSED_SECONDS, str(refused)
                self._events.pop(event_id, None)
            else:
                return event
        self._refused[event_id] = refused_until, said
        if len(self._refused) > REFUSED_MAX:
            del self._refused[next(iter(self._refused))]  # the one that was asked for longest ago
        raise Refused(404, said)

    async def _read_event(self, event_id: str, until: float) -> Event:
        path = f"/events/{quote(event_id, safe='')}"
        status, told = await self.ask("GET", f"{path}/payment-secret", self._organizer)
        if status != 200:
            raise Refused(404, "This shop does not sell tickets for that.")
        status, details = await self.ask("GET", f"{path}/details", self._organizer)
        if status != 200:
            raise TryAgain(f"{path}/details: {details}")
        price = details["data"]["price"]
        if price is None:
            raise Refused(404, "This event has no price.")
        return Event(details["data"]["name"], price["amount"], price["currency"], told["data"]["secret"], until)

    async def booking(self, link: Link) -> dict[str, Any] | None:
        """The buyer's booking, if it is the one that this link is for. A second /checkout changes nothing."""
        told = {"event_id": int(link.event_id), "user_id": link.user_id}
        status, answer = await self._act("/checkout", told)
        if status == 200 and answer["data"].get("payment_id") == link.payment_id:
            booking: dict[str, Any] = answer["data"]
            return booking
        return None

    async def outcome(self, order: Order) -> tuple[State, int]:
        """What a payment came to, and the tickets that are booked for it.

        It needs no Idempotency-Key: a payment comes to one outcome, for ever.
        """
        told = {"event_id": order.event_id, "user_id": order.user_id, "payment_id": order.payment_id, "late": True}
        status, answer = await self._act("/confirm", told)
        if status != 200 and answer["code"] == "refund_due":
            return State.REFUND_DUE, 0
        booked = 0
        if status == 200:
            booked = answer["data"]["quantity"]
        elif answer["code"] == "booking_not_found":
            booked = await self._cancelled_since(order)
        if booked:
            return State.BOOKED if booked == order.quantity else State.PART_DUE, booked
        log.error("payment %s of %s: %s", order.payment_id, order.user_id, answer)
        return State.UNCLEAR, 0

    async def _cancelled_since(self, order: Order) -> int:
        """The tickets of a booking whose confirmation we did not hear of, and that was cancelled since; 0: unknown.

        The service says that there is no booking for such a payment, and for one that it has forgotten. It remembers
        each buyer's last ones, so it has forgotten none if the buyer's bookings are not more. What a buyer gets back
        for tickets that they give back after they have paid is for a shop to decide; this one gives nothing.
        """
        query = urlencode({"q": order.user_id, "limit": PAYMENTS_REMEMBERED})
        status, page = await self.ask("GET", f"/events/{order.event_id}/bookings?{query}", self._organizer)
        if status != 200 or page["has_more"]:
            return 0
        if not page["up_to_date"]:
            raise TryAgain(f"the bookings of {order.user_id} are not up to date")
        found = [row["quantity"] for row in page["data"] if row.get("payment_id") == order.payment_id]
        return int(found[0]) if found else 0  # the newest: a late payment is booked again after its hold

    async def _act(self, path: str, told: Mapping[str, object]) -> tuple[int, Any]:
        """A command for a buyer. If the service refuses our token, that is our fault and says nothing of the buyer."""
        status, answer = await self.ask("POST", path, self._token, told)
        if status == 403:
            raise TryAgain(f"{path}: {answer}")
        return status, answer

    async def mark_refund(self, order: Order) -> None:
        """Tells that the money was given back. Raises TryAgain while the service's database has not heard of it."""
        path = f"/events/{order.event_id}/refunds/{quote(order.payment_id, safe='')}"
        status, answer = await self.ask("PATCH", path, self._organizer, {"done": True})
        if status != 200:
            raise TryAgain(f"{path}: {answer}")

    async def open_sale(self, shop_url: str) -> str:
        """Opens a sale whose buyers pay in this shop. Returns the address of its page."""
        sale = {
            "event_name": "An evening in the little shop",
            "available_tickets": 3,
            "max_per_user": 2,
            "hold_seconds": 60,
            "offer_seconds": 60,
            "payment_seconds": 60,
            "price": {"amount": 4500, "currency": "EUR"},
            "payment_url": payment_url(shop_url),
        }
        status, answer = await self.ask("POST", "/initialize", self._organizer, sale)
        if status != 201:
            raise TryAgain(f"POST /initialize: {answer}")
        return f"{self._http.base_url}".rstrip("/") + f"/sale/{answer['event_id']}"


def payment_url(shop_url: str) -> str:
    """The template with which an organizer leads an event's buyers to a shop. The service fills in the four names."""
    names = ("event_id", "user_id", "payment_id", "signature")
    return f"{shop_url}/pay?" + "&".join(f"{name}={{{name}}}" for name in names)


class Provider(Peer):
    """The payment provider. Replace this class, `/notices` and `provider.py` by what yours has."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.provider_url)
        self._key = settings.provider_key

    async def charge(self, order: Order, text: str, return_url: str, notice_url: str) -> str:
        """Asks for the money. Returns the address at which the buyer pays. A payment has one charge."""
        told = {
            "payment_id": order.payment_id,
            "amount": order.amount,
            "currency": order.currency,
            "text": text,
            "return_url": return_url,
            "notice_url": notice_url,
        }
        status, answer = await self.ask("POST", "/charges", self._key, told, key=order.payment_id)
        if status != 200:
            raise TryAgain(f"POST /charges: {answer}")
        return str(answer["page"])

    async def refund(self, order: Order) -> None:
        """Gives money back, all or a part. The key says that a repeated call means the same refund, not another one."""
        told = {"payment_id": order.payment_id, "amount": order.back}
        status, answer = await self.ask("POST", "/refunds", self._key, told, key=f"refund-{order.payment_id}")
        if status != 200:
            raise TryAgain(f"POST /refunds: {answer}")

    def has_signed(self, body: bytes, signature: str) -> bool:
        """Whether a notice is the provider's."""
        made = hmac.new(self._key.encode(), body, sha256).hexdigest()
        return hmac.compare_digest(made.encode(), signature.encode())


# The shop


class Shop:
    """What happens between a buyer, the service and the provider."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.url
        self._book = Book(settings.data_dir / "shop.sqlite3")
        self._service = Service(settings)
        self._provider = Provider(settings)
        self._refund_wanted = asyncio.Event()

    async def close(self) -> None:
        """Closes what it has opened."""
        await self._service.close()
        await self._provider.close()
        self._book.close()

    async def order_of(self, link: Link) -> tuple[Order, Event]:
        """The order behind a link, and its event. Raises Refused if the link is forged, or if it leads to nothing.

        The service is asked only while the order may be held: a later hold of the buyer has a link of its own, and
        /checkout would begin its payment.
        """
        if not (link.event_id.isascii() and link.event_id.isdecimal() and len(link.event_id) < 19):
            raise Refused(404, "This shop does not sell tickets for that.")
        event = await self._service.event(link.event_id)
        if not link.is_signed(event.secret):
            raise Refused(403, "This link is not one that the booking service has made.")
        order = self._book.order(link.payment_id)
        if order is None or order.is_payable:
            booking = await self._service.booking(link)
            held_until = None if booking is None else booking.get("expires_at")
            if booking is not None:
                quantity = booking["quantity"]
                sold = quantity, quantity * event.amount, event.currency, held_until
                self._book.keep(Order(link.payment_id, int(link.event_id), link.user_id, *sold))
            self._book.hold(link.payment_id, held_until)
            order = self._book.order(link.payment_id)
        if order is None:
            raise Refused(410, "These tickets are not held for you any more.")
        return order, event

    async def charge(self, link: Link) -> str:
        """Where the buyer goes on: to the provider's page, or back to the order if it cannot be paid now."""
        order, event = await self.order_of(link)
        back = f"{self._url}/pay?{link.query}"
        if not order.is_payable:
            return back
        self._book.move(order, State.CHARGED)
        text = f"{event.name}, tickets: {order.quantity}, {order.price(order.amount)}"
        return await self._provider.charge(order, text, f"{back}&returned=1", f"{self._url}/notices")

    async def hear(self, body: bytes, signature: str) -> Response:
        """A notice of the provider. Any status but 200 makes the provider repeat it.

        A payment that was declined changes nothing: the hold ends by itself, and the buyer may try again until then. So
        it does not matter in which order the notices come.
        """
        if not self._provider.has_signed(body, signature):
            return JSONResponse({"error": "the signature is wrong"}, 400)
        notice = json.loads(body)
        if notice["type"] != "payment.paid":
            return JSONResponse({"state": "ignored"})
        order = self._book.order(notice["payment_id"])
        if order is None:
            return JSONResponse({"error": "there is no such order"}, 404)
        if not order.is_paid:
            outcome = await self._service.outcome(order)
            if (notice["amount"], notice["currency"]) != (order.amount, order.currency):
                log.error("payment %s: %s was paid instead of %s", order.payment_id, notice, order)
                outcome = State.UNCLEAR, outcome[1]
            self._book.move(order, *outcome)
            self._refund_wanted.set()
        return JSONResponse({"state": "heard"})

    async def keep_refunding(self) -> None:
        """Finishes refunds for as long as the shop runs, and first those that a shop before this one has left."""
        while True:
            self._refund_wanted.clear()
            unfinished = self._book.unfinished()
            failed = False
            for first in range(0, len(unfinished), REFUNDS_AT_ONCE):
                some = unfinished[first : first + REFUNDS_AT_ONCE]
                failed |= not all(await asyncio.gather(*map(self._refund, some)))
            if failed:
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                await self._refund_wanted.wait()

    async def _refund(self, order: Order) -> bool:
        """Does what is left of one refund. Returns whether all of it is done."""
        try:
            if order.state is State.PART_DUE:
                await self._provider.refund(order)
                self._book.move(order, State.BOOKED)
                return True
            if order.state is State.REFUND_DUE:
                await self._provider.refund(order)
                self._book.move(order, State.REFUNDED)
                return await self._refund(self._book.order(order.payment_id) or order)
            await self._service.mark_refund(order)
            self._book.move(order, State.SETTLED)
        except TryAgain as error:
            log.warning("refund of %s: %s", order.payment_id, error)
            return False
        return True


# Its pages

STYLE = """
:root { color-scheme: light dark }
body { font: 1.1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 3rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } th { text-align: left; font-weight: 400 } td { text-align: right }
button { font: inherit; padding: .6rem 1.6rem; margin-top: 1rem }
"""

SAID = {
    State.OPEN: "These tickets are not held for you any more.",
    State.CHARGED: "These tickets are not held for you any more. If you have paid, this page will say what came of it.",
    State.PART_DUE: "Thank you. The tickets are yours. You get the money for those that you gave back.",
    State.BOOKED: "Thank you. The tickets are yours.",
    State.REFUND_DUE: "Your payment came too late: the tickets are gone. You get your money back.",
    State.REFUNDED: "Your payment came too late: the tickets are gone. Your money is on its way back.",
    State.SETTLED: "Your payment came too late: the tickets are gone. Your money is on its way back.",
    State.UNCLEAR: "We have your payment, and it does not fit your tickets. We are looking into it.",
}
"""What a buyer is told of an order that cannot be paid now."""


def page(title: str, content: str, status: int = 200, refresh_seconds: int = 0) -> Response:
    """One of the shop's pages. `content` is HTML."""
    again = f'<meta http-equiv="refresh" content="{refresh_seconds}">' if refresh_seconds else ""
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>{again}'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style><h1>{escape(title)}</h1>{content}'
    )
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",  # the address has the signature
    }
    if status == 503:
        headers["Retry-After"] = "1"
    return HTMLResponse(text, status, headers)


def order_page(order: Order, event: Event, link: Link, *, is_back: bool) -> Response:
    """The order, with a button to pay it while its tickets are held. `is_back`: from the provider's page."""
    price = order.price(order.amount)
    rows = [("Event", event.name), ("Tickets", f"{order.quantity}"), ("To pay", price)]
    if order.state in (State.PART_DUE, State.BOOKED) and order.back:
        rows += [("Tickets that you kept", f"{order.booked}"), ("Given back", order.price(order.back))]
    table = "".join(f"<tr><th>{name}<td>{escape(value)}" for name, value in rows)
    again = 0
    if order.held_until is not None and order.is_payable:
        again = REFRESH_SECONDS
        left = max(0, ceil((datetime.fromisoformat(order.held_until) - datetime.now(UTC)).total_seconds()))
        told = "<p>This page tells you as soon as the provider tells us of your payment." if is_back else ""
        rest = (
            f"{told}<p>The tickets are held for you for another {left // 60} min {left % 60} s."
            f'<form method="post" action="?{escape(link.query)}"><button>Pay {escape(price)}</button></form>'
        )
    else:
        rest = f"<p>{SAID[order.state]}"
        if order.state is State.CHARGED:
            again = SLOW_REFRESH_SECONDS
    return page("Your order", f"<table>{table}</table>{rest}", refresh_seconds=again)


def make_app(settings: Settings) -> Starlette:
    """The shop as an ASGI application."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Shop]]:
        shop = Shop(settings)
        refunding = asyncio.create_task(shop.keep_refunding())
        try:
            yield {"shop": shop}
        finally:
            refunding.cancel()
            await asyncio.gather(refunding, return_exceptions=True)
            await shop.close()

    def link_of(request: Request) -> Link:
        query = request.query_params
        return Link(*(query.get(name, "") for name in ("event_id", "user_id", "payment_id", "signature")))

    async def show(request: Request) -> Response:
        link = link_of(request)
        is_back = "returned" in request.query_params
        return order_page(*await request.state.shop.order_of(link), link, is_back=is_back)

    async def pay(request: Request) -> Response:
        return RedirectResponse(await request.state.shop.charge(link_of(request)), 303)

    async def notices(request: Request) -> Response:
        answer: Response = await request.state.shop.hear(
            await request.body(), request.headers.get("provider-signature", "")
        )
        return answer

    async def refused(_: Request, error: Exception) -> Response:
        return page("Not possible", f"<p>{escape(str(error))}", error.status if isinstance(error, Refused) else 500)

    async def unavailable(_: Request, error: Exception) -> Response:
        log.warning("%s", error)
        return page("One moment", "<p>We cannot reach one of our partners. Please try again.", 503, refresh_seconds=2)

    return Starlette(
        routes=[
            Route("/pay", show, methods=["GET"]),
            Route("/pay", pay, methods=["POST"]),
            Route("/notices", notices, methods=["POST"]),
        ],
        exception_handlers={Refused: refused, TryAgain: unavailable},
        lifespan=lifespan,
        max_body_size=BODY_BYTES_MAX,
    )


async def open_sale(settings: Settings) -> str:
    """Opens a sale for trying the shop out. Returns the address of its page. Raises TryAgain."""
    service = Service(settings)
    try:
        return await service.open_sale(settings.url)
    finally:
        await service.close()


def main() -> None:
    """Runs the shop until it gets SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description="The little shop. Its settings are environment variables: SHOP_….")
    parser.add_argument("--open-sale", action="store_true", help="first open a sale, and print the address of its page")
    options = parser.parse_args()
    logging.basicConfig(format="shop: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = Settings.read(os.environ)
    except KeyError as error:
        sys.exit(f"shop: the variable {error.args[0]} is not set")
    if options.open_sale:
        try:
            print(f"open {asyncio.run(open_sale(settings))} and book; Ctrl-C stops the shop", flush=True)
        except TryAgain as error:
            sys.exit(f"shop: no sale could be opened at {settings.service_url}; does scripts/serve run? {error}")
    address = urlsplit(settings.url)
    uvicorn.run(
        make_app(settings),
        host=address.hostname or "127.0.0.1",
        port=address.port or 80,
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main()
