"""NodeStatus: how a node is, put together when somebody asks (`bgpnetctl get nodestatus`), and never stored.

It is Calico's CalicoNodeStatus, whose fields it has: there, an object asks for a status and the node's agent fills it
in; here, every Node has one without being asked. What the datastore does not know of a node is left out, not zero.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct, field

from bgpnet.model.resource import Metadata


class StatusClass(StrEnum):
    """What a status tells of."""

    AGENT = "Agent"
    BGP = "BGP"
    ROUTES = "Routes"


class AgentState(StrEnum):
    """Ready and NotReady are the agent's own word. Alive: a heartbeat within a minute, and no word. Silent: none."""

    READY = "Ready"
    NOT_READY = "NotReady"
    ALIVE = "Alive"
    SILENT = "Silent"
    UNKNOWN = "Unknown"


class NodeStatusSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The node, and the classes that are known of it; `updatePeriodSeconds` is v3's, a status is of now here."""

    node: str = ""
    classes: tuple[StatusClass, ...] = ()
    updatePeriodSeconds: int | None = None


class SpeakerStatus(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """v3's status of one BIRD."""

    state: str = ""
    version: str = ""
    routerID: str = ""
    lastBootTime: str = ""
    lastReconfigurationTime: str = ""


class AgentStatus(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The node's agent and speaker; `machine` is its UUID, `heartbeat` its last sign of life (RFC 3339)."""

    state: AgentState | None = None
    version: str = ""
    reasons: tuple[str, ...] = ()
    machine: str = ""
    heartbeat: str = ""
    speaker: str = ""
    datastore: str = ""
    birdV4: SpeakerStatus | None = None
    birdV6: SpeakerStatus | None = None


class PeerStatus(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A BGP session: NodeMesh, NodePeer or GlobalPeer; state of RFC 4271, 8.2.2; received, advertised: prefixes.

    refused: prefixes that are received and not taken; info: why it is not up. v3 does not have these two.
    """

    peerIP: str = ""
    type: str = ""
    state: str = ""
    since: str = ""
    received: int | None = None
    advertised: int | None = None
    refused: int | None = None
    info: str = ""


class BGPStatus(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The sessions of both families."""

    numberEstablishedV4: int = 0
    numberEstablishedV6: int = 0
    numberNotEstablishedV4: int = 0
    numberNotEstablishedV6: int = 0
    peersV4: tuple[PeerStatus, ...] = ()
    peersV6: tuple[PeerStatus, ...] = ()


class LearnedFrom(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Where a route comes from: Kernel, Static, Direct, NodeMesh or BGPPeer."""

    sourceType: str = ""
    peerIP: str = ""


class RouteStatus(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A route, in the kernel (FIB) or not (RIB)."""

    type: str = ""
    destination: str = ""
    gateway: str = ""
    interface: str = ""
    learnedFrom: LearnedFrom | None = None


class RoutesStatus(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The node's routes, as v3 has them; ours say how many prefixes its peers sent."""

    numberReceived: int | None = None
    routesV4: tuple[RouteStatus, ...] = ()
    routesV6: tuple[RouteStatus, ...] = ()


class IPAMStatus(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The node's blocks, and the addresses in them that somebody holds, as of the datastore."""

    blocks: int = 0
    addressesInUse: int = 0


class NodeStatusStatus(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """None: not known here. lastUpdated: of the agent's word, or else of its last sign of life (RFC 3339)."""

    lastUpdated: str = ""
    agent: AgentStatus | None = None
    bgp: BGPStatus | None = None
    routes: RoutesStatus | None = None
    ipam: IPAMStatus | None = None


class NodeStatus(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """How one node is; it has the Node's name."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: NodeStatusSpec = field(default_factory=NodeStatusSpec)
    status: NodeStatusStatus | None = None
