"""A place to play the model against the scripts as they are, on this test process's own server."""

from collections.abc import Iterator

import pytest

from tests.model.match import Arena
from tests.model.told_clock import scripts_told_the_time


@pytest.fixture
def arena(clean_valkey: str) -> Iterator[Arena]:
    with Arena(clean_valkey, scripts_told_the_time()) as opened:
        yield opened
