"""CHECK and STATUS with a real agent, by the C program and by its twin; test_cni_conformance.py has the other rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from agents import Cluster, Machine, Pod, cluster

pytestmark = pytest.mark.root


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


@pytest.mark.parametrize("twin", [False, True], ids=["c", "python"])
def test_status_says_whether_the_agent_is_there(made: Cluster, twin: bool) -> None:
    machine = made[0]
    assert machine.cni("STATUS", "", "", ifname="", twin=twin, cniVersion="1.1.0").code == 0
    machine.agent.end()
    answer = machine.cni("STATUS", "", "", ifname="", twin=twin, cniVersion="1.1.0")
    assert (answer.code, answer.said["code"]) == (1, 50)
    machine.agent.start()
    machine.ready()
