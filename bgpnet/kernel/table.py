"""The kernel's tables, read whole: links, and what hangs on them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from bgpnet.kernel import encode, rtnl
from bgpnet.kernel.netlink import Netlink
from bgpnet.kernel.state import NeighbourKey, Owner, Route
from bgpnet.model.ip import Address, Interface, Network
from bgpnet.names import POD_LINK_PREFIX

FAMILIES = (rtnl.AF_INET, rtnl.AF_INET6)
DEFAULT_METRIC = {rtnl.AF_INET: 0, rtnl.AF_INET6: 1024}
"""The metric of a route without RTA_PRIORITY; only routes of one metric stand in each other's place."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link as the kernel describes it. data: IFLA_INFO_DATA, which says of each kind something else.

    peer: the index of a veth's other end, in the namespace that this is in. families: IFLA_AF_SPEC.
    """

    index: int
    name: str
    kind: str
    mtu: int
    up: bool
    alias: str
    group: int
    mac: str
    data: bytes = b""
    peer: int = 0
    families: bytes = b""

    @property
    def is_deaf(self) -> bool:
        """Whether no router advertisement counts here; also where there is no IPv6."""
        six = rtnl.attributes(self.families, 0).get(rtnl.AF_INET6, b"")
        settings = rtnl.attributes(six, 0).get(rtnl.IFLA_INET6_CONF, b"")
        return not any(settings[4 * rtnl.DEVCONF_ACCEPT_RA : 4 * rtnl.DEVCONF_ACCEPT_RA + 4])

    @property
    def is_pod(self) -> bool:
        """Whether it looks like the host's end of a pod's link; ours is only what has our alias."""
        return self.kind == "veth" and self.name.startswith(POD_LINK_PREFIX)


def links(netlink: Netlink, *, torn: bool = False) -> list[Link]:
    """Every link of the namespace, in index order; `torn` as in Netlink.dump."""
    body = rtnl.LINK.pack(rtnl.AF_UNSPEC, 0, 0, 0, 0) + rtnl.u32(rtnl.IFLA_EXT_MASK, rtnl.RTEXT_FILTER_SKIP_STATS)
    found = (read_link(one) for one in netlink.dump(rtnl.RTM_GETLINK, body, torn=torn))
    return sorted(found, key=lambda one: one.index)


def link(netlink: Netlink, *, index: int = 0, name: str = "") -> Link | None:
    """One link, by index or by name."""
    found = netlink.query(encode.get_link(index, name))
    return None if found is None else read_link(found)


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
        data=info.get(rtnl.IFLA_INFO_DATA, b""),
        peer=rtnl.number(found.get(rtnl.IFLA_LINK, b"")),
        families=found.get(rtnl.IFLA_AF_SPEC, b""),
    )


def addresses(netlink: Netlink, family: int = rtnl.AF_UNSPEC) -> dict[int, list[Interface]]:
    """All addresses, or those of a family, by link index, in the kernel's order."""
    found: dict[int, list[Interface]] = {}
    for one in netlink.dump(rtnl.RTM_GETADDR, rtnl.ADDR.pack(family, 0, 0, 0, 0)):
        index, address = encode.read_address(one)
        found.setdefault(index, []).append(address)
    return found


def routes(netlink: Netlink, owner: Owner, names: Mapping[int, str]) -> dict[Network, Route]:
    """Our routes in the main table, of both families; the kernel leaves out everybody else's."""
    found: dict[Network, Route] = {}
    for one in _main_table(netlink, int(owner)):
        read = encode.read_route(one, names)
        if read is not None and read[0] == owner:  # kernels before 5.0 do not filter
            found[read[1].dst] = read[1]
    return found


def occupants(netlink: Netlink, places: Collection[encode.Place]) -> dict[encode.Place, list[rtnl.Message]]:
    """Whoever's routes stand at these places of the main table now, in the kernel's order."""
    found: dict[encode.Place, list[rtnl.Message]] = {}
    for one in _main_table(netlink, 0):
        place, _ = encode.read_place(one)
        if place in places and encode.read_metric(one) == DEFAULT_METRIC[place[0]]:
            found.setdefault(place, []).append(one)
    return found


def default_links(netlink: Netlink, names: Mapping[int, str]) -> set[str]:
    """The links by which default routes of the main table leave."""
    found: set[str] = set()
    for one in _main_table(netlink, 0):
        if encode.read_place(one)[0][2] == 0 and (read := encode.read_route(one, names)) is not None:
            found.update(hop.dev for hop in read[1].hops)
    return found


def neighbours(netlink: Netlink, names: Mapping[int, str]) -> dict[NeighbourKey, str]:
    """Our permanent entries and their MACs."""
    found = netlink.dump(rtnl.RTM_GETNEIGH, rtnl.NEIGH.pack(rtnl.AF_UNSPEC, 0, 0, 0, 0))
    return dict(read for one in found if (read := encode.read_neighbour(one, names)) is not None)


def pod_rules(netlink: Netlink) -> list[tuple[Address, int]]:
    """Address and table of each rule of ours, in a pod's namespace; none where the kernel has no policy routing."""
    body = rtnl.ROUTE.pack(rtnl.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
    found = (encode.read_pod_rule(one) for one in netlink.dump(rtnl.RTM_GETRULE, body, torn=True))
    return [one for one in found if one is not None]


def pod_routes(netlink: Netlink, names: Mapping[int, str], table: int) -> list[Route]:
    """Everybody's IPv4 routes of that table, in a pod's namespace."""
    short = table if table == rtnl.RT_TABLE_MAIN else rtnl.RT_TABLE_UNSPEC
    body = rtnl.ROUTE.pack(rtnl.AF_INET, 0, 0, 0, short, 0, 0, 0, 0) + rtnl.u32(rtnl.RTA_TABLE, table)
    found = (encode.read_route(one, names, table) for one in netlink.dump(rtnl.RTM_GETROUTE, body, torn=True))
    return [read[1] for read in found if read is not None]


def _main_table(netlink: Netlink, protocol: int) -> Iterator[rtnl.Message]:
    """The main table of both families; protocol 0: everybody's. A family that the kernel lacks answers for another."""
    for family in FAMILIES:
        body = rtnl.ROUTE.pack(family, 0, 0, 0, rtnl.RT_TABLE_MAIN, protocol, 0, 0, 0)
        for one in netlink.dump(rtnl.RTM_GETROUTE, body):
            if encode.in_main_table(one) and one.body[0] == family:
                yield one
