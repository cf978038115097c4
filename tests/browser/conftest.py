"""Fixtures: a service, a browser, and its users."""

import os
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Playwright

from tests.contract.api import Api, open_api
from tests.fixtures.service import RunningService

from . import chromium
from .chromium import Visitor

Sit = Callable[..., Visitor]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips the browser tests if Chromium is missing, except in CI, where they fail."""
    if chromium.find() is None and not os.environ.get("CI"):
        for item in items:
            if "driver" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason=chromium.MISSING))


@pytest.fixture(scope="session")
def api(service: RunningService) -> Iterator[Api]:
    """The service behind the pages, each test with events and users of its own."""
    with open_api(service) as api:
        yield api


@pytest.fixture(scope="package")
def driver() -> Iterator[Playwright]:
    """The driver of the browsers. It keeps an event loop running in this thread. It ends with the package, because a
    test of another package may need an event loop of its own.
    """
    assert chromium.find() is not None, chromium.MISSING
    with chromium.playwright() as running:
        yield running


@pytest.fixture(scope="package")
def browser(driver: Playwright) -> Iterator[Browser]:
    """The browser that most tests share, each in windows of its own."""
    running = chromium.launch(driver)
    yield running
    running.close()


@pytest.fixture
def sit(api: Api, browser: Browser) -> Iterator[Sit]:
    """Opens a window: `sit()`, `sit(token, viewport=PHONE)`. Fails at the end if a browser has reported an error."""
    visitors: list[Visitor] = []

    def sit_down(user: str | None = None, role: str | None = None, at: Browser = browser, **options: object) -> Visitor:
        visitor = Visitor.in_browser(at, api.base_url, **options)
        if user is not None:
            claims = api.claims(user) | ({"role": role} if role else {})
            visitor.sign_in(api.bearer(user, claims).authorization or "", f"{user}@example.com")
        visitors.append(visitor)
        return visitor

    yield sit_down
    complaints = [complaint for visitor in visitors for complaint in visitor.unexpected()]
    for visitor in visitors:
        visitor.leave()
    assert complaints == []
