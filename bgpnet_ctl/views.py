"""One table: each kind's columns. A new kind is one new row.

The columns and their order are calicoctl's (resourcemgr); those of IPAMBlock and BlockAffinity are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bgpnet.errors import UsageError
from bgpnet.model import kinds
from bgpnet.model.bgpconfiguration import DEFAULT_AS, BGPConfiguration
from bgpnet.model.bgpfilter import BGPFilter
from bgpnet.model.bgppeer import BGPPeer
from bgpnet.model.blockaffinity import BlockAffinity
from bgpnet.model.clusterinformation import ClusterInformation
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.ipamconfiguration import IPAMConfiguration
from bgpnet.model.ippool import IPPool
from bgpnet.model.ipreservation import IPReservation
from bgpnet.model.kinds import Kind, Resource
from bgpnet.model.node import Node
from bgpnet.model.nodestatus import NodeStatus, NodeStatusStatus
from bgpnet.model.releaserequest import ReleaseRequest
from bgpnet.model.workloadendpoint import WorkloadEndpoint

if TYPE_CHECKING:
    from bgpnet.store.repo import Repo

R = TypeVar("R", bound=Resource)


class Around:
    """What a cell may need beside its own resource, looked up once and only if asked for."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo

    @cached_property
    def cluster_as(self) -> int:
        """The AS number of nodes that say none."""
        default = self._repo.find(kinds.BGPCONFIGURATION, "default")
        told = default.spec.asNumber if isinstance(default, BGPConfiguration) else None
        return DEFAULT_AS if told is None else told


Cell = Callable[[R, Around], object]


@dataclass(frozen=True)
class View(Generic[R]):
    """How a kind is shown: heading and cell of each column; without `wide`, both are the same."""

    kind: Kind
    type: type[R]
    narrow: dict[str, Cell[R]]
    wide: dict[str, Cell[R]] | None = None

    def chosen(self, wide: bool, headings: Sequence[str] = ()) -> View[R]:
        """The view with the columns that are wanted alone; raises UsageError for headings that it has not."""
        known = {**self.narrow, **(self.wide or {})}
        unknown = [heading for heading in headings if heading not in known]
        if unknown:
            problem = f"{self.kind.name} has no column {', '.join(unknown)}; it has {', '.join(known)}"
            raise UsageError(f"unrecognized output format: {problem}")
        if headings:
            return replace(self, narrow={heading: known[heading] for heading in headings})
        return replace(self, narrow=self.wide) if wide and self.wide is not None else self

    def table(self, resources: list[R], around: Around, namespaces: bool = False) -> tuple[list[str], list[list[str]]]:
        """The header and the rows; namespaces: with a leading column of theirs."""
        columns = self.narrow
        if namespaces and self.kind.namespaced:
            columns = {"NAMESPACE": lambda item, _: item.metadata.namespace, **columns}
        return list(columns), [[shown(cell(item, around)) for cell in columns.values()] for item in resources]


def shown(value: object) -> str:
    """A value as a cell: true and false as YAML has them, `-` for what is not said."""
    if isinstance(value, bool):
        return str(value).lower()
    return "-" if value is None or value == "" else str(value)


def _as_number(number: int | None, around: Around) -> str:
    """In brackets when it is the cluster's."""
    return str(number) if number is not None else f"({around.cluster_as})"


def _resting(block: IPAMBlock) -> int:
    return sum(allocation.freedAt is not None for allocation in block.spec.allocations.values())


