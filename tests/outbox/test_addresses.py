"""A webhook may reach public addresses alone, however one that is not public is written."""

from ipaddress import ip_address

import pytest

from booking.outbox.addresses import Allowed, Refused, Target, check_address, read_url

NOBODY = Allowed(())
LOOPBACK = Allowed(("127.0.0.0/8", "::1"))

NOT_PUBLIC = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.8",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.7",
    "224.0.0.1",
    "239.1.2.3",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2001:db8::1",
    "2001::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        check_address(ip_address(text), NOBODY, is_https=True)


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_accepted_with_tls_only(text: str) -> None:
    check_address(ip_address(text), NOBODY, is_https=True)
    with pytest.raises(Refused):
        check_address(ip_address(text), LOOPBACK, is_https=False)


def test_an_allowed_network_is_reached_also_without_tls_and_no_other_is() -> None:
    check_address(ip_address("127.5.6.7"), LOOPBACK, is_https=False)
    check_address(ip_address("::1"), LOOPBACK, is_https=True)
    for other in ("10.0.0.1", "::2", "169.254.169.254"):
        with pytest.raises(Refused):
            check_address(ip_address(other), LOOPBACK, is_https=False)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "//example.com/",
        "http://example.com/",
        "ftp://example.com/",
        "javascript:alert(1)",
        "https://user@example.com/",
        "https://example.com/#fragment",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://exa mple.com/",
        "https://example.com/\r\nx: y",
        "https://[::1",
        "https://[fe80::1%eth0]/",
        "https://example.com/" + "x" * 2_000,
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://127.0.0.1./",
        "https://localhost/",
        "https://LocalHost./",
        "https://shop.localhost/",
        *(f"https://[{text}]/" if ":" in text else f"https://{text}/" for text in NOT_PUBLIC),
    ],
)
def test_a_url_of_another_form_or_to_such_an_address_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        read_url(url, NOBODY)


@pytest.mark.parametrize(
    ("url", "target", "authority"),
    [
        ("https://example.com", Target(True, "example.com", 443, "/"), "example.com"),
        ("https://example.com:8443/a?b=c", Target(True, "example.com", 8443, "/a?b=c"), "example.com:8443"),
        ("http://[::1]:8000/x", Target(False, "::1", 8000, "/x"), "[::1]:8000"),
        ("http://localhost/", Target(False, "localhost", 80, "/"), "localhost"),
        ("https://127.1/", Target(True, "127.1", 443, "/"), "127.1"),
        ("https://notlocalhost/", Target(True, "notlocalhost", 443, "/"), "notlocalhost"),
        ("https://1e.example/", Target(True, "1e.example", 443, "/"), "1e.example"),
    ],
)
def test_a_url_says_where_to_send(url: str, target: Target, authority: str) -> None:
    assert read_url(url, LOOPBACK) == target
    assert target.authority == authority
