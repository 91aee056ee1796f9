"""Blocks as the datastore has them, found by what lies in them: of thousands, none is looked at one by one. Pure.

A block is found by its name, which is made from its CIDR, for each length that any block has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from bgpnet import names
from bgpnet.agent.same import Same
from bgpnet.agent.world import World
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.kinds import Resource

FEW = 12
"""Up to so many bits, the blocks that may lie in a network are asked for by name; else all blocks are looked at."""


def containing(world: World, address: ip.Address) -> Iterator[IPAMBlock]:
    """The blocks that an address lies in, the smallest first; more than one where blocks overlap."""
    stored = world.of_kind(kinds.IPAMBLOCK)
    for length in _lengths(Same(stored), address.version):
        found = stored.get(names.block(ip.interface(f"{address}/{length}").network))
        if isinstance(found, IPAMBlock):
            yield found


def meeting(world: World, net: ip.Network) -> Iterator[IPAMBlock]:
    """The blocks that have addresses in common with a network, the one of that very CIDR included."""
    stored = world.of_kind(kinds.IPAMBLOCK)
    for length in _lengths(Same(stored), net.version):
        for found in _of_length(stored, net, length):
            if isinstance(found, IPAMBlock):
                yield found


def _of_length(stored: Mapping[str, Resource], net: ip.Network, length: int) -> Iterator[Resource | None]:
    if length <= net.prefixlen:
        yield stored.get(names.block(net.supernet(new_prefix=length)))
    elif length - net.prefixlen <= FEW:
        yield from (stored.get(names.block(each)) for each in net.subnets(new_prefix=length))
    else:
        blocks = (one for one in stored.values() if isinstance(one, IPAMBlock))
        yield from (one for one in blocks if one.network.prefixlen == length and ip.contains(net, one.network))


@lru_cache(maxsize=4)
def _lengths(stored: Same[Mapping[str, Resource]], version: int) -> tuple[int, ...]:
    """The prefix lengths that blocks have, the longest first."""
    nets = (one.network for one in stored.value.values() if isinstance(one, IPAMBlock))
    return tuple(sorted({net.prefixlen for net in nets if net.version == version}, reverse=True))
