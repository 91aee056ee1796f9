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


class _Remembered:
    """Keeps its hash: a learned route is looked up in a dozen tables, and each time it was half of the work."""

    _hash: int

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            self._hash = super().__hash__()
            return self._hash


class _Network4(_Remembered, IPv4Network):
    """As IPv4Network, and equal to it."""


class _Network6(_Remembered, IPv6Network):
    """As IPv6Network, and equal to it."""


_Network4.__name__, _Network6.__name__ = IPv4Network.__name__, IPv6Network.__name__  # for repr()


@lru_cache(maxsize=65536)
def network(text: str) -> Network:
    """`10.0.0.0/26` as a value; raises ValueError when host bits are set."""
    try:
        return _Network6(text) if ":" in text else _Network4(text)
    except ValueError:
        return ip_network(text)  # whose sentence says what is wrong


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
    return _Network4(addr) if isinstance(addr, IPv4Address) else _Network6(addr)


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
