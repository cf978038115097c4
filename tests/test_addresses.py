"""What a client's address is counted under."""

import pytest

from booking.settings import client_network


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("192.0.2.1", "::FFFF:c000:201"),
        ("2001:db8::1", "2001:db8:0:0:ffff:ffff:ffff:ffff"),
        ("2001:db8::1", "2001:0DB8:0000:0000:0000:0000:0000:0001"),
        ("fe80::1%eth0", "fe80::2"),
        ("x" * 64, "x" * 5_000),
    ],
)
def test_spellings_of_one_client_are_counted_together(one: str, same: str) -> None:
    assert client_network(one) == client_network(same)


@pytest.mark.parametrize(
    ("one", "other"),
    [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8:0:1::1"), ("::1", "127.0.0.1"), ("unix", "unknown")],
)
def test_clients_that_differ_are_counted_apart(one: str, other: str) -> None:
    assert client_network(one) != client_network(other)
