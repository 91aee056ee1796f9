"""Addresses and networks of either family, parsed once.

The family is a value, never an assumption: IPv4 and IPv6 take the same path everywhere.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Interface = IPv4Interface | IPv6Interface


@lru_cache(maxsize=65536)
def network(text: str) -> Network:
    """`10.0.0.0/26` as a value; raises ValueError when host bits are set."""
    return ip_network(text)


@lru_cache(maxsize=65536)
def address(text: str) -> Address:
    """`10.0.0.1` as a value; raises ValueError."""
    return ip_address(text)


@lru_cache(maxsize=4096)
def interface(text: str) -> Interface:
    """`10.0.0.5/24`, an address with the length of its subnet; raises ValueError."""
    return ip_interface(text)


@lru_cache(maxsize=65536)
def host(addr: Address) -> Network:
    """The address as a route's destination: /32 or /128."""
    return ip_network(addr)


def contains(outer: Network, inner: Network | Address) -> bool:
    """Whether `inner` lies inside `outer`; another family never does."""
    if outer.version != inner.version:
        return False
    if isinstance(inner, IPv4Address | IPv6Address):
        return inner in outer
    return inner.prefixlen >= outer.prefixlen and inner.network_address in outer


def order(net: Network) -> tuple[int, int, int]:
    """A sort key that works across families: IPv4 first, then by address, shortest prefix first."""
    return (net.version, int(net.network_address), net.prefixlen)
