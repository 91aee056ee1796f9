"""Nodes that are gone: their blocks, their BGPPeers and BGPConfiguration, and their Node last. Pure.

A node is gone when Kubernetes has no Node for it (looked for at the API itself before each step) and its agent is
silent. Its own Node stays until all else is done, so that a controller that is killed in between finds it again. Nodes
that never were Kubernetes' (no orchRef) are their operators' to delete.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import structs

from bgpnet import ipam
from bgpnet.controller.actions import Action, Departure, Remove, Waiting, Write
from bgpnet.controller.picture import Cluster, Memory, Picture, Rules, is_one, kubernetes_name, silence
from bgpnet.kubeobjects import PodSeen
from bgpnet.model import ip
from bgpnet.model.ipamblock import IPAMBlock, Use
from bgpnet.model.kinds import subject

PATIENCE = 900.0
"""Seconds for which an owner of blocks has no Node anywhere before they are given back, where no grace says it."""


def gone(picture: Picture) -> dict[str, str]:
    """The Nodes that Kubernetes has no Node for, by name, with its name there.

    None where it has none of them at all: that is another cluster, or one that is being made.
    """
    if picture.cluster is None or not is_one(picture):
        return {}
    names = ((name, kubernetes_name(node)) for name, node in picture.nodes.items())
    return {name: other for name, other in names if other and other not in picture.cluster.nodes}


def orphans(picture: Picture, memory: Memory) -> dict[str, float]:
    """Owners of blocks that neither the datastore nor Kubernetes has a Node of, and since when."""
    if picture.cluster is None or not is_one(picture):
        return {}
    known = picture.nodes.keys() | picture.broken | picture.cluster.nodes.keys()
    owners = {block.spec.owner.name for block in picture.blocks.values() if block.spec.owner is not None}
    return {name: memory.orphans.get(name, picture.clock) for name in owners - known}


def stranger(picture: Picture) -> str:
    """That Kubernetes has none of the Nodes that it should have, in one sentence; empty while it has some."""
    ours = [other for node in picture.nodes.values() if (other := kubernetes_name(node))]
    if picture.cluster is None or not picture.cluster.nodes or not ours or is_one(picture):
        return ""
    shown = f"{', '.join(ours[:3])}{' and others' if len(ours) > 3 else ''}"
    return (
        f"Kubernetes has no Node at all that the datastore knows ({shown}), so that nothing of nodes and pods is "
        "cleaned up: see that datastore and kubeconfig are of one cluster"
    )


def plan(picture: Picture, memory: Memory, rules: Rules) -> Iterator[Action | Waiting]:
    """What is to be done for the nodes that are gone. memory: with the orphans and pulses of this plan."""
    if picture.cluster is None:
        return
    if why := stranger(picture):
        yield Waiting("clean up", "all nodes", "", why)
    for name, other in gone(picture).items():
        quiet = silence(picture, memory, rules, name)
        if quiet >= rules.silence:
            yield from _given_up(picture, picture.cluster, name, other)
        else:
            why = f"Kubernetes has no Node {other}, but the node's agent was alive {quiet:.0f} s ago"
            yield Waiting("delete", f"Node({name})", name, why, picture.clock + rules.silence - quiet)
    for name, since in memory.orphans.items():
        why = f"neither the datastore nor Kubernetes has a Node {name}"
        due = max(since, picture.heard) + max(rules.leak_grace or PATIENCE, rules.silence)
        if not rules.at_once and picture.clock >= due:
            yield from _blocks(picture, picture.cluster, Departure(name, name), why)
        else:
            for block in _of(picture, name):
                yield Waiting("delete", subject(block), name, why, None if rules.at_once else due)


def _given_up(picture: Picture, cluster: Cluster, name: str, other: str) -> Iterator[Action | Waiting]:
    node = picture.nodes[name]
    departure = Departure(name, other, node.metadata.resourceVersion)
    why = f"Kubernetes has no Node {other}"
    steps = list(_blocks(picture, cluster, departure, why))
    yield from steps
    if held := [one.object for one in steps if isinstance(one, Waiting)]:  # while pods live, so does what they need
        yield Waiting("delete", subject(node), name, f"{why}; pods of it are there still: {', '.join(held)}")
        return
    for peer in picture.peers.values():
        if peer.spec.node == name:
            yield Remove(peer, why, name, departure)
    if (own := picture.configurations.get(f"node.{name}")) is not None:
        yield Remove(own, why, name, departure)
    for request in picture.requests.values():
        if request.spec.node == name:
            yield Remove(request, why, name, departure)
    yield Remove(node, why, name, departure)


def _blocks(picture: Picture, cluster: Cluster, departure: Departure, why: str) -> Iterator[Action | Waiting]:
    for block in _of(picture, departure.node):
        if pod := next(living(block, departure, cluster.pods.values()), ""):
            yield Waiting("delete", subject(block), departure.node, f"{why}, and still pod {pod} on it")
        elif _reserved(block):
            changed = block
            for ordinal in sorted(_live(block) - _reserved(block)):
                sequence = block.spec.allocations[ordinal].sequence
                changed = ipam.release_at(changed, block.network[ordinal], sequence, picture.now)
            changed = structs.replace(changed, spec=structs.replace(changed.spec, owner=None))
            said = f"{why}; what an import reserved in it stays"
            yield Write(changed, "take the owner off", said, departure.node, departure)
        else:
            yield Remove(block, why, departure.node, departure)


def _of(picture: Picture, name: str) -> Iterator[IPAMBlock]:
    return (
        block for block in picture.blocks.values() if block.spec.owner is not None and block.spec.owner.name == name
    )


def living(block: IPAMBlock, departure: Departure, pods: Iterable[PodSeen]) -> Iterator[str]:
    """The pods, not ended, that have an address of the block: those of its node, where that is known in Kubernetes.

    Of an owner without a Node it is not known what Kubernetes calls it: pods of any node count, but not for what an
    import reserved for others.
    """
    lent = set() if departure.version else {str(block.network[ordinal]) for ordinal in _reserved(block)}
    for pod in pods:
        if pod.ended or (departure.version and pod.node != departure.kubernetes):
            continue
        if any(_inside(block, text) for text in pod.ips if text not in lent):
            yield pod.key


def _inside(block: IPAMBlock, text: str) -> bool:
    try:
        return ip.contains(block.network, ip.address(text))
    except ValueError:
        return False


def _live(block: IPAMBlock) -> set[int]:
    return {ordinal for ordinal, slot in block.spec.allocations.items() if slot.freedAt is None}


def _reserved(block: IPAMBlock) -> set[int]:
    """What an import found given away outside our rules: somebody else's pods have it, not this node's."""
    slots = block.spec.allocations
    return {ordinal for ordinal in _live(block) if slots[ordinal].use is Use.RESERVED}
