"""World -> what import and export need to know: filters, pools, nodes, service addresses, communities. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from functools import lru_cache

from msgspec import structs

from bgpnet import names
from bgpnet.agent import facts, tunnels
from bgpnet.agent.same import Same, latest
from bgpnet.agent.world import World
from bgpnet.bgp import services
from bgpnet.bgp.export import Offer, Target
from bgpnet.bgp.imports import Accepted, Ground, Imported, Origin, Reason, imported
from bgpnet.bgp.peering import Peerings
from bgpnet.bgp.policy import Chain, Direction, chain, community
from bgpnet.bgp.reflection import Reflection, overloaded
from bgpnet.bgp.rib import Path, Table, decide
from bgpnet.kernel.state import Hop, Route
from bgpnet.model import ip, kinds
from bgpnet.model.bgpconfiguration import BGPConfiguration, BGPConfigurationSpec, CidrBlock
from bgpnet.model.ippool import IPPool
from bgpnet.model.service import EXCLUDED, Endpoint, Service
from bgpnet.pieces import Pause, never, pieces


def filters_known(world: World, found: Peerings) -> bool:
    """Whether every filter that some session names has been heard of, if it exists."""
    return world.is_synced(kinds.BGPFILTER) or not any(one.filters for one in found.neighbours)


def learned(world: World, found: Peerings | None, pause: Pause = never) -> Imported | None:
    """What of the learned is taken; None while that cannot be known. pause: called between pieces of the work."""
    if world.table is None or found is None or not world.is_synced(kinds.IPPOOL) or not filters_known(world, found):
        return None
    return imported(world.table, ground(world, found), origins(world, found), Origin(facts.own_as(world)), pause)


def ground(world: World, found: Peerings) -> Ground:
    """What this node is and knows, for import."""
    node = facts.nodes(world).get(world.me.node)
    pools = [(pool.network, *facts.encapsulation(pool)) for pool in _pools(world)]
    return Ground(
        address=world.me.address,
        uplink=world.me.uplink,
        tunnel=names.TUNNEL,
        own=frozenset(world.blocks),
        pools=tuple((net, mode) for net, mode, _ in pools),
        vxlan=frozenset(net for net, _, tunnel in pools if tunnel == names.VXLAN),
        ends={node: end.gateway for node, end in tunnels.ends(world).items()},
        nodes=frozenset(node.ipv4.ip for node in facts.lingering_nodes(world) if node.ipv4),
        services=ranges(world).all(),
        gateways=found.gateways,
        cluster_id=node.spec.bgp.routeReflectorClusterID if node and node.spec.bgp else "",
        limit=world.me.prefix_limit,
        subnets=tuple((net, link) for net, link in facts.near(world).items() if net != world.me.address.network),
    )


def origins(world: World, found: Peerings) -> dict[ip.Address, Origin]:
    """The sessions, for import."""
    chains, met = _chains(world, found, Direction.IMPORT), world.sessions
    return {
        one.address: Origin(
            local_as=one.local_as,
            in_cluster=one.in_cluster,
            allowed_own_as=one.allowed_own_as,
            chain=chains[one.filters],
            router_id=met[one.address].router_id if one.address in met else None,
        )
        for one in found.neighbours
    }


def targets(world: World, found: Peerings) -> list[Target]:
    """The sessions, for export."""
    chains = _chains(world, found, Direction.EXPORT)
    return [
        Target(
            address=one.address,
            local_as=one.local_as,
            external=one.local_as != one.peer_as,
            next_hop_mode=one.next_hop_mode,
            keep_next_hop=one.keep_next_hop,
            versions=tuple(version for version in (4, 6) if f"ipv{version} unicast" in one.families),
            chain=chains[one.filters],
            client=one.client,
        )
        for one in found.neighbours
    ]


def _chains(world: World, found: Peerings, direction: Direction) -> dict[tuple[str, ...], Chain]:
    known = facts.lingering_filters(world)
    return {used: chain(used, known, direction) for used in {one.filters for one in found.neighbours}}


def passes_on(found: Peerings) -> bool:
    """Whether something learned may be told: as a route reflector, or as some filter wants it."""
    return bool(found.cluster_id) or any(one.filters for one in found.neighbours)


def reflection(world: World, found: Peerings) -> Reflection | None:
    """This node as a route reflector."""
    if not found.cluster_id:
        return None
    clients = frozenset(one.address for one in found.neighbours if one.client)
    known = {peer: met.router_id for peer, met in world.sessions.items() if met.router_id and peer in clients}
    return Reflection(found.cluster_id, clients, known)


def overload(world: World, found: Peerings | None, taken: Imported | None) -> list[str]:
    """What is too much for this node as a route reflector, a sentence each."""
    if found is None or not found.cluster_id:
        return []
    routes = sum(not ways[0].path.external for ways in taken.chosen.values()) if taken is not None else 0
    return overloaded(world.me.node, sum(one.client for one in found.neighbours), routes)


def offer(world: World, found: Peerings, taken: Imported | None) -> Offer:
    """All that could be told: own blocks, service addresses, and of what was learned that which is used."""
    told = _announced(ranges(world), world.me.node, Same(world.services), Same(world.endpoints))
    return Offer(
        blocks=frozenset(world.blocks),
        pools=tuple((pool.network, not pool.spec.disableBGPExport) for pool in _pools(world)),
        services=frozenset() if excluded(world) else told,
        marked=marked(configuration(world)),
        learned=_learned(world, found, taken) if taken else {},
        reflection=reflection(world, found),
        ranges=(*ranges(world).external, *ranges(world).load_balancer) if found.cluster_id else (),
    )


def excluded(world: World) -> bool:
    """Whether this node announces no services: as its Node says, or its Kubernetes Node, which ours follows."""
    seen = world.kubernetes.node if world.kubernetes is not None else None
    return "true" in (facts.labels(world).get(EXCLUDED), seen.labels.get(EXCLUDED) if seen is not None else None)


@latest
def _announced(
    ranges: services.Ranges,
    node: str,
    known: Same[Mapping[str, Service] | None],
    endpoints: Same[Mapping[str, tuple[Endpoint, ...]] | None],
) -> frozenset[ip.Network]:
    """Kept, because every plan asks: thousands of Services take longer than all the rest of it."""
    return services.announced(ranges, node, known.value or {}, endpoints.value or {})


def _learned(world: World, found: Peerings, taken: Imported) -> Mapping[ip.Network, tuple[Path, str]]:
    if found.cluster_id and world.table is not None:
        return _reflected(Same(taken), Same(world.table), world.me.uplink)
    return _used(Same(taken), world.me.uplink)


@lru_cache(maxsize=1)
def _reflected(same: Same[Imported], table: Same[Table], uplink: str) -> Mapping[ip.Network, tuple[Path, str]]:
    """What is used, and the other nodes' service addresses: no node takes them for itself, but routers outside may."""
    rivals: dict[ip.Network, list[Path]] = {}
    for one in same.value.refused:
        path = table.value.of(one.peer).get((one.prefix, 0)) if one.reason is Reason.SERVICE else None
        if path is not None:
            rivals.setdefault(one.prefix, []).append(path)
    return {prefix: (decide(paths), uplink) for prefix, paths in rivals.items()} | dict(_used(same, uplink))


