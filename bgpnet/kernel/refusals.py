"""What is refused, and in which words: the same on the real kernel and on the fake. Pure."""

from __future__ import annotations

import errno
import re

from bgpnet import names
from bgpnet.errors import KernelRefused, NotAPods
from bgpnet.kernel.state import Route, Tunnel, Wiring
from bgpnet.model.ip import Network

NAME_LIMIT = 15
"""IFNAMSIZ without its NUL (linux/if.h)."""
_FORBIDDEN = re.compile(r"[/:%\0\s]")
TUNNEL_MODES = {"ipip": "ipipMode", "vxlan": "vxlanMode"}
"""The kinds of tunnel that are built, each called as the kernel module that it needs, and the pools' field for it."""
_PROTOCOLS = {
    2: "kernel",
    3: "boot",
    4: "static",
    9: "ra",
    11: "zebra",
    12: "bird",
    16: "dhcp",
    186: "bgp",
    188: "ospf",
}
"""As `ip route` calls them (iproute2, etc/iproute2/rt_protos)."""


def protocol(number: int) -> str:
    """A route protocol as `ip route` prints it."""
    return _PROTOCOLS.get(number, str(number))


def no_link(name: str) -> KernelRefused:
    """A route, neighbour or tunnel over a link that is not there."""
    return KernelRefused(f"there is no link {name}: what leads over it is put when the link is there")


def taken(route: Route, number: int) -> KernelRefused:
    """A stranger's route, of that protocol, stands where ours should."""
    called = protocol(number)
    return KernelRefused(
        f"route {route}: a route to {route.dst} of protocol {called} is there already and is not bgpnet's: "
        f"remove it (ip route del {route.dst} proto {called}), or keep its owner off the pools' addresses"
    )


def no_route(route: Route, reason: str) -> KernelRefused:
    """The kernel does not take a route, for a reason of its own."""
    over = ", ".join(sorted({hop.dev for hop in route.hops}))
    remedy = f"; see that {over} is up and its gateway is reachable there (ip addr show dev {over})" if over else ""
    return KernelRefused(f"route {route}: the kernel refused it: {reason}{remedy}")


def unknown_tunnel(tunnel: Tunnel) -> KernelRefused:
    """A kind of tunnel that we do not build."""
    known = ", ".join(TUNNEL_MODES)
    return KernelRefused(f"tunnel {tunnel.name}: kind {tunnel.kind} is not built; known are {known}")


def no_module(tunnel: Tunnel, reason: str) -> KernelRefused:
    """The kernel lacks the tunnel's module."""
    mode = TUNNEL_MODES[tunnel.kind]
    return KernelRefused(
        f"this kernel has no {tunnel.kind} ({reason}), needed by pools with {mode} Always or CrossSubnet: "
        f"run modprobe {tunnel.kind}, or set the pools' {mode} to Never"
    )


def no_parent(tunnel: Tunnel, parent: str) -> KernelRefused:
    """The link that a tunnel sends over is not there."""
    return KernelRefused(f"tunnel {tunnel.name}: there is no link {parent} to send over; it is made once that is there")


def number_taken(tunnel: Tunnel, vni: int, port: int) -> KernelRefused:
    """Another VXLAN device has the number."""
    return KernelRefused(
        f"tunnel {tunnel.name}: another VXLAN device has VNI {vni} on port {port}, as Calico's vxlan.calico: "
        "delete it (ip -details link show type vxlan, ip link del NAME), or set the pools' vxlanMode to Never"
    )


def not_made(tunnel: Tunnel, code: int, reason: str) -> KernelRefused:
    """Why the kernel makes no such VXLAN device. code: its errno."""
    if code == errno.EOPNOTSUPP:
        return no_module(tunnel, reason)
    if code == errno.EEXIST and tunnel.vxlan is not None:
        return number_taken(tunnel, tunnel.vxlan.vni, tunnel.vxlan.port)
    return KernelRefused(f"tunnel {tunnel.name} (MTU {tunnel.mtu}) could not be made: {reason}")


def no_tunnel(tunnel: Tunnel, kind: str) -> KernelRefused:
    """Somebody else's link has the tunnel's name."""
    return KernelRefused(
        f"link {tunnel.name} is there and is {kind or 'no tunnel'}, not {tunnel.kind}: "
        f"rename it or delete it (ip link del {tunnel.name})"
    )


def no_sysctl(name: str, value: str, reason: str) -> KernelRefused:
    """A sysctl that cannot be written."""
    return KernelRefused(
        f"sysctl {name} cannot be set to {value}: {reason}; let the agent write below /proc/sys/net "
        "of its namespace: in a container, mount the machine's /proc/sys/net at /host/proc/sys/net"
    )


def strangers_link(name: str) -> KernelRefused:
    """Somebody else's link has a pod link's name."""
    return KernelRefused(
        f"link {name} is there and is not bgpnet's (it has no alias of ours): "
        f"rename it or delete it (ip link del {name})"
    )


def interface_exists(ifname: str) -> KernelRefused:
    """The pod's namespace has such an interface."""
    return KernelRefused(
        f"the pod's namespace has an interface {ifname} already: "
        "choose another CNI_IFNAME, or take the plugin that made it off the network's list"
    )


def no_own_table(wiring: Wiring, code: int, step: str, told: str) -> KernelRefused:
    """The pod has a way out by another interface already, and this one gets none of its own. code: the errno."""
    begin = f"pod link {wiring.link}: the pod's namespace has a default route by another interface already, and "
    if code in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
        return KernelRefused(
            f"{begin}this kernel keeps no second one for {wiring.ifname}: it has no policy routing "
            "(CONFIG_IP_MULTIPLE_TABLES): run one that has, or give the pod one network"
        )
    return KernelRefused(f"{begin}the kernel did not {step} for {wiring.ifname}: {told}")


def address_led_elsewhere(wiring: Wiring, dst: Network) -> KernelRefused:
    """A route to the pod's address is there, whoever's."""
    return KernelRefused(
        f"pod link {wiring.link}: a route to {dst} is there already and leads elsewhere: "
        f"find out whose it is (ip route show {dst}) and remove it, or release the address"
    )


def own_namespace(wiring: Wiring) -> NotAPods:
    """The pod's namespace is the host's."""
    return NotAPods(f"pod link {wiring.link}: the pod's namespace is the host's own: hand over the pod's")


def check(wiring: Wiring) -> None:
    """Raises KernelRefused for what the kernel would misunderstand instead of refusing."""
    for name in (wiring.link, wiring.ifname):
        if problem := _bad_name(name):
            raise KernelRefused(f"interface name {name!r}: {problem}")
    mark = str(wiring.alias)
    length = len(mark.encode())
    if length > names.ALIAS_LIMIT or names.parse_alias(mark) != wiring.alias:
        raise KernelRefused(
            f"pod link {wiring.link}: its mark {mark[:80]!r} has {length} bytes: give a container id and an interface "
            f"name without '/', together at most {names.ALIAS_LIMIT} bytes"
        )
    if wiring.address.version != 4:
        raise KernelRefused(
            f"pod link {wiring.link}: address {wiring.address} is IPv6, which is not wired yet: use IPv4"
        )


def _bad_name(name: str) -> str:
    """As net/core/dev.c dev_valid_name; and `%`, which the kernel takes for a pattern to number."""
    if not 0 < len(name.encode(errors="surrogateescape")) <= NAME_LIMIT or name in (".", ".."):
        return f"it must have 1 to {NAME_LIMIT} bytes and be neither . nor .."
    if _FORBIDDEN.search(name):
        return "it must have no '/', ':', '%', NUL or blank"
    return ""
