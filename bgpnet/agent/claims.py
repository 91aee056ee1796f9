"""Blocks for this node: claimed, taken back from idleness, claimed ahead of need; and the tunnels' addresses. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from bgpnet import ipam, names, reservations
from bgpnet.agent import choose, facts, overlaps, recorded
from bgpnet.agent.effects import ClaimBlock, Effect, JournalBlocks, LookUp, TakeBack
from bgpnet.agent.world import Phase, Unheard, World
from bgpnet.cnispec import Attachment
from bgpnet.errors import NoAddress
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import Allocation, BlockState, IPAMBlock, Use
from bgpnet.model.ippool import IPPool
from bgpnet.model.resource import Metadata

Step = tuple[World, list[Effect]]

AHEAD_RETRY = 30.0
"""Seconds after a claim that failed in which none is made ahead of need."""
UNHEARD = 5.0
"""Seconds until a write of ours that no watch tells of is looked up."""


def claim(world: World, pools: Sequence[IPPool] | None, wanted: ip.Network | None = None) -> Step:
    """Ask for one more block (`wanted`: that one), unless that is under way or our own blocks are not known yet.

    A recorded block that is ours, though we do not hold it, is what a claim made whose answer got lost: it is not
    `known`, so that the next claim finds it. Nothing is claimed before limits and reservations were heard.
    """
    heard = world.adopted and world.is_synced(kinds.IPAMCONFIGURATION, kinds.IPRESERVATION)
    if world.claiming or world.dropping or not heard or not pools:
        return world, []
    stored = [
        world.blocks.get(block.network, block)  # what lies unused in our own is not what the datastore last heard
        for block in world.of_kind(kinds.IPAMBLOCK).values()
        if isinstance(block, IPAMBlock) and (block.network in world.blocks or not _is_claimed_anew(world, block))
    ]
    ahead = [block for net, block in world.blocks.items() if names.block(net) not in world.of_kind(kinds.IPAMBLOCK)]
    effect = ClaimBlock(tuple(pools), facts.owner(world), (*stored, *ahead), world.reserved, wanted)
    return replace(world, claiming=True), [effect]


def _is_claimed_anew(world: World, block: IPAMBlock) -> bool:
    """Whether it is what a claim of ours made whose answer got lost, and nobody's block is in its way."""
    if block.spec.owner != facts.owner(world) or not ipam.is_empty(block):
        return False
    return next(overlaps.in_the_way(world, block.network), None) is None


def has_prospects(world: World, named: Sequence[str] = ()) -> bool:
    """Whether a pod may get an address: of an own block in use, though it be full just now, or of one to be had.

    named: the pools that its configuration names.
    """
    if any(block.spec.state is BlockState.IN_USE for block in world.blocks.values()):
        return True
    if world.store_away or not choose.pools_are_known(world):
        return False
    try:
        pools = choose.serving(world, named)
    except NoAddress:
        return False
    if choose.idle(world, pools):
        return True
    return not choose.no_more(world) and any(_has_block_left(world, pool) for pool in pools)


def _has_block_left(world: World, pool: IPPool) -> bool:
    """Whether the pool has a block that this node may claim, as far as was heard."""
    for net in ipam.candidate_blocks(pool, world.me.node):
        if net in world.blocks or reservations.covers(world.reserved, net):
            continue
        if all(_is_claimed_anew(world, block) for block in recorded.meeting(world, net)):
            return True
    others = (block for block in recorded.meeting(world, pool.network) if block.spec.owner != facts.owner(world))
    return any(ipam.may_change_hands(one) and not reservations.covers(world.reserved, one.network) for one in others)


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
    """With time: the block that pods of ours live in, where it is nobody's; else one ahead of need."""
    if not world.pods or not world.is_synced(kinds.IPPOOL):
        return world, []
    if (homeless := next(_homeless(world), None)) is not None and not world.store_away:
        return claim(world, *homeless)
    try:
        pools = ipam.pools_for(facts.pools(world).values(), Use.WORKLOAD, facts.labels(world))
    except NoAddress:
        return world, []  # said to the pods that ask
    return ahead(world, pools, choose.usable(world, pools))


def _homeless(world: World) -> Iterator[tuple[list[IPPool], ip.Network]]:
    """Pools and blocks of pods whose block nobody has: the datastore was emptied, and the journal was lost with it."""
    for pod in world.pods.values():
        if pod.phase is not Phase.READY or any(ip.contains(net, pod.address) for net in world.blocks):
            continue
        pool = next((one for one in facts.pools(world).values() if ip.contains(one.network, pod.address)), None)
        if pool is None or pool.spec.disabled:
            continue
        net = ip.interface(f"{pod.address}/{pool.block_size}").network
        if next(recorded.meeting(world, net), None) is None:
            yield [pool], net


