"""`bgpnetctl ipam check` beside agents at work: no false alarm under churn, and a real leak found."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import Cluster, Machine, cluster, eventually

pytestmark = pytest.mark.root

SETTLE = "10"
"""Seconds between the two looks; longer than the datastore lags behind journals on a busy machine."""


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes with agents, and no speakers."""
    with cluster(tmp_path, 2, f"agcheck{os.getpid()}") as two:
        for machine in two.machines:
            machine.agent.start()
        for machine in two.machines:
            machine.ready()
        yield two


class Churn:
    """Pods that come and go on a node for as long as it is asked."""

    def __init__(self, machine: Machine) -> None:
        self.rounds = 0
        self.failed = ""
        self._machine = machine
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Churn:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stop.is_set() and not self.failed:
            self.rounds += 1
            name = f"churn{self.rounds}"
            self._machine.netns(name)
            for command in ("ADD", "DEL"):
                answer = self._machine.cni(command, name, name, pod=name)
                self.failed = self.failed or (answer.raw if answer.code else "")
            self._machine.run("ip", "netns", "del", name)


def test_a_cluster_at_work_has_no_problems_and_a_leak_is_one(made: Cluster) -> None:
    first, second = made.machines
    pods = [machine.add(f"p{number}") for machine in made.machines for number in range(2)]
    with Churn(first) as one, Churn(second) as other:
        for machine in (*made.machines, first):
            checked = machine.ctl("ipam", "check", "--settle", SETTLE)
            assert checked.rstrip().endswith("Check complete; found 0 problems."), checked
            assert f"Node {machine.name}: its agent was asked." in checked
    assert (one.failed, other.failed) == ("", "")
    assert min(one.rounds, other.rounds) >= 3
    # A pod goes while its agent is dead: its successor finds an allocation that nobody has.
    lost = pods[0]
    eventually(lambda: lost.address in made.live(), lambda: made.live())
    first.agent.end()
    first.run("ip", "netns", "del", lost.name)
    first.agent.start()
    first.ready()
    eventually(lambda: first.leaked() == [lost.address], first.leaked)
    found = first.ctl("ipam", "check", "-o", "json", "--settle", SETTLE, code=3)
    report = json.loads(found)
    [problem] = report["problems"]
    assert (problem["code"], problem["address"], problem["container"]) == (
        "leaked-address",
        lost.address,
        lost.container,
    )
    assert {one["ip"]: one["inUse"] for one in report["allocations"]}[lost.address] is False