POOL_NAME: dict[str, Cell[IPPool]] = {
    "NAME": lambda pool, _: pool.metadata.name,
    "CIDR": lambda pool, _: pool.spec.cidr,
}
BLOCK: dict[str, Cell[IPAMBlock]] = {
    "NAME": lambda block, _: block.metadata.name,
    "CIDR": lambda block, _: block.spec.cidr,
    "OWNER": lambda block, _: block.spec.owner and block.spec.owner.name,
    "STATE": lambda block, _: block.spec.state,
}
REQUEST: dict[str, Cell[ReleaseRequest]] = {
    "NAME": lambda request, _: request.metadata.name,
    "ADDRESS": lambda request, _: request.spec.address,
    "NODE": lambda request, _: request.spec.node,
    "OUTCOME": lambda request, _: request.status and request.status.outcome,
}
IPAM: dict[str, Cell[IPAMConfiguration]] = {
    "NAME": lambda conf, _: conf.metadata.name,
    "STRICTAFFINITY": lambda conf, _: conf.spec.strictAffinity,
    "AUTOALLOCATEBLOCKS": lambda conf, _: conf.spec.autoAllocateBlocks,
}
ENDPOINT: dict[str, Cell[WorkloadEndpoint]] = {
    "WORKLOAD": lambda wep, _: wep.spec.pod or wep.spec.workload or wep.spec.containerID,
    "NODE": lambda wep, _: wep.spec.node,
    "NETWORKS": lambda wep, _: ",".join(wep.spec.ipNetworks),
    "INTERFACE": lambda wep, _: wep.spec.interfaceName,
}


def _established(status: NodeStatusStatus) -> str | None:
    """`2/3`: sessions that are up, of all."""
    if status.bgp is None:
        return None
    up = status.bgp.numberEstablishedV4 + status.bgp.numberEstablishedV6
    return f"{up}/{up + status.bgp.numberNotEstablishedV4 + status.bgp.numberNotEstablishedV6}"


STATUS: dict[str, Cell[NodeStatus]] = {
    "NAME": lambda one, _: one.metadata.name,
    "NODE": lambda one, _: one.spec.node,
    "AGENT": lambda one, _: one.status and one.status.agent and one.status.agent.state,
    "ESTABLISHED": lambda one, _: one.status and _established(one.status),
}

