"""From the mesh to route reflectors and back, with real agents and speakers: not one route goes on the way."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from agents import PATIENCE, Cluster, cluster, eventually
from reflectors import connected

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]


def convert(made: Cluster, target: str) -> None:
    """Run it to its end."""
    argv = (sys.executable, "-m", "bgpnet_ctl", "bgp", "convert", "--to", target, "--timeout", str(int(PATIENCE)))
    process = made[0].process(f"convert-{target}", *argv)
    process.start()
    try:
        assert process.wait(4 * PATIENCE) == 0, process.log.read_text()
    finally:
        process.end()


def convert_until(made: Cluster, target: str, step: str) -> None:
    """Kill it as soon as it is at that step."""
    process = made[0].process("killed", sys.executable, "-m", "bgpnet_ctl", "bgp", "convert", "--to", target)
    process.start()
    try:
        eventually(lambda: step in process.log.read_text(), process.log.read_text)
    finally:
        process.end()


def test_there_and_back_without_losing_a_route(tmp_path: Path) -> None:
    with cluster(tmp_path, 4, f"convert{os.getpid()}") as made:
        made.start()
        pods = [machine.add(f"pod-{machine.name}") for machine in made.machines]
        connected(made)
        with ExitStack() as stack:
            heard = [stack.enter_context(machine.monitor()) for machine in made.machines]
            pings = stack.enter_context(made[2].ping(pods[2], pods[3].address))
            convert_until(made, "route-reflector", "6/8")
            convert(made, "route-reflector")
            there = json.loads(made[0].ctl("bgp", "topology", "-o", "json"))
            convert(made, "mesh")
            back = json.loads(made[0].ctl("bgp", "topology", "-o", "json"))
        assert [line for lines in heard for line in lines if "eleted" in line] == []
        assert pings.lost == 0
        assert {(one["node"], one["peer"]) for one in there["sessions"]} == {
            ("n1", "n2"),
            ("n1", "n3"),
            ("n1", "n4"),
            ("n2", "n3"),
            ("n2", "n4"),
        }
        assert {one["state"] for one in there["sessions"]} == {"up"}
        assert len(back["sessions"]) == 6
        assert {one["definedBy"] for one in back["sessions"]} == {"mesh"}
        connected(made)
