"""Blocks for this node: claimed, taken back from idleness, claimed ahead of need; and the tunnel's address. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from msgspec import structs

from bgpnet import ipam, names
from bgpnet.agent import choose, facts
from bgpnet.agent.events import ClaimBlock, Effect, JournalBlocks, TakeBack
from bgpnet.agent.world import World
from bgpnet.cnispec import Attachment
from bgpnet.errors import NoAddress
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import Allocation, BlockState, IPAMBlock, Use
from bgpnet.model.ippool import IPPool
from bgpnet.model.resource import Metadata

Step = tuple[World, list[Effect]]

AHEAD_RETRY = 30.0
"""Seconds after a claim that failed in which none is made ahead of need."""


def claim(world: World, pools: Sequence[IPPool] | None, wanted: ip.Network | None = None) -> Step:
    """Ask for one more block (`wanted`: that one), unless that is under way or our own blocks are not known yet.

    A recorded block that is ours, though we do not hold it, is what a claim made whose answer got lost: it is not
    `known`, so that the next claim finds it. Nothing is claimed before limits and reservations were heard.
    """
    heard = world.adopted and world.is_synced(kinds.IPAMCONFIGURATION, kinds.IPRESERVATION)
    if world.claiming or world.dropping or not heard or not pools:
        return world, []
    me = facts.owner(world)
    stored = [
        world.blocks.get(block.network, block)  # what lies unused in our own is not what the datastore last heard
        for block in world.of_kind(kinds.IPAMBLOCK).values()
        if isinstance(block, IPAMBlock)
        and (block.network in world.blocks or block.spec.owner != me or not ipam.is_empty(block))
    ]
    ahead = [block for net, block in world.blocks.items() if names.block(net) not in world.of_kind(kinds.IPAMBLOCK)]
    effect = ClaimBlock(tuple(pools), me, (*stored, *ahead), world.reserved, wanted)
    return replace(world, claiming=True), [effect]


def found(world: World) -> Step:
    """With time: a block that is recorded as ours and is in use, though we do not hold it, is ours from now on.

    An operator gave it to this node, or an import brought it back. By compare-and-swap, because what was heard last may
    be old news of a block that went to another node. An empty one is nothing to keep: see `idle.tide`.
    """
    busy = world.claiming or world.taking_back or world.dropping
    if not world.adopted or world.store_away or busy:
        return world, []
    for there in world.of_kind(kinds.IPAMBLOCK).values():
        if not isinstance(there, IPAMBlock) or there.network in world.blocks:
            continue
        if there.spec.owner is None or there.spec.owner.name != world.me.node:
            continue
        if ipam.is_empty(there) and not has_pods(world, there.network):
            continue
        me = facts.owner(world)
        mine = structs.replace(there, spec=structs.replace(there.spec, owner=me))
        mine = lived_in(world, ipam.take_back(mine, world.now))
        return replace(world, claiming=True), [ClaimBlock((), me, (), world.reserved, there.network, mine)]
    return world, []


def has_pods(world: World, net: ip.Network) -> bool:
    """Whether pods of this node have addresses of a block."""
    return any(ip.contains(net, pod.address) for pod in world.pods.values())


def lived_in(world: World, block: IPAMBlock) -> IPAMBlock:
    """A block that became ours, with the pods of ours that live in it, and what no pod of ours has at rest.

    They live in it if it was ours before. A tunnel's address goes, too, unless we have no other.
    """
    for pod in world.pods.values():
        block = entered(block, pod.attachment, pod.address, pod.pod, pod.since)
    tunnel = facts.tunnel_address(world)
    for ordinal, slot in list(block.spec.allocations.items()):
        holder = world.pods.get(Attachment(slot.container, slot.ifname))
        foreign = slot.use is Use.WORKLOAD and (holder is None or holder.address != block.network[ordinal])
        if slot.freedAt is None and (foreign or (slot.use is Use.TUNNEL and tunnel is not None)):
            block = ipam.release(block, slot.container, slot.ifname, world.now)
    return block


def take_back(world: World, block: IPAMBlock) -> Step:
    """Ask for an own idle block to be in use again, unless that is under way: until it is, it gives nothing away."""
    if block.network in world.taking_back or world.dropping or not world.adopted:
        return world, []
    stored = world.of_kind(kinds.IPAMBLOCK).get(block.metadata.name)
    metadata = stored.metadata if stored else Metadata(name=block.metadata.name)
    effect = TakeBack(IPAMBlock(metadata=metadata, spec=block.spec))
    return replace(world, taking_back=world.taking_back | {block.network}), [effect]


def more(world: World, pools: Sequence[IPPool] | None) -> Step:
    """One more block to allocate from: an own idle one, else another one. Nothing where the settings permit none."""
    if idle := choose.idle(world, pools):
        return take_back(world, idle[0])
    return (world, []) if choose.no_more(world) else claim(world, pools)


def ahead(world: World, pools: Sequence[IPPool] | None, blocks: Sequence[IPAMBlock]) -> Step:
    """The next block before it is needed, so that pods come on when the datastore goes away.

    blocks: the usable ones of these pools.
    """
    if (
        pools is None
        or world.claiming
        or world.taking_back
        or world.dropping
        or world.store_away
        or world.clock < world.ahead_after
    ):
        return world, []
    return (world, []) if not blocks or choose.plenty(world, blocks) else more(world, pools)


def tide(world: World) -> Step:
    """With time: a block ahead of need for pods that ask for nothing, where this node has pods at all."""
    if not world.pods or not world.is_synced(kinds.IPPOOL):
        return world, []
    try:
        pools = ipam.pools_for(facts.pools(world).values(), Use.WORKLOAD, facts.labels(world))
    except NoAddress:
        return world, []  # said to the pods that ask
    return ahead(world, pools, choose.usable(world, pools))


def ensure_tunnel(world: World) -> Step:
    """The tunnel's address, from the node's own first block of a pool that permits it; kept as long as that does.

    Else it moves: the new one is allocated before the old one rests, and tunl0 gets it before it loses the other. With
    no pool to move to it goes (Calico's allocateip), so that its pool can be deleted. Where no pool tunnels at all it
    stays, for tunl0 is left as it is. Until our Node was heard its labels are not known: nothing moves.
    """
    if not world.adopted or not world.is_synced(kinds.IPPOOL) or not facts.uses_ipip(world):
        return world, []
    had = [net for net in sorted(world.blocks, key=ip.order) if ipam.find(world.blocks[net], "", facts.TUNNEL_CLAIM)]
    if had and world.me.node not in facts.nodes(world):
        return world, []
    try:
        pools = ipam.pools_for(facts.pools(world).values(), Use.TUNNEL, facts.labels(world))
    except NoAddress as problem:
        return _moved(_told(world, str(problem)), had, [])
    kept = next((net for net in had if any(ip.contains(pool.network, net) for pool in pools)), None)
    if kept is not None:
        return _moved(world, [net for net in had if net != kept], [])
    if (new := _tunnel_block(world, pools)) is None:
        return more(_told(world, choose.no_more(world)) if not had else world, pools)
    return _moved(world, had, [new])


def _moved(world: World, left: Sequence[ip.Network], new: Sequence[IPAMBlock]) -> Step:
    """The blocks with the new address, if any, and then those with addresses that rest from now on, made durable."""
    rest = [ipam.release(world.blocks[net], "", facts.TUNNEL_CLAIM, world.now) for net in left]
    if not new and not rest:
        return world, []
    changed = (*new, *rest)
    blocks = {**world.blocks, **{block.network: block for block in changed}}
    return replace(world, blocks=blocks), [JournalBlocks(changed)]


def _told(world: World, reason: str) -> World:
    """Why the tunnel has no address, for the status; the same World where that is said already, or there is none."""
    return replace(world, no_address=reason) if reason and world.no_address != reason else world


def _tunnel_block(world: World, pools: Sequence[IPPool]) -> IPAMBlock | None:
    """The first own block of these pools with the tunnel's address given away."""
    who = ipam.Claimant("", facts.TUNNEL_CLAIM, "", Use.TUNNEL)
    for pressed in (False, True):
        for block in choose.usable(world, pools):
            kept = choose.reserved(world, block)
            if assigned := ipam.assign(block, who, world.now, choose.rest(world), pressed, kept):
                return assigned[0]
    return None


def with_stored(world: World, block: IPAMBlock) -> World:
    """The datastore has this block now: said here, so that nothing is written to find that out."""
    kind = {**world.of_kind(kinds.IPAMBLOCK), block.metadata.name: block}
    return replace(world, resources={**world.resources, kinds.IPAMBLOCK.plural: kind})


def is_idle(world: World, net: ip.Network) -> bool:
    """Whether an own block is idle as far as this node knows."""
    block = world.blocks.get(net)
    return block is not None and block.spec.state is BlockState.IDLE


def entered(block: IPAMBlock, attachment: Attachment, address: ip.Address, pod: str, since: str) -> IPAMBlock:
    """The block with an allocation that never reached the datastore; the same where it is known, or elsewhere."""
    if not ip.contains(block.network, address):
        return block
    there = block.spec.allocations.get(int(address) - int(block.network.network_address))
    if there is not None and there.freedAt is None:
        return block
    allocation = Allocation(
        container=attachment.container,
        ifname=attachment.ifname,
        pod=pod,
        since=since,
        sequence=block.spec.sequence + 1,
    )
    return ipam.restore(block, address, allocation)
