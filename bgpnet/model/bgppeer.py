"""BGPPeer: who speaks BGP with whom besides the mesh (reference: projectcalico.org/v3)."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct, field

from bgpnet.model.resource import Metadata, Password


class NextHopMode(StrEnum):
    """What the next hop of an announcement becomes."""

    AUTO = "Auto"
    SELF = "Self"
    KEEP = "Keep"


class SourceAddress(StrEnum):
    """Which address the session starts from."""

    USE_NODE_IP = "UseNodeIP"
    NONE = "None"


class ReversePeering(StrEnum):
    """Auto: a session to a node of ours is configured at that node, too."""

    AUTO = "Auto"
    MANUAL = "Manual"


class BGPPeerSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """`node` and `nodeSelector` both empty: every node has the session (a global peer)."""

    node: str = ""
    nodeSelector: str = ""  # noqa: N815
    peerIP: str = ""  # noqa: N815
    asNumber: int | None = None  # noqa: N815
    peerSelector: str = ""  # noqa: N815
    localWorkloadSelector: str = ""  # noqa: N815
    localASNumber: int | None = None  # noqa: N815
    keepOriginalNextHop: bool = False  # noqa: N815
    nextHopMode: NextHopMode | None = None  # noqa: N815
    password: Password | None = None
    sourceAddress: SourceAddress | None = None  # noqa: N815
    maxRestartTime: str | None = None  # noqa: N815
    keepaliveTime: str | None = None  # noqa: N815
    numAllowedLocalASNumbers: int | None = None  # noqa: N815
    ttlSecurity: int | None = None  # noqa: N815
    reachableBy: str = ""  # noqa: N815
    filters: tuple[str, ...] = ()
    reversePeering: ReversePeering | None = None  # noqa: N815


class BGPPeer(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One peering, or one for each pair that its selectors match."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: BGPPeerSpec = field(default_factory=BGPPeerSpec)
