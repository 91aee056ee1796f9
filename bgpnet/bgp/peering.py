"""Nodes, BGPPeers and BGPConfigurations -> the sessions of one node. Pure.

Of two definitions of one session the first wins, in Calico's order (confd's updatePeersV1): global BGPPeers, BGPPeers
of some nodes, the other ends of BGPPeers between nodes (reverse peering), the mesh; within each by name.
ExaBGP has one session with an address, whatever the port; so two are one here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bgpnet import selector
from bgpnet.bgp import member
from bgpnet.bgp.conf import Neighbour, PeerKind
from bgpnet.bgp.member import Member
from bgpnet.bgp.mesh import mesh
from bgpnet.bgp.options import options, restart_time
from bgpnet.bgp.reflection import is_client
from bgpnet.bgp.secret import Missing, Secrets, resolve
from bgpnet.model import ip
from bgpnet.model.bgpconfiguration import BGPConfigurationSpec
from bgpnet.model.bgppeer import BGPPeer, BGPPeerSpec, ReversePeering, SourceAddress
from bgpnet.model.ip import Address
from bgpnet.model.resource import SecretKeyRef
from bgpnet.rules.bgppeer import peer_address

MESH = "the node-to-node mesh"


@dataclass(frozen=True, slots=True)
class Peerings:
    """Whom this node speaks with, by address. warnings: one sentence for each session that cannot be, or is twice.

    gateways: the peers that are reached by another machine, and its address. sources: what defines each session, the
    one that is used first: a BGPPeer, or MESH. cluster_id: that of this node, as a route reflector.
    """

    neighbours: tuple[Neighbour, ...] = ()
    warnings: tuple[str, ...] = ()
    gateways: Mapping[Address, Address] = field(default_factory=dict)
    sources: Mapping[Address, tuple[str, ...]] = field(default_factory=dict)
    cluster_id: str = ""

    def of(self, address: Address) -> Neighbour | None:
        """The session with that address."""
        return next((one for one in self.neighbours if one.address == address), None)


@dataclass(frozen=True, slots=True)
class Net:
    """What the sessions are made from. me: this node; the members may have it among them, as it is recorded."""

    me: Member
    members: Sequence[Member]
    configured: Mapping[str, BGPConfigurationSpec]
    peers: Sequence[BGPPeer]
    secrets: Secrets


@dataclass(frozen=True, slots=True)
class Wanted:
    """A session that somebody wants, or (neighbour None) that cannot be: then no other definition takes its place."""

    address: Address
    source: str
    neighbour: Neighbour | None = None
    problem: str = ""
    gateway: Address | None = None


def peerings(net: Net) -> Peerings:
    """The sessions of `net.me`."""
    chosen: dict[Address, Wanted] = {}
    warnings: dict[str, None] = {}
    sources: dict[Address, dict[str, None]] = {}
    for want in [*_explicit(net, warnings), *_mesh(net)]:
        first = chosen.setdefault(want.address, want)
        sources.setdefault(want.address, {})[want.source] = None
        if first is want:
            warnings |= {want.problem: None} if want.problem else {}
        elif first.neighbour and want.neighbour and _differ(first, want):
            warnings[_twice(first, want)] = None
    kept = [chosen[address] for address in sorted(chosen, key=lambda one: (one.version, int(one)))]
    return Peerings(
        neighbours=tuple(want.neighbour for want in kept if want.neighbour is not None),
        warnings=tuple(warnings),
        gateways={want.address: want.gateway for want in kept if want.neighbour and want.gateway},
        sources={want.address: tuple(sources[want.address]) for want in kept if want.neighbour},
        cluster_id=net.me.cluster,
    )


def needs_secrets(peers: Iterable[BGPPeer], configured: Mapping[str, BGPConfigurationSpec]) -> bool:
    """Whether something of this refers to a password."""
    mesh_password = configured.get(member.DEFAULT, member.NOTHING).nodeMeshPassword
    return mesh_password is not None or any(peer.spec.password for peer in peers)


def references(net: Net) -> tuple[SecretKeyRef, ...]:
    """The passwords that sessions of `net.me` refer to, whether it is the near or the far end of a BGPPeer."""
    spec = net.configured.get(member.DEFAULT, member.NOTHING)
    found = [spec.nodeMeshPassword] if spec.nodeToNodeMeshEnabled is not False else []
    found += [peer.spec.password for peer in net.peers if peer.spec.password and _is_end(net, peer.spec)]
    return tuple(dict.fromkeys(one.secretKeyRef for one in found if one is not None))


def _is_end(net: Net, spec: BGPPeerSpec) -> bool:
    try:
        return _is_local(spec, net.me) or any(target.name == net.me.name for target in _targets(net, spec))
    except ValueError:  # what cannot be read makes no session
        return False


def _differ(one: Wanted, other: Wanted) -> bool:
    if one.source == other.source or one.neighbour is None or other.neighbour is None:
        return False
    same = replace(other.neighbour, name=one.neighbour.name, kind=one.neighbour.kind, client=one.neighbour.client)
    return one.neighbour != same or one.gateway != other.gateway


def _twice(first: Wanted, other: Wanted) -> str:
    remedy = "delete one of them"
    if other.source == MESH:
        remedy = "make nodeToNodeMeshEnabled false in BGPConfiguration(default), or delete that BGPPeer"
    both = f"{first.source} and {other.source} both define the session with {first.address}"
    ports = [one.neighbour.port for one in (first, other) if one.neighbour]
    if len(set(ports)) == 2:
        both += f", on ports {ports[0]} and {ports[1]}: the speaker has one session with an address"
        remedy = "give the peer a second address, or delete one of them"
    return f"{both}, {first.source} is used; {remedy}"


def _explicit(net: Net, warnings: dict[str, None]) -> Iterator[Wanted]:
    named = sorted(net.peers, key=lambda peer: (not _is_global(peer.spec), peer.metadata.name))
    for there in (_forward, _reverse):
        for peer in named:
            try:
                yield from there(net, peer)
            except ValueError as problem:
                warnings[f"{_source(peer)} makes no session: {problem}"] = None


def _source(peer: BGPPeer) -> str:
    return f"BGPPeer {peer.metadata.name}"


def _is_global(spec: BGPPeerSpec) -> bool:
    return not spec.node and not spec.nodeSelector


def _is_local(spec: BGPPeerSpec, node: Member) -> bool:
    """Whether the BGPPeer is for that node."""
    if spec.node:
        return spec.node == node.name
    return not spec.nodeSelector or selector.parse(spec.nodeSelector).matches(node.labels)


def _targets(net: Net, spec: BGPPeerSpec) -> list[Member]:
    """The nodes that are the BGPPeer's far ends, this one among them."""
    known = [net.me, *(one for one in net.members if one.name != net.me.name)]
    if spec.peerSelector:
        wanted = selector.parse(spec.peerSelector)
        return [one for one in known if wanted.matches(one.labels)]
    parsed = peer_address(spec.peerIP)
    if parsed is None:
        return []
    address, port = parsed
    return [
        one
        for one in known
        if one.address == address and port in (None, one.port) and spec.asNumber in (None, 0, one.as_number)
    ]


