"""Our values as rtnetlink messages, and messages as our values. Pure; link indexes are given by a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface

from bgpnet import names
from bgpnet.kernel import rtnl
from bgpnet.kernel.state import Hop, NeighbourKey, Owner, Route, Wiring
from bgpnet.model.ip import Address, Interface, Network
from bgpnet.names import Alias

REAPING = 0xCA1
"""The link group of pod links that wait to be deleted."""
MAKING = 0xCA0
"""The link group of a pod link from its creation until its alias is set: a mark that the kernel takes at creation."""

RULE_PRIORITY = 32765
"""Of the rules in pods that lead to a table of an interface's own: the last place before the main table's, so that
whatever others put (by a firewall mark, say) goes before."""

NEW = rtnl.NLM_F_CREATE | rtnl.NLM_F_EXCL
Index = Callable[[str], int]


def family(value: Address | Network | Interface) -> int:
    """AF_INET or AF_INET6."""
    return rtnl.AF_INET if value.version == 4 else rtnl.AF_INET6


def put_route(owner: Owner, one: Route, index: Index, new: bool) -> bytes:
    """RTM_NEWROUTE of the main table: added, or with `new` false put in the place of what is there."""
    single = one.hops[0] if len(one.hops) == 1 else None
    on_link = one.dst.version == 4 and single is not None and single.via is None
    head = rtnl.ROUTE.pack(
        family(one.dst),
        one.dst.prefixlen,
        0,
        0,
        rtnl.RT_TABLE_MAIN,
        int(owner),
        rtnl.RT_SCOPE_LINK if on_link else rtnl.RT_SCOPE_UNIVERSE,
        rtnl.RTN_UNICAST if one.hops else rtnl.RTN_BLACKHOLE,
        rtnl.RTNH_F_ONLINK if single is not None and single.onlink else 0,
    )
    body = head + rtnl.attr(rtnl.RTA_DST, one.dst.network_address.packed)
    if single is not None:
        body += _gateway(single) + rtnl.u32(rtnl.RTA_OIF, index(single.dev))
    elif one.hops:
        body += rtnl.attr(rtnl.RTA_MULTIPATH, b"".join(_nexthop(hop, index) for hop in one.hops))
    how = rtnl.NLM_F_EXCL if new else rtnl.NLM_F_REPLACE
    return rtnl.message(rtnl.RTM_NEWROUTE, rtnl.NLM_F_CREATE | how, body)


def to_pod(pod: Address, index: int) -> bytes:
    """`put_route` of a pod's own address over its link, new: every ADD has one."""
    return rtnl.message(
        rtnl.RTM_NEWROUTE, NEW, _POD_ROUTE + rtnl.attr(rtnl.RTA_DST, pod.packed) + rtnl.u32(rtnl.RTA_OIF, index)
    )


def drop_route(owner: Owner, dst: Network) -> bytes:
    """RTM_DELROUTE of what has this destination and this protocol, wherever it leads: nobody else's can match."""
    head = rtnl.ROUTE.pack(
        family(dst),
        dst.prefixlen,
        0,
        0,
        rtnl.RT_TABLE_MAIN,
        int(owner),
        rtnl.RT_SCOPE_NOWHERE,
        rtnl.RTN_UNSPEC,
        0,
    )
    return rtnl.message(rtnl.RTM_DELROUTE, 0, head + rtnl.attr(rtnl.RTA_DST, dst.network_address.packed))


def _gateway(hop: Hop) -> bytes:
    return rtnl.attr(rtnl.RTA_GATEWAY, hop.via.packed) if hop.via is not None else b""


def _nexthop(hop: Hop, index: Index) -> bytes:
    via = _gateway(hop)
    flags = rtnl.RTNH_F_ONLINK if hop.onlink else 0
    return rtnl.NEXTHOP.pack(rtnl.NEXTHOP.size + len(via), flags, 0, index(hop.dev)) + via


Place = tuple[int, bytes, int]
"""A route's destination as the kernel says it: family, address, length."""


