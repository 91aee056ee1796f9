"""The full mesh: every node speaks with every other. Pure.

Of each pair the node with the numerically lower address is passive: with both active, their connections collide again
and again (measured: eight nodes need 4 to 6 seconds instead of 0.7). Calico compares the addresses as strings.
"""

from __future__ import annotations

from collections.abc import Iterable

from bgpnet.bgp.conf import Neighbour
from bgpnet.model.node import Node


def mesh(me: Node, nodes: Iterable[Node], default_as: int, port: int) -> tuple[Neighbour, ...]:
    """A session with each other node that has an IPv4 address, by address; none when this node has no address.

    A node without an AS number of its own is in `default_as`; `port` is where all nodes listen. A node whose Node
    names a route reflector cluster takes no part (as in Calico). Of two nodes that claim one address, the first by name
    is spoken with; a node that claims ours is left out.
    """
    mine = me.ipv4
    if mine is None or _reflects(me):
        return ()
    found: dict[int, Neighbour] = {}
    for node in sorted(nodes, key=lambda one: one.metadata.name):
        theirs = node.ipv4
        if theirs is None or theirs.ip == mine.ip or node.metadata.name == me.metadata.name or _reflects(node):
            continue
        neighbour = Neighbour(
            address=theirs.ip,
            local_address=mine.ip,
            local_as=_as_number(me, default_as),
            peer_as=_as_number(node, default_as),
            port=port,
            passive=int(mine.ip) < int(theirs.ip),
        )
        found.setdefault(int(theirs.ip), neighbour)
    return tuple(found[key] for key in sorted(found))


def _as_number(node: Node, default_as: int) -> int:
    bgp = node.spec.bgp
    return bgp.asNumber if bgp is not None and bgp.asNumber is not None else default_as


def _reflects(node: Node) -> bool:
    return node.spec.bgp is not None and bool(node.spec.bgp.routeReflectorClusterID)
