"""A kernel made of dictionaries, for tests: an honest small machine that behaves as Linux does where we rely on it.

Routes of one destination exclude each other, whoever's they are; a link that goes down loses its routes and
neighbours for good. What other people do is done by the methods of `Strangers`; what the kernel should refuse is said
by `refuse`. `str()` prints the main table's IPv4 as `ip route` does.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from bgpnet.errors import KernelRefused
from bgpnet.kernel import refusals
from bgpnet.kernel.api import (
    Begin,
    Change,
    DropFdb,
    DropNeighbour,
    DropRoute,
    PutFdb,
    PutNeighbour,
    PutRoute,
    PutSysctl,
    PutTunnel,
    nothing,
)
from bgpnet.kernel.examine import HOST_SYSCTLS
from bgpnet.kernel.fake_parts import MAIN, FakeLink, FakeRoute, as_listed
from bgpnet.kernel.state import (
    FdbKey,
    Hop,
    KernelState,
    NeighbourKey,
    Owner,
    PodLink,
    Route,
    Tunnel,
    Uplink,
    Vxlan,
    Wiring,
)
from bgpnet.kernel.sysctl import DELAY, ROUTERS
from bgpnet.model import ip
from bgpnet.names import HOST_MAC, TUNNELS, VXLAN, Alias

KERNEL = 2
LOOK = 0.1
"""Seconds after which a monitor looks at `stop`."""
HOST_NETNS = -1
"""Stands for a descriptor of the host's own namespace."""


