"""A service whose webhooks may reach this machine."""

from collections.abc import Iterator

import pytest

from tests.contract.api import Api, serving
from tests.contract.client import Caller, fresh
from tests.outbox.receiver import Receiver, receiving

ENVIRONMENT = {"BOOKING_RATE_LIMIT": "off", "BOOKING_WEBHOOK_ALLOW": "127.0.0.0/8"}


@pytest.fixture(scope="package")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A service of these tests."""
    with serving(tmp_path_factory.mktemp("outbox") / "data", ENVIRONMENT) as api:
        yield api


@pytest.fixture
def organizer(api: Api) -> Caller:
    """A new organizer, who has no webhooks and no events yet."""
    user_id = fresh("organizer")
    return api.bearer(user_id, {**api.claims(user_id), "role": "organizer"})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that accepts everything."""
    with receiving() as receiver:
        yield receiver
