"""What the controller sees and what it remembers, as values. Pure.

Two sources: the datastore, and the Kubernetes API where there is one. A picture is made only of a datastore that is
heard in full; `cluster` is None where Kubernetes is not asked, or is not heard in full: unknown is not empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from bgpnet.kubenode import K8S
from bgpnet.kubeobjects import NodeSeen, PodSeen
from bgpnet.model import instant
from bgpnet.model.bgpconfiguration import BGPConfiguration
from bgpnet.model.bgppeer import BGPPeer
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.ippool import IPPool
from bgpnet.model.ipreservation import IPReservation
from bgpnet.model.node import Node
from bgpnet.model.releaserequest import ReleaseRequest

Key = tuple[str, int]
"""An allocation: its address and its sequence."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the Kubernetes API says: pods by `namespace/name`, Nodes by name. keeps: it is the datastore, too."""

    pods: Mapping[str, PodSeen] = field(default_factory=dict)
    nodes: Mapping[str, NodeSeen] = field(default_factory=dict)
    keeps: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One look at everything, by name.

    now: seconds since 1970; clock: seconds that never jump; heard: since when, by that clock, the datastore has been
    heard without a break. broken: names of stored Nodes that cannot be read, which exist all the same.
    """

    now: float
    clock: float
    heard: float = -inf
    nodes: Mapping[str, Node] = field(default_factory=dict)
    blocks: Mapping[str, IPAMBlock] = field(default_factory=dict)
    pools: Mapping[str, IPPool] = field(default_factory=dict)
    peers: Mapping[str, BGPPeer] = field(default_factory=dict)
    configurations: Mapping[str, BGPConfiguration] = field(default_factory=dict)
    requests: Mapping[str, ReleaseRequest] = field(default_factory=dict)
    reservations: Mapping[str, IPReservation] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()
    cluster: Cluster | None = None


@dataclass(frozen=True, slots=True)
class Pulse:
    """A Node's heartbeat as it was written (RFC 3339), and since when, by our clock, it has been this one.

    moved: it was seen to change, so that its agent lives whatever its clock says.
    """

    heartbeat: str
    since: float
    moved: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """How often an owner has not released what it was asked to, and until when (our clock) it is not asked again.

    counted: the instant of the last answer, or of the request that had none, which is in `times` already.
    """

    times: int
    until: float
    counted: str = ""


@dataclass(frozen=True, slots=True)
class Memory:
    """What goes from one plan to the next; whoever starts without it only waits longer.

    pulses: by Node. suspects: since when each allocation seems to be nobody's. orphans: since when each owner of blocks
    has no Node. pauses: by allocation.
    """

    pulses: Mapping[str, Pulse] = field(default_factory=dict)
    suspects: Mapping[Key, float] = field(default_factory=dict)
    orphans: Mapping[str, float] = field(default_factory=dict)
    pauses: Mapping[Key, Pause] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The settings that the plan asks, in seconds.

    leak_grace: 0 ends the search for leaks. silence: after which a Node's agent counts as gone. down: after which the
    Kubernetes Node's network is called unavailable; 0: never. at_once: there is no later plan (`--once`), so ages are
    told by what is written down instead of by how long they were watched.
    """

    leak_grace: float = 900.0
    silence: float = 60.0
    down: float = 120.0
    at_once: bool = False


def kubernetes_name(node: Node) -> str:
    """The Kubernetes Node that a Node stands for, by its orchRef; empty for a Node that is none of Kubernetes."""
    found = next((ref for ref in node.spec.orchRefs if ref.orchestrator == K8S), None)
    return "" if found is None else found.nodeName or node.metadata.name


def heartbeat(node: Node) -> str:
    """When its agent last said that it lives (RFC 3339); empty where no machine holds the Node's name."""
    return node.status.identity.heartbeat if node.status and node.status.identity else ""


def pulses(picture: Picture, memory: Memory, rules: Rules) -> dict[str, Pulse]:
    """Every Node's heartbeat, and since when it is the one that it is."""
    found: dict[str, Pulse] = {}
    for name, node in picture.nodes.items():
        beat, before = heartbeat(node), memory.pulses.get(name)
        if before is not None and before.heartbeat == beat:
            found[name] = before
        else:
            since = picture.clock - (max(age(picture, beat), 0.0) if rules.at_once else 0.0)
            found[name] = Pulse(beat, since, moved=before is not None)
    return found


def age(picture: Picture, at: str) -> float:
    """Seconds since that instant (RFC 3339) by the wall clock; 0 where it is none."""
    try:
        return picture.now - instant.seconds(at)
    except ValueError:
        return 0.0


def silence(picture: Picture, memory: Memory, rules: Rules, name: str) -> float:
    """For how many seconds we have watched a Node's agent say nothing; infinite where no machine holds its name."""
    pulse = memory.pulses.get(name)
    if pulse is None:
        return 0.0
    if not pulse.heartbeat:
        return inf
    since = pulse.since if rules.at_once else max(pulse.since, picture.heard)
    return picture.clock - since


def is_alive(picture: Picture, memory: Memory, rules: Rules, name: str) -> bool:
    """Whether a Node's agent gave a sign of life a moment ago: by its instant, or because it was seen to change."""
    pulse = memory.pulses.get(name)
    if pulse is None or not pulse.heartbeat:
        return False
    if pulse.moved and silence(picture, memory, rules, name) < rules.silence:
        return True
    return abs(age(picture, pulse.heartbeat)) < rules.silence and instant.readable(pulse.heartbeat)


def is_one(picture: Picture) -> bool:
    """Whether datastore and Kubernetes are of one cluster: the same API, or they speak of the same nodes, of some.

    A kubeconfig of another cluster would have every pod and every node be gone.
    """
    cluster = picture.cluster
    if cluster is None or not cluster.nodes:
        return False
    return cluster.keeps or any(
        (kubernetes_name(node) or name) in cluster.nodes for name, node in picture.nodes.items()
    )
