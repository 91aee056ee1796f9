"""ExaBGP's life beside the agent's: it speaks while the agent is stopped, however much arrives meanwhile."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import Cluster, Machine, cluster, eventually
from restarts import learned
from tor import Tor

pytestmark = pytest.mark.root

RACK = "192.0.2.101"
FIRST = "10.99.0.0/24"
MANY = 100_000
HOLD = 6.0
"""Seconds after which a session ends of which nothing is heard: three times the shortest keepaliveTime in use here."""
SLOW = 200.0
"""Seconds for what takes a few on a machine that has nothing else to do."""
PEER = f"""
apiVersion: bgpnet.io/v1
kind: BGPPeer
metadata: {{name: rack}}
spec: {{peerIP: {RACK}, asNumber: 65001, filters: [all], keepaliveTime: 2s}}
---
apiVersion: bgpnet.io/v1
kind: BGPFilter
metadata: {{name: all}}
spec: {{importV4: [{{action: Accept}}]}}
"""


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Cluster]:
    """A node; nothing runs on it yet."""
    with cluster(tmp_path, 1, f"life{os.getpid()}") as made:
        yield made


def send(node: Machine, number: signal.Signals) -> None:
    """To the agent, and to who waits for it outside of the node: nsenter stops with what it started."""
    assert node.agent.popen is not None
    os.kill(node.agent.pid, number)
    os.kill(node.agent.popen.pid, number)


@pytest.mark.timeout(600)
def test_no_session_drops_while_100000_routes_arrive_for_a_stopped_agent(one: Cluster) -> None:
    node, rack = one[0], Tor(one, RACK, 65001, route=FIRST)
    try:
        node.ctl("create", "-f", "-", stdin=PEER)
        rack.speak(node)
        node.start()
        node.ready(peers=1)
        eventually(lambda: len(learned(node)) == 1, node.log)
        before, since = rack.since(node), node.status()["peers"][0]["since"]
        send(node, signal.SIGSTOP)
        try:
            more = (f"10.{number >> 14}.{number >> 6 & 255}.{(number & 63) << 2}/30" for number in range(MANY - 1))
            rack.route = " blackhole; route ".join([FIRST, *more])
            rack.speak(node)
            threading.Event().wait(1.5 * HOLD)  # nothing tells of a session that does not end
        finally:
            send(node, signal.SIGCONT)
        eventually(lambda: node.status()["peers"][0]["received"] == MANY, node.log, SLOW)
        assert (rack.since(node), node.status()["peers"][0]["since"]) == (before, since)
        assert "Hold timer" in (told := rack.ask(f"show protocols all {node.name}"))
        assert f"/{HOLD:.0f}" in told, told
        eventually(lambda: node.run("ip", "route", "show", "proto", "145").count("\n") == MANY, node.log, SLOW)
    finally:
        rack.end()
