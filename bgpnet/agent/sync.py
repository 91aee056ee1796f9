"""What the datastore says, as steps of the World: caches, adoption of own blocks, fencing, identity. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from bgpnet import names, reservations
from bgpnet.agent import adopt, attach, choose, claims, facts, overlaps, releases
from bgpnet.agent.attach import Step
from bgpnet.agent.effects import Alarm, Effect, ForgetBlock, JournalBlocks, JournalReserved, Stop
from bgpnet.agent.events import Changed, Gone, KernelLooked, LinksLooked, Listed, StoreAway
from bgpnet.agent.world import Phase, Pod, World
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import IPAMBlock, Use
from bgpnet.model.ipreservation import IPReservation
from bgpnet.model.kinds import Kind, Resource
from bgpnet.model.node import Node

SHOWN = 5
"""How many blocks a sentence names before it only counts the others."""
LINGER = 3.0
"""Seconds for which sessions and routes that hang on a Node, a pool or the BGPConfiguration outlive its deletion: of a
datastore that is being emptied they may be heard to go before the last pool, whose absence says what happened."""
LIVING = 60.0
"""Seconds: a heartbeat younger than this says that the machine lives."""


def listed(world: World, event: Listed) -> Step:
    """The whole of one kind: from now on its absences mean something.

    An object that cannot be read is not absent: what was known of it stands, and where nothing was known, pools and
    blocks count as not heard, because routes would be swept and blocks claimed over it.
    """
    before = world.of_kind(event.kind)
    found = {name: before[name] for name in event.broken if name in before}
    found |= {one.metadata.name: one for one in event.resources}
    if event.kind is kinds.IPAMBLOCK:
        world, kept = _heard_of(world, found)
        found |= kept
    world = _lingering(world, event.kind, {name: one for name, one in before.items() if name not in found})
    unknown = [name for name in event.broken if name not in before]
    vital = event.kind in (kinds.IPPOOL, kinds.IPAMBLOCK)
    world = replace(
        world,
        resources={**world.resources, event.kind.plural: found},
        synced=world.synced if unknown and vital else world.synced | {event.kind.plural},
        broken={**world.broken, event.kind.plural: event.broken},
        store_away="",
    )
    return _heard(_doubted(world, event.kind), event.kind, event.resources)


def _heard_of(world: World, found: Mapping[str, Resource]) -> tuple[World, Mapping[str, Resource]]:
    """The World less what is confirmed by a list, and the blocks that we wrote and the list does not have so."""
    kept: dict[str, Resource] = {}
    for net, one in world.unheard.items():
        name = names.block(net)
        if name in found and found[name].metadata.resourceVersion == one.revision:
            world = _confirmed(world, net)
        elif name in world.of_kind(kinds.IPAMBLOCK):
            kept[name] = world.of_kind(kinds.IPAMBLOCK)[name]
    return world, kept


def changed(world: World, event: Changed) -> Step:
    """One object is new or different.

    An own block that was written by us and told of by a watch is both; see claims.with_stored.
    """
    resource = event.resource
    if _is_outdated(world, event.kind, resource.metadata.name, event.upon):
        return replace(world, store_away=""), []
    if isinstance(resource, IPAMBlock):
        if event.written:
            world = replace(claims.with_stored(world, resource), store_away="")
            return _heard(_doubted(_mended(world, event.kind, resource.metadata.name), event.kind), event.kind, ())
        if event.read:
            world = _looked_up(world, resource.network, resource.metadata.resourceVersion)
        elif resource.network in world.unheard:
            if world.unheard[resource.network].revision != resource.metadata.resourceVersion:
                return world, []
            world = _confirmed(world, resource.network)
    kind = {**world.of_kind(event.kind), resource.metadata.name: resource}
    world = replace(world, resources={**world.resources, event.kind.plural: kind}, store_away="")
    world = _doubted(_mended(world, event.kind, resource.metadata.name), event.kind)
    return _heard(world, event.kind, (resource,), read=event.read)


def gone(world: World, event: Gone) -> Step:
    """One object was deleted. Our own blocks and Node are written again by the next plan: we are their truth."""
    if _is_outdated(world, event.kind, event.name, event.upon):
        return replace(world, store_away=""), []
    before = world.of_kind(event.kind)
    if isinstance(block := before.get(event.name), IPAMBlock) and block.network in world.unheard:
        if not event.read:
            return world, []
        world = _confirmed(world, block.network)
    kind = {name: one for name, one in before.items() if name != event.name}
    world = _lingering(world, event.kind, {name: one for name, one in before.items() if name == event.name})
    world = replace(world, resources={**world.resources, event.kind.plural: kind}, store_away="")
    return _heard(_doubted(_mended(world, event.kind, event.name), event.kind), event.kind, ())


def _is_outdated(world: World, kind: Kind, name: str, upon: str | None) -> bool:
    """Whether a watch has told of an object since we set out to write it; what we heard then is older.

    A request that we answered may have been deleted and made anew by the time we hear of our own write. Blocks are
    another matter: nobody else writes a living one of ours, see claims.with_stored.
    """
    if upon is None or kind is kinds.IPAMBLOCK:
        return False
    there = world.of_kind(kind).get(name)
    return (there.metadata.resourceVersion if there else "") != upon


def tide(world: World) -> World:
    """With time: what was deleted is gone."""
    left = {
        plural: {name: one for name, one in each.items() if one[1] > world.clock}
        for plural, each in world.departed.items()
    }
    return world if left == world.departed else replace(world, departed=left)


def _lingering(world: World, kind: Kind, gone: Mapping[str, Resource]) -> World:
    if kind not in (kinds.NODE, kinds.IPPOOL, kinds.BGPCONFIGURATION, kinds.BGPPEER, kinds.BGPFILTER) or not gone:
        return world
    until = world.clock + LINGER
    there = {**world.departed.get(kind.plural, {}), **{name: (one, until) for name, one in gone.items()}}
    return replace(world, departed={**world.departed, kind.plural: there})


def _doubted(world: World, kind: Kind) -> World:
    """A datastore without any pool, while this node has pods, was emptied or replaced: nobody may delete their pool.

    Then the pools count as not known, as at a start without the datastore: pods come from own blocks and none is
    claimed, what was learned and announced stays. It is over when the pools of all living pods are there again.
    """
    if kind is not kinds.IPPOOL:
        return world
    lived_in = [block for block in world.blocks.values() if _has_workloads(block)]
    pools = [pool.network for pool in facts.pools(world).values()]
    if not pools and lived_in and not world.broken.get(kind.plural):
        shown = ", ".join(block.spec.cidr for block in lived_in[:SHOWN])
        many = f" and {len(lived_in) - SHOWN} more" if len(lived_in) > SHOWN else ""
        replaced = (
            f"the datastore has no IPPool, although pods of this node live in {shown}{many}: it was emptied or "
            "replaced; this node's own objects are written again, and the others come back with: "
            "bgpnetctl datastore import backup.yaml"
        )
        return replace(world, synced=world.synced - {kind.plural}, replaced=replaced)
    if not world.replaced:
        return world
    if all(any(ip.contains(pool, block.network) for pool in pools) for block in lived_in):
        return replace(world, synced=world.synced | {kind.plural}, replaced="")
    return replace(world, synced=world.synced - {kind.plural})


def _has_workloads(block: IPAMBlock) -> bool:
    return any(slot.freedAt is None and slot.use is Use.WORKLOAD for slot in block.spec.allocations.values())


def _mended(world: World, kind: Kind, name: str) -> World:
    """An object that could not be read is readable or gone: with the last such, its kind counts as heard."""
    before = world.broken.get(kind.plural, ())
    if name not in before:
        return world
    left = tuple(other for other in before if other != name)
    unknown = [other for other in left if other not in world.of_kind(kind)]
    synced = world.synced if unknown else world.synced | {kind.plural}
    return replace(world, broken={**world.broken, kind.plural: left}, synced=synced)


def _looked_up(world: World, net: ip.Network, revision: str) -> World:
    """What was looked up is no write of ours that a watch has still to tell of, unless it is that very one."""
    unheard = world.unheard.get(net)
    return world if unheard is None or unheard.revision == revision else _confirmed(world, net)


def _confirmed(world: World, net: ip.Network) -> World:
    return replace(world, unheard={other: one for other, one in world.unheard.items() if other != net})


def away(world: World, event: StoreAway) -> Step:
    """The datastore does not answer: everything heard so far stays as it is."""
    return replace(world, store_away=event.reason), []


def looked(world: World, event: KernelLooked) -> Step:
    """Which links the kernel has: journalled pods without one are lost, the others are as they were."""
    pods = {
        attachment: pod if attachment in event.links else replace(pod, phase=Phase.LOST)
        for attachment, pod in world.pods.items()
    }
    return replace(world, pods=pods, links=event.links), []


def links(world: World, event: LinksLooked) -> Step:
    """What the host's links are now; a node's address that goes is told, and that it is back."""
    told: list[Effect] = (
        [] if event.homeless == world.homeless else [Alarm(facts.homeless(world.me), not event.homeless)]
    )
    me = replace(world.me, uplink_mtu=event.mtu)
    return replace(world, subnets=event.subnets, me=me, homeless=event.homeless), [*told]


def _heard(world: World, kind: Kind, resources: Iterable[Resource], *, read: bool = False) -> Step:
    if kind is kinds.NODE and (reason := _usurper(world)):
        return world, [Stop(reason)]
    effects: list[Effect] = []
    if kind is kinds.IPRESERVATION:
        kept = reservations.of(one for one in world.of_kind(kind).values() if isinstance(one, IPReservation))
        if kept != world.reserved:  # an equal one would be compared, network by network, with what was counted for this
            world = replace(world, reserved=kept)
            effects += [_keep(world)]
    if kind is kinds.IPAMCONFIGURATION and (cooldown := choose.settings(world).ipCooldownSeconds) != world.cooldown:
        world = replace(world, cooldown=cooldown)
        effects += [_keep(world)]
    for resource in resources:
        if isinstance(resource, IPAMBlock):
            world, more = _fence(world, resource, read=read)
            effects += more
    if kind is kinds.IPAMBLOCK and (effects or len(world.of_kind(kind)) == len(tuple(resources))):
        world = replace(world, fenced=facts.fenced(world))  # now, and at a start, when only the pods are journalled
    if not world.adopted and world.is_synced(kinds.IPAMBLOCK, kinds.NODE):
        world, more = _adopt(world)
        effects += more
    world, more = attach.resume(world)
    effects += more
    return releases.after((world, effects)) if kind is kinds.RELEASEREQUEST else (world, effects)


def _keep(world: World) -> JournalReserved:
    return JournalReserved(tuple(map(str, world.reserved.networks)), world.cooldown)


def _usurper(world: World) -> str:
    """Another living machine has our name: one sentence, else nothing.

    It may have our UUID, too, where one's disk is a copy of the other's: then it has another address.
    """
    node = facts.nodes(world).get(world.me.node)
    identity = node.status.identity if isinstance(node, Node) and node.status else None
    if node is None or identity is None:
        return ""
    copied = identity.uuid == world.me.uuid
    if copied and not (world.me.new_here and node.ipv4 and node.ipv4.ip != world.me.address.ip):
        return ""
    age = facts.silence(world, identity)
    if age >= LIVING:
        return ""
    if copied:
        return (
            f"the node name {world.me.node} and this state directory's identity are those of a machine with the "
            f"address {node.ipv4.ip if node.ipv4 else ''}, alive {max(age, 0):.0f} s ago: if this is a copy of it, "
            "empty the state directory and choose another name with --node; if it is itself, wait for a minute"
        )
    return (
        f"the node name {world.me.node} is held by another machine ({identity.uuid}, alive {max(age, 0):.0f} s ago); "
        f"choose another name with --node, or, if that machine is gone for good, run: "
        f"bgpnetctl node release {world.me.node} --yes"
    )


def _fence(world: World, stored: IPAMBlock, *, read: bool = False) -> Step:
    """A block of ours whose owner is another node now, or that another's overlaps: we are fenced from it, also after
    a restart.

    Watches tell in order, but late: until they tell of our claim, they may tell of the owner before us.
    """
    if not read and stored.network in world.unheard:
        return world, []
    owner = stored.spec.owner
    if owner is None or owner.name == world.me.node:
        return world, []
    lost = [block.network for block in overlaps.lost_to(world, stored)]
    lost += [stored.network] if stored.network in world.blocks else []
    if not lost:
        return world, []
    blocks = {net: block for net, block in world.blocks.items() if net not in lost}
    unheard = {net: one for net, one in world.unheard.items() if net not in lost}
    return replace(world, blocks=blocks, unheard=unheard), [ForgetBlock(str(net)) for net in lost]


def _adopt(world: World) -> Step:
    """Take over the blocks that are recorded as ours: once, when blocks and Nodes were heard for the first time.

    Not before the Nodes: another machine may hold our name, and the blocks with it. What the journal knows stands. What
    it does not know the kernel decides: an allocation lives on if a link with its alias was there when the agent
    started, and the others are released; a link whose allocation never reached the datastore is known by its route. So
    is one whose block is not recorded, or another node's by now: it goes on, as after a fence.
    """
    pods, blocks = dict(world.pods), dict(world.blocks)
    new: list[IPAMBlock] = []
    recovered: list[Pod] = []
    for stored in world.of_kind(kinds.IPAMBLOCK).values():
        if not isinstance(stored, IPAMBlock) or stored.network in blocks:
            continue
        if stored.spec.owner is None or stored.spec.owner.name != world.me.node or overlaps.stronger(world, stored):
            continue
        block, living = adopt.survivors(world, adopt.renewed(world, stored))
        blocks[block.network] = block
        new.append(block)
        recovered += living
        pods.update({pod.attachment: pod for pod in living})
    world = replace(world, blocks=blocks, pods=pods, adopted=True)
    entered, strays = adopt.strays(world)
    pods.update({pod.attachment: pod for pod in strays})
    world = replace(world, blocks={**blocks, **{block.network: block for block in entered}}, pods=pods)
    world = replace(world, fenced=facts.fenced(world)) if strays else world
    told = {block.network: block for block in (*new, *entered)}
    new_pods = (*recovered, *strays)
    return world, [JournalBlocks(tuple(told.values()), new_pods)] if told or new_pods else []