@lru_cache(maxsize=1)
def _used(same: Same[Imported], uplink: str) -> Mapping[ip.Network, tuple[Path, str]]:
    return {prefix: (ways[0].path, hop(ways[0], uplink).dev) for prefix, ways in same.value.chosen.items()}


class Learned(dict[ip.Network, Route]):
    """Learned routes. mark: this table's own; basis: that of the one that it differs from in `again` at most."""

    def __init__(
        self, routes: Mapping[ip.Network, Route], mark: object, basis: object, again: frozenset[ip.Network]
    ) -> None:
        super().__init__(routes)
        self.mark, self.basis, self.again = mark, basis, again


def routes(taken: Imported, uplink: str, pause: Pause = never) -> Mapping[ip.Network, Route]:
    """What is taken, as kernel routes: several next hops where several peers share a prefix.

    The same object for the same: every pod is a reason to plan, and of thousands of learned routes none is concerned.
    And where it is known which few of them changed, only those are made anew.
    """
    last = taken.memo.get(__name__)
    last = last if isinstance(last, _Made) and last.uplink == uplink else None
    if last is not None and last.routes.mark is taken.mark:
        return last.routes
    again: Set[ip.Network]
    if last is not None and last.routes.mark is taken.basis:
        found, again = Learned(last.routes, taken.mark, taken.basis, taken.again), taken.again
    else:
        found, again, last = Learned({}, taken.mark, None, frozenset()), taken.chosen.keys(), None
    hops: _Hops = last.hops if last is not None else {}
    for prefix in pieces(again, pause):
        if ways := taken.chosen.get(prefix):
            found[prefix] = Route(prefix, _hops(ways, uplink, hops))
        else:
            found.pop(prefix, None)
    taken.memo[__name__] = _Made(found, uplink, hops)
    return found


