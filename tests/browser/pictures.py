"""The README's pictures, taken during a sale on a real service."""

import argparse
import random
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

from playwright.sync_api import Browser, Page, expect

from tests.contract.api import Api, serving

from .chromium import PATIENCE_MS, PHONE, Visitor, launch, playwright

FOLDER = Path(__file__).parents[2] / ".pictures"
TICKETS = 600
HOLD_SECONDS = 40
OPENS_IN_SECONDS = 15
TOKEN_SECONDS = 86_400
BYTES_MAX = 250_000
"""The largest size of a picture in the repository."""


class Buyers:
    """Many buyers at first and then fewer and fewer; some do not confirm in time, and some cancel."""

    def __init__(self, api: Api, event_id: int, seconds: float) -> None:
        self._api = api
        self._event_id = event_id
        self._seconds = seconds
        self._chance = random.Random(1)
        self._over = Event()
        self._thread = Thread(target=self._come, daemon=True)

    @contextmanager
    def coming(self) -> Iterator["Buyers"]:
        """Lets buyers arrive until the block ends or their time is over."""
        self._thread.start()
        yield self
        self._over.set()
        self._thread.join()

    def _come(self) -> None:
        began = time.monotonic()
        later: deque[tuple[float, str]] = deque()
        while (past := time.monotonic() - began) < self._seconds and not self._over.is_set():
            user = self._api.user()
            booking = user.book(self._event_id, self._chance.choice((1, 1, 2))).body.get("data", {})
            if booking.get("status") == "held" and self._chance.random() < 0.85:
                later.append((past + self._chance.uniform(1, 8), user.id))
            while later and later[0][0] < past:
                self._decide(later.popleft()[1])
            self._over.wait(1 / (2 + 12 * 0.5 ** (past / self._seconds * 6)))

    def _decide(self, user_id: str) -> None:
        user = self._api.user(user_id)
        user.confirm(self._event_id)
        if self._chance.random() < 0.1:
            user.cancel(self._event_id)


def take(page: Page, name: str, *, whole: bool = False) -> None:
    """Writes one picture. Raises ValueError for one that is too large for the repository."""
    path = FOLDER / f"{name}.png"
    size = len(page.screenshot(path=path, full_page=whole, animations="disabled"))
    if size > BYTES_MAX:
        raise ValueError(f"{path} has {size} bytes; {BYTES_MAX} are allowed")
    print(f"{path.relative_to(FOLDER.parent)}  {size // 1000} KB", file=sys.stderr)


def visit(browser: Browser, api: Api, name: str, role: str | None = None, **options: object) -> Visitor:
    """A signed-in visitor, whose sign-in does not end while the pictures are taken."""
    visitor = Visitor.in_browser(browser, api.base_url, timezone_id="Europe/Berlin", **options)
    claims = api.claims(name) | {"exp": int(time.time()) + TOKEN_SECONDS} | ({"role": role} if role else {})
    visitor.sign_in(api.bearer(name, claims).authorization or "", f"{name}@example.com")
    return visitor


def play(api: Api, browser: Browser, minutes: float) -> None:
    """The sale, from before it opens until it is sold out and people wait."""
    api.event(event_name="Winter Lights, late show", available_tickets=250, max_per_user=4)
    opens = datetime.now(UTC) + timedelta(seconds=OPENS_IN_SECONDS)
    event_id = api.event(
        event_name="One Night Only",
        available_tickets=TICKETS,
        max_per_user=2,
        hold_seconds=HOLD_SECONDS,
        opens_at=opens.isoformat(),
    )
    size = {"width": 1280, "height": 720}
    ada = visit(browser, api, "ada", viewport=size)
    cached = visit(browser, api, "the-organizer", "organizer", viewport={"width": 1120, "height": 900})
    grace = visit(browser, api, "grace", viewport=PHONE, color_scheme="dark", device_scale_factor=2)
    ada.go(f"/sale/{event_id}")
    cached.go(f"/console#sale-{event_id}")
    expect(ada.page.get_by_role("button", name="Book")).to_be_visible()
    take(ada.page, "sale-opening")
    expect(ada.page.locator("#state")).to_have_text("On sale")
    print(f"the sale is open; its crowd comes for {minutes:g} minutes", file=sys.stderr)
    with Buyers(api, event_id, minutes * 60).coming():
        ada.page.wait_for_timeout(8_000)
        ada.page.get_by_label("How many?").select_option("2")
        ada.page.get_by_role("button", name="Book 2 tickets").click()
        expect(ada.page.get_by_role("heading", name="Your 2 tickets are held")).to_be_visible()
        take(ada.page, "sale-held")
        cached.page.wait_for_timeout(minutes * 60_000 - 15_000)
        grace.go(f"/sale/{event_id}")
        grace.page.get_by_role("button", name="Join the waiting list").click()
        expect(grace.page.get_by_role("heading", name="You are on the waiting list")).to_be_visible()
        take(grace.page, "sale-waiting-phone", whole=True)
        cached.page.wait_for_timeout(6_000)
        take(cached.page, "console", whole=True)


def main() -> None:
    """`scripts/screenshots`."""
    parser = argparse.ArgumentParser(prog="scripts/screenshots", description=__doc__)
    parser.add_argument("--minutes", type=float, default=6.0, help="how long the crowd comes (default: %(default)g)")
    minutes = parser.parse_args().minutes
    FOLDER.mkdir(exist_ok=True)
    expect.set_options(timeout=PATIENCE_MS)
    with (
        tempfile.TemporaryDirectory(prefix="booking-pictures-") as folder,
        serving(Path(folder) / "data", {"BOOKING_RATE_LIMIT": "off"}) as api,
        playwright() as running,
    ):
        play(api, launch(running), minutes)


if __name__ == "__main__":
    main()
