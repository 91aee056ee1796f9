"""A route reflector's rules (RFC 4456): who is told what was learned inside the AS, and with which attributes. Pure.

A node with a cluster ID reflects. Its clients are the iBGP peers that do not say the same ID, as Calico's BIRD has it
(reference/calico-behaviour.md 5.4); those that say it are the other reflectors of its cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bgpnet.bgp.rib import Path
from bgpnet.model.ip import Address

CLIENTS, ROUTES = 100, 300
"""Up to so many clients, and so many reflected routes, ExaBGP serves well (reference/exabgp.md, conclusion 7)."""


@dataclass(frozen=True, slots=True)
class Reflection:
    """This node as a reflector. identifiers: the peers' BGP identifiers, where they are known."""

    cluster_id: str
    clients: frozenset[Address]
    identifiers: Mapping[Address, Address] = field(default_factory=dict, hash=False)

    def passes(self, path: Path, client: bool) -> bool:
        """Whether an iBGP peer, a client or not, is told of a path: from clients to all, from others to clients."""
        return not path.external and (client or path.peer in self.clients)

    def originator(self, path: Path) -> str:
        """ORIGINATOR_ID: what the path has, else the identifier of the peer that it is from (RFC 4456, 8)."""
        return path.originator_id or str(self.identifiers.get(path.peer, path.peer))

    def clusters(self, path: Path) -> tuple[str, ...]:
        """CLUSTER_LIST with our own put before it."""
        return (self.cluster_id, *path.cluster_list)


def is_client(cluster: str, other: str, local_as: int, peer_as: int) -> bool:
    """Whether a peer with the cluster ID `other` (empty: none) is a client of a node with `cluster`."""
    return bool(cluster) and local_as == peer_as and cluster != other


def overloaded(node: str, clients: int, routes: int) -> list[str]:
    """What is too much for this reflector, a sentence each."""
    remedy = "use reflectors outside (BIRD, FRR or GoBGP: docs/route-reflectors.md)"
    said = []
    if clients > CLIENTS:
        said.append(f"node {node} reflects to {clients} clients, more than the {CLIENTS} that it serves well: {remedy}")
    if routes > ROUTES:
        said.append(f"node {node} reflects {routes} routes, more than the {ROUTES} that it serves well: {remedy}")
    return said
