"""Own blocks that nobody needs: called idle after a while, deleted where their pool has no use for them. Pure.

An empty block becomes idle in four steps, so that no journal ever says less than the datastore: it has been empty for
the setting's `idle_after`; the journal has it as idle; if nothing happened to it meanwhile the World has it as idle,
and from then on it gives no address away; the records say so in the datastore, by compare-and-swap. Back to use is the
reverse: the datastore first (claims.take_back). While it is idle it is announced and has its blackhole, until it is
another node's.

One thing at a time: no block is dropped while one is claimed or taken back, and none of these begins meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bgpnet import ipam, names
from bgpnet.agent import adopt, attach, choose, claims, facts
from bgpnet.agent.claims import Step
from bgpnet.agent.effects import DropBlock, JournalIdle
from bgpnet.agent.events import DropFailed, Dropped, IdleJournalled
from bgpnet.agent.world import World
from bgpnet.errors import NoAddress
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import BlockState, IPAMBlock, Use
from bgpnet.model.resource import Metadata


def tide(world: World) -> Step:
    """With time: what has been empty for long becomes idle, and what is idle and of no use goes. One block a time.

    Only while the datastore answers, because an idle block gives nothing away without it; and not before our Node is
    known, whose labels the pools select by.
    """
    if not world.adopted or not world.is_synced(kinds.IPPOOL) or world.me.node not in facts.nodes(world):
        return world, []
    world = _counted(world)
    if world.store_away or world.unjournalled or world.claiming or world.taking_back or world.dropping:
        return world, []
    if (useless := next(_useless(world), None)) is not None:
        return replace(world, dropping=useless.network), [DropBlock(useless)]
    if (ours := next(adopt.unheld(world), None)) is not None:
        return claims.take_back(world, ours)
    for net, (sequence, since) in world.empty.items():
        if since + world.me.idle_after <= world.clock and not _is_kept(world, net):
            return world, [JournalIdle(ipam.idle(world.blocks[net], world.now), sequence)]
    return world, []


def settled(world: World) -> World:
    """Addresses whose release a clock had stamped that was ahead rest from now on: else they would for as long."""
    anew = {net: ipam.rest_anew(block, world.now) for net, block in world.blocks.items()}
    changed = any(block is not world.blocks[net] for net, block in anew.items())
    return replace(world, blocks=anew) if changed else world


def journalled(world: World, event: IdleJournalled) -> Step:
    """The journal has it as idle, and so has the World, unless something happened to the block meanwhile."""
    mine = world.blocks.get(event.block.network)
    if mine is None or mine.spec.sequence != event.sequence or event.block.network in world.taking_back:
        return world, []
    return replace(world, blocks={**world.blocks, event.block.network: event.block}), []


def dropped(world: World, event: Dropped) -> Step:
    """It is nobody's now: no blackhole, no announcement; whoever waits is tried elsewhere."""
    blocks = {net: block for net, block in world.blocks.items() if net != event.network}
    name = names.block(event.network)
    stored = {key: one for key, one in world.of_kind(kinds.IPAMBLOCK).items() if key != name}
    resources = {**world.resources, kinds.IPAMBLOCK.plural: stored}
    unheard = {net: one for net, one in world.unheard.items() if net != event.network}
    world = replace(world, blocks=blocks, resources=resources, unheard=unheard, dropping=None)
    return attach.resume(world)


def drop_failed(world: World, event: DropFailed) -> Step:
    """It stays as it is, and is tried again with the tide."""
    return attach.resume(replace(world, dropping=None))


def _counted(world: World) -> World:
    """The World with the moments from which its empty blocks have been as they are, told by their sequences."""
    rest = choose.rest(world)
    empty = {
        net: (block.spec.sequence, world.clock)
        for net, block in world.blocks.items()
        if block.spec.state is BlockState.IN_USE
        and ipam.is_empty(block)
        and not ipam.usage(block, world.now, rest).resting
    }
    for net, (sequence, since) in world.empty.items():
        if net in empty and empty[net][0] == sequence:
            empty[net] = (sequence, since)
    return world if empty == world.empty else replace(world, empty=empty)


def _is_kept(world: World, net: ip.Network) -> bool:
    """Whether an empty block stays in use: the node's last of those that are of use, or one that is needed soon."""
    if choose.is_unwanted(world, net):
        return False
    others = [
        one
        for other, one in world.blocks.items()
        if other != net and one.spec.state is BlockState.IN_USE and not choose.is_unwanted(world, other)
    ]
    return not others or choose.is_needed(world, net) or _is_ahead(world, net)


def _is_ahead(world: World, net: ip.Network) -> bool:
    """Whether `claims.tide` would soon take it back, or claim another one, because all others are nearly full."""
    try:
        permitted = ipam.pools_for(facts.pools(world).values(), Use.WORKLOAD, facts.labels(world))
    except NoAddress:
        return False
    if not any(ip.contains(pool.network, net) for pool in permitted):
        return False
    others = [block for block in choose.usable(world, permitted) if block.network != net]
    return not choose.plenty(world, others, times=2)


def _useless(world: World) -> Iterator[IPAMBlock]:
    """What is to be deleted, at the revision last heard; without one where the datastore has it no more.

    Own idle blocks of no use, once the datastore has them as idle; and what is recorded as ours, empty, and not held:
    the claim's answer got lost, so nobody was ever given an address of it. And what gave way to another node's block.
    """
    stored = world.of_kind(kinds.IPAMBLOCK)
    for net, block in world.blocks.items():
        there = stored.get(block.metadata.name)
        if block.spec.state is BlockState.IDLE and choose.is_unwanted(world, net):
            if isinstance(there, IPAMBlock) and there.spec == block.spec:
                yield there
            elif there is None:
                yield IPAMBlock(metadata=Metadata(name=block.metadata.name), spec=block.spec)
    for there in adopt.unheld(world):
        if ipam.is_empty(there) and not adopt.lived_in(world, there):
            yield there
    yield from adopt.overlapped(world)
