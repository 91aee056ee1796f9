"""Which service addresses this node announces (reference/calico-behaviour.md 5.7). Pure.

Every node announces the configured ranges. Single addresses go out beside them from the nodes that have a reason to
take their traffic: an endpoint of a service whose externalTrafficPolicy is Local.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bgpnet.model import ip
from bgpnet.model.ip import Address, Network
from bgpnet.model.service import Endpoint, Service, ServiceType, TrafficPolicy

_SERVED = (ServiceType.CLUSTER_IP, ServiceType.NODE_PORT, ServiceType.LOAD_BALANCER)


@dataclass(frozen=True, slots=True)
class Ranges:
    """The configured ranges. aggregated: False where serviceLoadBalancerAggregation is Disabled."""

    cluster: tuple[Network, ...] = ()
    external: tuple[Network, ...] = ()
    load_balancer: tuple[Network, ...] = ()
    aggregated: bool = True

    def all(self) -> tuple[Network, ...]:
        """All of them."""
        return (*self.cluster, *self.external, *self.load_balancer)


def announced(
    ranges: Ranges, node: str, services: Mapping[str, Service], endpoints: Mapping[str, tuple[Endpoint, ...]]
) -> frozenset[Network]:
    """The prefixes this node announces. Both mappings are by `namespace/name`."""
    found = set(ranges.cluster)
    found.update(net for net in ranges.external if not _single(net))
    if ranges.aggregated:
        found.update(net for net in ranges.load_balancer if not _single(net))
    for name, service in services.items():
        if service.type in _SERVED and service.cluster_ips:
            found.update(map(ip.host, _addresses(ranges, node, service, endpoints.get(name, ()))))
    return frozenset(found)


def _addresses(ranges: Ranges, node: str, service: Service, endpoints: Iterable[Endpoint]) -> Iterable[Address]:
    """The single addresses of one service that this node takes traffic for."""
    ready = [one for one in endpoints if one.ready]
    external = _inside(service.external_ips, ranges.external)
    balanced = _inside(service.load_balancer_ips, ranges.load_balancer)
    if service.policy is TrafficPolicy.LOCAL:
        if any(one.node == node for one in ready):
            yield from _inside(service.cluster_ips, ranges.cluster)
            yield from external
            yield from balanced
        return
    yield from (one for one in external if ip.host(one) in ranges.external)
    yield from (one for one in balanced if ip.host(one) in ranges.load_balancer or (ready and not ranges.aggregated))


def _inside(addresses: Iterable[str], ranges: Iterable[Network]) -> list[Address]:
    """Those that lie in a configured range; whatever else a service says it has is not ours to announce."""
    found = []
    for text in addresses:
        try:
            one = ip.address(text)
        except ValueError:  # such as the `None` of a headless service, or a load balancer's host name
            continue
        if any(ip.contains(net, one) for net in ranges):
            found.append(one)
    return found


def _single(net: Network) -> bool:
    return net.prefixlen == net.max_prefixlen
