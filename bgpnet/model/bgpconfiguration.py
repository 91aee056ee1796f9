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

    logSeverityScreen: LogSeverity | None = None  # noqa: N815
    nodeToNodeMeshEnabled: bool | None = None  # noqa: N815
    asNumber: int | None = None  # noqa: N815
    serviceClusterIPs: tuple[CidrBlock, ...] = ()  # noqa: N815
    serviceExternalIPs: tuple[CidrBlock, ...] = ()  # noqa: N815
    serviceLoadBalancerIPs: tuple[CidrBlock, ...] = ()  # noqa: N815
    serviceLoadBalancerAggregation: str | None = None  # noqa: N815
    communities: tuple[Community, ...] = ()
    prefixAdvertisements: tuple[PrefixAdvertisement, ...] = ()  # noqa: N815
    listenPort: int | None = None  # noqa: N815
    bindMode: BindMode | None = None  # noqa: N815
    nodeMeshPassword: Password | None = None  # noqa: N815
    nodeMeshMaxRestartTime: str | None = None  # noqa: N815
    ignoredInterfaces: tuple[str, ...] = ()  # noqa: N815
    localWorkloadPeeringIPV4: str | None = None  # noqa: N815
    localWorkloadPeeringIPV6: str | None = None  # noqa: N815
    programClusterRoutes: str | None = None  # noqa: N815
    ipv4NormalRoutePriority: int | None = None  # noqa: N815
    ipv6NormalRoutePriority: int | None = None  # noqa: N815


class BGPConfiguration(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the nodes speak BGP."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: BGPConfigurationSpec = field(default_factory=BGPConfigurationSpec)