def place(dst: Network) -> Place:
    """The destination, to be compared with `read_place`."""
    return family(dst), dst.network_address.packed, dst.prefixlen


def show(place: Place) -> str:
    """As people write it."""
    return str(_network(place[1], place[2]))


def in_main_table(one: rtnl.Message) -> bool:
    """Whether it is a route of the main table, of a family that we know."""
    family, _, _, _, table, _, _, _, _ = rtnl.ROUTE.unpack_from(one.body)
    return table == rtnl.RT_TABLE_MAIN and family in _ANY


def read_place(one: rtnl.Message) -> tuple[Place, int]:
    """Destination and protocol of a route, of whatever sort: cheap, for tables of other people's routes."""
    fam, length, _, _, _, protocol, _, _, _ = rtnl.ROUTE.unpack_from(one.body)
    dst = rtnl.attributes(one.body, rtnl.ROUTE.size).get(rtnl.RTA_DST, _ANY[fam])
    return (fam, dst, length), protocol


def read_metric(one: rtnl.Message) -> int:
    """A route's metric."""
    return rtnl.number(rtnl.attributes(one.body, rtnl.ROUTE.size).get(rtnl.RTA_PRIORITY, b""))


def read_route(
    one: rtnl.Message, links: Mapping[int, str], table: int = rtnl.RT_TABLE_MAIN
) -> tuple[int, Route] | None:
    """The protocol and the route of an RTM_NEWROUTE in that table; None for what has no counterpart."""
    fam, length, _, _, short, protocol, _, form, flags = rtnl.ROUTE.unpack_from(one.body)
    if form not in (rtnl.RTN_UNICAST, rtnl.RTN_BLACKHOLE) or fam not in _ANY:
        return None
    if short != table and table <= _SHORT:
        return None
    found = rtnl.attributes(one.body, rtnl.ROUTE.size)
    if table > _SHORT and rtnl.number(found.get(rtnl.RTA_TABLE, b"")) != table:
        return None
    dst = _network(found.get(rtnl.RTA_DST, _ANY[fam]), length)
    if form == rtnl.RTN_BLACKHOLE:
        return protocol, Route(dst)
    if rtnl.RTA_MULTIPATH in found:
        return protocol, Route(dst, _read_nexthops(found[rtnl.RTA_MULTIPATH], links))
    dev = links.get(rtnl.number(found.get(rtnl.RTA_OIF, b"")))
    if dev is None:
        return None  # its link came after the links were read: whoever makes it answers for the route
    return protocol, Route(dst, (_hop(dev, found.get(rtnl.RTA_GATEWAY), bool(flags & rtnl.RTNH_F_ONLINK)),))


_SHORT = 255
"""The highest number of a table that fits a route's fixed part; others are in an attribute."""
_ANY = {rtnl.AF_INET: bytes(4), rtnl.AF_INET6: bytes(16)}


@lru_cache(maxsize=65536)
def _network(packed: bytes, length: int) -> Network:
    return IPv4Network((packed, length)) if len(packed) == 4 else IPv6Network((packed, length))


@lru_cache(maxsize=65536)
def _hop(dev: str, via: bytes | None, onlink: bool) -> Hop:
    return Hop(dev, ip_address(via) if via else None, onlink)


def _read_nexthops(data: bytes, links: Mapping[int, str]) -> tuple[Hop, ...]:
    hops, at = [], 0
    while at + rtnl.NEXTHOP.size <= len(data):
        length, flags, _, oif = rtnl.NEXTHOP.unpack_from(data, at)
        via = rtnl.attributes(data[at : at + length], rtnl.NEXTHOP.size).get(rtnl.RTA_GATEWAY)
        hops.append((links.get(oif, ""), via or b"", bool(flags & rtnl.RTNH_F_ONLINK)))
        at += max((length + 3) & ~3, rtnl.NEXTHOP.size)
    return tuple(_hop(dev, via or None, onlink) for dev, via, onlink in sorted(hops))


