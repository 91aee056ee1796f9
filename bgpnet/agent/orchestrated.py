"""What follows from Kubernetes for this node: its Node object, what to follow, what must not be withdrawn. Pure.

The agent writes its own Node, as everything in it: the labels of its Kubernetes Node, its addresses and its name there.
Labels that came from Kubernetes are named in an annotation, so that those that people gave stay (Calico's node
controller does the same).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from msgspec import structs

from bgpnet.agent import peers, policies
from bgpnet.agent.world import World
from bgpnet.bgp.conf import RESTART_TIME
from bgpnet.bgp.peering import Peerings
from bgpnet.kubeobjects import NodeSeen
from bgpnet.model import ip
from bgpnet.model.node import Node, NodeAddress, OrchRef
from bgpnet.model.resource import Metadata

LABELS = "bgpnet.io/kube-labels"
"""The annotation of our Node that has the labels which came from Kubernetes, as a JSON object."""
ORCHESTRATOR = "k8s"
INTERNAL, EXTERNAL = "InternalIP", "ExternalIP"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of Kubernetes has to be followed beside namespaces and the own Node. secrets: by name."""

    services: bool = False
    secrets: frozenset[str] = frozenset()


def wanted(world: World) -> Wanted:
    """Services where the cluster's BGPConfiguration announces some; Secrets that this node's sessions refer to."""
    return Wanted(bool(policies.ranges(world).all()), peers.secrets_wanted(world))


def held(world: World) -> frozenset[ip.Network]:
    """Where nothing is withdrawn yet: service addresses, while it is not known who has them."""
    if world.kubernetes is None or (world.services is not None and world.endpoints is not None):
        return frozenset()
    return frozenset(policies.ranges(world).all())


def unsettled(world: World, found: Peerings | None) -> frozenset[ip.Address]:
    """The peers that must not hear that this is all: everybody, while service addresses are held back.

    No longer than a peer keeps stale routes: then it has let go of them, and would wait for nothing.
    """
    if found is None or not held(world) or world.clock >= world.heard + RESTART_TIME:
        return frozenset()
    return frozenset(one.address for one in found.neighbours)


def recorded(world: World, node: Node) -> Node:
    """Our Node with what its Kubernetes Node says; as it is while that is not known."""
    seen = world.kubernetes.node if world.kubernetes is not None else None
    if seen is None:
        return node
    others = [one for one in node.spec.addresses if one.type not in (INTERNAL, EXTERNAL)]
    internal = [NodeAddress(address=one, type=INTERNAL) for one in seen.internal_ips]
    external = [NodeAddress(address=one, type=EXTERNAL) for one in seen.external_ips]
    refs = [one for one in node.spec.orchRefs if one.orchestrator != ORCHESTRATOR]
    ours = OrchRef(nodeName=seen.name, orchestrator=ORCHESTRATOR)
    spec = structs.replace(node.spec, addresses=(*others, *internal, *external), orchRefs=(*refs, ours))
    return Node(metadata=_labelled(node.metadata, seen), spec=spec, status=node.status)


def _labelled(metadata: Metadata, seen: NodeSeen) -> Metadata:
    """The labels of Kubernetes, and those that people gave: what came from there before and is gone there, goes."""
    before = _remembered(metadata.annotations.get(LABELS, ""))
    people = {name: text for name, text in metadata.labels.items() if before.get(name) != text}
    text = json.dumps(dict(sorted(seen.labels.items())), separators=(",", ":"))
    labels, notes = {**people, **seen.labels}, {**metadata.annotations, LABELS: text}
    return structs.replace(metadata, labels=labels, annotations=notes)


def _remembered(text: str) -> Mapping[str, object]:
    try:
        found = json.loads(text or "{}")
    except ValueError:  # somebody wrote it by hand: what is there counts as given by people
        return {}
    return found if isinstance(found, dict) else {}


def disagreements(world: World) -> list[str]:
    """What of this node is not as its Kubernetes Node says, a sentence each."""
    known = world.kubernetes
    if known is None or not known.node_heard:
        return []
    if known.node is None:
        return [
            f"Kubernetes has no Node {world.me.node}: set --node to the node's name there (BGPNET_NODE, in a pod from "
            "spec.nodeName)"
        ]
    internal, own = known.node.internal_ips, str(world.me.address.ip)
    if not internal or own in internal:
        return []
    return [
        f"this node's address {own} on {world.me.uplink} is not the InternalIP of its Kubernetes Node "
        f"({', '.join(internal)}): where BGP and Kubernetes are to use one network, set ip_autodetection_method to "
        "kubernetes-internal-ip, or the kubelet's --node-ip"
    ]


def warnings(world: World) -> list[str]:
    """For the status: disagreements, and what of Kubernetes cannot be followed."""
    away = world.kubernetes.away if world.kubernetes is not None else {}
    lost = [f"Kubernetes' {what} cannot be followed: {reason}" for what, reason in sorted(away.items())]
    return [*disagreements(world), *lost]
