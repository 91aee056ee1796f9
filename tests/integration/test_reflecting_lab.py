"""The topology of containerlab/ in which two nodes reflect the routes of all."""

from __future__ import annotations

import pytest
from agent_parts import eventually
from test_topologies import blocks, deployed, holds, reach, status, with_pods

from bgpnet.lab.nodes import Lab

pytestmark = pytest.mark.root


def addresses(lab: Lab, node: str) -> list[str]:
    """Those of the node's peers."""
    return [peer["address"] for peer in status(lab, node).get("peers", ())]


def test_two_nodes_reflect_for_all() -> None:
    with deployed("reflecting") as lab:
        names = [f"node{at}" for at in range(1, 5)]
        found = with_pods(lab, names)
        own = blocks(lab, names)
        for node in names:
            others = [name for name in names if name != node]
            holds(lab, node, *(f"{own[other]} via 192.0.2.{other[4:]} dev eth1" for other in others))
        for node in ("node3", "node4"):
            eventually(
                lambda node=node: addresses(lab, node) == ["192.0.2.1", "192.0.2.2"],
                lambda node=node: status(lab, node),
            )
        loops = {"192.0.2.2": {"reflection loop": 2}, "192.0.2.3": {}, "192.0.2.4": {}}
        eventually(
            lambda: {peer["address"]: peer["refused"] for peer in status(lab, "node1").get("peers", ())} == loops,
            lambda: status(lab, "node1"),
        )
        reach(lab, found)