def neighbour(kind: int, key: NeighbourKey, mac: str, index: int) -> bytes:
    """A permanent neighbour entry with our protocol as its mark (NDA_PROTOCOL)."""
    flags = rtnl.NLM_F_CREATE | rtnl.NLM_F_REPLACE if kind == rtnl.RTM_NEWNEIGH else 0
    body = rtnl.NEIGH.pack(family(key.address), index, rtnl.NUD_PERMANENT, 0, 0)
    body += rtnl.attr(rtnl.NDA_DST, key.address.packed)
    if kind == rtnl.RTM_NEWNEIGH:
        body += rtnl.attr(rtnl.NDA_LLADDR, rtnl.mac(mac)) + rtnl.attr(rtnl.NDA_PROTOCOL, bytes([Owner.LOCAL]))
    return rtnl.message(kind, flags, body)


def read_neighbour(one: rtnl.Message, links: Mapping[int, str]) -> tuple[NeighbourKey, str] | None:
    """Our permanent entries; None for anybody else's."""
    _, index, state, _, _ = rtnl.NEIGH.unpack_from(one.body)
    found = rtnl.attributes(one.body, rtnl.NEIGH.size)
    ours = found.get(rtnl.NDA_PROTOCOL, b"") == bytes([Owner.LOCAL])
    if not ours or not state & rtnl.NUD_PERMANENT or rtnl.NDA_LLADDR not in found or index not in links:
        return None
    return NeighbourKey(links[index], ip_address(found[rtnl.NDA_DST])), found[rtnl.NDA_LLADDR].hex(":")


def address(kind: int, flags: int, index: int, one: Interface) -> bytes:
    """RTM_NEWADDR or RTM_DELADDR."""
    return _address(kind, flags, index, one.ip, one.network.prefixlen)


def _address(kind: int, flags: int, index: int, one: Address, length: int) -> bytes:
    body = rtnl.ADDR.pack(family(one), length, 0, 0, index)
    return rtnl.message(
        kind, flags, body + rtnl.attr(rtnl.IFA_LOCAL, one.packed) + rtnl.attr(rtnl.IFA_ADDRESS, one.packed)
    )


def read_address(one: rtnl.Message) -> tuple[int, Interface]:
    """The link's index and the address."""
    _, length, _, _, index = rtnl.ADDR.unpack_from(one.body)
    found = rtnl.attributes(one.body, rtnl.ADDR.size)
    return index, ip_interface((found.get(rtnl.IFA_LOCAL) or found[rtnl.IFA_ADDRESS], length))


def link(index: int, *attributes: bytes, up: bool = False, flags: int = 0) -> bytes:
    """RTM_NEWLINK of an existing link, or with NLM_F_CREATE of a new one."""
    state = rtnl.IFF_UP if up else 0
    return rtnl.message(
        rtnl.RTM_NEWLINK, flags, rtnl.LINK.pack(rtnl.AF_UNSPEC, 0, index, state, state) + b"".join(attributes)
    )


def get_link(index: int = 0, name: str = "") -> bytes:
    """RTM_GETLINK of one link, by index or by name."""
    named = rtnl.text(rtnl.IFLA_IFNAME, name) if name else b""
    body = rtnl.LINK.pack(rtnl.AF_UNSPEC, 0, index, 0, 0) + named
    return rtnl.message(rtnl.RTM_GETLINK, 0, body + rtnl.u32(rtnl.IFLA_EXT_MASK, rtnl.RTEXT_FILTER_SKIP_STATS))


def reaping(index: int) -> bytes:
    """Into the group of those that wait to be deleted."""
    return link(index, rtnl.u32(rtnl.IFLA_GROUP, REAPING))


def host_mac(index: int) -> bytes:
    """The MAC of the host's ends of all pod links."""
    return link(index, rtnl.attr(rtnl.IFLA_ADDRESS, rtnl.mac(names.HOST_MAC)))


