"""Graceful restart with a real BIRD, in both roles: who is away for a moment keeps its routes, who is gone does not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import Cluster, Machine, cluster, eventually
from restarts import end_speaker, learned
from tor import Tor

pytestmark = pytest.mark.root

RACK = "192.0.2.101"
KEPT, LOST = "10.99.0.0/24", "10.98.0.0/24"
RESTART = 10
"""Seconds that a peer may be away, where it is not to come back; within them a test sees that all is kept."""
PEER = """
apiVersion: bgpnet.io/v1
kind: BGPPeer
metadata: {{name: rack}}
spec: {{peerIP: {rack}, asNumber: 65001, filters: [all], maxRestartTime: {restart}s}}
---
apiVersion: bgpnet.io/v1
kind: BGPFilter
metadata: {{name: all}}
spec: {{importV4: [{{action: Accept}}]}}
"""


class Rack(Tor):
    """A switch that announces two prefixes, or one."""

    def say(self, *prefixes: str) -> None:
        """What it announces when it is started next."""
        self.route = " blackhole; route ".join(prefixes)

    def kill(self) -> None:
        """kill -9: no goodbye."""
        self.process.end(signal.SIGKILL)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Cluster]:
    """A node; nothing runs on it yet."""
    with cluster(tmp_path, 1, f"graceful{os.getpid()}") as made:
        yield made


@pytest.fixture
def rack(one: Cluster) -> Iterator[Rack]:
    """Its switch; nothing runs there yet either."""
    rack = Rack(one, RACK, 65001)
    yield rack
    rack.end()


def begin(node: Machine, rack: Rack, options: str = "", restart: int = 120) -> None:
    """Both speak, and the node has both routes and a block."""
    node.ctl("apply", "-f", "-", stdin=PEER.format(rack=RACK, restart=restart))
    rack.say(KEPT, LOST)
    rack.speak(node, options=f"multihop; {options}")
    node.start()
    node.ready(peers=1)
    node.add("p")
    eventually(lambda: has(node) == {KEPT, LOST}, node.log)
    eventually(lambda: bool(rack.heard(node)), lambda: rack.ask("show route"))


def has(node: Machine) -> set[str]:
    """The prefixes that its kernel has of the switch."""
    return {line.split()[0] for line in learned(node)}


def is_up(node: Machine) -> bool:
    return bool(node.status()["peers"][0]["state"] == "up")


def test_a_peer_that_comes_back_with_less_keeps_the_rest_without_a_gap(one: Cluster, rack: Rack) -> None:
    node = one[0]
    begin(node, rack)
    with node.monitor() as told:
        rack.kill()
        eventually(lambda: not is_up(node), node.log)
        assert has(node) == {KEPT, LOST}
        rack.say(KEPT)
        rack.speak(node)
        eventually(lambda: has(node) == {KEPT}, node.log)
    routes = [line for line in told if "proto bgpnet-bgp" in line]
    assert [line.split()[:2] for line in routes] == [["Deleted", LOST]]
    eventually(lambda: is_up(node), node.log)  # both dial: one of two connections may have been given up


def test_a_peer_that_never_comes_back_loses_its_routes_when_its_time_is_over(one: Cluster, rack: Rack) -> None:
    node = one[0]
    begin(node, rack, f"graceful restart time {RESTART};")
    node.restart_agent()  # which finds the session up, and has not heard the switch's OPEN
    node.ready(peers=1)
    rack.kill()
    eventually(lambda: not is_up(node), node.log)
    assert has(node) == {KEPT, LOST}
    eventually(lambda: not has(node), node.log)


@pytest.mark.parametrize("how", ["no graceful restart", "a goodbye"])
def test_who_is_not_waited_for_loses_its_routes_at_once(one: Cluster, rack: Rack, how: str) -> None:
    node = one[0]
    begin(node, rack, "graceful restart off;" if how == "no graceful restart" else "")
    if how == "a goodbye":
        rack.ask(f"disable {node.name}")
    else:
        rack.kill()
    eventually(lambda: not has(node), node.log)  # and not after the 120 s of graceful restart


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_node_that_restarts_is_waited_for(one: Cluster, rack: Rack, how: signal.Signals) -> None:
    node = one[0]
    begin(node, rack, restart=77)
    assert "Restart time: 77" in rack.ask(f"show protocols all {node.name}")
    block = rack.heard(node)
    assert len(block) == 1
    node.agent.end(how)
    end_speaker(node, how)
    eventually(lambda: not rack.since(node), lambda: rack.ask("show protocols"))
    assert rack.heard(node) == block
    # Its speaker alone would say nothing, and so not end its table either: End-of-RIB is the agent's word.
    node.speaker.start()
    eventually(lambda: bool(rack.since(node)), lambda: rack.ask("show protocols"))
    assert rack.heard(node) == block
    assert has(node) == {KEPT, LOST}
    node.agent.start()
    node.ready(peers=1)
    eventually(lambda: "stale" not in rack.ask(f"show route all protocol {node.name}"), lambda: rack.ask("show route"))
    assert rack.heard(node) == block
    assert has(node) == {KEPT, LOST}


def test_a_node_that_never_comes_back_is_forgotten_when_its_time_is_over(one: Cluster, rack: Rack) -> None:
    node = one[0]
    begin(node, rack, restart=RESTART)
    node.agent.end()
    node.kill_speaker()
    eventually(lambda: not rack.since(node), lambda: rack.ask("show protocols"))
    assert rack.heard(node)
    eventually(lambda: not rack.heard(node), lambda: rack.ask("show route"))
    assert has(node) == {KEPT, LOST}  # who is dead sweeps nothing
