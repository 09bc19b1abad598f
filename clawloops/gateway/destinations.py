"""Which addresses on the internet a workspace may be connected to: public ones, and none that stands for another. Pure.

The ranges are IANA's special-purpose registries (RFC 6890); where Python's own answer depends on its version, the range
stands here.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NOT_PUBLIC: tuple[Network, ...] = (
    IPv4Network("0.0.0.0/8"),  # this network
    IPv4Network("10.0.0.0/8"),
    IPv4Network("100.64.0.0/10"),  # carrier-grade NAT
    IPv4Network("127.0.0.0/8"),
    IPv4Network("168.63.129.16/32"),  # Azure's own services, for the machine that asks
    IPv4Network("169.254.0.0/16"),  # link-local, where clouds keep their metadata
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.0.0.0/24"),  # protocol assignments
    IPv4Network("192.0.2.0/24"),  # documentation, as the two below
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv4Network("192.168.0.0/16"),
    IPv4Network("198.18.0.0/15"),  # benchmarks
    IPv4Network("198.51.100.0/24"),
    IPv4Network("203.0.113.0/24"),
    IPv4Network("224.0.0.0/3"),  # multicast, reserved, broadcast
    IPv6Network("2001::/23"),  # protocol assignments, among them Teredo, which stands for an IPv4 address
    IPv6Network("2001:db8::/32"),  # documentation, as the last
    IPv6Network("2002::/16"),  # 6to4, likewise
    IPv6Network("3fff::/20"),
)


def networks(text: str) -> tuple[Network, ...]:
    """Addresses and networks, with commas or spaces between them. Raises ValueError."""
    return tuple(ip_network(each, strict=False) for each in text.replace(",", " ").split())


def is_public(address: str, *, but: Collection[Network] = ()) -> bool:
    """Whether it is a public unicast address, and in none of `but`. Raises ValueError for a name."""
    found = ip_address(address)
    if isinstance(found, IPv6Address):
        if found.scope_id is not None:
            return False
        found = found.ipv4_mapped or found
    return _is_unicast(found) and not any(found in each for each in (*_NOT_PUBLIC, *but))


def _is_unicast(found: IPv4Address | IPv6Address) -> bool:
    return isinstance(found, IPv4Address) or found in _GLOBAL_UNICAST
