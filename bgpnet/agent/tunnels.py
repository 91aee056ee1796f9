"""World -> tunnels: the devices, and of VXLAN what leads to the other nodes' ends. Pure.

A route over VXLAN leads to the other end's tunnel address, a neighbour gives that the other end's MAC, and the
forwarding database gives the MAC the node's address: all of it from the Node objects. A node that has a MAC and no
tunnel address (its pool is disabled, say) is led to by its own address: its pods are not cut off for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from bgpnet.agent import facts
from bgpnet.agent.same import Same
from bgpnet.agent.world import Departed, World
from bgpnet.bgp.imports import Imported, Reason
from bgpnet.kernel.state import FdbKey, NeighbourKey, Tunnel, Vxlan
from bgpnet.model import ip, kinds
from bgpnet.model.node import Node, NodeSpec
from bgpnet.names import TUNNEL, VXLAN

KINDS = {TUNNEL: "ipip", VXLAN: "vxlan"}


@dataclass(frozen=True, slots=True)
class End:
    """Where VXLAN ends at another node. gateway: what routes lead to; node: where its packets are sent."""

    gateway: ip.Address
    mac: str
    node: ip.Address


def devices(world: World) -> dict[str, Tunnel]:
    """Those that some pool needs; each with its one address once that is allocated, and with none where it is known to
    have none. One that no pool needs any more is left as it is: others may still send to it."""
    if not world.is_synced(kinds.IPPOOL):
        return {}
    return {name: _device(world, name) for name in facts.tunnels_used(world)}


def _device(world: World, name: str) -> Tunnel:
    address = facts.tunnel_address(world, name)
    wanted = ip.interface(f"{address}/{address.max_prefixlen}") if address else None
    bare = world.adopted and address is None
    vxlan = Vxlan(world.me.address.ip, world.me.uplink, facts.tunnel_mac(world)) if name == VXLAN else None
    return Tunnel(name, KINDS[name], facts.tunnel_mtu(world, name), wanted, bare, vxlan)


def ends(world: World) -> Mapping[ip.Address, End]:
    """The other nodes' ends of VXLAN, by their node's address; none where no pool is tunnelled so."""
    if not any(facts.encapsulation(pool)[1] == VXLAN for pool in facts.lingering_pools(world)):
        return {}
    return _ends(Same(facts.nodes(world)), Same(world.departed), world.me.node)


@lru_cache(maxsize=4)
def _ends(nodes: Same[Mapping[str, Node]], departed: Same[Departed], me: str) -> Mapping[ip.Address, End]:
    """Kept, because every plan asks several times: of a thousand Nodes, few change."""
    there = facts.lingering(nodes.value, departed.value)
    return {end.node: end for one in there if one.metadata.name != me for end in _of(one)}


def _of(node: Node) -> Iterator[End]:
    mac = node.spec.vxlanTunnelMACAddr.lower()
    if node.ipv4 is not None and _is_unicast(mac):
        at, own = node.spec.ipv4VXLANTunnelAddr, node.ipv4.ip
        yield End(ip.address(at) if at else own, mac, own)


def _is_unicast(mac: str) -> bool:
    """Not empty, not a group's: frames for those would go to everybody."""
    return bool(mac.strip("0:")) and not int(mac[:2], 16) & 1


def neighbours(world: World) -> dict[NeighbourKey, str]:
    """The MACs of the other ends, so that nobody has to ask."""
    return {NeighbourKey(VXLAN, end.gateway): end.mac for end in ends(world).values()}


def fdb(world: World) -> dict[FdbKey, ip.Address]:
    """Where the frames for them are sent."""
    return {FdbKey(VXLAN, end.mac): end.node for end in ends(world).values()}


def are_known(world: World) -> bool:
    """Whether the other ends are known in full, so that what is there beside them may go."""
    return world.is_synced(kinds.IPPOOL, kinds.NODE)


def published(world: World, spec: NodeSpec) -> tuple[str, str]:
    """What this node says of its own end: ipv4VXLANTunnelAddr and vxlanTunnelMACAddr.

    The MAC follows the address, so that others lead to that from the first, unless there is none to be had; once said,
    it stays.
    """
    if not world.adopted:
        return spec.ipv4VXLANTunnelAddr, spec.vxlanTunnelMACAddr
    address, mac = facts.tunnel_address(world, VXLAN), facts.tunnel_mac(world)
    in_vain = bool(world.no_address) and VXLAN in facts.tunnels_used(world)
    return str(address or ""), mac if address or in_vain or spec.vxlanTunnelMACAddr == mac else ""


def waiting(taken: Imported | None) -> frozenset[ip.Network]:
    """What is announced by a node that has not said where its tunnel ends: the way it had stays until it says so."""
    late = (one.prefix for one in (taken.refused if taken is not None else ()) if one.reason is Reason.WAITING)
    return frozenset(prefix for prefix in late if taken is not None and prefix not in taken.chosen)