def delete_link(index: int) -> bytes:
    """RTM_DELLINK of one link."""
    return rtnl.message(rtnl.RTM_DELLINK, 0, rtnl.LINK.pack(rtnl.AF_UNSPEC, 0, index, 0, 0))


def delete_group(group: int) -> bytes:
    """RTM_DELLINK of a whole group: the kernel waits once for all of them."""
    body = rtnl.LINK.pack(rtnl.AF_UNSPEC, 0, 0, 0, 0) + rtnl.u32(rtnl.IFLA_GROUP, group)
    return rtnl.message(rtnl.RTM_DELLINK, 0, body)


def veth(wiring: Wiring, index: int, peer_index: int) -> bytes:
    """A pair whose peer is born inside the pod's namespace: moving it there would cost an RCU grace period.

    Neither end is up yet: the peer may not be before its other end exists, and the host's not before it is deaf.
    """
    peer = (
        rtnl.LINK.pack(rtnl.AF_UNSPEC, 0, peer_index, 0, 0)
        + rtnl.text(rtnl.IFLA_IFNAME, wiring.ifname)
        + rtnl.attr(rtnl.IFLA_ADDRESS, rtnl.mac(wiring.mac))
        + rtnl.u32(rtnl.IFLA_MTU, wiring.mtu)
        + _ONE_QUEUE
        + rtnl.u32(rtnl.IFLA_NET_NS_FD, wiring.netns)
    )
    info = rtnl.nested(
        rtnl.IFLA_LINKINFO,
        _VETH,
        rtnl.nested(rtnl.IFLA_INFO_DATA, rtnl.attr(rtnl.VETH_INFO_PEER | rtnl.NLA_F_NESTED, peer)),
    )
    return link(
        index,
        rtnl.text(rtnl.IFLA_IFNAME, wiring.link),
        rtnl.u32(rtnl.IFLA_MTU, wiring.mtu),
        _HALF_MADE,
        info,
        flags=NEW,
    )


def inet_conf(index: int) -> bytes:
    """The host's end up, with proxy_arp, forwarding and a strict rp_filter, without a write to /proc."""
    return link(index, _HOST_CONF, up=True)


def no_ipv6_address(index: int) -> bytes:
    """The host's end makes itself no IPv6 address when it comes up: nobody speaks IPv6 with the node over it.

    The kernel has less to do, 2 % of an ADD; refused with EAFNOSUPPORT where the link has no IPv6 anyway.
    """
    return link(index, _NO_IPV6_ADDRESS)


def answers_at_once(index: int) -> bytes:
    """No delay before proxy_arp answers, where there is one pod and no second machine to answer first.

    The pod's own neighbour is permanent; a virtual machine behind it asks, and waited for up to 0.8 s.
    """
    delay = rtnl.u32(rtnl.NDTPA_IFINDEX, index) + rtnl.attr(rtnl.NDTPA_PROXY_DELAY, bytes(8))
    return rtnl.message(rtnl.RTM_SETNEIGHTBL, 0, _ARP_TABLE + rtnl.nested(rtnl.NDTA_PARMS, delay))


def mark(index: int, alias: Alias) -> bytes:
    """Our alias (a message of its own: the kernel ignores it at creation), and out of the group of the half-made."""
    whole = rtnl.attr(rtnl.IFLA_IFALIAS, str(alias).encode())  # without a NUL, which would count against its 255 bytes
    return link(index, whole, rtnl.u32(rtnl.IFLA_GROUP, 0))


def pod_side(index: int, wiring: Wiring) -> dict[str, bytes]:
    """The pod's end, each step with what it does: up, its address, a gateway that needs no ARP. `main_ways` follow."""
    own = wiring.address
    neighbour = rtnl.NEIGH.pack(rtnl.AF_INET, index, rtnl.NUD_PERMANENT, 0, 0) + _GATEWAY_NEIGHBOUR
    return {
        "bring lo up": _LO_UP,
        "bring the interface up": link(index, up=True),
        f"give it the address {own}": _address(rtnl.RTM_NEWADDR, NEW, index, own, own.max_prefixlen),
        f"add the neighbour {_GATEWAY}": rtnl.message(
            rtnl.RTM_NEWNEIGH, rtnl.NLM_F_CREATE | rtnl.NLM_F_REPLACE, neighbour
        ),
    }


