"""Compares the model with the unchanged scripts, on this test process's own server."""

from collections.abc import Iterator

import pytest

from tests.model.match import Arena
from tests.model.settable_clock import scripts_with_settable_clock


@pytest.fixture
def arena(clean_valkey: str) -> Iterator[Arena]:
    with Arena(clean_valkey, scripts_with_settable_clock()) as opened:
        yield opened
