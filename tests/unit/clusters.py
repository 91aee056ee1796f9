"""Pictures for the controller's tests: a datastore and a Kubernetes made of a few words each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from msgspec import structs

from bgpnet import ipam
from bgpnet.controller import janitor
from bgpnet.controller.actions import Action, Ask, Remove, SetNetwork, Write
from bgpnet.controller.janitor import Plan
from bgpnet.controller.picture import Cluster, Memory, Picture, Rules
from bgpnet.ipam import Claimant
from bgpnet.kubeobjects import ConditionSeen, NodeSeen, PodSeen
from bgpnet.model import instant, ip
from bgpnet.model.ipamblock import IPAMBlock, Owner, Use
from bgpnet.model.ippool import IPPool, IPPoolSpec, IPPoolStatus
from bgpnet.model.kinds import Resource
from bgpnet.model.node import Identity, Node, NodeBGP, NodeSpec, NodeStatus, OrchRef
from bgpnet.model.resource import Condition, Metadata

NOW = 1_700_000_000.0
CLOCK = 10_000.0
AGO = NOW - 5_000
RULES = Rules(leak_grace=900.0, silence=60.0, down=120.0)
OK = Condition(type="Allocatable", status="True", reason="OK", lastTransitionTime="2023-01-01T00:00:00.000Z")


def pool(name: str = "pods", cidr: str = "10.244.0.0/16", *conditions: Condition, **spec: Any) -> IPPool:
    """With the condition that it should have, unless told otherwise."""
    status = IPPoolStatus(conditions=conditions or (OK,))
    return IPPool(metadata=Metadata(name=name, resourceVersion="1"), spec=IPPoolSpec(cidr=cidr, **spec), status=status)


def node(name: str, *, at: float = NOW, kubernetes: str | None = "", version: str = "7", **meta: Any) -> Node:
    """Whose agent was alive at that instant; kubernetes: the name there, None for a Node that is not of Kubernetes."""
    refs = () if kubernetes is None else (OrchRef(nodeName=kubernetes or name, orchestrator="k8s"),)
    number = int(name.lstrip("abcdefghijklmnopqrstuvwxyz") or 9)
    return Node(
        metadata=Metadata(name=name, resourceVersion=version, **meta),
        spec=NodeSpec(bgp=NodeBGP(ipv4Address=f"192.0.2.{number}/24"), orchRefs=refs),
        status=NodeStatus(identity=Identity(uuid=f"uuid-{name}", heartbeat=instant.stamp(at))),
    )


def like(*names: str, **conditions: str) -> dict[str, NodeSeen]:
    """Kubernetes Nodes whose network is available; conditions: NetworkUnavailable's status by name."""
    return {
        name: NodeSeen(
            name,
            f"k-{name}",
            conditions={"NetworkUnavailable": ConditionSeen(conditions.get(name, "False"), "BgpnetIsUp")},
            version="70",
        )
        for name in names
    }


def block(cidr: str = "10.244.0.0/26", owner: str = "n1") -> IPAMBlock:
    """An empty one; without owner where that is empty."""
    made = ipam.new_block(ip.network(cidr), Owner(name=owner, uid=f"uuid-{owner}"), NOW - 10_000)
    made = structs.replace(made, metadata=structs.replace(made.metadata, resourceVersion="3"))
    return made if owner else structs.replace(made, spec=structs.replace(made.spec, owner=None))


def held(
    made: IPAMBlock,
    pod: str,
    container: str = "",
    *,
    ifname: str = "eth0",
    use: Use = Use.WORKLOAD,
    at: float = AGO,
) -> IPAMBlock:
    """The block with one more address in use."""
    given = ipam.assign(made, Claimant(container or f"c-{pod}", ifname, pod), at)
    assert given is not None
    slots = given[0].spec.allocations
    ordinal = int(given[1]) - int(made.network.network_address)
    slots = {**slots, ordinal: structs.replace(slots[ordinal], use=use)}
    return structs.replace(given[0], spec=structs.replace(given[0].spec, allocations=slots))


def pod(key: str, *ips: str, on: str = "n1", phase: str = "Running", created: float = NOW - 6_000) -> PodSeen:
    """`namespace/name` with these addresses."""
    namespace, _, name = key.partition("/")
    return PodSeen(namespace, name, f"u-{name}", on, phase, ips, created=created)


def picture(
    *stored: Resource, pods: tuple[PodSeen, ...] = (), nodes: Mapping[str, NodeSeen] | None = None, **fields: Any
) -> Picture:
    """What is stored, and what Kubernetes has; nodes None: a Kubernetes Node for each Node."""
    found: dict[str, dict[str, Any]] = {}
    for one in stored:
        found.setdefault(type(one).__name__, {})[one.metadata.name] = one
    seen = like(*found.get("Node", {})) if nodes is None else nodes
    given: dict[str, Any] = {
        "now": NOW,
        "clock": CLOCK,
        "heard": 0.0,
        "nodes": {name: known(one, seen) for name, one in found.get("Node", {}).items()},
        "blocks": found.get("IPAMBlock", {}),
        "pools": found.get("IPPool", {}),
        "peers": found.get("BGPPeer", {}),
        "configurations": found.get("BGPConfiguration", {}),
        "requests": found.get("ReleaseRequest", {}),
        "reservations": found.get("IPReservation", {}),
        "cluster": Cluster({one.key: one for one in pods}, seen),
    }
    return Picture(**{**given, **fields})


def known(one: Node, seen: Mapping[str, NodeSeen]) -> Node:
    """The Node as an earlier plan has left it: with the annotation of no labels."""
    ref = next((each.nodeName for each in one.spec.orchRefs), one.metadata.name)
    if ref not in seen or one.metadata.annotations:
        return one
    return structs.replace(one, metadata=structs.replace(one.metadata, annotations={"bgpnet.io/kube-labels": "{}"}))


def later(before: Picture, seconds: float, *beating: str, **fields: Any) -> Picture:
    """The same after so many seconds; beating: Nodes whose agents go on living."""
    now = before.now + seconds
    nodes = {
        name: structs.replace(one, status=node(name, at=now).status) if name in beating else one
        for name, one in before.nodes.items()
    }
    given: dict[str, Any] = {"now": now, "clock": before.clock + seconds, "nodes": nodes}
    return replace(before, **{**given, **fields})


def plans(*pictures: Picture, rules: Rules = RULES) -> list[Plan]:
    """One after another, with one memory."""
    memory, found = Memory(), []
    for each in pictures:
        memory, plan = janitor.plan(each, memory, rules)
        found.append(plan)
    return found


def told(plan: Plan) -> list[str]:
    """What is to be done, a line each."""
    return [f"{one.what} {one.object}" for one in plan.actions]


def one(plan: Plan) -> Action:
    """The only action."""
    assert len(plan.actions) == 1, told(plan)
    return plan.actions[0]


__all__ = ["Ask", "Remove", "SetNetwork", "Write"]
