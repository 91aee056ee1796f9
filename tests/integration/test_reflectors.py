"""Nodes that reflect routes between nodes that do not speak with one another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from agents import Cluster, cluster
from reflectors import NO_MESH, connected, reflect

pytestmark = pytest.mark.root


def begin(made: Cluster, reflectors: int, cluster_id: str = "244.0.0.1") -> None:
    """Run all nodes with so many of them as reflectors, a pod each, and wait for all routes."""
    made[0].ctl("apply", "-f", "-", stdin=NO_MESH)
    for machine in made.machines:
        machine.start()
    for machine in made.machines:
        machine.ready()
    for machine in made.machines[:reflectors]:
        reflect(machine, cluster_id)
    for machine in made.machines:
        machine.add(f"pod-{machine.name}")
    connected(made)


def test_one_reflector(tmp_path: Path) -> None:
    with cluster(tmp_path, 3, f"rrone{os.getpid()}") as made:
        begin(made, 1)
        n2 = made[1].status()
        assert [peer["name"] for peer in n2["peers"]] == ["reflectors"]
        assert [peer["refused"] for peer in n2["peers"]] == [{}]
