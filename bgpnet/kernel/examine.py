"""A wired pod compared with what it was wired as: both ends of its link, and all that hangs on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address

from bgpnet import names
from bgpnet.errors import KernelRefused
from bgpnet.kernel import netns, rtnl, sysctl, table
from bgpnet.kernel.netlink import Netlink
from bgpnet.kernel.state import Hop, NeighbourKey, Owner, Route, Wiring
from bgpnet.model import ip

HOST_SYSCTLS = {
    "net/ipv4/conf/{}/proxy_arp": "1",
    "net/ipv4/conf/{}/forwarding": "1",
    "net/ipv4/conf/{}/rp_filter": "1",
    sysctl.DELAY: "0",
    sysctl.ROUTERS: "0",
}
"""What `encode.inet_conf`, `encode.answers_at_once` and `sysctl.deafen` make of the host's end."""


def differences(netlink: Netlink, wiring: Wiring) -> list[str]:
    """What is not as it was wired, one phrase each; nothing when all is. Raises KernelRefused.

    netlink: a socket in the host's namespace. Source: CNI specification 1.1.0, section CHECK.
    """
    return [*_host(netlink, wiring), *_pod(wiring)]


def _host(netlink: Netlink, wiring: Wiring) -> Iterator[str]:
    link = table.link(netlink, name=wiring.link)
    if link is None:
        yield f"link {wiring.link} is gone"
        return
    mark = names.parse_alias(link.alias)
    if mark is None or not mark.is_of(wiring.alias) or link.group != 0:
        yield f"link {wiring.link} is not of this container (alias {link.alias!r}, group {link.group})"
        return
    if link.mtu != wiring.mtu:
        yield f"{wiring.link} has MTU {link.mtu} instead of {wiring.mtu}"
    yield from _link(link, wiring.link, names.HOST_MAC)
    links = {link.index: link.name}
    dst = ip.host(wiring.address)
    route = table.routes(netlink, Owner.LOCAL, links).get(dst)
    if route != Route(dst, (Hop(wiring.link),)):
        yield f"the route {dst} dev {wiring.link} is missing"
    key = NeighbourKey(wiring.link, wiring.address)
    if (found := table.neighbours(netlink, links).get(key)) != wiring.mac:
        yield f"the neighbour {wiring.address} dev {wiring.link} is {found or 'missing'} instead of {wiring.mac}"
    yield from _sysctls(wiring.link)


def _sysctls(link: str) -> Iterator[str]:
    wanted = {path.format(link): value for path, value in HOST_SYSCTLS.items()}
    deaf = sysctl.ROUTERS.format(link)
    values = {deaf: wanted[deaf], **sysctl.read(wanted)}  # it is not there where the kernel has no IPv6
    for path, value in wanted.items():
        if (there := values.get(path)) != value:
            yield f"sysctl {path} is {there} instead of {value}"


def _pod(wiring: Wiring) -> Iterator[str]:
    try:
        with netns.inside(wiring.netns):
            netlink = Netlink.open()
    except OSError as problem:
        raise KernelRefused(f"the pod's namespace cannot be entered: {problem.strerror}") from problem
    try:
        yield from _inside(netlink, wiring)
    finally:
        netlink.close()


def _inside(netlink: Netlink, wiring: Wiring) -> Iterator[str]:
    link = table.link(netlink, name=wiring.ifname)
    if link is None:
        yield f"the pod has no interface {wiring.ifname}"
        return
    if link.mtu > wiring.mtu:  # a plugin chained after ours (tuning) may have made it smaller, which harms nothing
        yield f"{wiring.ifname} of the pod has MTU {link.mtu} instead of {wiring.mtu}"
    yield from _link(link, f"{wiring.ifname} of the pod", wiring.mac)
    own = ip.interface(str(wiring.address))
    held = [one for one in table.addresses(netlink).get(link.index, []) if one.version == own.version]
    if own not in held:
        listed = ", ".join(map(str, held)) or "none"
        yield f"{wiring.ifname} of the pod has the address {listed} instead of {own}"
    links = {one.index: one.name for one in table.links(netlink, torn=True)}
    yield from _ways_out(netlink, links, wiring, link.index)
    yield from _gateway_neighbour(netlink, links, wiring.ifname)


def _ways_out(netlink: Netlink, links: Mapping[int, str], wiring: Wiring, index: int) -> Iterator[str]:
    """The gateway and the default route: in the main table, or in one of the interface's own with its rule."""
    own = table.pod_routes(netlink, links, index)
    has_rule = (wiring.address, index) in table.pod_rules(netlink)
    if not own and not has_rule:
        yield from _routes(table.pod_routes(netlink, links, rtnl.RT_TABLE_MAIN), wiring.ifname, "")
        return
    if not has_rule:
        yield f"the pod has no rule from {wiring.address} to table {index} (ip rule)"
    yield from _routes(own, wiring.ifname, f" in table {index}")


def _routes(there: Sequence[Route], ifname: str, where: str) -> Iterator[str]:
    gateway = Hop(ifname)
    if not any(gateway in route.hops for route in there if route.dst == ip.host(names.POD_GATEWAY)):
        yield f"the pod has no route to {names.POD_GATEWAY} (dev {ifname}, scope link){where}"
    out = Hop(ifname, names.POD_GATEWAY)
    if not any(out in route.hops for route in there if route.dst.prefixlen == 0):
        yield f"the pod has no default route via {names.POD_GATEWAY}{where}"


def _gateway_neighbour(netlink: Netlink, links: Mapping[int, str], dev: str) -> Iterator[str]:
    found = {
        (links.get(index, ""), address): mac
        for one in netlink.dump(rtnl.RTM_GETNEIGH, rtnl.NEIGH.pack(rtnl.AF_INET, 0, 0, 0, 0), torn=True)
        for index, address, mac in [_neighbour(one)]
    }
    if (mac := found.get((dev, names.POD_GATEWAY))) != names.HOST_MAC:
        yield f"the pod's neighbour {names.POD_GATEWAY} dev {dev} is {mac or 'missing'} instead of {names.HOST_MAC}"


def _neighbour(one: rtnl.Message) -> tuple[int, ip.Address, str]:
    _, index, _, _, _ = rtnl.NEIGH.unpack_from(one.body)
    found = rtnl.attributes(one.body, rtnl.NEIGH.size)
    return index, ip_address(found[rtnl.NDA_DST]), found.get(rtnl.NDA_LLADDR, b"").hex(":")


def _link(link: table.Link, subject: str, mac: str) -> Iterator[str]:
    if not link.up:
        yield f"{subject} is down"
    if link.mac != mac:
        yield f"{subject} has MAC {link.mac} instead of {mac}"