def main_ways(index: int) -> dict[str, bytes]:
    """The pod's ways out, as steps: to the gateway, and by it everywhere."""
    return {
        f"add the route to the gateway {_GATEWAY}": _pod_route(index, 32, rtnl.RT_SCOPE_LINK, _TO_GATEWAY),
        "add the default route": _pod_route(index, 0, rtnl.RT_SCOPE_UNIVERSE, _VIA_GATEWAY),
    }


def own_ways(index: int, pod: Address) -> dict[str, bytes]:
    """The same in a table of the interface's own, for what comes from its address.

    The table has the interface's index: chosen from 2**20 on (see wiring.py), where hardly anybody numbers tables, and
    that of no other interface in the pod.
    """
    return {
        f"add the rule from {pod} to table {index}": pod_rule(rtnl.RTM_NEWRULE, pod, index),
        f"add the route to the gateway {_GATEWAY} in table {index}": _pod_route(
            index, 32, rtnl.RT_SCOPE_LINK, _TO_GATEWAY, index
        ),
        f"add the default route in table {index}": _pod_route(index, 0, rtnl.RT_SCOPE_UNIVERSE, _VIA_GATEWAY, index),
    }


def leave_main(index: int) -> list[bytes]:
    """RTM_DELROUTE of `main_ways`."""
    return [_no_pod_route(index, 0, _VIA_GATEWAY), _no_pod_route(index, 32, _TO_GATEWAY)]


def pod_rule(kind: int, pod: Address, table: int) -> bytes:
    """RTM_NEWRULE or RTM_DELRULE: what comes from this address is led by that table; with our protocol as its mark."""
    body = rtnl.ROUTE.pack(rtnl.AF_INET, 0, 32, 0, rtnl.RT_TABLE_UNSPEC, 0, 0, rtnl.FR_ACT_TO_TBL, 0)
    body += rtnl.attr(rtnl.FRA_SRC, pod.packed) + rtnl.u32(rtnl.FRA_PRIORITY, RULE_PRIORITY)
    body += rtnl.u32(rtnl.FRA_TABLE, table) + rtnl.attr(rtnl.FRA_PROTOCOL, bytes([Owner.LOCAL]))
    return rtnl.message(kind, NEW if kind == rtnl.RTM_NEWRULE else 0, body)


def read_pod_rule(one: rtnl.Message) -> tuple[Address, int] | None:
    """Address and table of a rule of ours; None for anybody else's."""
    found = rtnl.attributes(one.body, rtnl.ROUTE.size)
    if found.get(rtnl.FRA_PROTOCOL) != bytes([Owner.LOCAL]) or len(found.get(rtnl.FRA_SRC, b"")) != 4:
        return None
    return ip_address(found[rtnl.FRA_SRC]), rtnl.number(found[rtnl.FRA_TABLE])


def route_to(address: Address) -> bytes:
    """RTM_GETROUTE: which route would lead a packet there?"""
    body = rtnl.ROUTE.pack(rtnl.AF_INET, 32, 0, 0, 0, 0, 0, 0, rtnl.RTM_F_FIB_MATCH)
    return rtnl.message(rtnl.RTM_GETROUTE, 0, body + rtnl.attr(rtnl.RTA_DST, address.packed))


def leads_over(one: rtnl.Message) -> int | None:
    """The link of a main table's route to one address, 0 for several links; None for any other route."""
    _, length, _, _, table, _, _, _, _ = rtnl.ROUTE.unpack_from(one.body)
    if length != 32 or table != rtnl.RT_TABLE_MAIN:
        return None
    return rtnl.number(rtnl.attributes(one.body, rtnl.ROUTE.size).get(rtnl.RTA_OIF, b""))


