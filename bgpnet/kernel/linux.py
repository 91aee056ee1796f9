"""The Linux kernel by rtnetlink and /proc/sys, in the network namespace of the process. See kernel/api.py."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable, Sequence

from bgpnet.errors import KernelRefused
from bgpnet.kernel import encode, monitor, rtnl, sysctl
from bgpnet.kernel.api import (
    Change,
    DropNeighbour,
    DropRoute,
    PutNeighbour,
    PutRoute,
    PutSysctl,
    PutTunnel,
)
from bgpnet.kernel.netlink import Netlink, Refusal
from bgpnet.kernel.state import KernelState, Owner, PodLink, Route, Tunnel, Uplink, Wiring
from bgpnet.kernel.table import Link, links, tables
from bgpnet.kernel.tunnel import put_tunnel
from bgpnet.kernel.wiring import Wirer
from bgpnet.model.ip import Interface
from bgpnet.names import POD_LINK_PREFIX, TUNNEL, Alias, parse_alias


class LinuxKernel:
    """Implements kernel.api.Kernel. `wire`, `unwire` and `reap` may be called from any thread; the rest from one."""

    def __init__(self) -> None:
        self._netlink = Netlink()
        self._lock = threading.Lock()
        self._wirer = Wirer()

    def read(self, sysctls: Iterable[str] = ()) -> KernelState:
        with self._lock:
            there = links(self._netlink)
            found = tables(self._netlink, {link.index: link.name for link in there.values()})
        return KernelState(
            tunnels=_tunnels(there, found.addresses),
            routes={owner: {one.dst: one for one in found.routes.get(int(owner), [])} for owner in Owner},
            neighbours=found.neighbours,
            sysctls=sysctl.read(sysctls),
            pods=_pods(there),
        )

    def uplinks(self) -> list[Uplink]:
        with self._lock:
            there = links(self._netlink)
            found = tables(self._netlink, {link.index: link.name for link in there.values()})
        return [
            Uplink(
                one.name,
                one.index,
                one.mtu,
                one.up,
                tuple(found.addresses.get(one.name, ())),
                one.name in found.default,
            )
            for one in sorted(there.values(), key=lambda one: one.index)
            if one.name != TUNNEL and not _is_pod(one)
        ]

    def change(self, changes: Sequence[Change]) -> list[KernelRefused]:
        refused: list[KernelRefused] = []
        with self._lock:
            batch: list[Change] = []
            for one in changes:
                if isinstance(one, PutTunnel | PutSysctl):
                    refused += self._send(batch)
                    batch = []
                    refused += self._alone(one)
                else:
                    batch.append(one)
            refused += self._send(batch)
        return refused

    def wire(self, wiring: Wiring) -> None:
        self._wirer.wire(wiring)

    def unwire(self, link: str, alias: Alias | None) -> bool:
        return self._wirer.unwire(link, alias)

    def reap(self, *, abandoned: bool = False) -> int:
        return self._wirer.reap(abandoned)

    def monitor(self, changed: Callable[[str], None], stop: Callable[[], bool]) -> None:
        monitor.follow(changed, stop, lambda: {self._netlink.port, *self._wirer.ports()})

    def close(self) -> None:
        self._netlink.close()

    def _alone(self, one: PutTunnel | PutSysctl) -> list[KernelRefused]:
        try:
            if isinstance(one, PutTunnel):
                put_tunnel(self._netlink, one.tunnel)
            else:
                sysctl.write(one.name, one.value)
        except KernelRefused as problem:
            return [problem]
        return []

    def _send(self, batch: Sequence[Change]) -> list[KernelRefused]:
        """Routes and neighbours, as many as there are, in few datagrams."""
        if not batch:
            return []
        indexes = {link.name: link.index for link in links(self._netlink).values()}
        refused: list[KernelRefused] = []
        ready: list[tuple[Change, bytes]] = []
        for one in batch:
            try:
                ready.append((one, _message(one, lambda name: _index(indexes, name))))
            except KernelRefused as problem:
                refused.append(problem)
        ready = self._without_strangers(ready, refused)
        outcome = self._netlink.send([raw for _, raw in ready])
        for (one, _), refusal in zip(ready, outcome, strict=True):
            if refusal is not None and not _gone_already(one, refusal):
                refused.append(KernelRefused(self._explain(one, refusal)))
        return refused

    def _without_strangers(
        self, ready: list[tuple[Change, bytes]], refused: list[KernelRefused]
    ) -> list[tuple[Change, bytes]]:
        """Replace only our own: NLM_F_REPLACE would take over whatever stands at the destination now."""
        replaced = [one.route.dst for one, _ in ready if isinstance(one, PutRoute) and not one.new]
        if not replaced:
            return ready
        names = {link.index: link.name for link in links(self._netlink).values()}
        now = tables(self._netlink, names).routes
        owned = {dst: owner for owner in Owner for dst in (one.dst for one in now.get(int(owner), []))}
        kept = []
        for one, raw in ready:
            if isinstance(one, PutRoute) and not one.new and owned.get(one.route.dst) is not one.owner:
                refused.append(KernelRefused(_stranger(one.route, now)))
            else:
                kept.append((one, raw))
        return kept

    def _explain(self, one: Change, refusal: Refusal) -> str:
        match one:
            case PutRoute(_, route) if refusal.errno == errno.EEXIST:
                names = {link.index: link.name for link in links(self._netlink).values()}
                return _stranger(route, tables(self._netlink, names).routes)
            case PutRoute(_, route) | DropRoute(_, route):
                return f"route {route}: the kernel refused it: {refusal.strerror}"
            case PutNeighbour(key) | DropNeighbour(key):
                return f"neighbour {key.address} on {key.dev}: the kernel refused it: {refusal.strerror}"
            case _:
                return str(refusal)


def _message(one: Change, index: Callable[[str], int]) -> bytes:
    match one:
        case PutRoute(owner, route, new):
            flags = rtnl.NLM_F_CREATE | (rtnl.NLM_F_EXCL if new else rtnl.NLM_F_REPLACE)
            return encode.route(rtnl.RTM_NEWROUTE, flags, owner, route, index)
        case DropRoute(owner, route):
            return encode.route(rtnl.RTM_DELROUTE, 0, owner, Route(route.dst) if not route.hops else route, index)
        case PutNeighbour(key, mac):
            return encode.neighbour(rtnl.RTM_NEWNEIGH, key, mac, index(key.dev))
        case DropNeighbour(key):
            return encode.neighbour(rtnl.RTM_DELNEIGH, key, "", index(key.dev))
        case _:
            raise TypeError(one)


def _gone_already(one: Change, refusal: Refusal) -> bool:
    """What should go is gone: with its link, say."""
    gone = (errno.ESRCH, errno.ENOENT, errno.ENODEV)
    return isinstance(one, DropRoute | DropNeighbour) and refusal.errno in gone


def _index(indexes: dict[str, int], name: str) -> int:
    if name not in indexes:
        raise KernelRefused(f"there is no link {name}; what leads over it waits until it is there")
    return indexes[name]


def _stranger(route: Route, now: dict[int, list[Route]]) -> str:
    for protocol, table in now.items():
        for one in table:
            if one.dst == route.dst:
                return (
                    f"route {route}: {one} of protocol {protocol} is there already and is not bgpnet's; "
                    f"remove it (ip route del {one.dst} proto {protocol}) or take its owner off these addresses"
                )
    return f"route {route}: somebody else's stands at that destination; look at ip route show {route.dst}"


def _is_pod(one: Link) -> bool:
    return one.name.startswith(POD_LINK_PREFIX) and one.kind == "veth"


def _pods(there: dict[str, Link]) -> dict[str, PodLink]:
    found = {}
    for one in there.values():
        alias = parse_alias(one.alias)
        if alias is not None and _is_pod(one):
            found[one.name] = PodLink(one.name, alias, one.mtu, one.group == encode.REAPING)
    return found


def _tunnels(there: dict[str, Link], addresses: dict[str, list[Interface]]) -> dict[str, Tunnel]:
    """Ours by name; one that is down or has several addresses is not as it should be, and so is not reported."""
    one = there.get(TUNNEL)
    if one is None or not one.up:
        return {}
    have = [address for address in addresses.get(TUNNEL, []) if address.version == 4]
    if len(have) > 1:
        return {}
    return {TUNNEL: Tunnel(TUNNEL, one.kind, one.mtu, have[0] if have else None)}
