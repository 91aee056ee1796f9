"""NodeStatus of real agents: of this machine's node by its own word, of another by what it publishes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from agents import Machine, cluster, eventually

pytestmark = pytest.mark.root


def table(machine: Machine) -> list[list[str]]:
    """`bgpnetctl get nodestatus`, by rows and words."""
    return [line.split() for line in machine.ctl("get", "nodestatus").splitlines() if line]


def test_every_node_has_a_status_with_its_sessions(tmp_path: Path) -> None:
    with cluster(tmp_path, 2, f"agstatus{os.getpid()}") as two:
        two.start()
        first, second = two.machines
        first.add("p")
        wanted = [
            ["NAME", "NODE", "AGENT", "ESTABLISHED"],
            ["n1", "n1", "Ready", "1/1"],
            ["n2", "n2", "Alive", "1/1"],
        ]
        eventually(lambda: table(first) == wanted, lambda: table(first))
        told = json.loads(first.ctl("get", "nodestatus", "n1", "-o", "json"))
        (peer,) = told["status"]["bgp"]["peersV4"]
        assert (peer["peerIP"], peer["type"], peer["state"]) == ("192.0.2.2", "NodeMesh", "Established")
        assert told["status"]["agent"]["machine"] == (first.state / "identity").read_text().strip()
        published = ["n1", "n1", "Alive", "1/1"]
        eventually(lambda: table(second)[1] == published, lambda: table(second))  # what it says itself is ahead of it
        first.agent.end()
        assert table(first)[1] == published
