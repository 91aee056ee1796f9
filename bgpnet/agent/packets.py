"""World -> what is to become of packets: whom natOutgoing masquerades, who may send tunnelled packets, and for which
Services' addresses a packet must not go back to the router that sent it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address

from bgpnet import names
from bgpnet.agent import facts, policies
from bgpnet.agent.same import Same, latest
from bgpnet.agent.world import Departed, World
from bgpnet.kernel.packets import NOTHING, Networks, PacketRules, collapsed
from bgpnet.model import ip, kinds
from bgpnet.model.bgpconfiguration import DEFAULT_PORT
from bgpnet.model.ippool import AllowedUse, Encap
from bgpnet.model.node import Node


def rules(world: World) -> PacketRules | None:
    """The wish; None while the nodes, the pools or the configuration are not known: what is there stays.

    As Calico (reference 4.6): disabled pools count like all others, and pools for load balancers alone do not.
    """
    if not world.me.firewall:
        return NOTHING
    if not world.is_synced(kinds.IPPOOL, kinds.NODE, kinds.BGPCONFIGURATION):
        return None
    pools = facts.lingering_pools(world)
    nodes = _nodes(Same(facts.nodes(world)), Same(world.departed), world.me.address.ip)
    tunnels = {
        names.TUNNEL: any(pool.spec.ipipMode is not Encap.NEVER for pool in pools),
        names.VXLAN: any(pool.spec.vxlanMode is not Encap.NEVER for pool in pools),
    }
    outgoing = collapsed(pool.network for pool in pools if pool.spec.natOutgoing)
    inside = tuple(pool.network for pool in pools if pool.spec.allowedUses != (AllowedUse.LOAD_BALANCER,))
    used = frozenset(name for name, is_used in tunnels.items() if is_used)
    return PacketRules(
        masquerade=outgoing,
        inside=_inside(inside, nodes if world.me.nat_spares_nodes else frozenset()),
        nodes=nodes,
        tunnels=used,
        nat=bool(outgoing or used),
        bgp=_ports(world),
        services=collapsed(policies.ranges(world).all()) if world.me.stops_service_loops else frozenset(),
    )


def warnings(world: World) -> list[str]:
    """What is wrong, one sentence each."""
    if world.me.firewall:
        return list(world.firewall)
    outgoing = sorted(name for name, pool in facts.pools(world).items() if pool.spec.natOutgoing)
    if not outgoing:
        return []
    return [
        f"natOutgoing of {', '.join(outgoing)} is not acted on here, because the agent's setting firewall is off: "
        "set firewall to required"
    ]


def _ports(world: World) -> frozenset[int]:
    """Where nodes listen for BGP."""
    own = {spec.listenPort for spec in facts.configured(world).values() if spec.listenPort}
    return frozenset({*own, facts.bgp(world).listenPort or DEFAULT_PORT})


@latest
def _inside(pools: tuple[ip.Network, ...], nodes: frozenset[IPv4Address]) -> Networks:
    """What is not masqueraded on the way to."""
    return collapsed([*pools, *map(ip.host, nodes)])


@lru_cache(maxsize=4)
def _nodes(nodes: Same[Mapping[str, Node]], departed: Same[Departed], own: ip.Address) -> frozenset[IPv4Address]:
    """The addresses of all nodes, with those that were deleted just now, and this one.

    Kept, because every plan asks: a pod more changes no Node of a thousand.
    """
    known = [node.ipv4.ip for node in facts.lingering(nodes.value, departed.value) if node.ipv4]
    return frozenset(one for one in (*known, own) if isinstance(one, IPv4Address))
