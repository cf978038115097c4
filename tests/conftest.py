"""What every test may ask for by name."""

pytest_plugins = [
    "tests.fixtures.backend",
    "tests.fixtures.cluster",
    "tests.fixtures.postgres",
    "tests.fixtures.seeds",
    "tests.fixtures.service",
    "tests.fixtures.valkey",
    "tests.fixtures.shifted_clock",  # after the server's, which it imports
]
