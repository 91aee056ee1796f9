"""Blocks of two sizes that have addresses in common: which of two nodes keeps its own. Pure.

It takes objects that somebody wrote past the rules, or a node that comes back after its blocks were given up. Both
nodes see the same two objects in the datastore and come to the same end: who has pods in its block keeps it, else who
claimed first. A claim that has just been made gives way to whatever is there, as clocks may differ.
"""

from __future__ import annotations

from collections.abc import Iterator

from bgpnet import ipam
from bgpnet.agent import recorded
from bgpnet.agent.world import World
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import IPAMBlock


def lost_to(world: World, other: IPAMBlock) -> Iterator[IPAMBlock]:
    """Own blocks that give way to another node's block of another size."""
    net = other.network
    for mine, block in world.blocks.items():
        if mine.prefixlen != net.prefixlen and _is_others(world, other, mine) and _gives_way(world, block, other):
            yield block


def stronger(world: World, block: IPAMBlock) -> IPAMBlock | None:
    """The other node's block that a block which is recorded as ours gives way to."""
    others = in_the_way(world, block.network)
    return next((one for one in others if _gives_way(world, block, one)), None)


def in_the_way(world: World, net: ip.Network) -> Iterator[IPAMBlock]:
    """Other nodes' blocks that have addresses in common with what is to be a block of ours."""
    return (one for one in recorded.meeting(world, net) if _is_others(world, one, net))


def _is_others(world: World, block: IPAMBlock, mine: ip.Network) -> bool:
    """Whether it is another node's, and overlaps `mine` without being the same block."""
    net, owner = block.network, block.spec.owner
    if owner is None or owner.name == world.me.node or net == mine:
        return False
    return ip.contains(net, mine) or ip.contains(mine, net)


def _gives_way(world: World, mine: IPAMBlock, other: IPAMBlock) -> bool:
    """Whether ours goes: the datastore does not have it as ours, or less reason to keep it."""
    there = world.of_kind(kinds.IPAMBLOCK).get(mine.metadata.name)
    if not isinstance(there, IPAMBlock) or there.spec.owner is None or there.spec.owner.name != world.me.node:
        return True
    return _rank(other) < _rank(there)


def _rank(block: IPAMBlock) -> tuple[bool, str, str]:
    return (ipam.is_empty(block), block.spec.claimedAt, block.spec.cidr)
