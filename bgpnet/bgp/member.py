"""A node as those see it that speak BGP with it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bgpnet.model.bgpconfiguration import DEFAULT_AS, DEFAULT_PORT, BGPConfigurationSpec
from bgpnet.model.ip import Address
from bgpnet.model.node import Node

DEFAULT = "default"
NOTHING = BGPConfigurationSpec()


@dataclass(frozen=True, slots=True)
class Member:
    """Where a node listens, its AS, and what selects it; cluster: the route reflector's cluster id, or nothing."""

    name: str
    address: Address
    as_number: int = DEFAULT_AS
    port: int = DEFAULT_PORT
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    cluster: str = ""


def cluster_as(configured: Mapping[str, BGPConfigurationSpec]) -> int:
    """The AS of nodes that name none. configured: the BGPConfigurations, by name."""
    return configured.get(DEFAULT, NOTHING).asNumber or DEFAULT_AS


def listen_port(configured: Mapping[str, BGPConfigurationSpec], node: str) -> int:
    """Where that node listens: its own setting, else the cluster's."""
    own = configured.get(f"node.{node}", NOTHING).listenPort
    return own or configured.get(DEFAULT, NOTHING).listenPort or DEFAULT_PORT


def members(nodes: Iterable[Node], configured: Mapping[str, BGPConfigurationSpec]) -> tuple[Member, ...]:
    """The nodes that have an IPv4 address, by name; of two that claim one address, the first."""
    found: dict[Address, Member] = {}
    for node in sorted(nodes, key=lambda one: one.metadata.name):
        if node.ipv4 is None or node.spec.bgp is None:
            continue
        name, bgp = node.metadata.name, node.spec.bgp
        member = Member(
            name=name,
            address=node.ipv4.ip,
            as_number=bgp.asNumber or cluster_as(configured),
            port=listen_port(configured, name),
            labels=node.metadata.labels,
            cluster=bgp.routeReflectorClusterID,
        )
        found.setdefault(member.address, member)
    return tuple(found.values())
