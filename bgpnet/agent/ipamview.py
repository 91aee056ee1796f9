"""The owner's word about its addresses, as `bgpnetctl ipam check` asks for it: one JSON object. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bgpnet.agent.world import Phase, World
from bgpnet.cnispec import Attachment
from bgpnet.model import ip
from bgpnet.model.instant import stamp
from bgpnet.model.ipamblock import Allocation, IPAMBlock, Use


def view(world: World) -> dict[str, Any]:
    """Own blocks with their live allocations, ahead of the datastore; wired pods; leaks and alarms.

    blocks: null until it is known what is ours. away: why the datastore is silent, empty when it is not.
    """
    return {
        "node": world.me.node,
        "away": world.store_away,
        "blocks": {str(net): list(_live(world.blocks[net])) for net in sorted(world.blocks, key=ip.order)}
        if world.adopted
        else None,
        "pods": [
            {
                "address": str(pod.address),
                "sequence": pod.sequence,
                "container": pod.attachment.container,
                "ifname": pod.attachment.ifname,
                "pod": pod.pod,
                "since": pod.since,
            }
            for pod in world.pods.values()
            if pod.phase is Phase.READY
        ],
        "ipam": {
            "checkedAt": stamp(world.now),
            "leaked": list(_leaked(world)),
            "unrecorded": [],
            "alarms": [world.fenced] if world.fenced else [],
        },
    }


def _live(block: IPAMBlock) -> Iterator[dict[str, Any]]:
    for ordinal, allocation in sorted(block.spec.allocations.items()):
        if allocation.freedAt is None:
            yield _named(block, ordinal, allocation)


def _named(block: IPAMBlock, ordinal: int, allocation: Allocation) -> dict[str, Any]:
    return {
        "address": str(block.network[ordinal]),
        "sequence": allocation.sequence,
        "container": allocation.container,
        "ifname": allocation.ifname,
        "pod": allocation.pod,
        "since": allocation.since,
    }


def _leaked(world: World) -> Iterator[dict[str, Any]]:
    """Live allocations to pods that are not there: none known, or its link was not there when the agent looked."""
    for net in sorted(world.blocks, key=ip.order) if world.adopted else ():
        block = world.blocks[net]
        for ordinal, allocation in sorted(block.spec.allocations.items()):
            if allocation.use is not Use.WORKLOAD or allocation.freedAt is not None:
                continue
            pod = world.pods.get(Attachment(allocation.container, allocation.ifname))
            if pod is None or pod.address != block.network[ordinal]:
                yield _named(block, ordinal, allocation) | {"reason": "no pod of this node has it"}
            elif pod.phase is Phase.LOST:
                yield _named(block, ordinal, allocation) | {"reason": f"the pod's link {pod.link} is not there"}
