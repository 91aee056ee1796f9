"""The steps of `bgp convert`: what each wants, whether it is so already, and what is written for it. Pure.

Make before break: what replaces a session is up, and has the routes, before the session goes. A step is done when the
datastore and every node say so; so a conversion that was ended anywhere goes on where it is, by the same command.
A node has heard what was written when its Node says the same `basis` as the datastore's objects: no order among the
kinds of objects is relied on, and no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from msgspec import structs

from bgpnet.bgp.member import Member
from bgpnet.bgp.reflection import CLIENTS
from bgpnet.errors import BgpnetError, UsageError
from bgpnet.model import kinds
from bgpnet.model.bgpconfiguration import BGPConfiguration, BGPConfigurationSpec
from bgpnet.model.bgppeer import BGPPeer, BGPPeerSpec
from bgpnet.model.kinds import Kind, Resource
from bgpnet.model.node import IN_MESH, Node, NodeBGP
from bgpnet.model.resource import Metadata
from bgpnet_ctl.topology import UP, Picture

LABEL = "bgpnet.io/route-reflector"
PEER = "route-reflectors"
CLUSTER = "244.0.0.1"
REFLECTORS = 2
"""How many nodes become reflectors when nobody says which: one may be away."""

Change = Callable[[Resource | None], Resource | None]
"""The object as it is stored (None: it is not) in, as it should be out (None: not there)."""


@dataclass(frozen=True, slots=True)
class Write:
    """One object to be changed."""

    kind: Kind
    name: str
    change: Change


@dataclass(frozen=True, slots=True)
class Step:
    """missing: what is not so yet, a phrase; empty when the step is done. writes: what brings it about, none for a
    step that only waits for the nodes."""

    text: str
    missing: Callable[[Picture], str]
    writes: tuple[Write, ...] = ()


def to_reflectors(seen: Picture, chosen: Sequence[str], cluster: str) -> list[Step]:
    """From the mesh to reflectors; `possible` was asked before."""
    names = ", ".join(chosen)
    spec = seen.configured.get("default", BGPConfigurationSpec())
    peer = BGPPeer(
        metadata=Metadata(name=PEER),
        spec=BGPPeerSpec(
            nodeSelector="all()",
            peerSelector=f"has({LABEL})",
            password=spec.nodeMeshPassword,
            maxRestartTime=spec.nodeMeshMaxRestartTime,
        ),
    )
    return [
        Step("see what sessions every node has", lambda now: _heard(now) if _pristine(now, chosen) else ""),
        Step(
            f"label {names} {LABEL}=true",
            lambda now: _unlabelled(now, chosen),
            tuple(Write(kinds.NODE, name, _labelled) for name in chosen),
        ),
        Step(
            f"create BGPPeer {PEER}: every node with every reflector",
            lambda now: "" if PEER in now.peers else f"BGPPeer {PEER} is not there",
            (Write(kinds.BGPPEER, PEER, lambda _: peer),),
        ),
        Step("wait until every node has its sessions with them", lambda now: _heard(now) or _sessions(now, chosen)),
        Step(
            f"give {names} routeReflectorClusterID {cluster}: they reflect",
            lambda now: ", ".join(name for name in chosen if now.members[name].cluster != cluster),
            tuple(Write(kinds.NODE, name, lambda node: _clustered(node, cluster)) for name in chosen),
        ),
        Step(
            "wait until every node has every route from each of them", lambda now: _heard(now) or _routes(now, chosen)
        ),
        Step(
            "switch the node-to-node mesh off",
            lambda now: "nodeToNodeMeshEnabled is not false" if now.mesh else "",
            (Write(kinds.BGPCONFIGURATION, "default", _unmeshed),),
        ),
        Step("wait until every node has done so", lambda now: _heard(now) or _without(now) or _routes(now, chosen)),
    ]


def to_mesh(seen: Picture) -> list[Step]:
    """From reflectors back to the mesh."""
    reflectors = [one.name for one in seen.reflectors]
    labelled = [name for name, node in seen.nodes.items() if LABEL in node.metadata.labels]
    cleared = ", ".join(reflectors) or "the reflectors"
    return [
        Step("see what sessions every node has", lambda now: "" if now.mesh else _heard(now)),
        Step(
            "switch the node-to-node mesh on",
            lambda now: "nodeToNodeMeshEnabled is false" if not now.mesh else "",
            (Write(kinds.BGPCONFIGURATION, "default", lambda one: _meshed(one, seen.peers.get(PEER))),),
        ),
        Step("wait until every node has every route from its own node", lambda now: _heard(now) or _direct(now)),
        Step(
            f"take the routeReflectorClusterID from {cleared}: they take part in the mesh",
            lambda now: ", ".join(one.name for one in now.reflectors),
            tuple(Write(kinds.NODE, name, lambda node: _clustered(node, "")) for name in reflectors),
        ),
        Step("wait until the mesh is whole", lambda now: _heard(now) or _whole(now) or _direct(now)),
        Step(
            f"delete BGPPeer {PEER}",
            lambda now: f"BGPPeer {PEER} is there" if PEER in now.peers else "",
            (Write(kinds.BGPPEER, PEER, lambda _: None),),
        ),
        Step(
            f"take the label {LABEL} from {', '.join(labelled) or 'the nodes'}",
            lambda now: ", ".join(name for name, node in now.nodes.items() if LABEL in node.metadata.labels),
            tuple(Write(kinds.NODE, name, _unlabel) for name in labelled),
        ),
        Step("wait until every node has done so", lambda now: _heard(now) or _direct(now)),
    ]


def choose(seen: Picture) -> list[str]:
    """The reflectors when nobody says which: those of a conversion that was begun, else nodes of different subnets, so
    that no rack has both."""
    begun = sorted(name for name, node in seen.nodes.items() if LABEL in node.metadata.labels)
    if begun:
        return begun
    taken: dict[object, str] = {}
    for name in sorted(seen.members, key=lambda one: (not seen.alive(one), one)):
        interface = seen.nodes[name].ipv4
        taken.setdefault(interface.network if interface else None, name)
    apart = list(taken.values())
    others = [name for name in sorted(seen.members) if name not in apart]
    return sorted([*apart, *others][:REFLECTORS])


def possible(seen: Picture, chosen: Sequence[str] | None) -> None:
    """Raises UsageError or BgpnetError, one sentence, where a conversion cannot work. chosen None: back to the mesh."""
    silent = [name for name in seen.members if not seen.alive(name)]
    if silent:
        raise BgpnetError(
            f"node {silent[0]} is silent, so nobody knows which sessions it has: start its agent, or delete its Node "
            f"with bgpnetctl delete node {silent[0]}"
        )
    if chosen is not None:
        _possible_reflectors(seen, chosen)
        return
    for one in seen.reflectors:
        for other in seen.members.values():
            if other.name != one.name and seen.made[one.name].of(other.address) is None:
                raise BgpnetError(
                    f"reflector {one.name} has no session with {other.name}, which would lose its routes: give it one "
                    "by a BGPPeer, or make every reflector a node like the others by hand"
                )


def _possible_reflectors(seen: Picture, chosen: Sequence[str]) -> None:
    if unknown := [name for name in chosen if name not in seen.members]:
        raise UsageError(f"--nodes {unknown[0]}: there is no such node with an IPv4 address; see bgpnetctl get nodes")
    if len(seen.members) < 3:
        raise BgpnetError(f"{len(seen.members)} nodes need no route reflector: use one from three nodes on")
    if len(seen.members) - 1 > CLIENTS:
        raise BgpnetError(
            f"{len(seen.members)} nodes are more than the {CLIENTS} clients that a node reflects to: use reflectors "
            "outside (BIRD, FRR or GoBGP), see docs/route-reflectors.md"
        )
    numbers = {one.as_number for one in seen.members.values()}
    if len(numbers) > 1:
        raise BgpnetError(
            f"the nodes are of several AS ({', '.join(map(str, sorted(numbers)))}), and routes are reflected inside "
            "one only: give all nodes one asNumber"
        )
    begun = [name for name, node in seen.nodes.items() if LABEL in node.metadata.labels or _cluster(node)]
    if left_out := [name for name in begun if name not in chosen]:
        raise BgpnetError(
            f"node {left_out[0]} is a route reflector already: name it with --nodes, too, or run "
            "bgpnetctl bgp convert --to mesh first"
        )
    if not seen.mesh and not begun:
        raise BgpnetError(
            "the node-to-node mesh is off, so there is nothing to convert: see bgpnetctl bgp topology for the sessions "
            "there are"
        )
    there = seen.peers.get(PEER)
    if there is not None and (there.spec.nodeSelector, there.spec.peerSelector) != ("all()", f"has({LABEL})"):
        raise BgpnetError(f"BGPPeer {PEER} is there and selects other nodes: delete it, or give it another name")


def _cluster(node: Node) -> str:
    return node.spec.bgp.routeReflectorClusterID if node.spec.bgp else ""


# what the nodes say


def _heard(seen: Picture) -> str:
    """Which nodes have not heard what the datastore says now."""
    for name in seen.members:
        said = seen.said(name)
        if said is None:
            return f"{name} does not say which sessions it has"
        if said.basis != seen.basis:
            return f"{name} has not heard of it"
    return ""


def _pristine(seen: Picture, chosen: Iterable[str]) -> bool:
    return bool(_unlabelled(seen, chosen))


def _sessions(seen: Picture, reflectors: Iterable[str]) -> str:
    for reflector in reflectors:
        for name, one in seen.members.items():
            if name != reflector and (lack := _up(seen, one, seen.members[reflector], PEER)):
                return lack
    return ""


def _up(seen: Picture, one: Member, other: Member, source: str) -> str:
    said = seen.session(one.name, other.address)
    if said is None or source not in said.sources:
        return f"{one.name} has no session with {other.name} by {source}"
    return "" if said.state == UP else f"{one.name} with {other.name}: {said.info or said.state}"


def _routes(seen: Picture, reflectors: Sequence[str]) -> str:
    """What is missing of what each node should have from each reflector, all blocks but its own; reflectors, which
    refuse what one of their cluster reflected, have each node's blocks from itself."""
    for name in seen.members:
        for other in seen.members if name in reflectors else reflectors:
            if other == name:
                continue
            senders = (other,) if name in reflectors else seen.members
            wanted = sum(len(seen.blocks.get(owner, ())) for owner in senders if owner != name)
            if lack := _has(seen, name, other, wanted):
                return lack
    return _sessions(seen, reflectors)


