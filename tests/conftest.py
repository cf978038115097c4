"""What every test may ask for by name."""

pytest_plugins = [
    "tests.fixtures.backend",
    "tests.fixtures.http_clients",
    "tests.fixtures.longest_first",
    "tests.fixtures.postgres",
    "tests.fixtures.seeds",
    "tests.fixtures.service",
    "tests.fixtures.valkey",
    "tests.fixtures.cluster",  # after the server's, which it imports
    "tests.fixtures.shifted_clock",  # as above
]
