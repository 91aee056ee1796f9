"""What follows from the World and is asked for in more than one place. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import translate
from math import inf
from typing import cast

from bgpnet import ipam, names
from bgpnet.agent import recorded
from bgpnet.agent.world import Departed, Me, Phase, Seen, World
from bgpnet.bgp import member
from bgpnet.cnispec import Attachment
from bgpnet.kernel.state import KernelState, NeighbourKey, PodLink, Uplink
from bgpnet.kernel.state import Owner as Mark
from bgpnet.model import ip, kinds
from bgpnet.model.bgpconfiguration import BGPConfiguration, BGPConfigurationSpec
from bgpnet.model.bgpfilter import BGPFilter, BGPFilterSpec
from bgpnet.model.bgppeer import BGPPeer
from bgpnet.model.instant import seconds
from bgpnet.model.ipamblock import Owner
from bgpnet.model.ippool import Encap, IPPool
from bgpnet.model.kinds import Kind, Resource
from bgpnet.model.node import Identity, Node

OVERHEAD = {names.TUNNEL: 20, names.VXLAN: 50}
"""Bytes around a tunnelled packet: an IPv4 header (RFC 2003); with UDP, VXLAN and an inner Ethernet header (RFC 7348).

By the tunnels' names, under which a node's own tunnel addresses are allocated; they have no container, as pods have.
"""


def pools(world: World) -> Mapping[str, IPPool]:
    """All pools, disabled ones included."""
    return cast("Mapping[str, IPPool]", world.of_kind(kinds.IPPOOL))


def nodes(world: World) -> Mapping[str, Node]:
    """All nodes as last heard, this one included once it is recorded."""
    return cast("Mapping[str, Node]", world.of_kind(kinds.NODE))


def lingering_pools(world: World) -> list[IPPool]:
    """All pools, and then those that were deleted just now: see `sync.LINGER`."""
    there = pools(world)
    gone = _departed(world.departed, kinds.IPPOOL, there)
    return [*there.values(), *(one for one in gone if isinstance(one, IPPool))]


def lingering_nodes(world: World) -> list[Node]:
    """All nodes, and then those that were deleted just now and whose address no other has: see `sync.LINGER`."""
    return lingering(nodes(world), world.departed)


def lingering(there: Mapping[str, Node], departed: Departed) -> list[Node]:
    """The same of what a World has of them."""
    taken = {node.ipv4.ip for node in there.values() if node.ipv4}
    gone = [one for one in _departed(departed, kinds.NODE, there) if isinstance(one, Node)]
    return [*there.values(), *(one for one in gone if one.ipv4 is None or one.ipv4.ip not in taken)]


def _departed(departed: Departed, kind: Kind, there: Mapping[str, object]) -> list[Resource]:
    return [one for name, (one, _) in departed.get(kind.plural, {}).items() if name not in there]


def labels(world: World) -> Mapping[str, str]:
    """This node's labels, which pools select by."""
    node = nodes(world).get(world.me.node)
    return node.metadata.labels if node else {}


def subnets(links: Iterable[Uplink]) -> dict[ip.Network, str]:
    """The networks that are reached over links without a router in between; of two links with one, the first."""
    found: dict[ip.Network, str] = {}
    for link in links:
        for one in link.addresses if link.up else ():
            if not one.ip.is_loopback and not one.ip.is_link_local and one.network.num_addresses > 1:
                found.setdefault(one.network, link.name)
    return found


def away(world: World) -> str:
    """That the datastore does not answer, with the reason; for who waits for what only it knows."""
    return f"the datastore is away ({world.store_away or 'it has not answered yet'})"


def homeless(me: Me) -> str:
    """What is wrong, and what to do, while the node's address is on none of its links."""
    return (
        f"the node's address {me.address.ip} is on no link, so other nodes do not reach its pods: put it back (ip "
        f"address add {me.address} dev {me.uplink}), or restart the agent where the node has another one now"
    )


def out(world: World, address: ip.Address) -> str:
    """The link that the address is on; empty when it is on none. The node's own subnet goes before all others."""
    if ip.contains(world.me.address.network, address):
        return world.me.uplink
    return next((link for net, link in near(world).items() if ip.contains(net, address)), "")


