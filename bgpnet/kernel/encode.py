"""Our values as rtnetlink messages, and messages as our values. Pure; link indexes are given by a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_interface, ip_network

from bgpnet import names
from bgpnet.errors import KernelRefused
from bgpnet.kernel import rtnl
from bgpnet.kernel.state import Hop, NeighbourKey, Owner, Route, Wiring
from bgpnet.model.ip import Address, Interface, Network
from bgpnet.names import Alias

REAPING = 0xCA1
"""The link group of pod links that wait to be deleted."""
MAKING = 0xCA0
"""The link group of a pod link from its creation until its alias is set: a mark that the kernel takes at creation."""

Index = Callable[[str], int]


def family(value: Address | Network | Interface) -> int:
    """AF_INET or AF_INET6."""
    return rtnl.AF_INET if value.version == 4 else rtnl.AF_INET6


def route(kind: int, flags: int, owner: Owner, one: Route, index: Index) -> bytes:
    """RTM_NEWROUTE or RTM_DELROUTE of the main table."""
    plain = len(one.hops) == 1
    scope = rtnl.RT_SCOPE_LINK if plain and one.hops[0].via is None else rtnl.RT_SCOPE_UNIVERSE
    if one.dst.version == 6 or not one.hops:
        scope = rtnl.RT_SCOPE_UNIVERSE
    onlink = rtnl.RTNH_F_ONLINK if plain and one.hops[0].onlink else 0
    form = rtnl.RTN_UNICAST if one.hops else rtnl.RTN_BLACKHOLE
    head = rtnl.ROUTE.pack(
        family(one.dst), one.dst.prefixlen, 0, 0, rtnl.RT_TABLE_MAIN, int(owner), scope, form, onlink
    )
    body = head + rtnl.attr(rtnl.RTA_DST, one.dst.network_address.packed)
    if plain:
        body += _hop(one.hops[0], index)
    elif one.hops:
        body += rtnl.attr(rtnl.RTA_MULTIPATH, b"".join(_nexthop(hop, index) for hop in one.hops))
    return rtnl.message(kind, flags, body)


def _hop(hop: Hop, index: Index) -> bytes:
    via = rtnl.attr(rtnl.RTA_GATEWAY, hop.via.packed) if hop.via is not None else b""
    return via + rtnl.u32(rtnl.RTA_OIF, index(hop.dev))


def _nexthop(hop: Hop, index: Index) -> bytes:
    via = rtnl.attr(rtnl.RTA_GATEWAY, hop.via.packed) if hop.via is not None else b""
    flags = rtnl.RTNH_F_ONLINK if hop.onlink else 0
    return rtnl.NEXTHOP.pack(rtnl.NEXTHOP.size + len(via), flags, 0, index(hop.dev)) + via


def read_route(one: rtnl.Message, links: Mapping[int, str]) -> tuple[int, Route] | None:
    """The protocol and the route of an RTM_NEWROUTE in the main table; None for what has no counterpart."""
    fam, length, _, _, table, protocol, _, form, flags = rtnl.ROUTE.unpack_from(one.body)
    if table != rtnl.RT_TABLE_MAIN or form not in (rtnl.RTN_UNICAST, rtnl.RTN_BLACKHOLE):
        return None
    found = rtnl.attributes(one.body, rtnl.ROUTE.size)
    zero = bytes(4 if fam == rtnl.AF_INET else 16)
    dst = ip_network((found.get(rtnl.RTA_DST, zero), length))
    if form == rtnl.RTN_BLACKHOLE:
        return protocol, Route(dst)
    if rtnl.RTA_MULTIPATH in found:
        return protocol, Route(dst, tuple(sorted(_read_nexthops(found[rtnl.RTA_MULTIPATH], links))))
    via = found.get(rtnl.RTA_GATEWAY)
    dev = links.get(rtnl.number(found.get(rtnl.RTA_OIF, b"")), "")
    hop = Hop(dev, ip_address(via) if via else None, bool(flags & rtnl.RTNH_F_ONLINK))
    return protocol, Route(dst, (hop,))


def _read_nexthops(data: bytes, links: Mapping[int, str]) -> list[Hop]:
    hops, at = [], 0
    while at + rtnl.NEXTHOP.size <= len(data):
        length, flags, _, oif = rtnl.NEXTHOP.unpack_from(data, at)
        via = rtnl.attributes(data[at : at + length], rtnl.NEXTHOP.size).get(rtnl.RTA_GATEWAY)
        hops.append(Hop(links.get(oif, ""), ip_address(via) if via else None, bool(flags & rtnl.RTNH_F_ONLINK)))
        at += (length + 3) & ~3
    return hops


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
    if not ours or not state & rtnl.NUD_PERMANENT or rtnl.NDA_LLADDR not in found:
        return None
    return NeighbourKey(links.get(index, ""), ip_address(found[rtnl.NDA_DST])), found[rtnl.NDA_LLADDR].hex(":")


def address(kind: int, flags: int, index: int, one: Interface) -> bytes:
    """RTM_NEWADDR or RTM_DELADDR."""
    body = rtnl.ADDR.pack(family(one), one.network.prefixlen, 0, 0, index)
    body += rtnl.attr(rtnl.IFA_LOCAL, one.ip.packed) + rtnl.attr(rtnl.IFA_ADDRESS, one.ip.packed)
    return rtnl.message(kind, flags, body)


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


def delete_link(index: int) -> bytes:
    """RTM_DELLINK of one link."""
    return rtnl.message(rtnl.RTM_DELLINK, 0, rtnl.LINK.pack(rtnl.AF_UNSPEC, 0, index, 0, 0))


def delete_group(group: int) -> bytes:
    """RTM_DELLINK of a whole group: the kernel waits once for all of them."""
    body = rtnl.LINK.pack(rtnl.AF_UNSPEC, 0, 0, 0, 0) + rtnl.u32(rtnl.IFLA_GROUP, group)
    return rtnl.message(rtnl.RTM_DELLINK, 0, body)


def veth(wiring: Wiring, index: int, peer_index: int) -> bytes:
    """A pair whose peer is born inside the pod's namespace: moving it there would cost an RCU grace period.

    The peer may not be up before its other end exists; the host's end may.
    """
    peer = (
        rtnl.LINK.pack(rtnl.AF_UNSPEC, 0, peer_index, 0, 0)
        + rtnl.text(rtnl.IFLA_IFNAME, wiring.ifname)
        + rtnl.attr(rtnl.IFLA_ADDRESS, rtnl.mac(wiring.mac))
        + rtnl.u32(rtnl.IFLA_MTU, wiring.mtu)
        + rtnl.u32(rtnl.IFLA_NUM_TX_QUEUES, 1)
        + rtnl.u32(rtnl.IFLA_NUM_RX_QUEUES, 1)
        + rtnl.u32(rtnl.IFLA_NET_NS_FD, wiring.netns)
    )
    info = rtnl.nested(
        rtnl.IFLA_LINKINFO,
        rtnl.text(rtnl.IFLA_INFO_KIND, "veth"),
        rtnl.nested(rtnl.IFLA_INFO_DATA, rtnl.attr(rtnl.VETH_INFO_PEER | rtnl.NLA_F_NESTED, peer)),
    )
    return link(
        index,
        rtnl.text(rtnl.IFLA_IFNAME, wiring.link),
        rtnl.attr(rtnl.IFLA_ADDRESS, rtnl.mac(names.HOST_MAC)),
        rtnl.u32(rtnl.IFLA_MTU, wiring.mtu),
        rtnl.u32(rtnl.IFLA_NUM_TX_QUEUES, 1),
        rtnl.u32(rtnl.IFLA_NUM_RX_QUEUES, 1),
        rtnl.u32(rtnl.IFLA_GROUP, MAKING),
        info,
        up=True,
        flags=rtnl.NLM_F_CREATE | rtnl.NLM_F_EXCL,
    )


def inet_conf(index: int) -> bytes:
    """proxy_arp, forwarding and a strict rp_filter for the host's end, without a write to /proc."""
    conf = rtnl.nested(
        rtnl.IFLA_INET_CONF,
        rtnl.u32(rtnl.IPV4_DEVCONF_PROXY_ARP, 1),
        rtnl.u32(rtnl.IPV4_DEVCONF_FORWARDING, 1),
        rtnl.u32(rtnl.IPV4_DEVCONF_RP_FILTER, 1),
    )
    return link(index, rtnl.nested(rtnl.IFLA_AF_SPEC, rtnl.nested(rtnl.AF_INET, conf)))


