"""The owner's word about its addresses, as `bgpnetctl ipam check` asks for it: one JSON object. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from bgpnet.agent import leaks
from bgpnet.agent.world import Phase, World
from bgpnet.model import ip
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.node import NodeAllocation


def view(world: World) -> dict[str, Any]:
    """Own blocks with their live allocations, ahead of the datastore; wired pods; leaks and alarms.

    blocks: null until it is known what is ours. away: why the datastore is silent, empty when it is not.
    """
    found = leaks.report(world)
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
            "checkedAt": found.checkedAt,
            "leaked": [_shown(one) for one in found.leaked],
            "unrecorded": [_shown(one) for one in found.unrecorded],
            "alarms": list(found.alarms),
        },
    }


def _live(block: IPAMBlock) -> Iterator[dict[str, Any]]:
    for ordinal, allocation in sorted(block.spec.allocations.items()):
        if allocation.freedAt is None:
            yield _shown(leaks.named(block, ordinal, allocation))


def _shown(one: NodeAllocation) -> dict[str, Any]:
    shown = msgspec.structs.asdict(one)
    return shown if one.reason else {key: value for key, value in shown.items() if key != "reason"}
