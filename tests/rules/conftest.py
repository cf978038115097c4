"""Fixtures of the rules' tests: an inventory on this test process's own server, and a service with two workers."""

from collections.abc import Iterator

import pytest

from tests.fixtures.service import RunningService, running_service
from tests.inventory.conftest import stock

__all__ = ["stock"]


@pytest.fixture(scope="package")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with two workers and no rate limit. A test that kills a process waits until it is replaced."""
    environment = {"BOOKING_RATE_LIMIT": "off", "BOOKING_WORKERS": "2"}
    with running_service(tmp_path_factory.mktemp("rules") / "data", environment) as service:
        yield service
