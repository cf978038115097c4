"""A headless Chromium and the users of its windows."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
MISSING = "the browser tests need Chromium: apt install chromium (scripts/test does so by itself where it is root)"

FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    # Chromium's own sandbox refuses to run for root; the only pages here are our own.
    *(("--no-sandbox",) if os.geteuid() == 0 else ()),
)

PATIENCE_MS = 30_000
"""How long anything may take to show before a test fails: generous, the machine may be busy with other tests."""

WIDE: Mapping[str, int] = {"width": 1280, "height": 860}
PHONE: Mapping[str, int] = {"width": 320, "height": 640}


def find() -> str | None:
    """The path of Chromium; None if it is not installed."""
    return next((path for path in map(shutil.which, PROGRAMS) if path is not None), None)


@contextmanager
def playwright() -> Iterator[Playwright]:
    """Runs the driver of the browsers."""
    with sync_playwright() as running:
        yield running


def launch(running: Playwright) -> Browser:
    """A browser of its own, with a fresh profile in a temporary folder."""
    return running.chromium.launch(executable_path=find(), args=list(FLAGS), headless=True)


@dataclass
class Visitor:
    """One user with one page, and all errors that the browser reported."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    """Beginnings of complaints that the test itself provokes."""

    @classmethod
    def in_browser(cls, browser: Browser, base_url: str, **options: Any) -> "Visitor":
        """Opens a window that shares nothing with any other."""
        context = browser.new_context(base_url=base_url, **{"viewport": WIDE, "locale": "en-GB", **options})
        context.set_default_timeout(PATIENCE_MS)
        visitor = cls(context.new_page())
        visitor.page.on("console", visitor._hear)
        visitor.page.on("pageerror", lambda error: visitor.complaints.append(f"uncaught: {error}"))
        return visitor

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def unexpected(self) -> list[str]:
        """What went wrong: violations of the Content-Security-Policy are among the console's errors."""
        return [one for one in self.complaints if not any(wanted in one for wanted in self.expected)]

    def go(self, path: str) -> None:
        """Opens a page of the service."""
        self.page.goto(path)

    def sign_in(self, authorization: str, email: str) -> None:
        """Signs the user in before the next page opens."""
        token = authorization.removeprefix("Bearer ")
        self.page.context.add_init_script(
            f"localStorage.getItem('booking.session') ?? localStorage.setItem('booking.session',"
            f" JSON.stringify({{token: '{token}', email: '{email}'}}))"
        )

    def register(self, email: str, password: str = "correct horse battery") -> None:
        """Creates an account with the form that is there."""
        self.page.get_by_role("button", name="I need an account").click()
        self.page.get_by_label("Email").fill(email)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Create account").click()

    def overflows(self) -> bool:
        """Whether the page has to be scrolled sideways."""
        wider: bool = self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        return wider

    def leave(self) -> None:
        """Closes the window."""
        self.page.context.close()