_Hops = dict[tuple[bool, ip.Address | None, ip.Address, str], tuple[Hop, ...]]


@dataclass(frozen=True, slots=True)
class _Made:
    """The routes that were made last, and the hops of single ways in them."""

    routes: Learned
    uplink: str
    hops: _Hops


def _hops(ways: tuple[Accepted, ...], uplink: str, known: _Hops) -> tuple[Hop, ...]:
    if len(ways) > 1:
        return tuple(sorted({hop(way, uplink) for way in ways}))
    key = (ways[0].tunnelled, ways[0].via, ways[0].path.next_hop, ways[0].link)
    if key not in known:
        known[key] = (hop(ways[0], uplink),)
    return known[key]


def hop(way: Accepted, uplink: str) -> Hop:
    """Where a path leads."""
    if way.tunnelled:
        return Hop(way.link or names.TUNNEL, way.via or way.path.next_hop, onlink=True)
    return Hop(way.link or uplink, way.via or way.path.next_hop)


def configuration(world: World) -> BGPConfigurationSpec:
    """The cluster's BGP configuration with this node's communities and advertisements in place of it, where it has any.

    The other fields of `node.<name>` are not for policy.
    """
    spec = facts.bgp(world)
    mine = world.of_kind(kinds.BGPCONFIGURATION).get(f"node.{world.me.node}")
    if not isinstance(mine, BGPConfiguration) or not mine.spec.prefixAdvertisements:
        return spec
    communities = (*mine.spec.communities, *spec.communities)  # the first of a name counts
    return structs.replace(spec, prefixAdvertisements=mine.spec.prefixAdvertisements, communities=communities)


def marked(spec: BGPConfigurationSpec) -> tuple[tuple[ip.Network, tuple[str, ...]], ...]:
    """prefixAdvertisements, with the communities by value (reference/calico-behaviour.md 5.8)."""
    by_name = {one.name: one.value for one in reversed(spec.communities)}
    return tuple(
        (ip.network(one.cidr), tuple(community(by_name.get(each, each)) for each in one.communities))
        for one in spec.prefixAdvertisements
    )


def ranges(world: World) -> services.Ranges:
    """The configured service ranges."""
    spec = facts.bgp(world)
    return services.Ranges(
        cluster=_networks(spec.serviceClusterIPs),
        external=_networks(spec.serviceExternalIPs),
        load_balancer=_networks(spec.serviceLoadBalancerIPs),
        aggregated=spec.serviceLoadBalancerAggregation != "Disabled",
    )


def _networks(blocks: Iterable[CidrBlock]) -> tuple[ip.Network, ...]:
    return tuple(ip.network(block.cidr) for block in blocks)


def _pools(world: World) -> list[IPPool]:
    return sorted(facts.lingering_pools(world), key=lambda pool: -pool.network.prefixlen)
