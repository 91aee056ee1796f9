"""NodeStatus of real agents: of this machine's node with its BGP session, of another with what the datastore knows."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from agents import cluster

pytestmark = pytest.mark.root


def test_every_node_has_a_status_and_its_own_machine_knows_the_sessions(tmp_path: Path) -> None:
    with cluster(tmp_path, 2, f"agstatus{os.getpid()}") as two:
        two.start()
        first = two.machines[0]
        first.add("p")
        rows = [line.split() for line in first.ctl("get", "nodestatus").splitlines() if line]
        assert rows == [
            ["NAME", "NODE", "AGENT", "ESTABLISHED"],
            ["n1", "n1", "Ready", "1/1"],
            ["n2", "n2", "Alive", "-"],
        ]
        told = json.loads(first.ctl("get", "nodestatus", "n1", "-o", "json"))
        (peer,) = told["status"]["bgp"]["peersV4"]
        assert (peer["peerIP"], peer["type"], peer["state"]) == ("192.0.2.2", "NodeMesh", "Established")
        assert told["status"]["agent"]["machine"] == (first.state / "identity").read_text().strip()
        first.agent.end()
        rows = [line.split() for line in first.ctl("get", "nodestatus").splitlines() if line]
        assert rows[1] == ["n1", "n1", "Alive", "-"]
