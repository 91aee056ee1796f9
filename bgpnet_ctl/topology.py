"""`bgp topology`: who speaks BGP with whom, worked out of the datastore's objects as each node's agent does it. Pure.

Whether a session is up is the nodes' own word, which they publish in their Node; of one that has not, it is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bgpnet.admission import HEARTBEAT_FRESH
from bgpnet.bgp.basis import basis
from bgpnet.bgp.conf import Neighbour
from bgpnet.bgp.member import Member, members
from bgpnet.bgp.peering import MESH, Net, Peerings, peerings
from bgpnet.bgp.secret import Secret, Secrets
from bgpnet.model import instant, ip, kinds
from bgpnet.model.bgpconfiguration import BGPConfiguration, BGPConfigurationSpec
from bgpnet.model.bgppeer import BGPPeer
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.ippool import IPPool
from bgpnet.model.kinds import Resource
from bgpnet.model.node import IN_MESH, Node, NodeSession, NodeSessions
from bgpnet.store.repo import Repo

READ = (kinds.NODE, kinds.BGPCONFIGURATION, kinds.BGPPEER, kinds.IPAMBLOCK, kinds.IPPOOL)
UP, UNKNOWN = "up", "unknown"


@dataclass(frozen=True, slots=True)
class Picture:
    """The datastore at one moment. now: seconds since 1970."""

    nodes: Mapping[str, Node]
    configured: Mapping[str, BGPConfigurationSpec]
    peers: Mapping[str, BGPPeer]
    blocks: Mapping[str, frozenset[ip.Network]]
    now: float
    basis: str
    members: Mapping[str, Member] = field(default_factory=dict)
    made: Mapping[str, Peerings] = field(default_factory=dict)

    def said(self, node: str) -> NodeSessions | None:
        """What the node's living agent publishes."""
        status = self.nodes[node].status
        return status.bgp if status is not None and self.alive(node) else None

    def alive(self, node: str) -> bool:
        """Whether its agent gave a sign of life within a minute."""
        status = self.nodes[node].status
        try:
            return bool(
                status and status.identity and self.now - instant.seconds(status.identity.heartbeat) < HEARTBEAT_FRESH
            )
        except ValueError:
            return False

    def session(self, node: str, address: ip.Address) -> NodeSession | None:
        """That node's word of its session with the address."""
        said = self.said(node)
        return next((one for one in said.sessions if one.peer == str(address)), None) if said is not None else None

    @property
    def reflectors(self) -> list[Member]:
        """The nodes with a cluster ID."""
        return [one for one in self.members.values() if one.cluster]

    @property
    def mesh(self) -> bool:
        """Whether the node-to-node mesh is on."""
        return self.configured.get("default", BGPConfigurationSpec()).nodeToNodeMeshEnabled is not False


@dataclass(frozen=True, slots=True)
class Row:
    """One session: from a node to another, or to an address outside the cluster. client: of the node that reflects.

    state: up, unknown, or the cause as the node that says it calls it. one_sided: the other node does not have it.
    """

    node: str
    peer: str
    address: str
    by: str
    state: str
    client: str = ""
    one_sided: bool = False
    external: bool = False


def read(repo: Repo, now: float) -> Picture:
    """The datastore as it is."""
    return picture([one for kind in READ for one in repo.list(kind)[0]], now)


def picture(resources: Sequence[Resource], now: float) -> Picture:
    """The same of objects at hand."""
    nodes = {one.metadata.name: one for one in resources if isinstance(one, Node)}
    configured = {one.metadata.name: one.spec for one in resources if isinstance(one, BGPConfiguration)}
    peers = {one.metadata.name: one for one in resources if isinstance(one, BGPPeer)}
    known = {one.name: one for one in members(nodes.values(), configured)}
    secrets = _secrets(peers.values(), configured)
    made = {
        name: peerings(Net(me, list(known.values()), configured, list(peers.values()), secrets))
        for name, me in known.items()
    }
    return Picture(nodes, configured, peers, _blocks(resources), now, basis(resources), known, made)


def _secrets(peers: Iterable[BGPPeer], configured: Mapping[str, BGPConfigurationSpec]) -> Secrets:
    """Passwords count as there: whether they are, only the nodes know."""
    refs = [one.spec.password for one in peers] + [one.nodeMeshPassword for one in configured.values()]
    named = [one.secretKeyRef for one in refs if one is not None]
    return Secrets("", {f"{ref.name}/{ref.key}": Secret("not known here") for ref in named})


def _blocks(resources: Sequence[Resource]) -> dict[str, frozenset[ip.Network]]:
    """By node, the blocks that it announces: those in a pool that may be told."""
    pools = sorted((one for one in resources if isinstance(one, IPPool)), key=lambda one: -one.network.prefixlen)
    found: dict[str, set[ip.Network]] = {}
    for one in resources:
        if isinstance(one, IPAMBlock) and one.spec.owner is not None:
            pool = next((pool for pool in pools if ip.contains(pool.network, one.network)), None)
            if pool is not None and not pool.spec.disableBGPExport:
                found.setdefault(one.spec.owner.name, set()).add(one.network)
    return {name: frozenset(nets) for name, nets in found.items()}


def rows(seen: Picture) -> list[Row]:
    """All sessions, each once, by node."""
    at = {one.address: name for name, one in seen.members.items()}
    found = []
    for name, made in seen.made.items():
        for one in made.neighbours:
            other = at.get(one.address, "")
            there = _neighbour(seen, other, seen.members[name].address) if other else None
            if other and there is not None and other < name:
                continue  # told from the other end
            found.append(_row(seen, name, one, other, there))
    return found


def _neighbour(seen: Picture, node: str, address: ip.Address) -> Neighbour | None:
    return seen.made[node].of(address)


def _row(seen: Picture, name: str, one: Neighbour, other: str, there: Neighbour | None) -> Row:
    """client: the name of the end that is the other's client, both where each is the other's."""
    clients = [client for client, is_one in ((other, one.client), (name, there is not None and there.client)) if is_one]
    return Row(
        node=name,
        peer=other or one.name,
        address=str(one.address),
        by=short(seen.made[name].sources[one.address][0]),
        state=_state(seen, name, one.address, other),
        client=" and ".join(clients) if other else "the peer" if one.client else "",
        one_sided=bool(other) and there is None,
        external=one.local_as != one.peer_as,
    )


def short(source: str) -> str:
    """What defines a session, in a word or two."""
    return IN_MESH if source == MESH else source


def _state(seen: Picture, name: str, address: ip.Address, other: str) -> str:
    """Both ends' word; the worse counts."""
    said = [seen.session(name, address)]
    if other:
        said.append(seen.session(other, seen.members[name].address))
    known = [one for one in said if one is not None]
    down = next((one for one in known if one.state != UP), None)
    if down is not None:
        return down.info or down.state
    return UP if known else UNKNOWN
