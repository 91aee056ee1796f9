"""What follows from Kubernetes for this node: its Node object, what to follow, what must not be withdrawn. Pure.

The agent writes its own Node as its Kubernetes Node has it (kubenode.py), so that no controller is needed for that; the
controller makes the same of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from bgpnet import kubenode
from bgpnet.agent import peers, policies
from bgpnet.agent.world import World
from bgpnet.bgp.conf import RESTART_TIME
from bgpnet.bgp.peering import Peerings
from bgpnet.model import ip
from bgpnet.model.node import Node


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of Kubernetes has to be followed beside namespaces and the own Node. secrets: by name."""

    services: bool = False
    secrets: frozenset[str] = frozenset()


def wanted(world: World) -> Wanted:
    """Services where the cluster's BGPConfiguration announces some; Secrets that this node's sessions refer to."""
    return Wanted(bool(policies.ranges(world).all()), peers.secrets_wanted(world))


def held(world: World) -> frozenset[ip.Network]:
    """Where nothing is withdrawn yet: service addresses, while it is not known who has them.

    Of a node that announces none it is known, whoever has them.
    """
    if world.kubernetes is None or (world.services is not None and world.endpoints is not None):
        return frozenset()
    if policies.excluded(world):
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
    return kubenode.like(node, seen)


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
        f"({', '.join(internal)}): where BGP and Kubernetes are to use one network, start this agent again, which "
        "looks at its start, with ip_autodetection_method kubernetes-internal-ip, or set the kubelet's --node-ip"
    ]


def warnings(world: World) -> list[str]:
    """For the status: disagreements, and what of Kubernetes cannot be followed."""
    away = world.kubernetes.away if world.kubernetes is not None else {}
    lost = [f"Kubernetes' {what} cannot be followed: {reason}" for what, reason in sorted(away.items())]
    return [*disagreements(world), *lost]
