"""BGPConfiguration: `default` for the cluster, `node.<name>` for one node (reference: projectcalico.org/v3)."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct, field

from bgpnet.model.resource import Metadata, Password

DEFAULT_AS = 64512
DEFAULT_PORT = 179


class LogSeverity(StrEnum):
    """How much the speaker says."""

    DEBUG = "Debug"
    INFO = "Info"
    WARNING = "Warning"
    ERROR = "Error"
    FATAL = "Fatal"


class BindMode(StrEnum):
    """NodeIP: listen on the node's address only."""

    NONE = "None"
    NODE_IP = "NodeIP"


class CidrBlock(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One service range."""

    cidr: str


class Community(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A name for a community value: `aa:nn`, or `aa:nn:mm` for a large one."""

    name: str
    value: str


class PrefixAdvertisement(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The communities (values or names) that routes inside `cidr` carry."""

    cidr: str
    communities: tuple[str, ...] = ()


class BGPConfigurationSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """None means "not said here": the default object, then the built-in default, decides."""

    logSeverityScreen: LogSeverity | None = None
    nodeToNodeMeshEnabled: bool | None = None
    asNumber: int | None = None
    serviceClusterIPs: tuple[CidrBlock, ...] = ()
    serviceExternalIPs: tuple[CidrBlock, ...] = ()
    serviceLoadBalancerIPs: tuple[CidrBlock, ...] = ()
    serviceLoadBalancerAggregation: str | None = None
    communities: tuple[Community, ...] = ()
    prefixAdvertisements: tuple[PrefixAdvertisement, ...] = ()
    listenPort: int | None = None
    bindMode: BindMode | None = None
    nodeMeshPassword: Password | None = None
    nodeMeshMaxRestartTime: str | None = None
    ignoredInterfaces: tuple[str, ...] = ()
    localWorkloadPeeringIPV4: str | None = None
    localWorkloadPeeringIPV6: str | None = None
    programClusterRoutes: str | None = None
    ipv4NormalRoutePriority: int | None = None
    ipv6NormalRoutePriority: int | None = None


class BGPConfiguration(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the nodes speak BGP."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: BGPConfigurationSpec = field(default_factory=BGPConfigurationSpec)
