"""What a kernel made of dictionaries consists of: links, and routes as `ip route` prints them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from bgpnet.kernel import refusals
from bgpnet.kernel.state import Hop, Owner, Route, Vxlan
from bgpnet.model import ip
from bgpnet.names import Alias

MAIN = 254


@dataclass(slots=True)
class FakeLink:
    """A link of the host's namespace; of a pod's: its alias and where its other end is."""

    name: str
    index: int
    kind: str = ""
    mtu: int = 1500
    up: bool = True
    mac: str = ""
    addresses: list[ip.Interface] = field(default_factory=list)
    alias: Alias | None = None
    reaping: bool = False
    peer: tuple[int, str] | None = None
    vxlan: Vxlan | None = None


@dataclass(frozen=True, slots=True)
class FakeRoute:
    """A route of whichever table, with the mark of its owner."""

    protocol: int
    route: Route
    table: int = MAIN
    src: ip.Address | None = None

    def __str__(self) -> str:
        """As `ip route` (iproute2 6.1) prints it, without the blank at the end."""
        owner = Owner(self.protocol).label if self.protocol in tuple(Owner) else refusals.protocol(self.protocol)
        proto = "" if owner == "boot" else f" proto {owner}"
        dst = self.route.dst
        words = "default" if dst.prefixlen == 0 else str(dst if dst.prefixlen < dst.max_prefixlen else dst[0])
        if not self.route.hops:
            return f"blackhole {words}{proto}"
        if len(self.route.hops) > 1:
            return f"{words}{proto}" + "".join(f"\n\tnexthop {_nexthop(hop)}" for hop in self.route.hops)
        (hop,) = self.route.hops
        scope = " scope link" if hop.via is None and dst.version == 4 else ""
        src = f" src {self.src}" if self.src else ""
        return f"{words} {replace(hop, onlink=False)}{proto}{scope}{src}" + (" onlink" if hop.onlink else "")


def _nexthop(hop: Hop) -> str:
    return f"{replace(hop, onlink=False)} weight 1" + (" onlink" if hop.onlink else "")


def as_listed(one: FakeRoute) -> tuple[int, int, int]:
    """The order of the kernel's trie: by address, the longer prefix first; the default route before all."""
    dst = one.route.dst
    return dst.version, int(dst.network_address), -dst.prefixlen if dst.prefixlen else -1 - dst.max_prefixlen