class FakeKernel:
    """Implements kernel.api.Kernel."""

    def __init__(self, modules: Iterable[str] = ("ipip", "vxlan")) -> None:
        self.links: dict[str, FakeLink] = {"lo": FakeLink("lo", 1, mtu=65536)}
        self.routes: dict[tuple[int, ip.Network], FakeRoute] = {}
        """By table and destination: there they exclude each other."""
        self.neighbours: dict[NeighbourKey, str] = {}
        self.fdb: dict[FdbKey, ip.Address] = {}
        self.sysctls: dict[str, str] = {"net/ipv4/ip_forward": "0"}
        self.pods: dict[int, set[str]] = {}
        """The interfaces in the pods' namespaces, by the descriptor."""
        self.modules = frozenset(modules)
        self.refuse: Callable[[Change | Wiring], str] = lambda item: ""
        """Says why an item is refused; nothing: it is not."""
        self.log: list[str] = []
        """What was changed, by us, in order."""
        self.strangers = Strangers(self)
        self._lock = threading.RLock()
        self._indexes = 1
        self._listeners: list[queue.SimpleQueue[str]] = []

    def __str__(self) -> str:
        with self._lock:
            main = [one for one in self.routes.values() if one.table == MAIN and one.route.dst.version == 4]
        return "\n".join(str(one) for one in sorted(main, key=as_listed))

    def read(self, sysctls: Iterable[str] = ()) -> KernelState:
        """See kernel.api.Kernel.read."""
        with self._lock:
            return KernelState(
                tunnels=self._tunnels(),
                routes={owner: {one.route.dst: one.route for one in self._of(owner)} for owner in Owner},
                neighbours=dict(self.neighbours),
                fdb=dict(self.fdb),
                sysctls={name: self.sysctls[name] for name in sysctls if name in self.sysctls},
                pods={
                    one.name: PodLink(
                        one.name, one.alias, one.mtu, one.reaping, self.sysctls[ROUTERS.format(one.name)] == "0"
                    )
                    for one in self.links.values()
                    if one.alias is not None
                },
            )

    def change(self, changes: Sequence[Change]) -> list[KernelRefused]:
        """See kernel.api.Kernel.change."""
        refused = []
        with self._lock:
            for one in changes:
                try:
                    self._refused(one)
                    self._carry_out(one)
                except KernelRefused as problem:
                    refused.append(problem)
        return refused

    def uplinks(self) -> list[Uplink]:
        """See kernel.api.Kernel.uplinks."""
        with self._lock:
            default = {
                hop.dev for one in self.routes.values() if one.route.dst.prefixlen == 0 for hop in one.route.hops
            }
            links = sorted(self.links.values(), key=lambda one: one.index)
        return [
            Uplink(one.name, one.index, one.mtu, one.up, tuple(one.addresses), one.name in default)
            for one in links
            if one.alias is None and one.name not in TUNNELS
        ]

    def addressed(self) -> list[Uplink]:
        """See kernel.api.Kernel.addressed."""
        four = [(one, tuple(own for own in one.addresses if own.version == 4)) for one in self.uplinks()]
        return [replace(one, addresses=own, is_default_route=False) for one, own in four if own]

    def wire(self, wiring: Wiring, begin: Begin = nothing) -> None:
        """See kernel.api.Kernel.wire."""
        refusals.check(wiring)
        with self._lock:
            self._refused(wiring)
            if wiring.netns == HOST_NETNS:
                raise refusals.own_namespace(wiring)
            old = self.links.get(wiring.link)
            if old is not None and old.alias is None:
                raise refusals.strangers_link(wiring.link)
            dst = ip.host(wiring.address)
            there = self.routes.get((MAIN, dst))
            if there is not None and there.route.hops != (Hop(wiring.link),):
                raise refusals.address_led_elsewhere(wiring, dst)
            if old is not None:
                self._remove(old)
            inside = self.pods.setdefault(wiring.netns, {"lo"})
            place = (wiring.netns, wiring.ifname)
            for dying in [one for one in self.links.values() if one.reaping and one.peer == place]:
                self._remove(dying)
            if wiring.ifname in inside:
                raise refusals.interface_exists(wiring.ifname)
            begin()()
            inside.add(wiring.ifname)
            link = self._add(wiring.link, "veth", wiring.mtu)
            link.mac, link.alias, link.peer = HOST_MAC, wiring.alias, (wiring.netns, wiring.ifname)
            self.sysctls |= {path.format(link.name): value for path, value in HOST_SYSCTLS.items()}
            self._keep(FakeRoute(Owner.LOCAL, Route(dst, (Hop(wiring.link),))))
            self.neighbours[NeighbourKey(wiring.link, wiring.address)] = wiring.mac
            self.log.append(f"wire {wiring.link} {wiring.address}")

    def differences(self, wiring: Wiring) -> list[str]:
        """See kernel.api.Kernel.differences. What is inside a pod cannot be changed here."""
        with self._lock:
            link = self.links.get(wiring.link)
            if link is None:
                return [f"link {wiring.link} is gone", f"the pod has no interface {wiring.ifname}"]
            mark = link.alias
            if mark is None or not mark.is_of(wiring.alias) or link.reaping:
                return [f"link {wiring.link} is not of this container (alias {str(mark or '')!r})"]
            dst, key = ip.host(wiring.address), NeighbourKey(wiring.link, wiring.address)
            wanted = FakeRoute(Owner.LOCAL, Route(dst, (Hop(wiring.link),)))
            found = {
                f"{wiring.link} is down": not link.up,
                f"the route {dst} dev {wiring.link} is missing": self.routes.get((MAIN, dst)) != wanted,
                f"the neighbour {wiring.address} dev {wiring.link} is missing": key not in self.neighbours,
                f"the pod has no interface {wiring.ifname}": link.peer != (wiring.netns, wiring.ifname),
            }
            return [phrase for phrase, holds in found.items() if holds]

    def unwire(self, link: str, alias: Alias | None) -> bool:
        """See kernel.api.Kernel.unwire."""
        with self._lock:
            found = self.links.get(link)
            if found is None or found.alias is None or found.reaping:
                return False
            if alias is not None and (alias.container, alias.ifname) != (found.alias.container, found.alias.ifname):
                return False
            found.reaping = True
            for one in self._of(Owner.LOCAL):
                if one.route.hops == (Hop(link),):
                    del self.routes[MAIN, one.route.dst]
            self.log.append(f"unwire {link}")
            return True

    def reap(self, *, abandoned: bool = False) -> int:
        """See kernel.api.Kernel.reap. Nothing is ever half-made here."""
        with self._lock:
            waiting = [one for one in self.links.values() if one.reaping]
            for one in waiting:
                self._remove(one)
            return len(waiting)

    def monitor(self, changed: Callable[[str], None], stop: Callable[[], bool]) -> None:
        """See kernel.api.Kernel.monitor."""
        reasons: queue.SimpleQueue[str] = queue.SimpleQueue()
        with self._lock:
            self._listeners.append(reasons)
        while not stop():
            with suppress(queue.Empty):
                changed(reasons.get_nowait())
                continue
            with suppress(queue.Empty):  # looked at first, for the reason that agent/loop.py `wait` has
                changed(reasons.get(timeout=LOOK))

    def close(self) -> None:
        """See kernel.api.Kernel.close."""

    def _refused(self, item: Change | Wiring) -> None:
        if reason := self.refuse(item):
            raise KernelRefused(f"{item}: the kernel refused it: {reason}")

    def _carry_out(self, one: Change) -> None:
        match one:
            case PutRoute(owner, route):
                self._put_route(owner, route)
            case DropRoute(owner, route):
                there = self.routes.get((MAIN, route.dst))
                if there is not None and there.protocol == owner:
                    del self.routes[MAIN, route.dst]
                self.log.append(f"drop {route}")
            case PutTunnel(tunnel):
                self._put_tunnel(tunnel)
            case PutNeighbour(key, mac):
                self._link(key.dev)
                self.neighbours[key] = mac
                self.log.append(f"put neighbour {key.address} {mac}")
            case DropNeighbour(key):
                self.neighbours.pop(key, None)
                self.log.append(f"drop neighbour {key.address}")
            case PutFdb(fdb_key, to):
                self._link(fdb_key.dev)
                self.fdb[fdb_key] = to
                self.log.append(f"put fdb {fdb_key.mac} {to}")
            case DropFdb(fdb_key):
                self.fdb.pop(fdb_key, None)
                self.log.append(f"drop fdb {fdb_key.mac}")
            case PutSysctl(name, value):
                if name not in self.sysctls:
                    raise refusals.no_sysctl(name, value, "No such file or directory")
                self.sysctls[name] = value
                self.log.append(f"put {name} {value}")

    def _put_route(self, owner: Owner, route: Route) -> None:
        for hop in route.hops:
            link = self._link(hop.dev)
            if not link.up:
                raise refusals.no_route(route, "Device for nexthop is not up")
            if hop.via is not None and not hop.onlink and not _reaches(link, hop.via):
                raise refusals.no_route(route, "Nexthop has invalid gateway")
        there = self.routes.get((MAIN, route.dst))
        if there is not None and there.protocol not in tuple(Owner):
            raise refusals.taken(route, there.protocol)
        self._keep(FakeRoute(owner, replace(route, hops=tuple(sorted(route.hops)))))
        self.log.append(f"put {route}")

    def _put_tunnel(self, tunnel: Tunnel) -> None:
        if tunnel.kind not in refusals.TUNNEL_MODES:
            raise refusals.unknown_tunnel(tunnel)
        if tunnel.kind not in self.modules:
            raise refusals.no_module(tunnel, "Unknown device type")
        if tunnel.vxlan is not None and tunnel.vxlan.parent not in self.links:
            raise refusals.no_parent(tunnel, tunnel.vxlan.parent)
        link = self.links.get(tunnel.name)
        if link is not None and link.kind != tunnel.kind:
            raise refusals.no_tunnel(tunnel, link.kind)
        if tunnel.vxlan is not None:
            link = self._fitting(tunnel, link, tunnel.vxlan)
        link = link or self._add(tunnel.name, tunnel.kind, tunnel.mtu)
        link.mtu, link.up = tunnel.mtu, True
        if tunnel.address is not None:
            link.addresses = [tunnel.address, *(one for one in link.addresses if one.version != 4)]
        elif tunnel.bare:
            link.addresses = [one for one in link.addresses if one.version != 4]
        self.log.append(f"put {tunnel.name} {tunnel.address}")

    def _fitting(self, tunnel: Tunnel, link: FakeLink | None, wanted: Vxlan) -> FakeLink:
        """The VXLAN device, repaired, or made anew where the kernel changes none in place."""
        if link is not None and link.vxlan is not None and not link.vxlan.may_become(wanted):
            self._remove(link)
            link = None
        number = (wanted.vni, wanted.port)
        others = [one.vxlan for one in self.links.values() if one is not link and one.vxlan is not None]
        if number in [(other.vni, other.port) for other in others]:
            raise refusals.number_taken(tunnel, *number)
        link = link or self._add(tunnel.name, tunnel.kind, tunnel.mtu)
        if link.vxlan is not None and link.vxlan.mac != wanted.mac:
            self.neighbours = {key: mac for key, mac in self.neighbours.items() if key.dev != link.name}
        link.vxlan, link.mac = wanted, wanted.mac
        return link

    def _tunnels(self) -> dict[str, Tunnel]:
        found = {}
        for one in (self.links[name] for name in TUNNELS if name in self.links):
            have = [address for address in one.addresses if address.version == 4]
            if one.up and len(have) <= 1:
                found[one.name] = Tunnel(one.name, one.kind, one.mtu, have[0] if have else None, vxlan=one.vxlan)
        return found

    def _link(self, name: str) -> FakeLink:
        if name not in self.links:
            raise refusals.no_link(name)
        return self.links[name]

    def _of(self, owner: Owner) -> list[FakeRoute]:
        return [one for one in self.routes.values() if one.protocol == owner and one.table == MAIN]

    def _keep(self, one: FakeRoute) -> None:
        self.routes[one.table, one.route.dst] = one

    def _connect(self, link: FakeLink, own: ip.Interface) -> None:
        """An address on a link that is up brings the route to its subnet."""
        self._keep(FakeRoute(KERNEL, Route(own.network, (Hop(link.name),)), src=own.ip))

    def _add(self, name: str, kind: str, mtu: int) -> FakeLink:
        self._indexes += 1
        self.links[name] = FakeLink(name, self._indexes, kind, mtu)
        self.sysctls |= {f"net/ipv4/conf/{name}/{key}": "0" for key in ("proxy_arp", "forwarding", "rp_filter")}
        self.sysctls |= {ROUTERS.format(name): "1", DELAY.format(name): "80"}
        return self.links[name]

    def _remove(self, link: FakeLink) -> None:
        self._flush(link.name)
        self.fdb = {key: to for key, to in self.fdb.items() if key.dev != link.name}
        del self.links[link.name]
        for over in [one for one in self.links.values() if one.vxlan is not None and one.vxlan.parent == link.name]:
            self._remove(over)
        self.sysctls = {key: value for key, value in self.sysctls.items() if f"/{link.name}/" not in key}
        if link.peer is not None:
            self.pods[link.peer[0]].discard(link.peer[1])

    def _flush(self, name: str) -> None:
        """What a link loses when it goes down; a multipath route stays while one of its links is up."""
        usable = {link.name for link in self.links.values() if link.up and link.name != name}
        self.routes = {
            key: one
            for key, one in self.routes.items()
            if not one.route.hops or any(hop.dev in usable for hop in one.route.hops)
        }
        self.neighbours = {key: mac for key, mac in self.neighbours.items() if key.dev != name}

    def _tell(self, reason: str) -> None:
        for listener in self._listeners:
            listener.put(reason)


