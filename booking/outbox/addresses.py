"""Which URLs and addresses a webhook may have, so that no organizer reaches into the network of the service."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import inet_aton
from urllib.parse import urlsplit

URL_CHARACTERS_MAX = 2_000
"""The longest URL of a webhook."""

Address = IPv4Address | IPv6Address

_NAT64 = IPv6Network("64:ff9b::/96")
"""Addresses that hold an IPv4 address in their last bits (RFC 6052)."""

_SPECIAL = IPv4Network("192.0.0.0/24")
"""IETF protocol assignments (RFC 6890), of which Python 3.11 takes some for public."""


class Refused(Exception):
    """A URL or an address that no webhook may have. The message is a sentence for its owner."""


class Allowed:
    """The networks of BOOKING_WEBHOOK_ALLOW, which webhooks may reach although they are not public."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(one) for one in networks]

    @property
    def is_empty(self) -> bool:
        """Whether only public addresses are allowed."""
        return not self._networks

    def includes(self, address: Address) -> bool:
        """Whether one of the networks has this address."""
        return any(address in network for network in self._networks)


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send, as a URL says. `host` is in ASCII."""

    is_https: bool
    host: str
    port: int
    path: str
    """With its query."""

    @property
    def authority(self) -> str:
        """The value of the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_https else 80) else f"{host}:{self.port}"


def read_url(url: str, allowed: Allowed) -> Target:
    """Where a webhook's URL leads. Checks its form, and the address if it names one. Raises Refused."""
    if len(url) > URL_CHARACTERS_MAX or not url.isascii() or not url.isprintable() or " " in url:
        raise Refused(f"The URL has to be up to {URL_CHARACTERS_MAX} visible ASCII characters.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        host = None if host is None else host.encode("idna").decode() if ":" not in host else host
    except (ValueError, UnicodeError):
        raise Refused("This is not a URL.") from None
    if parts.scheme not in (("https",) if allowed.is_empty else ("https", "http")) or not host:
        raise Refused("The URL has to begin with https:// and name a host.")
    if parts.username is not None or parts.password is not None or parts.fragment or port == 0 or "%" in host:
        raise Refused("The URL has to be without a user, a password and a fragment.")
    is_https = parts.scheme == "https"
    address = _address_in(host)
    if address is not None:
        check_address(address, allowed, is_https=is_https)
    # Where networks are allowed, the operator may have given such a name to an address in one of them.
    if allowed.is_empty and _is_loopback_name(host):
        raise Refused(f"{host} is this machine, not a public address.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(is_https, host, port or (443 if is_https else 80), path)


def _address_in(host: str) -> Address | None:
    """The address that a host names, in any notation that resolvers read: `127.1`, `2130706433`, `0x7f000001`."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(inet_aton(host.removesuffix(".")))
    except OSError:
        return None


def _is_loopback_name(host: str) -> bool:
    """Whether it is `localhost` or a name below it: both mean this machine (RFC 6761, section 6.3)."""
    return f".{host.removesuffix('.')}".endswith(".localhost")


def check_address(address: Address, allowed: Allowed, *, is_https: bool) -> None:
    """Checks an address that is about to be connected to. Raises Refused."""
    if allowed.includes(address):
        return
    if not is_https:
        raise Refused(f"{address} is not in BOOKING_WEBHOOK_ALLOW, and only those may be reached without TLS.")
    if not _is_public(address):
        raise Refused(f"{address} is not a public address.")


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        is_special = address.is_multicast or address.is_reserved or address in _SPECIAL
        return address.is_global and not is_special
    if address.ipv4_mapped is not None:
        return _is_public(address.ipv4_mapped)
    if address in _NAT64:
        return _is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    # Tunnels to IPv4 addresses are no longer in use: 6to4 (RFC 7526) and Teredo.
    is_tunnel = address.sixtofour is not None or address.teredo is not None
    is_special = address.is_multicast or address.is_reserved or address.is_site_local or is_tunnel
    return address.is_global and not is_special
