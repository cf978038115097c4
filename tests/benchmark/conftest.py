"""One running service for all tests that only look at the bench from its side."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.benchmark.rows import Extent
from scripts.benchmark.service import Service, serve
from scripts.benchmark.session import Session


@pytest.fixture(scope="session")
def service_secret() -> bytes:
    return secrets.token_urlsafe(48).encode()


@pytest.fixture(scope="session")
def running_service(tmp_path_factory: pytest.TempPathFactory, service_secret: bytes) -> Iterator[Service]:
    """A real `booking serve`; each test opens events of its own."""
    with serve(tmp_path_factory.mktemp("bench") / "data", service_secret) as service:
        yield service


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A run in miniature that says nothing."""
    return Session(tmp_path, Extent(rounds=1, seconds=1, scale=0.001), lambda _: None)
