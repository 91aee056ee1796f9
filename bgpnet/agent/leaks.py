"""Addresses that nobody has: allocations without a pod, found, and released after a grace. Pure.

A pod is lost when its link is gone. Its address is released without a DEL only if its network namespace is seen to be
gone as well, for the whole grace: as long as the namespace lives, or cannot be seen, the runtime has a pod that goes
under that address. Those are told, and left to the runtime's DEL or to a ReleaseRequest. Nothing is seen to be gone
that was never seen to be there: an agent in a container has a /run/netns of its own, in which every pod is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from msgspec import structs

from bgpnet import ipam
from bgpnet.agent import choose
from bgpnet.agent.claims import Step
from bgpnet.agent.effects import Effect, LookAtPods, UnwirePod
from bgpnet.agent.events import PodsLooked
from bgpnet.agent.watched import Netns, Sight
from bgpnet.agent.world import Phase, Pod, World
from bgpnet.cnispec import Attachment
from bgpnet.model import ip
from bgpnet.model.instant import stamp
from bgpnet.model.ipamblock import Allocation, IPAMBlock, Use
from bgpnet.model.node import NodeAllocation, NodeIPAM

PUBLISH = 60.0
"""Seconds between two changes of what the Node says of its addresses; the first is said at once."""
PUBLISHED = 100
"""How many allocations of each sort a Node names; its agent names all when asked."""
NOBODY = 0
"""The number of a DEL that nobody waits for."""
VERSION = "1.0.0"
"""The CNI version that a refusal would be written in, if anybody waited for it."""


def suspects(world: World) -> Step:
    """Look at every lost pod."""
    return look_at(world, {one.attachment: one.netns for one in world.pods.values() if one.phase is Phase.LOST})


def look_at(world: World, netns: dict[Attachment, str]) -> Step:
    """Look at these pods, but not at those who are being looked at."""
    new = {attachment: path for attachment, path in netns.items() if attachment not in world.watch.looking}
    if not new:
        return world, []
    watch = replace(world.watch, looking=world.watch.looking | new.keys())
    return replace(world, watch=watch), [LookAtPods(new)]


def looked(world: World, event: PodsLooked) -> Step:
    """Note what was found of lost pods; release those that have been gone for the grace."""
    watch = replace(world.watch, looking=world.watch.looking - event.netns.keys())
    world = replace(world, watch=watch)
    if event.links is None:
        return world, []
    routed = {seen.address for seen in event.links.values()}
    sights = {key: one for key, one in watch.sights.items() if key in world.pods and key not in event.netns}
    effects: list[Effect] = []
    for attachment, netns in event.netns.items():
        pod = world.pods.get(attachment)
        if pod is None or pod.phase is not Phase.LOST or attachment in event.links or pod.address in routed:
            continue
        if netns is Netns.GONE and not pod.visible:
            netns = Netns.UNSEEN
        before = watch.sights.get(attachment)
        sight = before if before and before.netns is netns else Sight(netns, world.clock)
        over = netns is Netns.GONE and world.clock - sight.since >= world.me.leak_grace
        if over or (world.adopted and choose.own(world, pod.address) is None):  # that: no address of ours is kept by it
            world, more = release(world, pod)
            effects += more
        else:
            sights[attachment] = sight
    return replace(world, watch=replace(world.watch, sights=sights)), effects


def release(world: World, pod: Pod) -> Step:
    """Release a lost pod's address as a DEL would: journalled, and any rest of the pod taken out of the kernel."""
    leaving = replace(pod, phase=Phase.LEAVING)
    return replace(world, pods={**world.pods, pod.attachment: leaving}), [UnwirePod(NOBODY, leaving, VERSION)]


def report(world: World) -> NodeIPAM:
    """All that is wrong with this node's addresses, as of now."""
    return NodeIPAM(
        checkedAt=stamp(world.now),
        leaked=tuple(_leaked(world)) if world.adopted else (),
        unrecorded=tuple(_unrecorded(world)) if world.adopted else (),
        alarms=alarms(world),
    )


def alarms(world: World) -> tuple[str, ...]:
    """What is wrong now: the fence, and what was logged of others' announcements."""
    others = tuple(one for one in world.watch.alarms if one != world.fenced)
    return (world.fenced, *others) if world.fenced else others


def publish(world: World) -> World:
    """With time: what our Node is to say. A change waits until the last one is a minute old."""
    watch, now = world.watch, report(world)
    now = structs.replace(now, leaked=now.leaked[:PUBLISHED], unrecorded=now.unrecorded[:PUBLISHED])
    if watch.published is not None and same(watch.published, now):
        return replace(world, watch=replace(watch, published=now))
    if watch.published is not None and world.clock < watch.published_at + PUBLISH:
        return world
    return replace(world, watch=replace(watch, published=now, published_at=world.clock))


def same(one: NodeIPAM | None, other: NodeIPAM | None) -> bool:
    """Whether both say the same, whenever they said it."""
    if one is None or other is None:
        return one is other
    return structs.replace(one, checkedAt="") == structs.replace(other, checkedAt="")


def _leaked(world: World) -> Iterator[NodeAllocation]:
    for net in sorted(world.blocks, key=ip.order):
        block = world.blocks[net]
        for ordinal, allocation in sorted(block.spec.allocations.items()):
            live = allocation.use is Use.WORKLOAD and allocation.freedAt is None
            if live and (reason := _why(world, block.network[ordinal], allocation)):
                yield named(block, ordinal, allocation, reason)


def _why(world: World, address: ip.Address, allocation: Allocation) -> str:
    """Why an allocation counts as leaked; nothing where a pod has it, or may have it."""
    attachment = Attachment(allocation.container, allocation.ifname)
    pod = world.pods.get(attachment)
    if pod is None or pod.address != address:
        return "no pod of this node has it"
    sight = world.watch.sights.get(attachment)
    if pod.phase is not Phase.LOST or sight is None:
        return ""
    gone = world.clock - sight.since
    if sight.netns is Netns.GONE:
        left = max(world.me.leak_grace - gone, 0.0)
        return f"its link {pod.link} and its network namespace {pod.netns} are gone; it is released in {left:.0f} s"
    if sight.netns is Netns.UNSEEN and gone >= world.me.leak_grace:
        where = f"network namespace {pod.netns} cannot be seen from here" if pod.netns else "namespace is not known"
        return f"its link {pod.link} is gone, and its {where}: it is not released without a request"
    return ""


def _unrecorded(world: World) -> Iterator[NodeAllocation]:
    """Wired pods whose address their block does not give them, most often because it is another node's now."""
    for pod in world.pods.values():
        if pod.phase is not Phase.READY:
            continue
        block = next((one for net, one in world.blocks.items() if ip.contains(net, pod.address)), None)
        found = ipam.find(block, pod.attachment.container, pod.attachment.ifname) if block else None
        if found is None or found[0] != pod.address:
            why = "its block does not give it that address" if block else "its address is in no block of this node"
            yield NodeAllocation(
                address=str(pod.address),
                container=pod.attachment.container,
                ifname=pod.attachment.ifname,
                pod=pod.pod,
                since=pod.since,
                reason=why,
            )


def named(block: IPAMBlock, ordinal: int, allocation: Allocation, reason: str = "") -> NodeAllocation:
    """An allocation, as it is told."""
    return NodeAllocation(
        address=str(block.network[ordinal]),
        sequence=allocation.sequence,
        container=allocation.container,
        ifname=allocation.ifname,
        pod=allocation.pod,
        since=allocation.since,
        reason=reason,
    )
