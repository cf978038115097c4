"""What the rules are held to: a stock on this test process's own server, and a running service of two workers."""

from collections.abc import Iterator

import pytest

from tests.fixtures.service import RunningService, running_service
from tests.inventory.conftest import stock

__all__ = ["stock"]


@pytest.fixture(scope="session")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with two workers and without a rate limit. Who kills a part of it sees it back before the end."""
    environment = {"BOOKING_RATE_LIMIT": "off", "BOOKING_WORKERS": "2"}
    with running_service(tmp_path_factory.mktemp("rules") / "data", environment) as service:
        yield service
