"""The Linux kernel by rtnetlink and /proc/sys, in the network namespace of the process. See kernel/api.py."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

from bgpnet.errors import KernelRefused
from bgpnet.kernel import encode, examine, rtnl, sysctl, table, vxlan
from bgpnet.kernel.api import Begin, Change, PutSysctl, PutTunnel, nothing
from bgpnet.kernel.changes import Entry, carry_out
from bgpnet.kernel.monitor import Monitor
from bgpnet.kernel.netlink import Netlink
from bgpnet.kernel.state import KernelState, Owner, PodLink, Uplink, Wiring
from bgpnet.kernel.tunnel import put_tunnel, read_tunnels
from bgpnet.kernel.wiring import Wirer
from bgpnet.names import TUNNELS, VXLAN, Alias, parse_alias


class LinuxKernel:
    """Implements kernel.api.Kernel, in the namespace of the thread that makes it. Any method from any thread of it."""

    def __init__(self) -> None:
        self._netlink = Netlink.open()
        self._lock = threading.Lock()
        self._wirer = Wirer()

    def read(self, sysctls: Iterable[str] = ()) -> KernelState:
        """See kernel.api.Kernel.read."""
        with self._lock:
            links = table.links(self._netlink)
            names = {one.index: one.name for one in links}
            ours = next((one for one in links if one.name == VXLAN and one.kind == "vxlan"), None)
            return KernelState(
                tunnels=read_tunnels(links, table.addresses(self._netlink)),
                routes={owner: table.routes(self._netlink, owner, names) for owner in Owner},
                neighbours=table.neighbours(self._netlink, names),
                fdb=vxlan.read_fdb(self._netlink, ours) if ours is not None else {},
                sysctls=sysctl.read(sysctls),
                pods=_pods(links),
            )

    def change(self, changes: Sequence[Change]) -> list[KernelRefused]:
        """See kernel.api.Kernel.change."""
        refused: list[KernelRefused] = []
        with self._lock:
            entries: list[Entry] = []
            for one in changes:
                if isinstance(one, PutTunnel | PutSysctl):
                    refused += [*carry_out(self._netlink, entries), *self._alone(one)]
                    entries = []
                else:
                    entries.append(one)
            return [*refused, *carry_out(self._netlink, entries)]

    def uplinks(self) -> list[Uplink]:
        """See kernel.api.Kernel.uplinks."""
        with self._lock:
            links = table.links(self._netlink)
            addresses = table.addresses(self._netlink)
            default = table.default_links(self._netlink, {one.index: one.name for one in links})
        return [
            Uplink(one.name, one.index, one.mtu, one.up, tuple(addresses.get(one.index, ())), one.name in default)
            for one in links
            if one.name not in TUNNELS and not one.is_pod
        ]

    def addressed(self) -> list[Uplink]:
        """See kernel.api.Kernel.addressed."""
        with self._lock:
            addresses = table.addresses(self._netlink, rtnl.AF_INET)
            links = [table.link(self._netlink, index=index) for index in sorted(addresses)]
        return [
            Uplink(one.name, one.index, one.mtu, one.up, tuple(addresses[one.index]))
            for one in links
            if one is not None and one.name not in TUNNELS and not one.is_pod
        ]

    def wire(self, wiring: Wiring, begin: Begin = nothing) -> None:
        """See kernel.api.Kernel.wire."""
        self._wirer.wire(wiring, begin)

    def differences(self, wiring: Wiring) -> list[str]:
        """See kernel.api.Kernel.differences."""
        with self._lock:
            return examine.differences(self._netlink, wiring)

    def unwire(self, link: str, alias: Alias | None) -> bool:
        """See kernel.api.Kernel.unwire."""
        return self._wirer.unwire(link, alias)

    def reap(self, *, abandoned: bool = False) -> int:
        """See kernel.api.Kernel.reap."""
        return self._wirer.reap(abandoned)

    def monitor(self, changed: Callable[[str], None], stop: Callable[[], bool]) -> None:
        """See kernel.api.Kernel.monitor."""
        Monitor(changed, lambda: {self._netlink.port, *self._wirer.ports()}).follow(stop)

    def close(self) -> None:
        """See kernel.api.Kernel.close."""
        self._netlink.close()
        self._wirer.close()

    def _alone(self, one: PutTunnel | PutSysctl) -> list[KernelRefused]:
        try:
            if isinstance(one, PutTunnel):
                put_tunnel(self._netlink, one.tunnel)
            else:
                sysctl.write(one.name, one.value)
        except KernelRefused as problem:
            return [problem]
        return []


def _pods(links: Iterable[table.Link]) -> dict[str, PodLink]:
    found = {}
    for one in links:
        alias = parse_alias(one.alias)
        if alias is not None and one.is_pod:
            found[one.name] = PodLink(one.name, alias, one.mtu, one.group == encode.REAPING, one.is_deaf)
    return found
