"""World -> what is to become of packets: whom natOutgoing masquerades, who may send tunnelled packets, and for which
Services' addresses a packet must not go back to the router that sent it. Pure.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from bgpnet import names
from bgpnet.agent import facts, policies
from bgpnet.agent.world import World
from bgpnet.kernel.packets import NOTHING, PacketRules, collapsed
from bgpnet.model import ip, kinds
from bgpnet.model.ippool import AllowedUse, Encap


def rules(world: World) -> PacketRules | None:
    """The wish; None while the nodes, the pools or the configuration are not known: what is there stays.

    As Calico (reference 4.6): disabled pools count like all others, and pools for load balancers alone do not.
    """
    if not world.me.firewall:
        return NOTHING
    if not world.is_synced(kinds.IPPOOL, kinds.NODE, kinds.BGPCONFIGURATION):
        return None
    pools = facts.lingering_pools(world)
    nodes = _nodes(world)
    tunnels = {
        names.TUNNEL: any(pool.spec.ipipMode is not Encap.NEVER for pool in pools),
        names.VXLAN: any(pool.spec.vxlanMode is not Encap.NEVER for pool in pools),
    }
    outgoing = collapsed(pool.network for pool in pools if pool.spec.natOutgoing)
    inside = [pool.network for pool in pools if pool.spec.allowedUses != (AllowedUse.LOAD_BALANCER,)]
    if world.me.nat_spares_nodes:
        inside += [ip.host(node) for node in nodes]
    used = frozenset(name for name, is_used in tunnels.items() if is_used)
    return PacketRules(
        masquerade=outgoing,
        inside=collapsed(inside),
        nodes=nodes,
        tunnels=used,
        nat=bool(outgoing or used),
        services=collapsed(policies.ranges(world).all()),
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


def _nodes(world: World) -> frozenset[IPv4Address]:
    """The addresses of all nodes, with those that were deleted just now, and this one."""
    known = [node.ipv4.ip for node in facts.lingering_nodes(world) if node.ipv4]
    return frozenset(one for one in (*known, world.me.address.ip) if isinstance(one, IPv4Address))
