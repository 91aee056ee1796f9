"""Three nodes, real agents and speakers: pods reach each other as themselves, and what is whose stays so."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
from collections.abc import Iterator

import pytest
from agents import MORE, Cluster, Machine, Pod, cluster, eventually, in_network

from bgpnet.agent.loop import AUDIT
from bgpnet.lab.probe import listeners, reach
from bgpnet.model import kinds
from bgpnet.model.node import Node

pytestmark = pytest.mark.root

SOON = AUDIT / 2
"""Seconds: what comes about by then was not left to the audit, as a rule; it takes a fraction of one."""
STRANGERS = (
    "ip link add other0 type veth peer name other1",
    "ip link set other0 up",
    "ip link set other1 up",
    "ip address add 198.51.100.1/24 dev other0",
    "ip route add 198.51.100.128/25 via 198.51.100.2 dev other0 proto static",
    "ip route add 10.244.255.0/24 via 198.51.100.3 dev other0 proto bird",
    "ip route add blackhole 203.0.113.0/24 proto 80",
    "ip link add calidecafbad123 type veth peer name strange0",
    "ip link set calidecafbad123 up",
    "ip neigh add 198.51.100.9 lladdr 02:00:00:00:00:09 dev other0 nud permanent",
    "sysctl -qw net.ipv4.conf.other0.rp_filter=1",
    "sysctl -qw net.ipv4.conf.default.arp_ignore=1",
)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes up, with strangers' things on the first from before its agent's first start."""
    with cluster(tmp_path_factory.mktemp("three"), 3, f"agthree{os.getpid()}") as made:
        for line in STRANGERS:
            made[0].run(*line.split())
        made.start()
        yield made


@pytest.fixture(scope="module")
def strangers(three: Cluster) -> dict[str, object]:
    """What the first node has that is not bgpnet's, before there is a pod."""
    return foreign(three[0])


@pytest.fixture(scope="module")
def pods(three: Cluster, strangers: dict[str, object]) -> list[Pod]:
    """Two pods on each node: one by the C program, one by its Python twin."""
    assert strangers
    return [
        machine.add(f"{machine.name}-{number}", twin=number == 2) for machine in three.machines for number in (1, 2)
    ]


def foreign(machine: Machine) -> dict[str, object]:
    """Links, addresses, routes, neighbours and sysctls of a node that are not bgpnet's."""
    links = json.loads(machine.run("ip", "-j", "-d", "address"))
    kept = ("ifname", "mtu", "group", "address")
    return {
        "routes": [line for line in machine.routes() if "proto bgpnet" not in line],
        "links": [{key: one.get(key) for key in kept} for one in links if not one.get("ifalias")],
        "addresses": [
            (one["ifname"], address["local"], address["prefixlen"])
            for one in links
            for address in one["addr_info"]
            if address["family"] == "inet"
        ],
        "neighbours": machine.run("ip", "neigh", "show", "nud", "permanent", "dev", "other0"),
        "sysctls": machine.run("sh", "-c", "cd /proc/sys/net/ipv4/conf; grep . all/* default/* other0/* lo/*"),
    }


def by_node(pods: list[Pod], machine: Machine) -> list[Pod]:
    return [pod for pod in pods if pod.node == machine.name]


def test_every_pod_reaches_every_pod_and_node_as_itself(three: Cluster, pods: list[Pod]) -> None:
    assert len({pod.address for pod in pods}) == len(pods)
    assert all(in_network(pod.address, "10.244.0.0/16") for pod in pods)
    for machine in three.machines:
        eventually(lambda machine=machine: learned(machine) == 2, lambda machine=machine: machine.routes())
    places = [machine.pod_place(pod) for machine in three.machines for pod in by_node(pods, machine)]
    hosts = [machine.place for machine in three.machines]
    pairs = [*itertools.permutations(places, 2), *itertools.product(hosts, places), *itertools.product(places, hosts)]
    with listeners([*places, *hosts]) as listening:
        reached = [reach(source, target, listening) for source, target in pairs]
    assert len(reached) == 6 * 5 + 2 * 3 * 6
    assert [one for one in reached if not one.ok] == []


def peers(machine: Machine) -> list[tuple[str, int, int]]:
    return [(peer["state"], peer["received"], peer["advertised"]) for peer in machine.status()["peers"]]


def learned(machine: Machine) -> int:
    return sum("proto bgpnet-bgp" in line for line in machine.routes())


def test_routes_blocks_and_the_programs_say_the_same(three: Cluster, pods: list[Pod]) -> None:
    blocks = {one.spec.owner.name: cidr for cidr, one in three.blocks().items() if one.spec.owner}
    assert set(blocks) == {"n1", "n2", "n3"}
    for machine in three.machines:
        wanted = [rf"blackhole {blocks[machine.name]} proto bgpnet"]
        wanted += [rf"{pod.address} dev {pod.link} proto bgpnet scope link" for pod in by_node(pods, machine)]
        wanted += [
            rf"{blocks[other.name]} via {other.address} dev eth1 proto bgpnet-bgp"
            for other in three.machines
            if other is not machine
        ]
        eventually(
            lambda machine=machine, wanted=wanted: (
                sorted(line for line in machine.routes() if "proto bgpnet" in line) == sorted(wanted)
            ),
            lambda machine=machine, wanted=wanted: f"{machine.routes()} is not {wanted}",
        )
        eventually(
            lambda machine=machine: peers(machine) == [("up", 1, 1)] * 2, lambda machine=machine: machine.status()
        )
        status = machine.status()
        assert [row["cidr"] for row in status["blocks"]] == [blocks[machine.name]]
        assert (status["pods"], status["ready"], status["speaker"]) == (2, True, "connected")
        told = machine.ctl("node", "status")
        assert all(re.search(rf"{other.address} .*\bup\b", told) for other in three.machines if other is not machine)


