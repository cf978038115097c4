"""The HTTP contract, tested from outside on a running `booking serve`: only what a client can see."""

import pytest

# pytest rewrites their assertions, too, so that a failure shows both sides.
pytest.register_assert_rewrite(f"{__name__}.client", f"{__name__}.shapes", f"{__name__}.api")
