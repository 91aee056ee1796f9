"""Several interfaces of one pod: as Multus asks for them, of two networks of bgpnet, or behind another plugin."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from agents import MORE, Cluster, Machine, Pod, Said, cluster, eventually, plugin

from bgpnet.lab.probe import Place, listeners, reach

pytestmark = pytest.mark.root

FIRST_PLUGIN = (
    "ip link add eth0 netns p type veth peer name stranger0",
    "ip link set stranger0 up",
    "ip address add 198.51.100.1/24 dev stranger0",
    "ip -n p link set lo up",
    "ip -n p link set eth0 up",
    "ip -n p address add 198.51.100.2/24 dev eth0",
)
"""A stranger's network, as `ptp` makes one."""


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes up, with sessions."""
    with cluster(tmp_path, 2, f"agsecond{os.getpid()}") as made:
        made.start()
        yield made


def interfaces(machine: Machine, name: str, *ifnames: str, **more: str) -> list[Pod]:
    """A pod with these interfaces, in this order."""
    machine.netns(name)
    answers = [machine.cni("ADD", "c1", name, pod=name, ifname=ifname, **more) for ifname in ifnames]
    return [machine.added(name, "c1", answer) for answer in answers]


def check(machine: Machine, pod: Pod, ifname: str) -> tuple[int, str]:
    answer = machine.cni("CHECK", pod.container, pod.name, pod=pod.name, ifname=ifname, prevResult=pod.result)
    return answer.code, answer.message


def everybody(two: Cluster, pods: list[Pod], others: list[Place]) -> list[object]:
    """What of the pod's addresses is not reached by the others, or does not reach them from it, by TCP."""
    places = [two[0].pod_place(pod) for pod in pods]
    with listeners([replace(places[0], address="0.0.0.0"), *others]) as listening:  # noqa: S104 - in a namespace
        found = [
            reach(source, replace(target, name=places[0].name), listening)
            for source, target in itertools.product(others, places)
        ]
    return [one for one in found if not one.ok]


def test_two_networks_of_ours(two: Cluster) -> None:
    first, far = two.machines
    eth0, net1 = interfaces(first, "p", "eth0", "net1")
    here, there = first.add("here"), far.add("there")
    others = [first.place, far.place, first.pod_place(here), far.pod_place(there)]
    eventually(lambda: everybody(two, [eth0, net1], others) == [], lambda: everybody(two, [eth0, net1], others))
    assert [check(first, eth0, "eth0"), check(first, net1, "net1")] == [(0, ""), (0, "")]
    with far.ping(there, net1.address) as pings:
        assert first.cni("DEL", "c1", "p", pod="p", ifname="eth0").code == 0
        eventually(lambda: eth0.link not in first.cali(), lambda: first.cali())
    assert (pings.sent > MORE, pings.lost) == (True, 0)
    assert everybody(two, [net1], others) == []
    assert check(first, net1, "net1") == (0, "")
    again = first.added("p", "c1", first.cni("ADD", "c1", "p", pod="p", ifname="eth0"))
    eventually(lambda: everybody(two, [again, net1], others) == [], lambda: everybody(two, [again, net1], others))
    first.run("ip", "-n", "p", "rule", "del", "from", net1.address)
    code, said = check(first, net1, "net1")
    assert code != 0
    assert f"the pod has no rule from {net1.address} to table" in said
    assert first.cni("ADD", "c1", "p", pod="p", ifname="net1").code == 0  # wired anew
    assert check(first, net1, "net1") == (0, "")
    assert everybody(two, [again, net1], others) == []


@pytest.mark.parametrize("default", ["via 198.51.100.1", "via 198.51.100.1 metric 100"])
def test_a_second_network_behind_another_plugin(two: Cluster, default: str) -> None:
    first, far = two.machines
    there = far.add("there")
    first.netns("p")
    for line in (*FIRST_PLUGIN, f"ip -n p route add default {default}"):
        first.run(*line.split())
    before = first.run("ip", "-n", "p", "route")
    net1 = first.added("p", "c1", first.cni("ADD", "c1", "p", pod="p", ifname="net1"))
    assert first.run("ip", "-n", "p", "route") == before
    others = [first.place, far.place, far.pod_place(there)]
    eventually(lambda: everybody(two, [net1], others) == [], lambda: everybody(two, [net1], others))
    assert check(first, net1, "net1") == (0, "")
    assert "0% packet loss" in first.run("ip", "netns", "exec", "p", "ping", "-c3", "-i0.1", "198.51.100.1")
    assert first.cni("DEL", "c1", "p", pod="p", ifname="net1").code == 0
    eventually(lambda: net1.link not in first.cali(), lambda: first.cali())
    assert first.run("ip", "-n", "p", "route") == before


ONE_AFTER_THE_OTHER = """
conf=$(cat)
export CNI_IFNAME=eth0 CNI_NETNS=/run/netns/p CNI_PATH=/opt/cni/bin
call() {
    pod="IgnoreUnknown=1;K8S_POD_NAMESPACE=test;K8S_POD_NAME=$2"
    echo "$conf" | CNI_COMMAND=$1 CNI_CONTAINERID=$2 CNI_ARGS=$pod "$0"
}
call DEL old && call ADD new
"""


def test_an_interface_that_a_del_has_just_given_free(two: Cluster) -> None:
    """Before the reaper comes, 0.1 s after the DEL."""
    first = two[0]
    first.netns("p")
    first.added("p", "old", first.cni("ADD", "old", "p", pod="old"))
    conf = json.dumps({"cniVersion": "1.0.0", "name": "bgpnet", "type": "bgpnet"})
    said = json.loads(first.run("sh", "-c", ONE_AFTER_THE_OTHER, str(plugin()), stdin=conf, check=False))
    new = first.added("p", "new", Said(0, said, str(said)))
    assert check(first, new, "eth0") == (0, "")
    eventually(lambda: first.cali() == [new.link], lambda: first.cali())
    assert everybody(two, [new], [first.place]) == []