def test_the_datastore_follows(three: Cluster, pods: list[Pod]) -> None:
    eventually(lambda: {pod.address: pod.container for pod in pods} == three.live(), lambda: three.live())
    extra = three[1].add("follow")
    eventually(lambda: three.live().get(extra.address) == extra.container, lambda: three.live())
    [allocation] = [
        one
        for block in three.blocks().values()
        for one in block.spec.allocations.values()
        if one.container == extra.container
    ]
    assert (allocation.ifname, allocation.pod) == ("eth0", "test/follow")
    three[1].delete(extra)
    eventually(lambda: extra.address not in three.live(), lambda: three.live())


def test_the_nodes_are_recorded_and_bgpnetctl_shows_what_is(three: Cluster, pods: list[Pod]) -> None:
    repo = three.repo()
    for machine in three.machines:
        node = repo.get(kinds.NODE, machine.name)
        assert isinstance(node, Node)
        assert node.spec.bgp is not None
        assert node.spec.bgp.ipv4Address == f"{machine.address}/24"
        assert node.status is not None
        assert node.status.identity is not None
        assert node.status.identity.uuid == (machine.state / "identity").read_text().strip()
    repo.store.close()
    shown = three[2].ctl("get", "nodes", "-o", "wide")
    assert all(f"{machine.address}/24" in shown for machine in three.machines)
    assert "10.244.0.0/16" in three[2].ctl("get", "ippool", "-o", "wide")
    table = three[2].ctl("ipam", "show", "--show-blocks")
    for cidr, block in three.blocks().items():
        live = sum(one.freedAt is None for one in block.spec.allocations.values())
        [row] = [line for line in table.splitlines() if f" {cidr} " in line]
        assert re.search(rf"\b{live} \(", row), table


def test_a_pod_sees_one_address_one_gateway_and_no_arp(three: Cluster, pods: list[Pod]) -> None:
    pod = pods[0]
    inside = ["ip", "netns", "exec", pod.name, "ip"]
    assert three[0].run(*inside, "route").splitlines() == [
        "default via 169.254.1.1 dev eth0 ",
        "169.254.1.1 dev eth0 scope link ",
    ]
    assert re.search(rf"inet {pod.address}/32 ", three[0].run(*inside, "address", "show", "dev", "eth0"))
    assert "169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee PERMANENT" in three[0].run(*inside, "neigh")
    mac = pod.result["interfaces"][1]["mac"]
    assert f"{pod.address} lladdr {mac} PERMANENT" in three[0].run("ip", "neigh", "show", "dev", pod.link)


def test_strangers_things_stay_as_they_are_through_the_agents_whole_life(
    three: Cluster, pods: list[Pod], strangers: dict[str, object]
) -> None:
    first = three[0]
    assert foreign(first) == strangers
    extra = first.add("passing")
    first.restart_agent()
    first.delete(extra)
    eventually(lambda: extra.link not in first.cali(), lambda: first.cali())
    assert first.agent.end(signal.SIGTERM) == 0
    assert foreign(first) == strangers
    first.agent.start()
    first.ready(peers=2)
    assert foreign(first) == strangers
    assert "calidecafbad123" in first.cali()


def test_sigterm_leaves_everything_in_place(three: Cluster, pods: list[Pod]) -> None:
    first, far = three[0], by_node(pods, three[1])[0]
    eventually(lambda: learned(first) == 2, first.routes)
    before = first.routes()
    with first.monitor() as changes, first.ping(by_node(pods, first)[0], far.address) as pings:
        assert first.agent.end(signal.SIGTERM) == 0
        assert first.routes() == before
        first.agent.start()
        first.ready(peers=2)
    assert changes == []
    assert (pings.sent > MORE, pings.lost) == (True, 0)
    assert first.routes() == before


def test_a_link_that_went_down_has_its_routes_back_before_the_next_audit(three: Cluster, pods: list[Pod]) -> None:
    first = three[0]
    eventually(lambda: learned(first) == 2, first.routes)
    before = first.routes()
    first.run("ip", "link", "set", "eth1", "down")
    assert learned(first) == 0
    first.run("ip", "link", "set", "eth1", "up")
    eventually(lambda: first.routes() == before, lambda: f"{first.routes()} is not {before}", SOON)


def test_what_somebody_removes_comes_back(three: Cluster, pods: list[Pod]) -> None:
    first, pod = three[0], by_node(pods, three[0])[0]
    before = first.routes()
    first.run("ip", "route", "del", f"{pod.address}/32")
    first.run("ip", "route", "del", "blackhole", next(line for line in before if "blackhole 10" in line).split()[1])
    eventually(lambda: first.routes() == before, lambda: f"{first.routes()} is not {before}", SOON)
