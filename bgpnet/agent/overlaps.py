"""Blocks of two sizes that have addresses in common: which of two nodes keeps its own. Pure.

It takes a pool whose block size was changed past the rules, or a node that comes back after its blocks were given up.
Both nodes see the same two objects and come to the same end.
"""

from __future__ import annotations

from collections.abc import Iterator

from bgpnet.agent.world import World
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import IPAMBlock


def lost_to(world: World, other: IPAMBlock) -> Iterator[IPAMBlock]:
    """Own blocks that give way to another node's block of another size."""
    net = other.network
    for mine, block in world.blocks.items():
        if mine.prefixlen != net.prefixlen and _gives_way(world, block, other):
            yield block


def stronger(world: World, block: IPAMBlock) -> IPAMBlock | None:
    """The other node's block that a block which is to be ours gives way to."""
    blocks = (one for one in world.of_kind(kinds.IPAMBLOCK).values() if isinstance(one, IPAMBlock))
    return next((one for one in blocks if _gives_way(world, block, one)), None)


def _gives_way(world: World, mine: IPAMBlock, other: IPAMBlock) -> bool:
    """Whether one that is ours, or would be, goes: the datastore does not have it as ours, or as claimed later."""
    net, theirs = mine.network, other.network
    if other.spec.owner is None or other.spec.owner.name == world.me.node or net == theirs:
        return False
    if not (ip.contains(net, theirs) or ip.contains(theirs, net)):
        return False
    there = world.of_kind(kinds.IPAMBLOCK).get(mine.metadata.name)
    owner = there.spec.owner if isinstance(there, IPAMBlock) else None
    if owner is None or owner.name != world.me.node:
        return True
    return (other.spec.claimedAt, other.spec.cidr) < (mine.spec.claimedAt, mine.spec.cidr)
