"""VXLAN devices: as messages and back, made, and repaired in place where the kernel lets it.

The device neither learns nor floods: whom a frame goes to says the forwarding database, which is ours. The outer UDP
checksum is there, as in Calico: the kernel's default.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from ipaddress import IPv4Address, ip_address

from bgpnet.errors import KernelRefused
from bgpnet.kernel import encode, refusals, rtnl, table
from bgpnet.kernel.netlink import Netlink, Refusal
from bgpnet.kernel.state import LEARNING, FdbKey, Tunnel, Vxlan
from bgpnet.model.ip import Address

_SWITCHES = {
    rtnl.IFLA_VXLAN_LEARNING: LEARNING,
    rtnl.IFLA_VXLAN_PROXY: "proxy",
    rtnl.IFLA_VXLAN_RSC: "rsc",
    rtnl.IFLA_VXLAN_L2MISS: "l2miss",
    rtnl.IFLA_VXLAN_L3MISS: "l3miss",
    rtnl.IFLA_VXLAN_COLLECT_METADATA: "external",
}
_PRESENT = {rtnl.IFLA_VXLAN_GROUP: "remote", rtnl.IFLA_VXLAN_GROUP6: "remote", rtnl.IFLA_VXLAN_GBP: "gbp"}
_NOWHERE = IPv4Address(0)


def read(link: table.Link, names: Mapping[int, str]) -> Vxlan:
    """The parameters of a VXLAN device."""
    found = rtnl.attributes(link.data, 0)
    on = [word for kind, word in _SWITCHES.items() if rtnl.number(found.get(kind, b""))]
    on += [] if rtnl.number(found.get(rtnl.IFLA_VXLAN_UDP_CSUM, b"")) else ["noudpcsum"]
    on += [word for kind, word in _PRESENT.items() if kind in found]
    local = found.get(rtnl.IFLA_VXLAN_LOCAL)
    return Vxlan(
        local=ip_address(local) if local else _NOWHERE,
        parent=names.get(rtnl.number(found.get(rtnl.IFLA_VXLAN_LINK, b"")), ""),
        mac=link.mac,
        vni=rtnl.number(found.get(rtnl.IFLA_VXLAN_ID, b"")),
        port=int.from_bytes(found.get(rtnl.IFLA_VXLAN_PORT, b""), "big"),
        others=tuple(sorted(on)),
    )


def _info(one: Vxlan, parent: int, *, new: bool) -> bytes:
    """IFLA_LINKINFO. An existing device takes neither another port nor another way of summing up."""
    parts = [
        rtnl.u32(rtnl.IFLA_VXLAN_ID, one.vni),
        rtnl.u32(rtnl.IFLA_VXLAN_LINK, parent),
        rtnl.attr(rtnl.IFLA_VXLAN_LOCAL, one.local.packed),
        rtnl.attr(rtnl.IFLA_VXLAN_LEARNING, b"\0"),
    ]
    if new:
        parts.append(rtnl.attr(rtnl.IFLA_VXLAN_PORT, struct.pack("!H", one.port)))
        parts.append(rtnl.attr(rtnl.IFLA_VXLAN_UDP_CSUM, b"\1"))
    return rtnl.nested(
        rtnl.IFLA_LINKINFO, rtnl.text(rtnl.IFLA_INFO_KIND, "vxlan"), rtnl.nested(rtnl.IFLA_INFO_DATA, *parts)
    )


def ensured(netlink: Netlink, tunnel: Tunnel, wanted: Vxlan) -> table.Link:
    """The device as wanted but for MTU, address and being up. Raises KernelRefused."""
    parent = table.link(netlink, name=wanted.parent)
    if parent is None:
        raise refusals.no_parent(tunnel, wanted.parent)
    there = table.link(netlink, name=tunnel.name)
    if there is None:
        return _made(netlink, tunnel, wanted, parent)
    if there.kind != tunnel.kind:
        raise refusals.no_tunnel(tunnel, there.kind)
    is_like = read(there, {parent.index: parent.name})
    if is_like == wanted:
        return there
    if is_like.may_become(wanted) and _repaired(netlink, there, wanted, parent):
        return there
    if (refusal := netlink.send([encode.delete_link(there.index)])[0]) is not None and refusal.errno != errno.ENODEV:
        raise KernelRefused(f"tunnel {tunnel.name} has other parameters and could not be deleted: {refusal.told}")
    return _made(netlink, tunnel, wanted, parent)


def _repaired(netlink: Netlink, there: table.Link, wanted: Vxlan, parent: table.Link) -> bool:
    """Whether the kernel took it. With another MAC, the neighbours go: so only where it is another."""
    changes = [encode.link(there.index, _info(wanted, parent.index, new=False))]
    if there.mac != wanted.mac:
        changes.append(encode.link(there.index, rtnl.attr(rtnl.IFLA_ADDRESS, rtnl.mac(wanted.mac))))
    return not any(netlink.send(changes))


def _made(netlink: Netlink, tunnel: Tunnel, wanted: Vxlan, parent: table.Link) -> table.Link:
    new = encode.link(
        0,
        rtnl.text(rtnl.IFLA_IFNAME, tunnel.name),
        rtnl.attr(rtnl.IFLA_ADDRESS, rtnl.mac(wanted.mac)),
        rtnl.u32(rtnl.IFLA_MTU, tunnel.mtu),
        _info(wanted, parent.index, new=True),
        flags=encode.NEW,
    )
    try:
        netlink.ask([new])
    except Refusal as problem:
        raise refusals.not_made(tunnel, problem.errno or 0, problem.told) from problem
    found = table.link(netlink, name=tunnel.name)
    if found is None:
        raise KernelRefused(f"link {tunnel.name} was made and is gone: find out who deletes it")
    return found


def fdb_message(kind: int, key: FdbKey, to: Address | None, index: int) -> bytes:
    """RTM_NEWNEIGH (added, or in the place of what is there) or RTM_DELNEIGH of the device's own database."""
    flags = rtnl.NLM_F_CREATE | rtnl.NLM_F_REPLACE if kind == rtnl.RTM_NEWNEIGH else 0
    body = rtnl.NEIGH.pack(rtnl.AF_BRIDGE, index, rtnl.NUD_PERMANENT, rtnl.NTF_SELF, 0)
    body += rtnl.attr(rtnl.NDA_LLADDR, rtnl.mac(key.mac))
    return rtnl.message(kind, flags, body + (rtnl.attr(rtnl.NDA_DST, to.packed) if to is not None else b""))


def read_fdb(netlink: Netlink, device: table.Link) -> dict[FdbKey, Address]:
    """The permanent entries of our device. One with several ends is not as it should be, and is left out."""
    body = rtnl.NEIGH.pack(rtnl.AF_BRIDGE, device.index, 0, 0, 0)
    found: dict[FdbKey, list[Address]] = {}
    for one in netlink.dump(rtnl.RTM_GETNEIGH, body, torn=True):
        family, index, state, _, _ = rtnl.NEIGH.unpack_from(one.body)
        told = rtnl.attributes(one.body, rtnl.NEIGH.size)
        if (family, index) != (rtnl.AF_BRIDGE, device.index) or not state & rtnl.NUD_PERMANENT:
            continue
        if rtnl.NDA_DST in told and rtnl.NDA_LLADDR in told:
            key = FdbKey(device.name, told[rtnl.NDA_LLADDR].hex(":"))
            found.setdefault(key, []).append(ip_address(told[rtnl.NDA_DST]))
    return {key: ends[0] for key, ends in found.items() if len(ends) == 1}
