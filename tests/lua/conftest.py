"""A stock on this test process's own server, empty at first."""

from tests.inventory.conftest import stock

__all__ = ["stock"]