def near(world: World) -> Mapping[ip.Network, str]:
    """The networks on the node's links, each with its link, but for those that `ignoredInterfaces` names: of them
    nothing is learned, as in Calico, so no next hop and no gateway is reached over them."""
    patterns = configured(world).get(f"node.{world.me.node}", member.NOTHING).ignoredInterfaces
    patterns = patterns or bgp(world).ignoredInterfaces
    if not patterns:
        return world.subnets
    ignored = re.compile("|".join(map(translate, patterns)))
    return {net: link for net, link in world.subnets.items() if not ignored.match(link)}


def owner(world: World) -> Owner:
    """This node as the owner of blocks."""
    return Owner(name=world.me.node, uid=world.me.uuid)


def silence(world: World, identity: Identity) -> float:
    """Seconds since the machine said that it lives; infinite when it wrote no instant, negative by a clock ahead."""
    try:
        return world.now - seconds(identity.heartbeat)
    except ValueError:
        return inf


def lingering_peers(world: World) -> list[BGPPeer]:
    """All BGPPeers, and then those that were deleted just now: see `sync.LINGER`."""
    there = world.of_kind(kinds.BGPPEER)
    found = [*there.values(), *_departed(world.departed, kinds.BGPPEER, there)]
    return [one for one in found if isinstance(one, BGPPeer)]


def lingering_filters(world: World) -> dict[str, BGPFilterSpec]:
    """All BGPFilters by name, and those that were deleted just now: see `sync.LINGER`."""
    there = world.of_kind(kinds.BGPFILTER)
    found = [*_departed(world.departed, kinds.BGPFILTER, there), *there.values()]
    return {one.metadata.name: one.spec for one in found if isinstance(one, BGPFilter)}


def configured(world: World) -> Mapping[str, BGPConfigurationSpec]:
    """The BGPConfigurations by name: `default`, and `node.<name>`."""
    there = world.of_kind(kinds.BGPCONFIGURATION)
    departed = {one.metadata.name: one for one in _departed(world.departed, kinds.BGPCONFIGURATION, there)}
    return {name: one.spec for name, one in {**departed, **there}.items() if isinstance(one, BGPConfiguration)}


def bgp(world: World) -> BGPConfigurationSpec:
    """The cluster's BGP configuration (the object `default`), or an empty one."""
    return configured(world).get(member.DEFAULT, member.NOTHING)


def setting(world: World, name: str) -> object:
    """A field of BGPConfiguration as it holds for this node: its own object's, else the cluster's, else None."""
    own = configured(world).get(f"node.{world.me.node}", member.NOTHING)
    said = getattr(own, name)
    return getattr(bgp(world), name) if said is None else said


def cluster_as(world: World) -> int:
    """The AS of nodes that name none."""
    return member.cluster_as(configured(world))


def own_as(world: World) -> int:
    """This node's AS: its settings', else its Node's, else the cluster's."""
    node = nodes(world).get(world.me.node)
    recorded = node.spec.bgp.asNumber if node and node.spec.bgp else None
    return world.me.as_number or recorded or cluster_as(world)


def listen_port(world: World) -> int:
    """Where this node listens for BGP."""
    return member.listen_port(configured(world), world.me.node)


def encapsulation(pool: IPPool) -> tuple[Encap, str]:
    """When a pool's packets between nodes are tunnelled, and by which tunnel; no pool has both, and of
    IPv6, which is not wired yet, none has either."""
    if pool.network.version == 6:
        return Encap.NEVER, ""
    if pool.spec.vxlanMode is not Encap.NEVER:
        return pool.spec.vxlanMode, names.VXLAN
    return pool.spec.ipipMode, names.TUNNEL if pool.spec.ipipMode is not Encap.NEVER else ""


def tunnels_used(world: World) -> list[str]:
    """The tunnels of pools that tunnel: every node has each, an address on it, and smaller pods' MTU."""
    used = {encapsulation(pool)[1] for pool in pools(world).values()}
    return [name for name in names.TUNNELS if name in used]


