"""WorkloadEndpoint: a pod's interface, derived from the IPAMBlocks (see `bgpnet.derived`) and never stored.

The fields are those of projectcalico.org/v3, so that such a file is understood; ours fill the ones that a block tells.
"""

from __future__ import annotations

from msgspec import Struct, field

from bgpnet.model.resource import Metadata


class IPNAT(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A floating address."""

    internalIP: str
    externalIP: str


class EndpointPort(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A named port."""

    name: str = ""
    protocol: str = ""
    port: int
    hostPort: int | None = None
    hostIP: str = ""


class WorkloadEndpointSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """`ipNetworks` holds /32 and /128 only; `interfaceName` is the host's end of the veth."""

    orchestrator: str = ""
    workload: str = ""
    node: str = ""
    containerID: str = ""
    pod: str = ""
    endpoint: str = ""
    serviceAccountName: str = ""
    ipNetworks: tuple[str, ...] = ()
    ipNATs: tuple[IPNAT, ...] = ()
    ipv4Gateway: str = ""
    ipv6Gateway: str = ""
    profiles: tuple[str, ...] = ()
    interfaceName: str = ""
    mac: str = ""
    ports: tuple[EndpointPort, ...] = ()
    allowSpoofedSourcePrefixes: tuple[str, ...] = ()
    qosControls: dict[str, int] = field(default_factory=dict)


class WorkloadEndpoint(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One interface of one pod; the only kind of ours that has a namespace."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: WorkloadEndpointSpec = field(default_factory=WorkloadEndpointSpec)
