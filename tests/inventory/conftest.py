"""An empty inventory on this test process's own server."""

from collections.abc import AsyncIterator

import pytest

from tests.fixtures.stock import Stock, open_stock


@pytest.fixture
async def stock(clean_valkey: str) -> AsyncIterator[Stock]:
    async with open_stock(clean_valkey) as opened:
        yield opened