def _forward(net: Net, peer: BGPPeer) -> Iterator[Wanted]:
    """The sessions that the BGPPeer gives this node, if it is for this node."""
    spec = peer.spec
    if not _is_local(spec, net.me):
        return
    kind = PeerKind.GLOBAL if _is_global(spec) else PeerKind.NODE
    if spec.localWorkloadSelector:
        raise ValueError("spec.localWorkloadSelector is not built yet; name the peers by spec.peerIP")
    targets = _targets(net, spec)
    if targets or spec.peerSelector:
        for target in targets:
            if target.address != net.me.address:
                # where both ends are this BGPPeer's nodes, both call themselves what it says
                mutual = _is_local(spec, target) and any(one.name == net.me.name for one in targets)
                peer_as = (spec.localASNumber if mutual else None) or target.as_number
                yield _session(net, peer, kind, target, spec.localASNumber or net.me.as_number, peer_as)
        return
    parsed = peer_address(spec.peerIP)
    if parsed is None:
        raise ValueError(f"spec.peerIP = {spec.peerIP!r} is not a peer's address; write one such as 192.0.2.1")
    address, port = parsed
    if address == net.me.address:
        return
    there = Member("", address, spec.asNumber or 0, port or 179)
    yield _session(net, peer, kind, there, spec.localASNumber or net.me.as_number, spec.asNumber)


def _reverse(net: Net, peer: BGPPeer) -> Iterator[Wanted]:
    """The sessions that this node has because it is a far end of the BGPPeer."""
    spec = peer.spec
    if spec.reversePeering is ReversePeering.MANUAL or spec.localWorkloadSelector:
        return
    if not any(target.name == net.me.name for target in _targets(net, spec)):
        return
    for one in net.members:
        if one.address != net.me.address and _is_local(spec, one):
            yield _session(net, peer, PeerKind.NODE, one, net.me.as_number, spec.localASNumber or one.as_number)


def _session(net: Net, peer: BGPPeer, kind: PeerKind, there: Member, local_as: int, peer_as: int | None) -> Wanted:
    spec, source = peer.spec, _source(peer)
    impossible = f"{source}: no session with {there.address}"
    if there.address.version != net.me.address.version:
        return Wanted(
            there.address, source, problem=f"{impossible}: this node speaks BGP over IPv4; write an IPv4 peerIP"
        )
    if not peer_as:
        return Wanted(there.address, source, problem=f"{impossible}: its AS is not known; set spec.asNumber")
    password = resolve(spec.password, net.secrets)
    if isinstance(password, Missing):
        return Wanted(there.address, source, problem=f"{impossible}: {password.reason}")
    neighbour = Neighbour(
        address=there.address,
        local_address=None if spec.sourceAddress is SourceAddress.NONE else net.me.address,
        local_as=local_as,
        peer_as=peer_as,
        port=there.port,
        passive=bool(there.name) and int(net.me.address) < int(there.address),
        password=password,
        name=peer.metadata.name,
        kind=kind,
        in_cluster=any(one.address == there.address for one in net.members),
        client=is_client(net.me.cluster, there.cluster, local_as, peer_as),
        **options(spec),
    )
    return Wanted(there.address, source, neighbour, gateway=ip.address(spec.reachableBy) if spec.reachableBy else None)


def _mesh(net: Net) -> Iterator[Wanted]:
    spec = net.configured.get(member.DEFAULT, member.NOTHING)
    if spec.nodeToNodeMeshEnabled is False:
        return
    password = resolve(spec.nodeMeshPassword, net.secrets)
    problem = f"{MESH} makes no session: {password.reason}" if isinstance(password, Missing) else ""
    usable = None if isinstance(password, Missing) else password
    for one in mesh(net.me, net.members, usable, restart_time(spec.nodeMeshMaxRestartTime)):
        yield Wanted(one.address, MESH, None if problem else one, problem)
