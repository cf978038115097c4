"""A stand-in for a payment provider, as troublesome as real ones can be. It takes no money.

It tells of a payment late if the payer wants so, several times, and in any order; it loses its own answers and the
shop's; and it goes on after a kill with what it has not told. It gives money back once for each Idempotency-Key, as
real providers do: a shop that asks under two keys has paid twice.
"""

import argparse
import asyncio
import hmac
import json
import logging
import os
import random
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

LATE_SECONDS = 70
"""How late the notice of the page's second button is: later than the hold of the shop's demonstration ends."""

LATE_SECONDS_MAX = 3600

AGAIN_SECONDS = (0.2, 5.0)
"""The pause before a notice is repeated that was not acknowledged: the first one, and the longest. It doubles."""

ANSWER_SECONDS_MAX = 10.0
"""How long the shop has to acknowledge a notice."""

NOTICES_AT_ONCE = 16

PAUSE_SECONDS = 0.05
"""Between two looks for notices that are due."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS charges (payment_id TEXT PRIMARY KEY, amount INTEGER NOT NULL, currency TEXT NOT NULL,
    text TEXT NOT NULL, return_url TEXT NOT NULL, notice_url TEXT NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refunds (key TEXT PRIMARY KEY, payment_id TEXT NOT NULL, amount INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notices (id INTEGER PRIMARY KEY, payment_id TEXT NOT NULL, type TEXT NOT NULL,
    due REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, acknowledged INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS waiting ON notices (due) WHERE acknowledged = 0;
"""


@dataclass(frozen=True, slots=True)
class Moods:
    """How troublesome the provider is."""

    repeats: int
    """A notice is sent again up to so many times after it was acknowledged."""
    spread_seconds: float
    """Each of them comes up to so much later than it should, so that they overtake each other."""
    lose: float
    """The share of answers that are lost: the provider's own, and the shop's to its notices."""