WAY_OUT = rtnl.message(
    rtnl.RTM_GETROUTE,
    0,
    rtnl.ROUTE.pack(rtnl.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0) + rtnl.attr(rtnl.RTA_DST, bytes([192, 0, 0, 8])),
)
"""Where would a packet to 192.0.0.8 go, which only a default route leads to (the dummy address of RFC 7600)?"""

_VETH = rtnl.text(rtnl.IFLA_INFO_KIND, "veth")
_ONE_QUEUE = rtnl.u32(rtnl.IFLA_NUM_TX_QUEUES, 1) + rtnl.u32(rtnl.IFLA_NUM_RX_QUEUES, 1)
_HALF_MADE = rtnl.attr(rtnl.IFLA_ADDRESS, rtnl.mac(names.HOST_MAC)) + _ONE_QUEUE + rtnl.u32(rtnl.IFLA_GROUP, MAKING)
_HOST_CONF = rtnl.nested(
    rtnl.IFLA_AF_SPEC,
    rtnl.nested(
        rtnl.AF_INET,
        rtnl.nested(
            rtnl.IFLA_INET_CONF,
            rtnl.u32(rtnl.IPV4_DEVCONF_PROXY_ARP, 1),
            rtnl.u32(rtnl.IPV4_DEVCONF_FORWARDING, 1),
            rtnl.u32(rtnl.IPV4_DEVCONF_RP_FILTER, 1),
        ),
    ),
)
_NO_IPV6_ADDRESS = rtnl.nested(
    rtnl.IFLA_AF_SPEC,
    rtnl.nested(rtnl.AF_INET6, rtnl.attr(rtnl.IFLA_INET6_ADDR_GEN_MODE, bytes([rtnl.IN6_ADDR_GEN_MODE_NONE]))),
)
_ARP_TABLE = bytes([rtnl.AF_INET, 0, 0, 0]) + rtnl.text(rtnl.NDTA_NAME, "arp_cache")
_POD_ROUTE = rtnl.ROUTE.pack(
    rtnl.AF_INET, 32, 0, 0, rtnl.RT_TABLE_MAIN, int(Owner.LOCAL), rtnl.RT_SCOPE_LINK, rtnl.RTN_UNICAST, 0
)
_GATEWAY = str(names.POD_GATEWAY)
_LO_UP = link(1, up=True)
_TO_GATEWAY = rtnl.attr(rtnl.RTA_DST, names.POD_GATEWAY.packed)
_VIA_GATEWAY = rtnl.attr(rtnl.RTA_GATEWAY, names.POD_GATEWAY.packed)
_GATEWAY_NEIGHBOUR = rtnl.attr(rtnl.NDA_DST, names.POD_GATEWAY.packed) + rtnl.attr(
    rtnl.NDA_LLADDR, rtnl.mac(names.HOST_MAC)
)


def _pod_route(index: int, length: int, scope: int, attribute: bytes, table: int = 0) -> bytes:
    """Of the main table unless another is named."""
    short = rtnl.RT_TABLE_UNSPEC if table else rtnl.RT_TABLE_MAIN
    head = rtnl.ROUTE.pack(rtnl.AF_INET, length, 0, 0, short, rtnl.RTPROT_BOOT, scope, rtnl.RTN_UNICAST, 0)
    body = head + attribute + rtnl.u32(rtnl.RTA_OIF, index)
    return rtnl.message(rtnl.RTM_NEWROUTE, NEW, body + rtnl.u32(rtnl.RTA_TABLE, table) if table else body)


def _no_pod_route(index: int, length: int, attribute: bytes) -> bytes:
    """Of the main table."""
    head = rtnl.ROUTE.pack(
        rtnl.AF_INET, length, 0, 0, rtnl.RT_TABLE_MAIN, rtnl.RTPROT_BOOT, rtnl.RT_SCOPE_NOWHERE, rtnl.RTN_UNSPEC, 0
    )
    return rtnl.message(rtnl.RTM_DELROUTE, 0, head + attribute + rtnl.u32(rtnl.RTA_OIF, index))
