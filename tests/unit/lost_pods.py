"""A node with allocations of every sort, requests to release them, and looks at its pods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from worlds import BLOCK, NOW, block, pod, run, synced

from bgpnet import ipam
from bgpnet.agent import events
from bgpnet.agent.watched import Netns
from bgpnet.agent.world import Phase, Seen, World
from bgpnet.cnispec import Attachment
from bgpnet.model import ip, kinds
from bgpnet.model.instant import stamp
from bgpnet.model.ipamblock import Allocation, Use
from bgpnet.model.releaserequest import ReleaseRequest, ReleaseRequestSpec
from bgpnet.model.resource import Metadata

NET = ip.network(BLOCK)


def having(phase: Phase = Phase.LOST, use: Use = Use.WORKLOAD, *, known: bool = True) -> World:
    """One address, 10.244.0.0, of container c1; and the pod that has it, if it is known."""
    assigned = ipam.assign(block(), ipam.Claimant("c1", "eth0", "shop/cart", use), NOW)
    assert assigned is not None
    slot = assigned[0].spec.allocations[0]
    one = replace(pod("c1", "10.244.0.0", phase), sequence=slot.sequence)
    world = replace(synced(blocks=[block()]), blocks={NET: assigned[0]})
    return replace(world, pods={one.attachment: one} if known else {})


def slot(world: World) -> Allocation:
    """Whatever 10.244.0.0 is allocated to."""
    return world.blocks[NET].spec.allocations[0]


def request(world: World, ago: float = 1.0, **other: object) -> events.Changed:
    """Somebody asks for the release of 10.244.0.0."""
    spec = {"node": "node1", "address": "10.244.0.0", "sequence": slot(world).sequence, "container": "c1"}
    spec |= {"ifname": "eth0", "requestedAt": stamp(NOW - ago)} | other
    made = ReleaseRequest(
        metadata=Metadata(name="r1", resourceVersion="7"),
        spec=ReleaseRequestSpec(**spec),  # type: ignore[arg-type]  # the spec's own fields
    )
    return events.Changed(kinds.RELEASEREQUEST, made)


def look(netns: Netns = Netns.GONE, links: Mapping[Attachment, Seen] | None = None) -> events.PodsLooked:
    """What a look at the pod found; nothing is in the kernel unless it is said."""
    return events.PodsLooked({Attachment("c1", "eth0"): netns}, links or {})


def unwired(world: World) -> World:
    """The workers have done their part of a release."""
    one = Attachment("c1", "eth0")
    return run(world, events.PodUnwired(0, one), events.Reaped((one,)))