class Strangers:
    """What other people do to the machine; monitors hear of it."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel

    def add_link(self, name: str, address: str = "", kind: str = "veth", mtu: int = 1500) -> None:
        """A link that is up, with an address such as 192.0.2.1/24, and with it the route to its subnet."""
        kernel = self._kernel
        with kernel._lock:
            link = kernel._add(name, kind, mtu)
            if address:
                own = ip.interface(address)
                link.addresses.append(own)
                kernel._connect(link, own)
            kernel._tell(f"link {name} came")

    def add_vxlan(self, name: str, vxlan: Vxlan) -> None:
        """A VXLAN device that is up."""
        self.add_link(name, kind="vxlan")
        link = self._kernel.links[name]
        link.vxlan, link.mac = vxlan, vxlan.mac

    def set_mac(self, name: str, mac: str) -> None:
        """With the MAC go the neighbours."""
        kernel = self._kernel
        with kernel._lock:
            link = kernel.links[name]
            link.mac = mac
            link.vxlan = link.vxlan and replace(link.vxlan, mac=mac)
            kernel.neighbours = {key: one for key, one in kernel.neighbours.items() if key.dev != name}
            kernel._tell(f"link {name} has the MAC {mac} now")

    def delete_link(self, name: str) -> None:
        """With everything that hangs on it."""
        with self._kernel._lock:
            self._kernel._remove(self._kernel.links[name])
            self._kernel._tell(f"link {name} is gone")

    def set_link(self, name: str, *, up: bool) -> None:
        """Up or down; down loses routes and neighbours for good."""
        kernel = self._kernel
        with kernel._lock:
            link = kernel.links[name]
            link.up = up
            if not up:
                kernel._flush(name)
            for own in link.addresses if up else ():
                kernel._connect(link, own)
            kernel._tell(f"link {name} is {'up' if up else 'down'}")

    def add_address(self, name: str, address: str) -> None:
        """One more address, at the end."""
        with self._kernel._lock:
            self._kernel.links[name].addresses.append(ip.interface(address))
            self._kernel._tell(f"address {address} came")

    def put_route(self, route: Route, protocol: int, table: int = MAIN) -> None:
        """`ip route replace`: whoever's route is there makes place."""
        kernel = self._kernel
        with kernel._lock:
            before = kernel.routes.get((table, route.dst))
            kernel._keep(FakeRoute(protocol, route, table))
            if before is not None and table == MAIN:
                kernel._tell(f"route {route.dst} was replaced by one of protocol {protocol}")

    def drop_route(self, dst: ip.Network) -> None:
        """`ip route del`: ours, too."""
        kernel = self._kernel
        with kernel._lock:
            gone = kernel.routes.pop((MAIN, dst))
            if gone.protocol in tuple(Owner):
                kernel._tell(f"route {dst} went")

    def drop_end(self, key: NeighbourKey | FdbKey) -> None:
        """A neighbour, or a forwarding entry."""
        kernel = self._kernel
        with kernel._lock:
            kernel.fdb = {one: to for one, to in kernel.fdb.items() if one != key}
            kernel.neighbours = {one: mac for one, mac in kernel.neighbours.items() if one != key}
            if key.dev == VXLAN:
                kernel._tell(f"what leads to another node went from {VXLAN} (ip neigh, bridge fdb)")

    def set_sysctl(self, name: str, value: str) -> None:
        """As systemd-sysctl does."""
        kernel = self._kernel
        with kernel._lock:
            kernel.sysctls[name] = value
            if (name, value) == ("net/ipv4/ip_forward", "0"):
                kernel._tell("net.ipv4.ip_forward is 0 now")
            if name.endswith("/rp_filter") and value == "1":
                kernel._tell(f"rp_filter of {name.split('/')[-2]} is 1 now")


def _reaches(link: FakeLink, gateway: ip.Address) -> bool:
    return gateway.is_link_local or any(
        gateway in one.network for one in link.addresses if one.version == gateway.version
    )
