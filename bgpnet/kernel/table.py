"""The kernel's tables, read whole: links, and what hangs on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bgpnet.kernel import encode, rtnl
from bgpnet.kernel.netlink import Netlink
from bgpnet.kernel.state import NeighbourKey, Route
from bgpnet.model.ip import Interface


@dataclass(frozen=True, slots=True)
class Link:
    """A link as the kernel describes it."""

    index: int
    name: str
    kind: str
    mtu: int
    up: bool
    alias: str
    group: int
    mac: str


@dataclass(slots=True)
class Tables:
    """Addresses by link name, main table routes by protocol, our neighbours, links that a default route leaves by."""

    addresses: dict[str, list[Interface]] = field(default_factory=dict)
    routes: dict[int, list[Route]] = field(default_factory=dict)
    neighbours: dict[NeighbourKey, str] = field(default_factory=dict)
    default: set[str] = field(default_factory=set)


def links(netlink: Netlink) -> dict[str, Link]:
    """Every link of the namespace, by name."""
    body = rtnl.LINK.pack(rtnl.AF_UNSPEC, 0, 0, 0, 0) + rtnl.u32(rtnl.IFLA_EXT_MASK, rtnl.RTEXT_FILTER_SKIP_STATS)
    found = (read_link(one) for one in netlink.dump(rtnl.RTM_GETLINK, body))
    return {one.name: one for one in found}


def read_link(one: rtnl.Message) -> Link:
    """An RTM_NEWLINK as a value."""
    _, _, index, flags, _ = rtnl.LINK.unpack_from(one.body)
    found = rtnl.attributes(one.body, rtnl.LINK.size)
    info = rtnl.attributes(found.get(rtnl.IFLA_LINKINFO, b""), 0)
    return Link(
        index=index,
        name=rtnl.string(found.get(rtnl.IFLA_IFNAME, b"")),
        kind=rtnl.string(info.get(rtnl.IFLA_INFO_KIND, b"")),
        mtu=rtnl.number(found.get(rtnl.IFLA_MTU, b"")),
        up=bool(flags & rtnl.IFF_UP),
        alias=rtnl.string(found.get(rtnl.IFLA_IFALIAS, b"")),
        group=rtnl.number(found.get(rtnl.IFLA_GROUP, b"")),
        mac=found.get(rtnl.IFLA_ADDRESS, b"").hex(":"),
    )


def addresses(netlink: Netlink, names: Mapping[int, str]) -> dict[str, list[Interface]]:
    """All addresses by link name, in the kernel's order."""
    found: dict[str, list[Interface]] = {}
    for one in netlink.dump(rtnl.RTM_GETADDR, rtnl.ADDR.pack(rtnl.AF_UNSPEC, 0, 0, 0, 0)):
        index, address = encode.read_address(one)
        found.setdefault(names.get(index, ""), []).append(address)
    return found


def tables(netlink: Netlink, names: Mapping[int, str]) -> Tables:
    """Everything but the links; both families."""
    found = Tables(addresses=addresses(netlink, names))
    for family in (rtnl.AF_INET, rtnl.AF_INET6):
        body = rtnl.ROUTE.pack(family, 0, 0, 0, rtnl.RT_TABLE_UNSPEC, 0, 0, 0, 0)
        for one in netlink.dump(rtnl.RTM_GETROUTE, body):
            if (read := encode.read_route(one, names)) is not None:
                protocol, route = read
                found.routes.setdefault(protocol, []).append(route)
                if route.dst.prefixlen == 0:
                    found.default.update(hop.dev for hop in route.hops)
    for one in netlink.dump(rtnl.RTM_GETNEIGH, rtnl.NEIGH.pack(rtnl.AF_UNSPEC, 0, 0, 0, 0)):
        if (neighbour := encode.read_neighbour(one, names)) is not None:
            found.neighbours[neighbour[0]] = neighbour[1]
    return found
