"""Tunnel devices: create or find, MTU, exactly one IPv4 address, up. What is right already is not touched."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence

from bgpnet.errors import KernelRefused
from bgpnet.kernel import encode, refusals, rtnl, table, vxlan
from bgpnet.kernel.netlink import Netlink, Refusal
from bgpnet.kernel.state import Tunnel
from bgpnet.model.ip import Interface
from bgpnet.names import TUNNELS


def read_tunnels(links: Sequence[table.Link], addresses: Mapping[int, Sequence[Interface]]) -> dict[str, Tunnel]:
    """Ours, by name. One that is down or has several addresses is not as it should be, and is left out."""
    found = {}
    for one in (link for link in links if link.name in TUNNELS and link.up):
        have = [address for address in addresses.get(one.index, ()) if address.version == 4]
        if len(have) <= 1:
            more = vxlan.read(one, {link.index: link.name for link in links}) if one.kind == "vxlan" else None
            found[one.name] = Tunnel(one.name, one.kind, one.mtu, have[0] if have else None, vxlan=more)
    return found


def put_tunnel(netlink: Netlink, tunnel: Tunnel) -> None:
    """Raises KernelRefused with the remedy."""
    if tunnel.kind not in refusals.TUNNEL_MODES:
        raise refusals.unknown_tunnel(tunnel)
    if tunnel.vxlan is not None:
        device = vxlan.ensured(netlink, tunnel, tunnel.vxlan)
    else:
        device = table.link(netlink, name=tunnel.name) or _create(netlink, tunnel)
    if device.kind != tunnel.kind:
        raise refusals.no_tunnel(tunnel, device.kind)
    try:
        if device.mtu != tunnel.mtu:
            netlink.ask([encode.link(device.index, rtnl.u32(rtnl.IFLA_MTU, tunnel.mtu))])
        if not device.up:
            netlink.ask([encode.link(device.index, up=True)])
        if tunnel.address is not None:
            _address(netlink, device, tunnel.address)
        elif tunnel.bare:
            gone = [encode.address(rtnl.RTM_DELADDR, 0, device.index, one) for one in _ipv4(netlink, device)]
            netlink.send(gone)
    except Refusal as problem:
        raise KernelRefused(
            f"tunnel {tunnel.name} (MTU {tunnel.mtu}, address {tunnel.address}) could not be set up: {problem.told}"
        ) from problem


def _create(netlink: Netlink, tunnel: Tunnel) -> table.Link:
    """Loading the module creates the fall-back device in every namespace, so that finding it there is fine."""
    info = rtnl.nested(rtnl.IFLA_LINKINFO, rtnl.text(rtnl.IFLA_INFO_KIND, tunnel.kind))
    try:
        netlink.ask([encode.link(0, rtnl.text(rtnl.IFLA_IFNAME, tunnel.name), info, flags=encode.NEW)])
    except Refusal as problem:
        if problem.errno != errno.EEXIST:
            raise refusals.no_module(tunnel, problem.told) from problem
    found = table.link(netlink, name=tunnel.name)
    if found is None:
        raise KernelRefused(f"link {tunnel.name} was made and is gone: find out who deletes it")
    return found


def _address(netlink: Netlink, device: table.Link, wanted: Interface) -> None:
    """The new address first, then the others away: between the two the device is never without one."""
    for _ in range(2):  # twice: with a primary address go the secondary ones of its subnet
        have = _ipv4(netlink, device)
        if wanted not in have:
            netlink.ask([encode.address(rtnl.RTM_NEWADDR, encode.NEW, device.index, wanted)])
        others = [encode.address(rtnl.RTM_DELADDR, 0, device.index, one) for one in have if one != wanted]
        if not others:
            return
        netlink.send(others)
    if rest := [str(one) for one in _ipv4(netlink, device) if one != wanted]:
        raise KernelRefused(
            f"tunnel {device.name} must have the address {wanted} only: remove {', '.join(rest)} "
            f"(ip addr flush dev {device.name})"
        )


def _ipv4(netlink: Netlink, device: table.Link) -> list[Interface]:
    return [one for one in table.addresses(netlink).get(device.index, []) if one.version == 4]
