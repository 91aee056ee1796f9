"""Every node's status: from the datastore, and for this machine's node from its agent's own mouth.

Of another node, the sessions are what its living agent published last; for the rest ask there. Pure, but for the
question to the agent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import msgspec

from bgpnet.admission import HEARTBEAT_FRESH
from bgpnet.bgp import causes
from bgpnet.errors import BgpnetError
from bgpnet.model import instant, ip, kinds
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.node import Node
from bgpnet.model.nodestatus import (
    AgentState,
    AgentStatus,
    BGPStatus,
    IPAMStatus,
    NodeStatus,
    NodeStatusSpec,
    NodeStatusStatus,
    PeerStatus,
    RoutesStatus,
    StatusClass,
)
from bgpnet.model.resource import Metadata
from bgpnet.store.repo import Repo
from bgpnet_ctl.status import Peer, Status

Answer = dict[str, object]
TYPES = {"node-to-node mesh": "NodeMesh", "node specific": "NodePeer", "global": "GlobalPeer"}
STATES = {"Established": "Established", "Connect": "Connect", causes.NO_ANSWER: "Connect", "Passive": "Active"}
"""What the agent calls a session that is not up, in the words of RFC 4271; the rest is Idle."""


def all_of(repo: Repo, ask: Callable[[], Answer]) -> list[NodeStatus]:
    """One for each Node, by name; `ask` asks this machine's agent, and raises BgpnetError where none answers."""
    nodes = [node for node in repo.list(kinds.NODE)[0] if isinstance(node, Node)]
    blocks = [block for block in repo.list(kinds.IPAMBLOCK)[0] if isinstance(block, IPAMBlock)]
    try:
        answer: Answer | None = ask()
    except BgpnetError:
        answer = None
    return statuses(nodes, blocks, answer, time.time())


def statuses(nodes: Iterable[Node], blocks: Sequence[IPAMBlock], answer: Answer | None, now: float) -> list[NodeStatus]:
    """The status of each node; `answer` is the agent's, of the node that has its name and address."""
    held: dict[str, list[IPAMBlock]] = {}
    for block in blocks:
        if block.spec.owner is not None:
            held.setdefault(block.spec.owner.name, []).append(block)
    return [_status(node, _ipam(held.get(node.metadata.name, [])), _own(node, answer), now) for node in nodes]


def _ipam(blocks: Sequence[IPAMBlock]) -> IPAMStatus:
    in_use = sum(slot.freedAt is None for block in blocks for slot in block.spec.allocations.values())
    return IPAMStatus(blocks=len(blocks), addressesInUse=in_use)


def _own(node: Node, answer: Answer | None) -> Status | None:
    """The answer, if it is this node's: an agent of the same name may belong to another network."""
    if answer is None or answer.get("node") != node.metadata.name or answer.get("address") != str(node.ipv4):
        return None
    try:
        return msgspec.convert(answer, Status)
    except msgspec.ValidationError:
        return None  # an agent of another version: `node status` says so


def _status(node: Node, held: IPAMStatus, own: Status | None, now: float) -> NodeStatus:
    identity = node.status.identity if node.status else None
    heartbeat = identity.heartbeat if identity else ""
    state = _state(heartbeat, own, now)
    peers = own.peers if own else _published(node) if state is AgentState.ALIVE else None
    speaks = peers is not None
    classes = (StatusClass.AGENT, StatusClass.BGP, StatusClass.ROUTES) if speaks else (StatusClass.AGENT,)
    agent = AgentStatus(state=state, heartbeat=heartbeat, machine=identity.uuid if identity else "")
    if own:
        told = {"version": own.version, "reasons": own.reasons, "speaker": own.speaker, "datastore": own.datastore}
        agent = msgspec.structs.replace(agent, **told)
    return NodeStatus(
        metadata=Metadata(name=node.metadata.name),
        spec=NodeStatusSpec(node=node.metadata.name, classes=classes),
        status=NodeStatusStatus(
            lastUpdated=instant.stamp(now) if own else heartbeat,
            agent=agent,
            bgp=_bgp(peers) if peers is not None else None,
            routes=RoutesStatus(numberReceived=sum(one.received for one in peers)) if peers is not None else None,
            ipam=held,
        ),
    )


def _published(node: Node) -> tuple[Peer, ...] | None:
    """The sessions, as the node's agent wrote them last; None where it has not."""
    if node.status is None or node.status.bgp is None:
        return None
    return tuple(
        Peer(
            address=one.peer,
            type=one.type,
            state=one.state,
            since=one.since,
            info=one.info,
            received=one.received,
            advertised=one.advertised,
            refused={"in all": one.refused} if one.refused else {},
        )
        for one in node.status.bgp.sessions
    )


def _state(heartbeat: str, own: Status | None, now: float) -> AgentState:
    if own:
        return AgentState.READY if own.ready else AgentState.NOT_READY
    try:
        silence = now - instant.seconds(heartbeat)
    except ValueError:
        return AgentState.UNKNOWN
    return AgentState.ALIVE if silence < HEARTBEAT_FRESH else AgentState.SILENT


def _bgp(peers: Sequence[Peer]) -> BGPStatus:
    by_family = {
        family: tuple(_peer(peer) for peer in peers if ip.address(peer.address).version == family) for family in (4, 6)
    }
    up = {family: sum(peer.state == "Established" for peer in of) for family, of in by_family.items()}
    return BGPStatus(
        numberEstablishedV4=up[4],
        numberEstablishedV6=up[6],
        numberNotEstablishedV4=len(by_family[4]) - up[4],
        numberNotEstablishedV6=len(by_family[6]) - up[6],
        peersV4=by_family[4],
        peersV6=by_family[6],
    )


def _peer(peer: Peer) -> PeerStatus:
    return PeerStatus(
        peerIP=peer.address,
        type=TYPES.get(peer.type, peer.type),
        state="Established" if peer.state == "up" else STATES.get(peer.info, "Idle"),
        since=peer.since or "",
        received=peer.received,
        advertised=peer.advertised,
        refused=sum(peer.refused.values()),
        info=peer.info,
    )