def _direct(seen: Picture) -> str:
    """What each node should have from each other node itself: that one's blocks."""
    for name in seen.members:
        for other in seen.members:
            if other != name and (lack := _has(seen, name, other, len(seen.blocks.get(other, ())))):
                return lack
    return ""


def _has(seen: Picture, name: str, other: str, wanted: int) -> str:
    said = seen.session(name, seen.members[other].address)
    if said is None or said.state != UP:
        return f"{name} with {other}: {said.info or said.state if said else 'no session'}"
    return "" if said.blocks >= wanted else f"{name} has {said.blocks} of {wanted} blocks from {other}"


def _without(seen: Picture) -> str:
    """Who still has sessions of the mesh."""
    for name in seen.members:
        said = seen.said(name)
        if said is not None and any(IN_MESH in one.sources for one in said.sessions):
            return f"{name} has sessions of the mesh still"
    return ""


def _whole(seen: Picture) -> str:
    for name, one in seen.members.items():
        for other in seen.members.values():
            if other.name != name and (lack := _up(seen, one, other, IN_MESH)):
                return lack
    return ""


# what is written


def _unlabelled(seen: Picture, chosen: Iterable[str]) -> str:
    return ", ".join(name for name in chosen if LABEL not in seen.nodes[name].metadata.labels)


