"""What the kernel holds, as values: the keys that it indexes by, and what hangs on them.

Everything round-trips: `read(put(x)) == x`, on the fake and on the real kernel alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

from bgpnet.model.ip import Address, Interface, Network
from bgpnet.names import Alias


class Owner(IntEnum):
    """The mark in a route's protocol field (names in rt_protos.d: bgpnet, bgpnet-bgp)."""

    LOCAL = 144
    LEARNED = 145

    @property
    def label(self) -> str:
        """The name that `ip route` prints for it, with our rt_protos file in place."""
        return "bgpnet" if self is Owner.LOCAL else "bgpnet-bgp"


@dataclass(frozen=True, slots=True, order=True)
class Hop:
    """One way out: over a link, to a gateway or (via None) to what is on the link; onlink: do not look it up."""

    dev: str
    via: Address | None = None
    onlink: bool = False

    def __str__(self) -> str:
        words = ["via", str(self.via)] if self.via is not None else []
        words += ["dev", self.dev]
        return " ".join([*words, "onlink"] if self.onlink else words)


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the main table; no hops: a blackhole. Several hops: multipath, in sorted order."""

    dst: Network
    hops: tuple[Hop, ...] = ()

    def __str__(self) -> str:
        if not self.hops:
            return f"blackhole {self.dst}"
        host = self.dst.network_address if self.dst.prefixlen == self.dst.max_prefixlen else self.dst
        return f"{host} " + " nexthop ".join(str(hop) for hop in self.hops)


VNI = 4096
"""The VXLAN network identifier, as Calico's default."""
LEARNING = "learning"
VXLAN_PORT = 4789
"""The UDP port of VXLAN (IANA)."""


@dataclass(frozen=True, slots=True)
class Vxlan:
    """What makes a VXLAN device: RFC 7348, linux/if_link.h IFLA_VXLAN_*.

    local, parent: the address that it sends from and the link that it sends over. mac: its own. others: settings that
    ours has not, each a word of `ip -details link show`: with them is read what learns addresses or floods.
    """

    local: Address
    parent: str
    mac: str
    vni: int = VNI
    port: int = VXLAN_PORT
    others: tuple[str, ...] = ()

    def may_become(self, wanted: Vxlan) -> bool:
        """Whether a device takes these parameters in place (drivers/net/vxlan/vxlan_core.c, vxlan_nl2conf)."""
        kept = replace(wanted, local=self.local, parent=self.parent, mac=self.mac, others=self.others)
        return kept == self and set(self.others) <= {LEARNING}


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A tunnel device of ours (`ipip` or `vxlan`) and its one IPv4 address; always up.

    One that is down or has several addresses is not read, so that it is put again. Planned without an address: it is
    not known yet, and what the device has stays; bare: it shall have none, for what it had is nobody's by now.
    """

    name: str
    kind: str
    mtu: int
    address: Interface | None = None
    bare: bool = field(default=False, compare=False)
    vxlan: Vxlan | None = None


@dataclass(frozen=True, slots=True, order=True)
class NeighbourKey:
    """The kernel's key of a neighbour entry."""

    dev: str
    address: Address


@dataclass(frozen=True, slots=True, order=True)
class FdbKey:
    """The kernel's key of an entry in a VXLAN device's forwarding database, whose value is the other end's address."""

    dev: str
    mac: str


@dataclass(frozen=True, slots=True)
class PodLink:
    """The host's end of a pod's veth, recognised by our alias; `reaping`: marked for deletion by its group.

    deaf: no router advertisement counts there, see sysctl.deafen.
    """

    name: str
    alias: Alias
    mtu: int
    reaping: bool = False
    deaf: bool = True


@dataclass(frozen=True, slots=True)
class KernelState:
    """What is there (read) or what should be (planned).

    routes: for each owner its whole table; when planned, an owner left out is one nobody may touch, and an owner
    that is not in `sweep` gets what is wanted and loses nothing (unknown is not empty).
    neighbours: permanent entries with our protocol mark. fdb: the permanent ones of our VXLAN device, which are all
    ours. sysctls: path below /proc/sys, such as
    `net/ipv4/conf/tunl0/rp_filter` (a link's name may contain dots), to value; read back for the names asked for.
    pods: the pod links by name; when planned, those to keep: others of ours are reaped if `sweep_pods`. sweep_ends:
    the other ends of tunnels are known in full, so that neighbours and forwarding entries there may be dropped.
    """

    tunnels: Mapping[str, Tunnel] = field(default_factory=dict)
    routes: Mapping[Owner, Mapping[Network, Route]] = field(default_factory=dict)
    neighbours: Mapping[NeighbourKey, str] = field(default_factory=dict)
    fdb: Mapping[FdbKey, Address] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    pods: Mapping[str, PodLink] = field(default_factory=dict)
    sweep: frozenset[Owner] = frozenset()
    sweep_pods: bool = False
    sweep_ends: bool = False


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a pod's link is to be. `netns` is an open descriptor of the pod's namespace; the MAC is of the pod's end."""

    link: str
    ifname: str
    netns: int
    address: Address
    mac: str
    mtu: int
    alias: Alias


@dataclass(frozen=True, slots=True)
class Uplink:
    """A link of the host with its addresses, for choosing the node's own and its MTU."""

    name: str
    index: int
    mtu: int
    up: bool
    addresses: tuple[Interface, ...] = ()
    is_default_route: bool = False
