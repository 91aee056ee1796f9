"""A neighbour that sends what is malformed, forbidden or too much: nothing of it is installed, all of it is counted."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_parts import Process
from agents import ROOT, Cluster, Machine, cluster, eventually

pytestmark = pytest.mark.root

OWN, NUMBER = "192.0.2.66", 65001
LIMIT, SENT = 20, 30
SLOW = 200.0
"""Seconds for seventeen sessions, one after another, which take ten on a machine that has nothing else to do."""
PEER = """
apiVersion: bgpnet.io/v1
kind: BGPFilter
metadata: {name: fabric}
spec: {importV4: [{action: Accept, cidr: 198.18.0.0/15, matchOperator: In}]}
---
apiVersion: bgpnet.io/v1
kind: BGPPeer
metadata: {name: evil}
spec: {node: n1, peerIP: 192.0.2.66, asNumber: 65001, filters: [fabric]}
"""


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes in mesh; the first has the neighbour, of which it takes few prefixes."""
    with cluster(tmp_path, 2, f"agevil{os.getpid()}") as made:
        made.lab.exec("switch", ["ip", "address", "add", f"{OWN}/24", "dev", "br0"])
        made[0].ctl("create", "-f", "-", stdin=PEER)
        made[0].agent.env["BGPNET_PREFIX_LIMIT"] = str(LIMIT)
        made.start()
        made[1].add("pod")
        yield made


def learned(machine: Machine) -> list[str]:
    """The destinations of what BGP put into the node's kernel."""
    return sorted(line.split()[0] for line in machine.routes() if "proto bgpnet-bgp" in line)


@pytest.mark.timeout(600)
def test_nothing_of_it_is_installed_and_all_is_counted(two: Cluster) -> None:
    node, other = two.machines
    (block,) = [str(one["cidr"]) for one in other.status()["blocks"]]
    eventually(lambda: learned(node) == [block], lambda: node.status())
    (before,) = [peer["since"] for peer in node.status()["peers"] if peer["name"] == "n2"]
    evil = Process(
        two.lab,
        "switch",
        [sys.executable, str(ROOT / "tests/integration/hostile_peer.py"), OWN, str(NUMBER), node.address, str(SENT)],
        two.folder / "evil.log",
        {"PYTHONPATH": f"{ROOT}:{ROOT}/tests/support"},
    )
    with node.monitor() as lines:
        evil.start()
        try:
            _stands(node, evil, block)
        finally:
            evil.end(signal.SIGKILL)
    assert not [line for line in lines if re.search(r"198\.18\.(66|7)|default (via|dev|proto)", line)]
    assert [peer["since"] for peer in node.status()["peers"] if peer["name"] == "n2"] == [before]
    eventually(lambda: learned(node) == [block], lambda: node.status())
    assert node.speaker.running
    assert node.agent.running


def _stands(node: Machine, evil: Process, block: str) -> None:
    """Every malformed message was said, and the last session has what may be taken, and no more."""
    eventually(lambda: "standing" in evil.log.read_text(), evil.log.read_text, SLOW)
    said = [json.loads(line) for line in evil.log.read_text().splitlines()]
    assert len(said) == 17
    assert {one["case"]: one["ended"] for one in said}["longer than a message may be"]
    taken = [f"198.19.{number}.0/24" for number in range(LIMIT - 9)]
    eventually(lambda: learned(node) == sorted([block, *taken]), lambda: [learned(node), node.status()])
    refused = {
        "default route": 1,
        "outside the pools": 3,
        "impossible next hop": 3,
        "AS loop": 1,
        "own link": 1,
        "too many prefixes": SENT - len(taken),
    }
    eventually(lambda: row(node)["refused"] == refused, lambda: row(node))
    assert row(node)["received"] == SENT + 9
    shown = node.ctl("node", "status")
    assert f"{SENT - len(taken)} too many prefixes" in shown
    assert f"peer {OWN} announces {SENT - len(taken)} prefixes more than the {LIMIT} that are taken of a peer" in shown


def row(node: Machine) -> dict[str, Any]:
    """What the node says of its neighbour."""
    (found,) = [peer for peer in node.status()["peers"] if peer["name"] == "evil"]
    return dict(found)