class Provider:
    """The charges, the refunds, and the notices that the shop has not acknowledged, in SQLite."""

    def __init__(self, file: Path, key: str, url: str, moods: Moods, seed: int | None) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.url = url
        self._key = key
        self._under_way: set[int] = set()
        """The notices that the shop has not answered yet."""
        self._moods, self._chance = moods, random.Random(seed)  # noqa: S311 - for moods, not for secrets
        self._sql = sqlite3.connect(file, isolation_level=None)
        self._sql.row_factory = sqlite3.Row
        self._sql.execute("PRAGMA journal_mode=WAL")
        self._sql.execute("PRAGMA synchronous=FULL")
        self._sql.executescript(SCHEMA)
        self._http = httpx.AsyncClient(timeout=ANSWER_SECONDS_MAX, trust_env=False)

    async def close(self) -> None:
        """Closes what it has opened."""
        await self._http.aclose()
        self._sql.close()

    def is_shop(self, request: Request) -> bool:
        """Whether a request has the shop's key."""
        given = request.headers.get("authorization", "")
        return hmac.compare_digest(given.encode(), f"Bearer {self._key}".encode())

    def answer(self, content: dict[str, object]) -> Response:
        """What the shop is answered, or the loss of it."""
        if self._is_lost():
            return JSONResponse({"error": "the answer was lost on its way"}, 503, {"Retry-After": "1"})
        return JSONResponse(content)

    def _is_lost(self) -> bool:
        return self._chance.random() < self._moods.lose

    def charge(self, told: dict[str, Any]) -> None:
        """Makes a charge, unless the payment has one."""
        self._sql.execute(
            "INSERT INTO charges VALUES (:payment_id, :amount, :currency, :text, :return_url, :notice_url, 'unpaid')"
            " ON CONFLICT DO NOTHING",
            told,
        )

    def charge_of(self, payment_id: str) -> Any:
        """The charge of a payment; None if there is none."""
        return self._sql.execute("SELECT * FROM charges WHERE payment_id = ?", (payment_id,)).fetchone()

    def pay(self, payment_id: str, late_seconds: float) -> None:
        """The payer pays. A charge is paid once."""
        self._sql.execute("BEGIN IMMEDIATE")
        paid = "UPDATE charges SET state = 'paid' WHERE payment_id = ? AND state = 'unpaid'"
        if self._sql.execute(paid, (payment_id,)).rowcount:
            for _ in range(1 + self._chance.randint(0, self._moods.repeats)):
                self._tell(payment_id, "payment.paid", late_seconds)
        self._sql.execute("COMMIT")

    def decline(self, payment_id: str) -> None:
        """The payer's card is declined. They may try again."""
        self._tell(payment_id, "payment.declined", 0)

    def _tell(self, payment_id: str, kind: str, late_seconds: float) -> None:
        due = time.time() + late_seconds + self._chance.random() * self._moods.spread_seconds
        self._sql.execute("INSERT INTO notices (payment_id, type, due) VALUES (?, ?, ?)", (payment_id, kind, due))

    def refund(self, key: str, payment_id: str, amount: int) -> bool:
        """Gives money of a payment back, once for each key. Returns whether the payment was paid with as much."""
        charge = self.charge_of(payment_id)
        if charge is None or charge["state"] != "paid" or not 0 < amount <= charge["amount"]:
            return False
        self._sql.execute("INSERT INTO refunds VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (key, payment_id, amount))
        return True

    async def keep_telling(self) -> None:
        """Sends the notices that are due for as long as the provider runs. A slow answer holds up no other notice."""
        async with asyncio.TaskGroup() as sending:
            while True:
                due = self._sql.execute(
                    "SELECT id, payment_id, type, attempts, amount, currency, notice_url FROM notices"
                    " JOIN charges USING (payment_id) WHERE acknowledged = 0 AND due <= ? ORDER BY due LIMIT ?",
                    (time.time(), 2 * NOTICES_AT_ONCE),
                ).fetchall()
                for notice in due:
                    if len(self._under_way) < NOTICES_AT_ONCE and notice["id"] not in self._under_way:
                        self._under_way.add(notice["id"])
                        sending.create_task(self._send(notice))
                await asyncio.sleep(PAUSE_SECONDS)

    async def _send(self, notice: sqlite3.Row) -> None:
        told = {name: notice[name] for name in ("id", "type", "payment_id", "amount", "currency")}
        body = json.dumps(told).encode()
        signature = hmac.new(self._key.encode(), body, sha256).hexdigest()
        try:
            answer = await self._http.post(
                notice["notice_url"],
                content=body,
                headers={"Provider-Signature": signature, "Content-Type": "application/json"},
            )
            acknowledged = answer.status_code == 200 and not self._is_lost()
        except httpx.TransportError:
            acknowledged = False
        self._under_way.discard(notice["id"])
        if acknowledged:
            self._sql.execute("UPDATE notices SET acknowledged = 1 WHERE id = ?", (notice["id"],))
            return
        first, longest = AGAIN_SECONDS
        again = time.time() + min(longest, first * 2 ** min(notice["attempts"], 10))
        self._sql.execute("UPDATE notices SET attempts = attempts + 1, due = ? WHERE id = ?", (again, notice["id"]))


def page(title: str, content: str, status: int = 200) -> Response:
    """One of the provider's pages. `content` is HTML."""
    style = "body { font: 1.1rem/1.5 system-ui; margin: 3rem auto; max-width: 30rem } button { font: inherit }"
    text = (
        f'<!doctype html><html lang="en"><title>{escape(title)}</title><style>{style}</style><h1>{escape(title)}</h1>'
    )
    return HTMLResponse(text + content, status, {"Cache-Control": "no-store"})


def provider_of(request: Request) -> Provider:
    """The provider that a request is for."""
    provider: Provider = request.state.provider
    return provider


async def charges(request: Request) -> Response:
    """The shop asks for money."""
    provider = provider_of(request)
    if not provider.is_shop(request):
        return JSONResponse({"error": "the key is wrong"}, 401)
    told = await request.json()
    provider.charge(told)
    return provider.answer({"page": f"{provider.url}/charges/{quote(told['payment_id'], safe='')}"})


async def refunds(request: Request) -> Response:
    """The shop gives money back."""
    provider = provider_of(request)
    if not provider.is_shop(request):
        return JSONResponse({"error": "the key is wrong"}, 401)
    told = await request.json()
    if not provider.refund(request.headers["idempotency-key"], told["payment_id"], told["amount"]):
        return JSONResponse({"error": "so much was not paid"}, 409)
    return provider.answer({"refunded": True})


async def show(request: Request) -> Response:
    """The payer looks at a charge."""
    charge = provider_of(request).charge_of(request.path_params["payment_id"])
    if charge is None:
        return page("There is no such payment", "", 404)
    if charge["state"] == "paid":
        return page("This is paid", f'<p><a href="{escape(charge["return_url"])}">Back to the shop</a>')
    return page(
        "A stand-in for a payment provider",
        f"<p>{escape(charge['text'])}"
        '<form method="post"><p><button name="late" value="0">Pay</button>'
        f'<p><button name="late" value="{LATE_SECONDS}">Pay, and tell the shop {LATE_SECONDS} s late</button>'
        '<p><button name="declined" value="1">Have the card declined</button></form>',
    )


async def pay(request: Request) -> Response:
    """The payer presses one of the buttons."""
    provider, payment_id = provider_of(request), request.path_params["payment_id"]
    charge, form = provider.charge_of(payment_id), parse_qs((await request.body()).decode())
    if charge is None:
        return page("There is no such payment", "", 404)
    if "declined" in form:
        provider.decline(payment_id)
    else:
        provider.pay(payment_id, min(LATE_SECONDS_MAX, float(form.get("late", ["0"])[0])))
    return RedirectResponse(charge["return_url"], 303)


def make_app(file: Path, key: str, url: str, moods: Moods, seed: int | None) -> Starlette:
    """The provider as an ASGI application."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Provider]]:
        provider = Provider(file, key, url, moods, seed)
        telling = asyncio.create_task(provider.keep_telling())
        try:
            yield {"provider": provider}
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            await provider.close()

    return Starlette(
        routes=[
            Route("/charges", charges, methods=["POST"]),
            Route("/charges/{payment_id:path}", show, methods=["GET"]),
            Route("/charges/{payment_id:path}", pay, methods=["POST"]),
            Route("/refunds", refunds, methods=["POST"]),
        ],
        lifespan=lifespan,
        max_body_size=16 * 1024,
    )


def main() -> None:
    """Runs the provider until it gets SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description="A stand-in for a payment provider. SHOP_PROVIDER_KEY is its key.")
    parser.add_argument(
        "--repeats", type=int, default=2, help="how often an acknowledged notice is sent again, at most"
    )
    parser.add_argument(
        "--spread", type=float, default=2.0, help="seconds by which notices overtake each other, at most"
    )
    parser.add_argument("--lose", type=float, default=0.1, help="the share of answers that are lost")
    parser.add_argument("--seed", type=int, default=None, help="decides all of that")
    options = parser.parse_args()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if "SHOP_PROVIDER_KEY" not in os.environ:
        sys.exit("provider: the variable SHOP_PROVIDER_KEY is not set")
    url = os.environ.get("SHOP_PROVIDER_URL", "http://127.0.0.1:8020")
    file = Path(os.environ.get("SHOP_DATA_DIR", "data/shop")) / "provider.sqlite3"
    moods = Moods(options.repeats, options.spread, options.lose)
    app = make_app(file, os.environ["SHOP_PROVIDER_KEY"], url, moods, options.seed)
    address = urlsplit(url)
    uvicorn.run(
        app, host=address.hostname or "127.0.0.1", port=address.port or 80, log_level="warning", access_log=False
    )


if __name__ == "__main__":
    main()
