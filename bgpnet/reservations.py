"""Addresses that nobody is given unasked (IPReservation), as one value made for quick questions. Pure.

Networks are merged when the value is made, so that a block that several of them cover together lies inside one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from msgspec import Struct

from bgpnet.model import ip
from bgpnet.model.ip import Network
from bgpnet.model.ipreservation import IPReservation


class Reservations(Struct, frozen=True, cache_hash=True):
    """Disjoint networks of either family, in order; `of` makes one. Its hash is kept, for it is a key of caches."""

    networks: tuple[Network, ...] = ()


NONE = Reservations()


def of(resources: Iterable[IPReservation]) -> Reservations:
    """What all of these reserve together."""
    named = {ip.network(text) for one in resources for text in one.spec.reservedCIDRs}
    four = collapse_addresses(net for net in named if isinstance(net, IPv4Network))
    six = collapse_addresses(net for net in named if isinstance(net, IPv6Network))
    return Reservations((*four, *six))


def of_networks(cidrs: Iterable[str]) -> Reservations:
    """The value whose networks these are, as they were written down."""
    return Reservations(tuple(map(ip.network, cidrs)))


def covers(reserved: Reservations, net: Network) -> bool:
    """Whether every address of the network is reserved."""
    networks = _of_family(reserved, net.version)
    at = bisect_right(networks, int(net.network_address), key=_first) - 1
    return at >= 0 and ip.contains(networks[at], net)


@lru_cache(maxsize=4096)
def ordinals(reserved: Reservations, net: Network) -> frozenset[int]:
    """The offsets of the reserved addresses of a block. Kept: every ADD asks for those of every own block."""
    first, last = int(net.network_address), int(net.broadcast_address)
    networks = _of_family(reserved, net.version)
    found: set[int] = set()
    for one in networks[max(bisect_right(networks, first, key=_first) - 1, 0) :]:
        if int(one.network_address) > last:
            break
        low, high = max(int(one.network_address), first), min(int(one.broadcast_address), last)
        found.update(range(low - first, high - first + 1))
    return frozenset(found)


def whole_blocks(reserved: Reservations, net: Network, size: int) -> int:
    """How many of a pool's blocks of this prefix length are reserved with all their addresses."""
    return sum(
        1 << (size - max(one.prefixlen, net.prefixlen))
        for one in _of_family(reserved, net.version)
        if one.prefixlen <= size and (ip.contains(net, one) or ip.contains(one, net))
    )


@lru_cache(maxsize=16)
def _of_family(reserved: Reservations, version: int) -> tuple[Network, ...]:
    return tuple(sorted((net for net in reserved.networks if net.version == version), key=ip.order))


def _first(net: Network) -> int:
    return int(net.network_address)