def ensure_tunnel(world: World) -> Step:
    """Each tunnel's address, from the node's own first block of a pool that permits it; kept as long as that does.

    Else it moves: the new one is allocated before the old one rests, and tunl0 gets it before it loses the other. With
    no pool to move to it goes (Calico's allocateip), so that its pool can be deleted. Where no pool tunnels so it
    stays, for the device is left as it is. Until our Node was heard its labels are not known: nothing moves.
    """
    if not world.adopted or not world.is_synced(kinds.IPPOOL):
        return world, []
    effects: list[Effect] = []
    reasons: dict[str, None] = {}
    for name in facts.tunnels_used(world):
        world, more, reason = _ensured(world, name)
        effects += more
        reasons |= {reason: None} if reason else {}
    return _told(world, "; ".join(reasons)), effects


def _ensured(world: World, name: str) -> tuple[World, list[Effect], str]:
    """One tunnel's address; and why it has none, or none that it should have."""
    had = [net for net in sorted(world.blocks, key=ip.order) if ipam.find(world.blocks[net], "", name)]
    if had and world.me.node not in facts.nodes(world):
        return world, [], ""
    try:
        tunnelled = [pool for pool in facts.pools(world).values() if facts.encapsulation(pool)[1] == name]
        pools = ipam.pools_for(tunnelled, Use.TUNNEL, facts.labels(world))
    except NoAddress as problem:
        return *_moved(world, name, had, []), str(problem)
    kept = next((net for net in had if any(ip.contains(pool.network, net) for pool in pools)), None)
    if kept is not None:
        return *_moved(world, name, [net for net in had if net != kept], []), ""
    if (new := _tunnel_block(world, name, pools)) is None:
        return *more(world, pools), choose.no_more(world)
    return *_moved(world, name, had, [new]), ""


def _moved(world: World, name: str, left: Sequence[ip.Network], new: Sequence[IPAMBlock]) -> Step:
    """The blocks with the new address, if any, and then those with addresses that rest from now on, made durable."""
    rest = [ipam.release(world.blocks[net], "", name, world.now) for net in left]
    if not new and not rest:
        return world, []
    changed = (*new, *rest)
    blocks = {**world.blocks, **{block.network: block for block in changed}}
    return replace(world, blocks=blocks), [JournalBlocks(changed)]


def _told(world: World, reason: str) -> World:
    """Why the tunnel has no address, for the status; the same World where that is said already, or there is none."""
    return replace(world, no_address=reason) if reason and world.no_address != reason else world


def _tunnel_block(world: World, name: str, pools: Sequence[IPPool]) -> IPAMBlock | None:
    """The first own block of these pools with the tunnel's address given away."""
    who = ipam.Claimant("", name, "", Use.TUNNEL)
    for pressed in (False, True):
        for block in choose.usable(world, pools):
            kept = choose.reserved(world, block)
            if assigned := ipam.assign(block, who, world.now, choose.rest(world), pressed, kept):
                return assigned[0]
    return None


def with_stored(world: World, block: IPAMBlock) -> World:
    """The datastore has this block now, as we wrote it: said here, so that nothing is written to find that out.

    A watch tells of that as well, before or after. Where it has told already, what it told since may be newer: then
    only a look tells (`confirm`).
    """
    there = world.of_kind(kinds.IPAMBLOCK)
    before, revision = there.get(block.metadata.name), block.metadata.resourceVersion
    if before is not None and before.metadata.resourceVersion == revision != "":
        return world
    unheard = {**world.unheard, block.network: Unheard(revision, world.clock)} if revision else world.unheard
    resources = {**world.resources, kinds.IPAMBLOCK.plural: {**there, block.metadata.name: block}}
    return replace(world, resources=resources, unheard=unheard)


def confirm(world: World) -> Step:
    """With time: what no watch has told of for long is looked up: the watch may have told of it before we could."""
    unheard = {net: one for net, one in world.unheard.items() if net in world.blocks}
    late = [net for net, one in unheard.items() if one.since + UNHEARD <= world.clock]
    if world.store_away or not late:
        return (replace(world, unheard=unheard) if len(unheard) < len(world.unheard) else world), []
    unheard |= {net: replace(unheard[net], since=world.clock) for net in late}
    return replace(world, unheard=unheard), [LookUp(names.block(net)) for net in late]


def is_idle(world: World, net: ip.Network) -> bool:
    """Whether an own block is idle as far as this node knows."""
    block = world.blocks.get(net)
    return block is not None and block.spec.state is BlockState.IDLE


def entered(
    block: IPAMBlock, attachment: Attachment, address: ip.Address, pod: str, since: str, keep: int = 0
) -> IPAMBlock:
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
        keep=keep,
    )
    return ipam.restore(block, address, allocation)
