"""What a setting that names an address may be: of a server, of a web page's origin, of a proxy."""

from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator

ANYBODY = "*"

CLIENT_NETWORK_BITS = 64
"""Of an IPv6 address: behind them a client has a network of its own, and chooses its address as it likes."""

CLIENT_CHARACTERS_MAX = 64
"""Of what is no address, for a proxy may say anything."""


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _each_an_origin(values: tuple[str, ...]) -> tuple[str, ...]:
    if not all(value == ANYBODY or is_origin(value) for value in values):
        raise ValueError(
            f"takes origins as browsers send them (https://shop.example, http://localhost:5173) or {ANYBODY}"
        )
    return values


def _each_a_network(values: tuple[str, ...]) -> tuple[str, ...]:
    if not all(value == ANYBODY or _is_network(value) for value in values):
        raise ValueError(f"takes addresses and networks (10.0.0.7, 10.0.0.0/8) or {ANYBODY}")
    return values


Origins = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_each_an_origin)]
"""Several, with commas between them."""

Networks = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_each_a_network)]
"""Several, with commas between them."""


def is_url(text: str, *schemes: str) -> bool:
    """Whether it is one of these schemes, with a port that is one."""
    scheme, separator, _ = text.partition("://")
    try:
        url = urlsplit(text)
        _ = "," in url.netloc or url.port  # several hosts, each with its port, are for the driver to read
    except ValueError:
        return False
    return bool(separator) and scheme.lower().split("+")[0] in schemes


def is_origin(text: str) -> bool:
    """Whether a browser could send it as a page's origin: scheme and host, in lower case, and nothing behind them.

    Any scheme does: apps and extensions have their own (RFC 6454, section 7).
    """
    scheme, separator, host = text.partition("://")
    return (
        bool(scheme and separator and host) and host.isascii() and text == text.lower() and not set(host) & set("/?#@ ")
    )


def is_loopback(host: str | None) -> bool:
    """Whether it names this machine to itself."""
    try:
        return host == "localhost" or (host is not None and ip_address(host).is_loopback)
    except ValueError:
        return False


def client_network(text: str) -> str:
    """What a client's address is counted under, in one spelling: an IPv4 address, or an IPv6 address's /64."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return text[:CLIENT_CHARACTERS_MAX]
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Network((int(address), CLIENT_NETWORK_BITS), strict=False))
    return str(address)


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True
