"""IPPool: a CIDR that nodes take blocks from (reference: Calico's IPPool of projectcalico.org/v3)."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct, field

from bgpnet.model import ip
from bgpnet.model.resource import Condition, Metadata


class Encap(StrEnum):
    """When packets to another node are wrapped."""

    ALWAYS = "Always"
    CROSS_SUBNET = "CrossSubnet"
    NEVER = "Never"


class AllowedUse(StrEnum):
    """What addresses of a pool may serve as."""

    WORKLOAD = "Workload"
    TUNNEL = "Tunnel"
    LOAD_BALANCER = "LoadBalancer"


class AssignmentMode(StrEnum):
    """Manual: only for those who name the pool."""

    AUTOMATIC = "Automatic"
    MANUAL = "Manual"


class IPPoolSpec(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`blockSize` None means the family's default: 26 for IPv4, 122 for IPv6 (see `IPPool.block_size`)."""

    cidr: str
    ipipMode: Encap = Encap.NEVER
    vxlanMode: Encap = Encap.NEVER
    natOutgoing: bool = False
    disabled: bool = False
    disableBGPExport: bool = False
    blockSize: int | None = None
    nodeSelector: str = "all()"
    namespaceSelector: str = ""
    allowedUses: tuple[AllowedUse, ...] = (AllowedUse.WORKLOAD, AllowedUse.TUNNEL)
    assignmentMode: AssignmentMode = AssignmentMode.AUTOMATIC


class IPPoolStatus(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """`Allocatable` is the condition that v3 knows: OK, PoolDisabled, CIDROverlap, Terminating."""

    conditions: tuple[Condition, ...] = ()


class IPPool(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A pool; `network` and `block_size` are its spec as values."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: IPPoolSpec
    status: IPPoolStatus | None = None

    @property
    def network(self) -> ip.Network:
        """The pool's CIDR as a value."""
        return ip.network(self.spec.cidr)

    @property
    def block_size(self) -> int:
        """The prefix length of the pool's blocks."""
        if self.spec.blockSize is not None:
            return self.spec.blockSize
        return 26 if self.network.version == 4 else 122
