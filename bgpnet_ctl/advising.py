"""What `bgp topology` advises: one sentence with its remedy for each thing that may hurt. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bgpnet.bgp.reflection import CLIENTS
from bgpnet_ctl.topology import UNKNOWN, UP, Picture, Row

WISE = 70
"""Nodes in a mesh from which on reflectors are better: every node has a session with each of the others, and hears of
each change from all of them; each connects with as many when it starts."""
NAMED = 5
"""How many nodes a sentence names."""


def advice(seen: Picture, rows: Sequence[Row]) -> list[str]:
    """All of it."""
    return [
        *_mesh(seen, rows),
        *_reflectors(seen, rows),
        *_lonely(seen),
        *_one_sided(rows),
        *_down(rows),
    ]


def _mesh(seen: Picture, rows: Sequence[Row]) -> Iterator[str]:
    meshed = {node for row in rows if row.by == "mesh" for node in (row.node, row.peer)}
    if len(meshed) >= WISE:
        sessions = sum(row.by == "mesh" for row in rows)
        yield (
            f"the mesh of {len(meshed)} nodes has {sessions} sessions, {len(meshed) - 1} at each node: use route "
            f"reflectors, {_how(len(seen.members))}"
        )


def _how(nodes: int) -> str:
    if nodes > CLIENTS:
        return f"outside ones (BIRD, FRR or GoBGP) for more than {CLIENTS} nodes; see docs/route-reflectors.md"
    return "with bgpnetctl bgp convert --to route-reflector"


def _reflectors(seen: Picture, rows: Sequence[Row]) -> Iterator[str]:
    clusters: dict[str, list[str]] = {}
    for one in seen.reflectors:
        clusters.setdefault(one.cluster, []).append(one.name)
    for name in (one.name for one in seen.reflectors):
        clients = sum(one.client for one in seen.made[name].neighbours)
        if clients > CLIENTS:
            yield (
                f"node {name} reflects to {clients} clients, more than the {CLIENTS} that it serves well: use "
                "reflectors outside (BIRD, FRR or GoBGP); see docs/route-reflectors.md"
            )
        if not clients:
            yield f"node {name} is a route reflector without clients: give it some by a BGPPeer, or take its cluster ID"
    for cluster, names in clusters.items():
        if len(names) == 1 and not seen.mesh:
            yield (
                f"node {names[0]} is the only route reflector of cluster {cluster}: while it is away nobody hears of "
                "new blocks, and after its restart time routes go; give a second node the same routeReflectorClusterID"
            )
        yield from _half(seen, cluster, names)


def _half(seen: Picture, cluster: str, names: Sequence[str]) -> Iterator[str]:
    """Clients of some of a cluster's reflectors: those do not tell one another what they have from them."""
    served = {name: {one.address for one in seen.made[name].neighbours if one.client} for name in names}
    everybody = set().union(*served.values())
    at = {one.address: one.name for one in seen.members.values()}
    for address in sorted(everybody, key=int):
        missing = [name for name in names if address not in served[name]]
        if missing:
            yield (
                f"{at.get(address, address)} has no session with {_list(missing)}, which reflects in cluster {cluster} "
                "beside another that it has one with: give it both, or another reflector another cluster ID"
            )


def _lonely(seen: Picture) -> Iterator[str]:
    lonely = [name for name, made in seen.made.items() if not made.neighbours]
    if lonely and len(seen.members) > 1:
        yield (
            f"nodes without any session, to whose pods no route leads: {_list(lonely)}; switch the mesh on, or select "
            "them by a BGPPeer"
        )


def _one_sided(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row.one_sided:
            yield (
                f"{row.node} wants a session with {row.peer} (by {row.by}), which does not want one with it: leave out "
                "reversePeering: Manual, or write a BGPPeer for the other end"
            )


def _down(rows: Sequence[Row]) -> Iterator[str]:
    down = [row for row in rows if row.state not in (UP, UNKNOWN) and not row.one_sided]
    for row in down[:NAMED]:
        yield f"the session of {row.node} with {row.peer or row.address} is not up: {row.state}"
    if len(down) > NAMED:
        yield f"{len(down) - NAMED} more sessions are not up"


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"