def mark(index: int, alias: Alias) -> bytes:
    """Our alias (a message of its own: the kernel ignores it at creation), and out of the group of the half-made."""
    return link(index, rtnl.text(rtnl.IFLA_IFALIAS, str(alias)), rtnl.u32(rtnl.IFLA_GROUP, 0))


def pod_side(index: int, wiring: Wiring) -> list[bytes]:
    """The pod's end: up, its address, a gateway that needs no ARP, and the default route."""
    host = ip_interface((wiring.address, wiring.address.max_prefixlen))
    gateway = names.POD_GATEWAY
    head = (rtnl.AF_INET, 0, 0, rtnl.RT_TABLE_MAIN, 3)
    to_gateway = rtnl.ROUTE.pack(head[0], 32, 0, 0, head[3], head[4], rtnl.RT_SCOPE_LINK, rtnl.RTN_UNICAST, 0)
    default = rtnl.ROUTE.pack(head[0], 0, 0, 0, head[3], head[4], rtnl.RT_SCOPE_UNIVERSE, rtnl.RTN_UNICAST, 0)
    new = rtnl.NLM_F_CREATE | rtnl.NLM_F_EXCL
    oif = rtnl.u32(rtnl.RTA_OIF, index)
    neigh = rtnl.NEIGH.pack(rtnl.AF_INET, index, rtnl.NUD_PERMANENT, 0, 0)
    return [
        link(1, up=True),
        link(index, up=True),
        address(rtnl.RTM_NEWADDR, new, index, host),
        rtnl.message(rtnl.RTM_NEWROUTE, new, to_gateway + rtnl.attr(rtnl.RTA_DST, gateway.packed) + oif),
        rtnl.message(rtnl.RTM_NEWROUTE, new, default + rtnl.attr(rtnl.RTA_GATEWAY, gateway.packed) + oif),
        rtnl.message(
            rtnl.RTM_NEWNEIGH,
            rtnl.NLM_F_CREATE | rtnl.NLM_F_REPLACE,
            neigh + rtnl.attr(rtnl.NDA_DST, gateway.packed) + rtnl.attr(rtnl.NDA_LLADDR, rtnl.mac(names.HOST_MAC)),
        ),
    ]


def alias_fits(wiring: Wiring) -> None:
    """Raises KernelRefused when the alias is longer than the kernel keeps."""
    length = len(str(wiring.alias).encode())
    if length > names.ALIAS_LIMIT:
        raise KernelRefused(
            f"the mark of link {wiring.link} has {length} bytes, at most {names.ALIAS_LIMIT} fit; "
            "give shorter container ids"
        )
