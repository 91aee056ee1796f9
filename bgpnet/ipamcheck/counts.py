"""How many addresses of a network are what. Pure; `ipam show` and `ipam check` count alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, collapse_addresses

from bgpnet import ipam
from bgpnet.model import ip
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.ipreservation import IPReservation
from bgpnet.resting import until


@dataclass(frozen=True, slots=True)
class Counts:
    """In addresses; in_use, resting, reserved and free add up to total. reserved: kept, and nobody has them."""

    total: int
    in_use: int
    resting: int
    reserved: int
    free: int


def count(net: ip.Network, blocks: Sequence[IPAMBlock], kept: Iterable[ip.Network], now: float, rest: float) -> Counts:
    """Of a network with these blocks inside, and these networks reserved."""
    used = [ipam.usage(block, now, rest) for block in blocks]
    in_use, resting = sum(usage.in_use for usage in used), sum(usage.resting for usage in used)
    inside = [other if ip.contains(net, other) else net for other in kept if _touch(net, other)]
    reserved = sum(other.num_addresses for other in inside)
    if inside:
        reserved -= sum(_taken(block, inside, now, rest) for block in blocks)
    total = net.num_addresses
    return Counts(total, in_use, resting, reserved, max(total - in_use - resting - reserved, 0))


def reservations(found: Iterable[IPReservation]) -> list[ip.Network]:
    """What all reservations keep, each address once."""
    nets = [ip.network(cidr) for one in found for cidr in one.spec.reservedCIDRs]
    four = [net for net in nets if isinstance(net, IPv4Network)]
    six = [net for net in nets if not isinstance(net, IPv4Network)]
    return [*collapse_addresses(four), *collapse_addresses(six)]


def _taken(block: IPAMBlock, kept: Sequence[ip.Network], now: float, rest: float) -> int:
    """Addresses of the block that are kept for nobody and yet in use, or still resting."""
    return sum(
        any(ip.contains(net, block.network[ordinal]) for net in kept)
        for ordinal, one in block.spec.allocations.items()
        if 0 <= ordinal < block.network.num_addresses and (one.freedAt is None or until(one, rest) > now)
    )


def _touch(one: ip.Network, other: ip.Network) -> bool:
    return ip.contains(one, other) or ip.contains(other, one)
