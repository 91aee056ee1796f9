"""The table of kinds: a new kind is one new row here and one new file beside this one."""

from __future__ import annotations

from dataclasses import dataclass

from bgpnet.model.bgpconfiguration import BGPConfiguration
from bgpnet.model.bgpfilter import BGPFilter
from bgpnet.model.bgppeer import BGPPeer
from bgpnet.model.blockaffinity import BlockAffinity
from bgpnet.model.clusterinformation import ClusterInformation
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.ipamconfiguration import IPAMConfiguration
from bgpnet.model.ippool import IPPool
from bgpnet.model.ipreservation import IPReservation
from bgpnet.model.node import Node
from bgpnet.model.nodestatus import NodeStatus
from bgpnet.model.releaserequest import ReleaseRequest
from bgpnet.model.workloadendpoint import WorkloadEndpoint

Resource = (
    IPPool
    | IPReservation
    | IPAMConfiguration
    | BGPConfiguration
    | BGPPeer
    | BGPFilter
    | Node
    | ClusterInformation
    | IPAMBlock
    | ReleaseRequest
    | WorkloadEndpoint
    | BlockAffinity
    | NodeStatus
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind's name, its plural in keys, what people may type for it, its type, and whether people may write it.

    origin: for a derived kind, where its objects come from, as the beginning of a refusal. computed: they are not in
    the datastore, but made from others when somebody looks. namespaced: a name is one only within its namespace.
    """

    name: str
    plural: str
    aliases: tuple[str, ...]
    type: type[Resource]
    origin: str = ""
    remedy: str = ""
    computed: bool = False
    namespaced: bool = False

    @property
    def derived(self) -> bool:
        """Whether people may not write it."""
        return bool(self.origin)


IPPOOL = Kind("IPPool", "ippools", ("ippool", "ippools", "ipp", "ipps", "pool", "pools"), IPPool)
IPRESERVATION = Kind(
    "IPReservation",
    "ipreservations",
    ("ipreservation", "ipreservations", "reservation", "reservations"),
    IPReservation,
)
IPAMCONFIGURATION = Kind(
    "IPAMConfiguration",
    "ipamconfigurations",
    ("ipamconfiguration", "ipamconfigurations", "ipamconfig", "ipamconfigs"),
    IPAMConfiguration,
)
BGPCONFIGURATION = Kind(
    "BGPConfiguration",
    "bgpconfigurations",
    ("bgpconfiguration", "bgpconfigurations", "bgpconfig", "bgpconfigs"),
    BGPConfiguration,
)
BGPPEER = Kind("BGPPeer", "bgppeers", ("bgppeer", "bgppeers", "bgpp", "bgpps", "bp", "bps"), BGPPeer)
BGPFILTER = Kind("BGPFilter", "bgpfilters", ("bgpfilter", "bgpfilters", "bgpf", "bgpfs", "bf", "bfs"), BGPFilter)
NODE = Kind("Node", "nodes", ("node", "nodes", "no", "nos"), Node)
CLUSTERINFORMATION = Kind(
    "ClusterInformation",
    "clusterinformations",
    ("clusterinformation", "clusterinformations", "clusterinfo", "clusterinfos"),
    ClusterInformation,
)
IPAMBLOCK = Kind(
    "IPAMBlock",
    "ipamblocks",
    ("ipamblock", "ipamblocks", "block", "blocks"),
    IPAMBlock,
    origin="is written by the agents alone",
    remedy="change the pool that it belongs to",
)
RELEASEREQUEST = Kind(
    "ReleaseRequest",
    "releaserequests",
    ("releaserequest", "releaserequests"),
    ReleaseRequest,
    origin="is written by bgpnetctl ipam and answered by the agents alone",
    remedy="use bgpnetctl ipam release",
)
WORKLOADENDPOINT = Kind(
    "WorkloadEndpoint",
    "workloadendpoints",
    ("workloadendpoint", "workloadendpoints", "wep", "weps"),
    WorkloadEndpoint,
    origin="is derived from the IPAMBlocks, which are written by the agents alone",
    remedy="start or stop the pod instead",
    computed=True,
    namespaced=True,
)
BLOCKAFFINITY = Kind(
    "BlockAffinity",
    "blockaffinities",
    ("blockaffinity", "blockaffinities", "affinity", "affinities"),
    BlockAffinity,
    origin="is derived from the owner of its IPAMBlock, which is written by the agents alone",
    remedy="change the pool that the block belongs to",
    computed=True,
)
NODESTATUS = Kind(
    "NodeStatus",
    "nodestatuses",
    ("nodestatus", "nodestatuses", "caliconodestatus", "caliconodestatuses"),
    NodeStatus,
    origin="is derived from the node's agent, its Node and its IPAMBlocks",
    remedy="ask with `bgpnetctl get nodestatus`: every node has one",
    computed=True,
)

KINDS: tuple[Kind, ...] = (
    IPPOOL,
    BGPCONFIGURATION,
    BGPPEER,
    BGPFILTER,
    NODE,
    IPRESERVATION,
    IPAMCONFIGURATION,
    CLUSTERINFORMATION,
    IPAMBLOCK,
    RELEASEREQUEST,
    WORKLOADENDPOINT,
    BLOCKAFFINITY,
    NODESTATUS,
)
BY_NAME = {kind.name: kind for kind in KINDS}
BY_ALIAS = {alias: kind for kind in KINDS for alias in kind.aliases}
BY_TYPE: dict[type, Kind] = {kind.type: kind for kind in KINDS}


def kind_of(resource: Resource) -> Kind:
    """The row of a resource."""
    return BY_TYPE[type(resource)]


def subject(resource: Resource) -> str:
    """How messages call a resource: `IPPool(blue)`, `WorkloadEndpoint(default/a)`."""
    meta = resource.metadata
    return f"{kind_of(resource).name}({meta.namespace}{'/' if meta.namespace else ''}{meta.name})"
