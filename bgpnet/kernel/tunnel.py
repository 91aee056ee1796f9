"""Tunnel devices: create or find, MTU, exactly one IPv4 address, up. What is right already is not touched."""

from __future__ import annotations

import errno

from bgpnet.errors import KernelRefused
from bgpnet.kernel import encode, rtnl
from bgpnet.kernel.netlink import Netlink, Refusal
from bgpnet.kernel.state import Tunnel
from bgpnet.kernel.table import Link, addresses, links
from bgpnet.model.ip import Interface

KINDS = {"ipip": "ipip"}
"""The kinds that are built, and the module that each needs."""


def put_tunnel(netlink: Netlink, tunnel: Tunnel) -> None:
    """Raises KernelRefused with the remedy."""
    if tunnel.kind not in KINDS:
        raise KernelRefused(f"tunnel {tunnel.name}: kind {tunnel.kind} is not built; known is {', '.join(KINDS)}")
    device = links(netlink).get(tunnel.name) or _create(netlink, tunnel)
    if device.kind != tunnel.kind:
        raise KernelRefused(
            f"link {tunnel.name} is there and is {device.kind or 'no tunnel'}, not {tunnel.kind}: "
            f"rename it or delete it (ip link del {tunnel.name})"
        )
    try:
        if device.mtu != tunnel.mtu:
            netlink.ask([encode.link(device.index, rtnl.u32(rtnl.IFLA_MTU, tunnel.mtu))])
        if not device.up:
            netlink.ask([encode.link(device.index, up=True)])
        _address(netlink, device, tunnel.address)
    except Refusal as problem:
        raise KernelRefused(f"tunnel {tunnel.name} could not be set up: {problem.strerror}") from problem


def _create(netlink: Netlink, tunnel: Tunnel) -> Link:
    """Loading the module creates the fall-back device in every namespace, so that finding it there is fine."""
    info = rtnl.nested(rtnl.IFLA_LINKINFO, rtnl.text(rtnl.IFLA_INFO_KIND, tunnel.kind))
    new = encode.link(0, rtnl.text(rtnl.IFLA_IFNAME, tunnel.name), info, flags=rtnl.NLM_F_CREATE | rtnl.NLM_F_EXCL)
    try:
        netlink.ask([new])
    except Refusal as problem:
        if problem.errno != errno.EEXIST:
            raise KernelRefused(
                f"this kernel makes no {tunnel.kind} device ({problem.strerror}), which pools with ipipMode Always or "
                f"CrossSubnet need: run modprobe {KINDS[tunnel.kind]}, or set the pools' ipipMode to Never"
            ) from problem
    found = links(netlink).get(tunnel.name)
    if found is None:
        raise KernelRefused(f"link {tunnel.name} was made and is gone: does somebody else delete it?")
    return found


def _address(netlink: Netlink, device: Link, wanted: Interface | None) -> None:
    """The new address first, then the others away: between the two the device is never without one."""
    if wanted is None:
        return
    have = [one for one in addresses(netlink, {device.index: device.name}).get(device.name, []) if one.version == 4]
    if wanted not in have:
        flags = rtnl.NLM_F_CREATE | rtnl.NLM_F_EXCL
        netlink.ask([encode.address(rtnl.RTM_NEWADDR, flags, device.index, wanted)])
    for other in have:
        if other != wanted:
            netlink.ask([encode.address(rtnl.RTM_DELADDR, 0, device.index, other)])
