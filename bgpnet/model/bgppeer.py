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
    nodeSelector: str = ""
    peerIP: str = ""
    asNumber: int | None = None
    peerSelector: str = ""
    localWorkloadSelector: str = ""
    localASNumber: int | None = None
    keepOriginalNextHop: bool = False
    nextHopMode: NextHopMode | None = None
    password: Password | None = None
    sourceAddress: SourceAddress | None = None
    maxRestartTime: str | None = None
    keepaliveTime: str | None = None
    numAllowedLocalASNumbers: int | None = None
    ttlSecurity: int | None = None
    reachableBy: str = ""
    filters: tuple[str, ...] = ()
    reversePeering: ReversePeering | None = None


class BGPPeer(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One peering, or one for each pair that its selectors match."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: BGPPeerSpec = field(default_factory=BGPPeerSpec)
