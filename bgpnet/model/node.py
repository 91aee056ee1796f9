"""Node: a machine of the network. Its agent writes it; people may label it (reference: projectcalico.org/v3).

`spec.bgp.ipv4Address` carries the prefix length (`10.0.0.5/24`): that subnet decides CrossSubnet.
`status.identity` says which machine holds the name, and when it last said so.
"""

from __future__ import annotations

from msgspec import Struct, field

from bgpnet.model import ip
from bgpnet.model.resource import Metadata


class NodeBGP(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Where the node speaks BGP; not to be empty."""

    asNumber: int | None = None
    ipv4Address: str = ""
    ipv6Address: str = ""
    ipv4IPIPTunnelAddr: str = ""
    routeReflectorClusterID: str = ""


class OrchRef(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The node's name in its orchestrator."""

    nodeName: str = ""
    orchestrator: str


class NodeAddress(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """An address of the node and what sort it is: CalicoNodeIP, InternalIP or ExternalIP."""

    address: str
    type: str = ""


class NodeInterface(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """An interface of the node, by name."""

    name: str = ""
    addresses: tuple[str, ...] = ()


class NodeWireguard(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Stored as given, not used."""

    interfaceIPv4Address: str = ""
    interfaceIPv6Address: str = ""


class NodeSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What is to be known about a node."""

    bgp: NodeBGP | None = None
    ipv4VXLANTunnelAddr: str = ""
    ipv6VXLANTunnelAddr: str = ""
    vxlanTunnelMACAddr: str = ""
    vxlanTunnelMACAddrV6: str = ""
    orchRefs: tuple[OrchRef, ...] = ()
    wireguard: NodeWireguard | None = None
    addresses: tuple[NodeAddress, ...] = ()
    interfaces: tuple[NodeInterface, ...] = ()


class Identity(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Which machine holds this name: the UUID in its state directory, and its last sign of life."""

    uuid: str
    heartbeat: str


class NodeAllocation(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Somebody who has an address, or seems to. reason: a phrase that says why it is named. since: RFC 3339."""

    address: str
    sequence: int = 0
    container: str = ""
    ifname: str = ""
    pod: str = ""
    since: str = ""
    reason: str = ""


class NodeIPAM(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What is wrong with the node's addresses, as its agent sees it, at that instant (RFC 3339).

    leaked: live allocations that no pod has. unrecorded: pods whose address is not allocated to them. alarms: one
    sentence each.
    """

    checkedAt: str
    leaked: tuple[NodeAllocation, ...] = ()
    unrecorded: tuple[NodeAllocation, ...] = ()
    alarms: tuple[str, ...] = ()


IN_MESH = "mesh"
"""What defines a session of the node-to-node mesh, where others are defined by a BGPPeer of that name."""


class NodeSession(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A BGP session as the node's agent sees it: type and state in the words of `node status`, info the cause where it
    is not up. received, refused, advertised: prefixes. blocks: those of other nodes that came by it and are taken.
    sources: what defines it, BGPPeers by name, the one that is used first.
    """

    peer: str
    type: str = "node-to-node mesh"
    state: str = "up"
    info: str = ""
    since: str = ""
    received: int = 0
    refused: int = 0
    advertised: int = 0
    blocks: int = 0
    sources: tuple[str, ...] = (IN_MESH,)


class NodeSessions(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """All sessions of the node, at that instant (RFC 3339). basis: what they are made from, as bgp/basis.py says it."""

    checkedAt: str
    basis: str = ""
    sessions: tuple[NodeSession, ...] = ()


class NodeStatus(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What the node's agent reports."""

    identity: Identity | None = None
    podCIDRs: tuple[str, ...] = ()
    wireguardPublicKey: str = ""
    wireguardPublicKeyV6: str = ""
    ipam: NodeIPAM | None = None
    bgp: NodeSessions | None = None


class Node(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A node; the properties are its BGP addresses as values, None where it has none."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: NodeSpec = field(default_factory=NodeSpec)
    status: NodeStatus | None = None

    @property
    def ipv4(self) -> ip.Interface | None:
        """The IPv4 BGP address with its subnet's length."""
        return ip.interface(self.spec.bgp.ipv4Address) if self.spec.bgp and self.spec.bgp.ipv4Address else None

    @property
    def ipv6(self) -> ip.Interface | None:
        """The IPv6 BGP address with its subnet's length."""
        return ip.interface(self.spec.bgp.ipv6Address) if self.spec.bgp and self.spec.bgp.ipv6Address else None
