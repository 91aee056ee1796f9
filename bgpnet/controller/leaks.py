"""Allocations that no pod has, by what Kubernetes says (source: Calico's node/ipam.go and ipam_allocation.go). Pure.

That a pod is absent from what we have heard is a suspicion: it has to last for the grace, the pod is then looked for at
the API itself, and the owner of the block looks at its kernel before it releases anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bgpnet.controller.actions import Leak
from bgpnet.controller.picture import Key, Memory, Picture, Rules, age, is_one, kubernetes_name
from bgpnet.ipamcheck.picture import Slot
from bgpnet.kubeobjects import PodSeen
from bgpnet.model import instant
from bgpnet.model.ipamblock import IPAMBlock, Use

SKEW = 60.0
"""Seconds that the clocks of a node and of the API server may differ, when a pod is younger than an allocation."""
PRIMARY = "eth0"
"""The interface whose addresses a pod's status names; others (by Multus) are in no pod's status."""


def suspects(picture: Picture, memory: Memory, rules: Rules) -> dict[Key, Leak]:
    """Every allocation that seems to be nobody's, with the moment since which it does.

    On a node that is none of Kubernetes, or is called otherwise there, what pods there are is not Kubernetes' to say.
    """
    if picture.cluster is None or rules.leak_grace <= 0 or not is_one(picture):
        return {}
    found: dict[Key, Leak] = {}
    names = {name: kubernetes_name(node) for name, node in picture.nodes.items()}
    strangers = {name for name, other in names.items() if not other and name not in picture.cluster.nodes}
    for group in _groups(picture.blocks):
        if group[0].owner in strangers:
            continue
        node = names.get(group[0].owner) or group[0].owner
        why = reason(group, node, picture.cluster.pods.get(group[0].allocation.pod))
        for slot in group if why else ():
            key = str(slot.address), slot.allocation.sequence
            found[key] = Leak(slot, group, node, why, memory.suspects.get(key, _begin(picture, slot, rules)))
    return found


def ripe(leak: Leak, every: Mapping[Key, Leak], memory: Memory, rules: Rules, clock: float) -> bool:
    """Whether it has been one for the grace, was one in an earlier look, and all of its container are."""
    keys = [(str(slot.address), slot.allocation.sequence) for slot in leak.group]
    return all(key in memory.suspects and clock >= every[key].since + rules.leak_grace for key in keys)


def reason(group: Sequence[Slot], node: str, pod: PodSeen | None) -> str:
    """Why a container's addresses are nobody's, given the pod of that name as it is; empty: they may be in use.

    A pod without an address yet may be about to say one of these.
    """
    slot = group[0]
    name = slot.allocation.pod
    if pod is None:
        return f"pod {name} does not exist"
    if pod.ended:
        return f"pod {name} has ended ({pod.phase})"
    reserved = slot.allocation.use is Use.RESERVED
    if pod.node and node and pod.node != node and not reserved:
        return f"pod {name} is on node {pod.node}"
    primary = reserved or any(one.allocation.ifname == PRIMARY for one in group)
    if primary and {str(one.address) for one in group} & set(pod.ips):
        return ""  # whatever the clocks say
    if pod.created > _since(slot) + SKEW:
        return f"pod {name} is a later one of that name, created at {instant.stamp(pod.created)}"
    if pod.ips and primary:
        return f"pod {name} has {', '.join(pod.ips)}"
    return ""


def _groups(blocks: Mapping[str, IPAMBlock]) -> Iterator[tuple[Slot, ...]]:
    """The live allocations to pods, all addresses of a container together; a tunnel's is no pod's."""
    held: dict[tuple[str, str, str], list[Slot]] = {}
    for block in blocks.values():
        owner, total, net = block.spec.owner.name if block.spec.owner else "", block.network.num_addresses, None
        for ordinal, one in block.spec.allocations.items():
            if one.freedAt is not None or not one.pod or one.use is Use.TUNNEL or not 0 <= ordinal < total:
                continue
            net = net or block.network
            held.setdefault((owner, one.container, one.pod), []).append(Slot(net[ordinal], block, one))
    for group in held.values():
        yield tuple(group)


def _begin(picture: Picture, slot: Slot, rules: Rules) -> float:
    """Since when a new suspect is one: since now; without a later plan, its own age has to do."""
    return picture.clock - max(age(picture, slot.allocation.since), 0.0) if rules.at_once else picture.clock


def _since(slot: Slot) -> float:
    try:
        return instant.seconds(slot.allocation.since)
    except ValueError:
        return 0.0 if slot.allocation.since else float("inf")
