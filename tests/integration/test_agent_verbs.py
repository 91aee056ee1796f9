"""CHECK and STATUS with a real agent, by the C program and by its twin; test_cni_conformance.py has the other rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import Cluster, Machine, Pod, cluster, eventually
from msgspec import structs

from bgpnet.model import kinds
from bgpnet.model.ippool import IPPool
from bgpnet.model.resource import Metadata

pytestmark = pytest.mark.root

SOON = 30.0
"""Seconds in which news of the datastore has come."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A node with an agent."""
    with cluster(tmp_path_factory.mktemp("verbs"), 1, f"agverbs{os.getpid()}") as one:
        one[0].agent.start()
        one[0].ready()
        yield one


def check(machine: Machine, pod: Pod, twin: bool, **more: Any) -> tuple[int, str]:
    more = {"cniVersion": "1.1.0", "prevResult": pod.result, **more}
    answer = machine.cni("CHECK", pod.container, pod.name, pod=pod.name, twin=twin, **more)
    return answer.code, answer.said.get("msg", "")


@pytest.mark.parametrize("twin", [False, True], ids=["c", "python"])
def test_a_check_names_what_was_changed(made: Cluster, twin: bool) -> None:
    machine = made[0]
    pod = machine.add(f"checked{twin:d}", cniVersion="1.1.0", twin=twin)
    assert check(machine, pod, twin) == (0, "")
    machine.run("ip", "-n", pod.name, "route", "del", "default")
    machine.run("ip", "-n", pod.name, "link", "set", "eth0", "mtu", "9000")
    code, message = check(machine, pod, twin)
    assert code == 1
    assert "eth0 of the pod has MTU 9000 instead of" in message
    assert "the pod has no default route via 169.254.1.1" in message
    machine.delete(pod, twin=twin)
    machine.netns(pod.name)
    code, message = check(machine, pod, twin)
    assert (code, message.startswith("it was not added, or was deleted")) == (1, True)
    machine.run("ip", "netns", "del", pod.name)


@pytest.mark.parametrize("twin", [False, True], ids=["c", "python"])
def test_a_check_compares_the_interfaces_of_prevresult_as_well(made: Cluster, twin: bool) -> None:
    machine = made[0]
    pod = machine.add(f"listed{twin:d}", cniVersion="1.1.0", twin=twin)
    host, own = pod.result["interfaces"]
    for interfaces, code, said in (
        ([host, own, {"name": "ifb0", "mac": "02:00:00:00:00:01"}], 0, ""),
        ([host, {**own, "mac": "02:00:00:00:00:01"}], 1, f"with mac 02:00:00:00:00:01 instead of {own['mac']}"),
        ([host, {**own, "sandbox": "/run/netns/x"}], 1, "in sandbox /run/netns/x instead of"),
        ([own], 1, f"have no {host['name']}"),
    ):
        got, message = check(machine, pod, twin, prevResult={**pod.result, "interfaces": interfaces})
        assert (got, said in message) == (code, True), message
    machine.delete(pod, twin=twin)


def test_status_says_when_no_pool_serves_the_node(tmp_path: Path) -> None:
    """A node without a block, and by both programs; `node status` says the same."""
    with cluster(tmp_path, 1, f"agnopool{os.getpid()}") as one:
        machine = one[0]
        machine.agent.start()
        machine.ready()

        def said() -> list[tuple[int, str]]:
            answers = [
                machine.cni("STATUS", "", "", ifname="", twin=twin, cniVersion="1.1.0") for twin in (False, True)
            ]
            return [(answer.error, answer.message) for answer in answers]

        assert said() == [(0, ""), (0, "")]
        repo = one.repo()
        [pool] = [found for found in repo.list(kinds.IPPOOL)[0] if isinstance(found, IPPool)]
        repo.write(structs.replace(pool, spec=structs.replace(pool.spec, disabled=True)))
        why = f"no IP pool has Workload addresses for this node: pool {pool.metadata.name} is disabled"
        eventually(lambda: all(code == 50 and text.startswith(why) for code, text in said()), said, SOON)
        assert machine.status()["ready"] is False
        assert any(reason.startswith(f"pods cannot be added: {why}") for reason in machine.status()["reasons"])
        repo.remove(repo.get(kinds.IPPOOL, pool.metadata.name))
        none = (50, "there is no IPPool; create one with bgpnetctl create -f pool.yaml")
        eventually(lambda: said() == [none, none], said, SOON)
        repo.write(structs.replace(pool, metadata=Metadata(name=pool.metadata.name)))
        repo.store.close()
        eventually(lambda: said() == [(0, ""), (0, "")], said, SOON)


@pytest.mark.parametrize("twin", [False, True], ids=["c", "python"])
def test_status_says_whether_the_agent_is_there(made: Cluster, twin: bool) -> None:
    machine = made[0]
    assert machine.cni("STATUS", "", "", ifname="", twin=twin, cniVersion="1.1.0").code == 0
    machine.agent.end()
    answer = machine.cni("STATUS", "", "", ifname="", twin=twin, cniVersion="1.1.0")
    assert (answer.code, answer.said["code"]) == (1, 50)
    machine.agent.start()
    machine.ready()
