"""An empty inventory on this test process's own server."""

from tests.inventory.conftest import stock

__all__ = ["stock"]
