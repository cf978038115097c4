"""The HTTP contract, held against a running `booking serve` from outside: what a client can see, and nothing else."""

import pytest

# What they assert, they assert for the tests: a failure should show both sides, as a test's own does.
pytest.register_assert_rewrite(f"{__name__}.client", f"{__name__}.shapes", f"{__name__}.api")
