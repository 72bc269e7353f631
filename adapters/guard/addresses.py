"""Which IP addresses a caller's URL may lead to: public ones, whatever form they are dressed in.

`is_global` alone lets some through that lead into networks of their own (192.0.0.8, 64:ff9b::/96
with a private address inside, fec0::1, 2002::/16) and differs between versions of Python, so that
an explicit list stands beside it.
"""

from collections.abc import Iterable, Iterator
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network

# https://www.iana.org/assignments/iana-ipv4-special-registry and its sister for IPv6, with what
# clouds have put elsewhere.
DENIED: tuple[IPNetwork, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; a cloud's metadata at 100.100.100.200
        "127.0.0.0/8",
        "168.63.129.16/32",  # a public address that every machine of Azure has to itself
        "169.254.0.0/16",  # link-local: the metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "64:ff9b:1::/48",  # NAT64 into whatever network
        "2001::/23",  # Teredo, ORCHID, benchmarks
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
# Whatever IPv6 is not of these is not the public internet: loopback, link-local, site-local,
# unique local, multicast, IPv4-compatible, and all that is not yet given to anybody.
PUBLIC_V6 = (IPv6Network("2000::/3"), IPv6Network("64:ff9b::/96"))
NAT64 = IPv6Network("64:ff9b::/96")
# The second half of an ISATAP address, before its IPv4 address.
ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})
LOW_32 = 0xFFFF_FFFF


def parsed(text: str) -> IPAddress | None:
    """The address that a resolver gave; None for anything else, a zone id included."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        return address.ipv4_mapped or address
    return address


def is_reachable(address: IPAddress, allowed: Iterable[IPNetwork] = ()) -> bool:
    """Whether a caller's URL may lead to *address*, as `parsed` gives it."""
    if any(address in network for network in allowed):
        return True
    return all(_is_public(one) for one in (address, *_inside(address)))


def _is_public(address: IPAddress) -> bool:
    if any(address in network for network in DENIED):
        return False
    if isinstance(address, IPv6Address) and not any(address in one for one in PUBLIC_V6):
        return False
    return address.is_global and not address.is_multicast


def _inside(address: IPAddress) -> Iterator[IPv4Address]:
    """IPv4 addresses to which *address* is translated on its way."""
    if isinstance(address, IPv4Address):
        return
    number = int(address)
    if address in NAT64 or number >> 32 & LOW_32 in ISATAP:
        yield IPv4Address(number & LOW_32)