def tunnel_mtu(world: World, name: str = names.TUNNEL) -> int:
    """The uplink's MTU less what is around the packet."""
    return world.me.uplink_mtu - OVERHEAD[name]


def tunnel_mac(world: World) -> str:
    """The MAC of the node's VXLAN device: from its address, which no other node has."""
    return (b"\x66\x62" + world.me.address.ip.packed[-4:]).hex(":")


def pod_mtu(world: World) -> int:
    """What fits through every way a pod's packet may take; each tunnel among them while the pools are not known."""
    used = tunnels_used(world) if world.is_synced(kinds.IPPOOL) else names.TUNNELS
    return min([tunnel_mtu(world, name) for name in used], default=world.me.uplink_mtu)


def tunnel_address(world: World, name: str = names.TUNNEL) -> ip.Address | None:
    """The address of tunl0, or of another tunnel, which lies in one of the node's own blocks."""
    for net in sorted(world.blocks, key=ip.order):
        if found := ipam.find(world.blocks[net], "", name):
            return found[0]
    return None


def fenced(world: World) -> str:
    """Which blocks that pods of this node have addresses from belong to other nodes; nothing where there are none."""
    found = {lost_to(world, pod.address): None for pod in world.pods.values() if pod.phase is not Phase.CUT}
    remedy = "delete the pods that still have addresses from it, so that they start again"
    return "; ".join(f"{reason}; {remedy}" for reason in found if reason)


def lost_to(world: World, address: ip.Address) -> str:
    """That an address is in another node's block, as a sentence; nothing when it is in an own one, or in none."""
    if any(ip.contains(net, address) for net in world.blocks):
        return ""
    for block in recorded.containing(world, address):
        owner = block.spec.owner
        if owner is not None and owner.name != world.me.node:
            return f"block {block.spec.cidr} of this node belongs to node {owner.name} now"
    return ""


def _mac(neighbours: Mapping[ip.Address, str], address: ip.Address | None) -> str:
    """Of a pod, by the neighbours on its link: by its address, or, where that is not known, as the only one."""
    if address is None and len(neighbours) == 1:
        return next(iter(neighbours.values()))
    return neighbours.get(address, "") if address is not None else ""


def pod_mac(address: ip.Address) -> str:
    """The pod's MAC from its address, unless another was asked for: 0a:58 and the last four bytes."""
    return (b"\x0a\x58" + address.packed[-4:]).hex(":")


def believed(world: World, links: frozenset[str]) -> bool:
    """Whether one of these links is a pod's that the World has as wired: whatever was heard of it before."""
    return bool(links) and any(pod.link in links and pod.phase is Phase.READY for pod in world.pods.values())


def lost(world: World, link: PodLink) -> str:
    """That a pod's link is gone, in a sentence that says whose."""
    pod = world.pods.get(Attachment(link.alias.container, link.alias.ifname))
    named = f" (pod {pod.pod})" if pod is not None and pod.pod else ""
    return (
        f"pod link {link.name} of container {link.alias.container}{named} is gone: where the pod still runs, delete "
        "it, so that it starts anew; the runtime's DEL releases its address"
    )


def seen(have: KernelState) -> dict[Attachment, Seen]:
    """The pod links of ours that are in use, each with the address that our route over it leads to.

    Of several, the one that is a neighbour there: somebody has led another pod's over it.
    """
    addresses: dict[str, ip.Address] = {}
    for dst, route in have.routes.get(Mark.LOCAL, {}).items():
        if dst.prefixlen == dst.max_prefixlen and len(route.hops) == 1:
            dev, address = route.hops[0].dev, dst.network_address
            if dev not in addresses or NeighbourKey(dev, address) in have.neighbours:
                addresses[dev] = address
    macs: dict[str, dict[ip.Address, str]] = {}
    for key, mac in have.neighbours.items():
        macs.setdefault(key.dev, {})[key.address] = mac
    return {
        Attachment(link.alias.container, link.alias.ifname): Seen(
            link.name,
            link.alias.since,
            link.mtu,
            addresses.get(link.name),
            _mac(macs.get(link.name, {}), addresses.get(link.name)),
        )
        for link in have.pods.values()
        if not link.reaping
    }
