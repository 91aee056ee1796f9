"""What `kubectl get` shows of each kind: the columns of `bgpnetctl get`, as far as JSONPath can say them. Pure.

Those of `-o wide` alone have priority 1. NAME is kubectl's own. JSONPath counts nothing and joins nothing: numbers of
entries are left out, and a list is shown as JSON has it.
"""

from __future__ import annotations

from dataclasses import dataclass

from bgpnet.model import kinds
from bgpnet.model.kinds import Kind


@dataclass(frozen=True, slots=True)
class Column:
    """Heading, JSONPath, type; wide: only with `-o wide`."""

    heading: str
    path: str
    type: str = "string"
    wide: bool = False

    def printed(self) -> dict[str, object]:
        """As the API server takes it."""
        shown: dict[str, object] = {"name": self.heading, "type": self.type, "jsonPath": self.path}
        return shown | ({"priority": 1} if self.wide else {})


COLUMNS: dict[Kind, tuple[Column, ...]] = {
    kinds.IPPOOL: (
        Column("CIDR", ".spec.cidr"),
        Column("NAT", ".spec.natOutgoing", "boolean", wide=True),
        Column("IPIPMODE", ".spec.ipipMode", wide=True),
        Column("VXLANMODE", ".spec.vxlanMode", wide=True),
        Column("DISABLED", ".spec.disabled", "boolean", wide=True),
        Column("DISABLEBGPEXPORT", ".spec.disableBGPExport", "boolean", wide=True),
        Column("SELECTOR", ".spec.nodeSelector"),
        Column("ASSIGNMENTMODE", ".spec.assignmentMode", wide=True),
    ),
    kinds.BGPPEER: (
        Column("PEERIP", ".spec.peerIP"),
        Column("NODE", ".spec.node"),
        Column("ASN", ".spec.asNumber", "integer"),
    ),
    kinds.BGPCONFIGURATION: (
        Column("LOGSEVERITY", ".spec.logSeverityScreen"),
        Column("MESHENABLED", ".spec.nodeToNodeMeshEnabled", "boolean"),
        Column("ASNUMBER", ".spec.asNumber", "integer"),
    ),
    kinds.BGPFILTER: (),
    kinds.NODE: (
        Column("ASN", ".spec.bgp.asNumber", "integer", wide=True),
        Column("IPV4", ".spec.bgp.ipv4Address", wide=True),
        Column("IPV6", ".spec.bgp.ipv6Address", wide=True),
    ),
    kinds.IPRESERVATION: (Column("CIDRS", ".spec.reservedCIDRs", wide=True),),
    kinds.IPAMCONFIGURATION: (
        Column("STRICTAFFINITY", ".spec.strictAffinity", "boolean"),
        Column("AUTOALLOCATEBLOCKS", ".spec.autoAllocateBlocks", "boolean"),
        Column("MAXBLOCKSPERHOST", ".spec.maxBlocksPerHost", "integer", wide=True),
    ),
    kinds.CLUSTERINFORMATION: (
        Column("CLUSTERGUID", ".spec.clusterGUID"),
        Column("CLUSTERTYPE", ".spec.clusterType"),
        Column("CALICOVERSION", ".spec.calicoVersion"),
        Column("DATASTOREREADY", ".spec.datastoreReady", "boolean"),
    ),
    kinds.IPAMBLOCK: (
        Column("CIDR", ".spec.cidr"),
        Column("OWNER", ".spec.owner.name"),
        Column("STATE", ".spec.state"),
    ),
    kinds.RELEASEREQUEST: (
        Column("ADDRESS", ".spec.address"),
        Column("NODE", ".spec.node"),
        Column("OUTCOME", ".status.outcome"),
        Column("SEQUENCE", ".spec.sequence", "integer", wide=True),
        Column("REQUESTEDBY", ".spec.requestedBy", wide=True),
        Column("REASON", ".status.reason", wide=True),
    ),
}