def _labelled(node: Resource | None) -> Resource | None:
    return _relabelled(node, lambda labels: {**labels, LABEL: "true"})


def _unlabel(node: Resource | None) -> Resource | None:
    return _relabelled(node, lambda labels: {key: value for key, value in labels.items() if key != LABEL})


def _relabelled(node: Resource | None, change: Callable[[Mapping[str, str]], dict[str, str]]) -> Resource | None:
    if not isinstance(node, Node):
        return node
    return structs.replace(node, metadata=structs.replace(node.metadata, labels=change(node.metadata.labels)))


def _clustered(node: Resource | None, cluster: str) -> Resource | None:
    if not isinstance(node, Node):
        return node
    bgp = structs.replace(node.spec.bgp or NodeBGP(), routeReflectorClusterID=cluster)
    return structs.replace(node, spec=structs.replace(node.spec, bgp=bgp))


def _unmeshed(there: Resource | None) -> Resource:
    """Without a mesh, what serves it alone is refused; the BGPPeer has it meanwhile."""
    return _configured(there, nodeToNodeMeshEnabled=False, nodeMeshPassword=None, nodeMeshMaxRestartTime=None)


def _meshed(there: Resource | None, peer: BGPPeer | None) -> Resource:
    """As the BGPPeer's sessions, which are the mesh's again when it goes."""
    if peer is None:
        return _configured(there, nodeToNodeMeshEnabled=True)
    spec = peer.spec
    return _configured(
        there, nodeToNodeMeshEnabled=True, nodeMeshPassword=spec.password, nodeMeshMaxRestartTime=spec.maxRestartTime
    )


def _configured(there: Resource | None, **fields: object) -> Resource:
    if not isinstance(there, BGPConfiguration):
        there = BGPConfiguration(metadata=Metadata(name="default"))
    return structs.replace(there, spec=structs.replace(there.spec, **fields))