VIEWS: tuple[View[Any], ...] = (
    View[IPPool](
        kinds.IPPOOL,
        IPPool,
        narrow={**POOL_NAME, "SELECTOR": lambda pool, _: pool.spec.nodeSelector},
        wide={
            **POOL_NAME,
            "NAT": lambda pool, _: pool.spec.natOutgoing,
            "IPIPMODE": lambda pool, _: pool.spec.ipipMode,
            "VXLANMODE": lambda pool, _: pool.spec.vxlanMode,
            "DISABLED": lambda pool, _: pool.spec.disabled,
            "DISABLEBGPEXPORT": lambda pool, _: pool.spec.disableBGPExport,
            "SELECTOR": lambda pool, _: pool.spec.nodeSelector,
            "ASSIGNMENTMODE": lambda pool, _: pool.spec.assignmentMode,
        },
    ),
    View[BGPPeer](
        kinds.BGPPEER,
        BGPPeer,
        narrow={
            "NAME": lambda peer, _: peer.metadata.name,
            "PEERIP": lambda peer, _: peer.spec.peerIP,
            "NODE": lambda peer, _: peer.spec.node or peer.spec.nodeSelector or "(global)",
            "ASN": lambda peer, around: _as_number(peer.spec.asNumber, around),
        },
    ),
    View[BGPConfiguration](
        kinds.BGPCONFIGURATION,
        BGPConfiguration,
        narrow={
            "NAME": lambda conf, _: conf.metadata.name,
            "LOGSEVERITY": lambda conf, _: conf.spec.logSeverityScreen,
            "MESHENABLED": lambda conf, _: conf.spec.nodeToNodeMeshEnabled,
            "ASNUMBER": lambda conf, _: conf.spec.asNumber,
        },
    ),
    View[BGPFilter](
        kinds.BGPFILTER,
        BGPFilter,
        narrow={
            "NAME": lambda one, _: one.metadata.name,
            "NUMEXPORTV4": lambda one, _: len(one.spec.exportV4),
            "NUMIMPORTV4": lambda one, _: len(one.spec.importV4),
            "NUMEXPORTV6": lambda one, _: len(one.spec.exportV6),
            "NUMIMPORTV6": lambda one, _: len(one.spec.importV6),
        },
    ),
    View[IPReservation](
        kinds.IPRESERVATION,
        IPReservation,
        narrow={"NAME": lambda one, _: one.metadata.name},
        wide={
            "NAME": lambda one, _: one.metadata.name,
            "CIDRS": lambda one, _: ",".join(one.spec.reservedCIDRs),
        },
    ),
    View[IPAMConfiguration](
        kinds.IPAMCONFIGURATION,
        IPAMConfiguration,
        narrow=IPAM,
        wide={**IPAM, "MAXBLOCKSPERHOST": lambda conf, _: conf.spec.maxBlocksPerHost},
    ),
    View[ClusterInformation](
        kinds.CLUSTERINFORMATION,
        ClusterInformation,
        narrow={
            "NAME": lambda info, _: info.metadata.name,
            "CLUSTERGUID": lambda info, _: info.spec.clusterGUID,
            "CLUSTERTYPE": lambda info, _: info.spec.clusterType,
            "CALICOVERSION": lambda info, _: info.spec.calicoVersion,
            "DATASTOREREADY": lambda info, _: info.spec.datastoreReady,
        },
    ),
    View[WorkloadEndpoint](
        kinds.WORKLOADENDPOINT,
        WorkloadEndpoint,
        narrow=ENDPOINT,
        wide={
            "NAME": lambda wep, _: wep.metadata.name,
            **ENDPOINT,
            "PROFILES": lambda wep, _: ",".join(wep.spec.profiles),
            "NATS": lambda wep, _: ",".join(nat.externalIP for nat in wep.spec.ipNATs),
        },
    ),
    View[NodeStatus](
        kinds.NODESTATUS,
        NodeStatus,
        narrow=STATUS,
        wide={
            **STATUS,
            "CLASSES": lambda one, _: ",".join(one.spec.classes),
            "BLOCKS": lambda one, _: one.status and one.status.ipam and one.status.ipam.blocks,
            "INUSE": lambda one, _: one.status and one.status.ipam and one.status.ipam.addressesInUse,
            "HEARTBEAT": lambda one, _: one.status and one.status.agent and one.status.agent.heartbeat,
        },
    ),
    View[BlockAffinity](
        kinds.BLOCKAFFINITY,
        BlockAffinity,
        narrow={
            "NAME": lambda affinity, _: affinity.metadata.name,
            "CIDR": lambda affinity, _: affinity.spec.cidr,
            "NODE": lambda affinity, _: affinity.spec.node,
            "STATE": lambda affinity, _: affinity.spec.state,
        },
    ),
    View[Node](
        kinds.NODE,
        Node,
        narrow={"NAME": lambda node, _: node.metadata.name},
        wide={
            "NAME": lambda node, _: node.metadata.name,
            "ASN": lambda node, around: _as_number(node.spec.bgp.asNumber if node.spec.bgp else None, around),
            "IPV4": lambda node, _: node.spec.bgp and node.spec.bgp.ipv4Address,
            "IPV6": lambda node, _: node.spec.bgp and node.spec.bgp.ipv6Address,
        },
    ),
    View[IPAMBlock](
        kinds.IPAMBLOCK,
        IPAMBlock,
        narrow=BLOCK,
        wide={
            **BLOCK,
            "INUSE": lambda block, _: len(block.spec.allocations) - _resting(block),
            "RESTING": lambda block, _: _resting(block),
            "FREE": lambda block, _: len(block.spec.free),
        },
    ),
    View[ReleaseRequest](
        kinds.RELEASEREQUEST,
        ReleaseRequest,
        narrow=REQUEST,
        wide={
            **REQUEST,
            "SEQUENCE": lambda request, _: request.spec.sequence,
            "REQUESTEDBY": lambda request, _: request.spec.requestedBy,
            "REASON": lambda request, _: request.status and request.status.reason,
        },
    ),
)
OF_KIND = {view.kind: view for view in VIEWS}
