"""Leaks made and mended beside real agents: `ipam check --repair`, `ipam release`, and what agents do by themselves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import Cluster, Machine, Pod, cluster, eventually

from bgpnet.model import kinds
from bgpnet.model.node import Node

pytestmark = pytest.mark.root

SOON = 90.0
"""Seconds within which a node notices, waits a short grace and releases: it makes a round every five."""


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes with agents, and no speakers."""
    with cluster(tmp_path, 2, f"agrepair{os.getpid()}") as two:
        for machine in two.machines:
            machine.agent.env["BGPNET_LEAK_GRACE"] = "600"  # no test lasts so long: nothing goes by itself
            machine.agent.start()
        for machine in two.machines:
            machine.ready()
        yield two


def requests(of: Cluster) -> list[str]:
    """The requests that lie in the datastore."""
    repo = of.repo()
    found, _ = repo.list(kinds.RELEASEREQUEST)
    repo.store.close()
    return [one.metadata.name for one in found]


def published(of: Cluster, name: str) -> list[str]:
    """What the Node says is leaked."""
    repo = of.repo()
    node = repo.get(kinds.NODE, name)
    repo.store.close()
    assert isinstance(node, Node)
    ipam = node.status.ipam if node.status else None
    return [one.address for one in ipam.leaked] if ipam else []


def check(machine: Machine, *more: str, code: int = 0) -> dict[str, Any]:
    """The report of `ipam check`."""
    report: dict[str, Any] = json.loads(machine.ctl("ipam", "check", "-o", "json", "--settle", "5", *more, code=code))
    return report


def mended(of: Cluster, asker: Machine, lost: Pod) -> None:
    """The leak is seen, repaired by the word of its owner, and gone."""
    report = check(asker, code=3)
    assert [(one["code"], one["address"]) for one in report["problems"]] == [("leaked-address", lost.address)]
    report = check(asker, "--repair")
    assert [(one["address"], one["outcome"]) for one in report["repair"]] == [(lost.address, "Released")]
    assert lost.address not in of.live()
    assert check(asker)["problems"] == []
    assert requests(of) == []


def test_leaks_are_found_and_repaired_through_their_owner(made: Cluster) -> None:
    first, second = made.machines
    kept, dead, alive, far = first.add("kept"), first.add("dead"), first.add("alive"), second.add("far")
    addresses = {one.address for one in (kept, dead, alive, far)}
    eventually(lambda: addresses <= made.live().keys(), made.live)
    assert check(first)["problems"] == []
    # A pod's namespace ends while its agent is dead.
    first.agent.end()
    first.run("ip", "netns", "del", dead.name)
    first.agent.start()
    first.ready()
    eventually(lambda: first.leaked() == [dead.address], first.leaked)
    mended(made, first, dead)
    # And while it lives.
    first.run("ip", "netns", "del", alive.name)
    eventually(lambda: first.leaked() == [alive.address], first.leaked)
    mended(made, first, alive)
    # On another node, by what that one publishes.
    second.run("ip", "netns", "del", far.name)
    eventually(lambda: published(made, "n2") == [far.address], lambda: published(made, "n2"), 120)
    mended(made, first, far)


def test_a_live_pod_is_not_released_and_a_silent_owner_is_not_overruled(made: Cluster) -> None:
    first, second = made.machines
    pod, far = first.add("pod"), second.add("far")
    eventually(lambda: {pod.address, far.address} <= made.live().keys(), made.live)
    for asker, one in ((first, pod), (first, far)):
        said = asker.ctl("ipam", "release", "--ip", one.address, code=1)
        assert f"node {one.node} does not release {one.address}" in said
        assert f"container {one.container} (eth0)) has it and is ready on link {one.link}: delete the pod" in said
    # Its link goes by hand: still the runtime's pod.
    first.run("ip", "link", "del", pod.link)
    eventually(lambda: first.status()["pods"] == 0, first.status)
    said = first.ctl("ipam", "release", "--ip", pod.address, code=1)
    assert f"its network namespace /run/netns/{pod.name} is there: delete the pod" in said
    second.agent.end()
    said = first.ctl("ipam", "release", "--ip", far.address, "--timeout", "2", code=1)
    assert "node n2 did not answer within 2 s" in said
    assert requests(made) == []
    assert {pod.address, far.address} <= made.live().keys()
    first.delete(pod)
    eventually(lambda: pod.address not in made.live(), made.live)


def test_a_node_releases_by_itself_what_is_gone_for_the_grace_and_nothing_else(made: Cluster) -> None:
    first, _ = made.machines
    first.agent.end()
    first.agent.env["BGPNET_LEAK_GRACE"] = "4"
    first.agent.start()
    first.ready()
    gone, cut, kept = first.add("gone"), first.add("cut"), first.add("kept")
    eventually(lambda: {gone.address, cut.address, kept.address} <= made.live().keys(), made.live)
    first.run("ip", "netns", "del", gone.name)
    first.run("ip", "link", "del", cut.link)
    eventually(lambda: gone.address not in made.live(), made.live, SOON)
    assert {cut.address, kept.address} <= made.live().keys()
    first.restart_agent()
    eventually(lambda: first.status()["pods"] == 1, first.status)
    assert {cut.address, kept.address} <= made.live().keys()
    assert gone.address not in made.live()
    assert first.leaked() == []
    assert first.cni("DEL", gone.container, gone.name, pod=gone.name).code == 0  # the runtime's own DEL, late
