"""How `bgp topology` shows what it found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bgpnet_ctl import params
from bgpnet_ctl.advising import advice
from bgpnet_ctl.render import tree
from bgpnet_ctl.text import plain
from bgpnet_ctl.topology import UNKNOWN, UP, Picture, Row, rows

LONG = 60
"""Rows up to which a table has every session; longer ones leave out the mesh's that are up."""


def shown(seen: Picture, output: str) -> str:
    """As tables and sentences, or as values."""
    found = rows(seen)
    if output in (params.YAML, params.JSON):
        return tree(_values(seen, found), output)
    return "".join(_lines(seen, found, output == params.WIDE))


def _lines(seen: Picture, found: Sequence[Row], wide: bool) -> Iterator[str]:
    yield f"{len(seen.members)} nodes, {len(found)} sessions, {sum(row.state == UP for row in found)} up"
    unknown = sum(row.state == UNKNOWN for row in found)
    yield f", {unknown} unknown" if unknown else ""
    yield f". The node-to-node mesh is {'on' if seen.mesh else 'off'}.\n\n"
    if seen.reflectors:
        clients = {one.name: sum(peer.client for peer in seen.made[one.name].neighbours) for one in seen.reflectors}
        yield plain(
            ["REFLECTOR", "CLUSTER", "CLIENTS"],
            [[one.name, one.cluster, str(clients[one.name])] for one in seen.reflectors],
        )
    listed = found if wide or len(found) <= LONG else [row for row in found if row.by != "mesh" or row.state != UP]
    if listed:
        yield plain(["NODE", "PEER", "ADDRESS", "BY", "AS", "CLIENT", "STATE"], [_cells(row) for row in listed])
    if len(listed) < len(found):
        yield f"{len(found) - len(listed)} sessions of the mesh that are up are left out; -o wide shows them.\n\n"
    for sentence in advice(seen, found):
        yield f"Advice: {sentence}\n"


def _cells(row: Row) -> list[str]:
    state = f"{row.state}, one-sided" if row.one_sided else row.state
    return [row.node, row.peer, row.address, row.by, "eBGP" if row.external else "iBGP", row.client, state]


def _values(seen: Picture, found: Sequence[Row]) -> dict[str, Any]:
    return {
        "mesh": seen.mesh,
        "nodes": [
            {
                "name": one.name,
                "address": str(one.address),
                "asNumber": one.as_number,
                "routeReflectorClusterID": one.cluster or None,
                "sessions": len(seen.made[one.name].neighbours),
                "clients": sum(peer.client for peer in seen.made[one.name].neighbours),
            }
            for one in seen.members.values()
        ],
        "sessions": [
            {
                "node": row.node,
                "peer": row.peer,
                "address": row.address,
                "definedBy": row.by,
                "session": "eBGP" if row.external else "iBGP",
                "client": row.client or None,
                "oneSided": row.one_sided,
                "state": row.state,
            }
            for row in found
        ],
        "advice": advice(seen, found),
    }
