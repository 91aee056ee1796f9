"""FRR, GoBGP and BIRD as top-of-rack switches and as reflectors outside: what both sides have in the end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from agents import Cluster, Machine, cluster, eventually
from bird_router import Bird
from frr_peer import Frr
from gobgp_peer import Gobgp
from outside import Outside, Route, Session

pytestmark = pytest.mark.root

ROUTERS: dict[str, type[Outside]] = {"bird": Bird, "frr": Frr, "gobgp": Gobgp}
ADDRESS = "192.0.2.101"
BEHIND = "198.18.1.0/24"
FABRIC = """
apiVersion: bgpnet.io/v1
kind: BGPFilter
metadata: {name: fabric}
spec: {importV4: [{action: Accept, cidr: 198.18.0.0/15, matchOperator: In}]}
---
apiVersion: bgpnet.io/v1
kind: BGPPeer
metadata: {name: outside}
spec: {peerIP: 192.0.2.101, asNumber: 65001, filters: [fabric]}
"""
REFLECTED = """
apiVersion: bgpnet.io/v1
kind: BGPConfiguration
metadata: {name: default}
spec: {nodeToNodeMeshEnabled: false}
---
apiVersion: bgpnet.io/v1
kind: BGPPeer
metadata: {name: outside}
spec: {peerIP: 192.0.2.101, asNumber: 64512}
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes in mesh, a pod on each."""
    with cluster(tmp_path_factory.mktemp("outside"), 2, f"agout{os.getpid()}") as made:
        made.start()
        for machine in made.machines:
            machine.add("pod")
        yield made


@pytest.fixture(params=ROUTERS)
def router(request: pytest.FixtureRequest, two: Cluster) -> Iterator[Outside]:
    """Each of the three programs; its sessions with the nodes are the test's business."""
    made = ROUTERS[request.param](two.lab, two.folder, ADDRESS, 65001)
    yield made
    made.end()
    two[0].ctl("delete", "bgppeer", "outside")


def block(machine: Machine) -> str:
    """The node's block."""
    (found,) = machine.status()["blocks"]
    return str(found["cidr"])


def peer(machine: Machine) -> dict[str, Any]:
    """What the node says of the router."""
    return next((one for one in machine.status()["peers"] if one["name"] == "outside"), {})


def taken(machine: Machine) -> int:
    """How many prefixes of the router the node takes; FRR tells a node its own ones, too, sooner or later."""
    found = peer(machine)
    return int(found.get("received", 0)) - sum(found.get("refused", {}).values())


def learned(machine: Machine) -> list[str]:
    """The routes that BGP put into the node's kernel."""
    mark = " proto bgpnet-bgp"
    return sorted(line.replace(mark, "") for line in machine.routes() if mark in line)


def holds(machine: Machine, expected: str) -> None:
    """Wait until these are the node's learned routes, and no others."""
    wanted = sorted(line.strip() for line in expected.splitlines() if line.strip())
    eventually(lambda: learned(machine) == wanted, lambda: "\n".join(["it has:", *learned(machine)]))


def refuses(machine: Machine, expected: dict[str, int]) -> None:
    """Wait until the node counts this of the router as not taken, what came back to our AS apart."""

    def counted() -> dict[str, int]:
        return {key: value for key, value in peer(machine).get("refused", {}).items() if key != "AS loop"}

    eventually(lambda: counted() == expected, lambda: machine.status())


def test_as_a_switch_that_sends_what_it_may_and_what_it_may_not(two: Cluster, router: Outside) -> None:
    one, other = two.machines
    one.ctl("apply", "-f", "-", stdin=FABRIC)
    mine, theirs = block(one), block(other)
    hostile = [
        Route("0.0.0.0/0"),
        Route("203.0.113.0/24"),
        Route(mine.replace("/26", "/27")),
        Route("198.18.2.0/24", next_hop="198.51.100.9"),
        Route("198.18.4.0/24", as_path=(64999, 64512)),
    ]
    router.speak([Session(node.name, node.address) for node in two.machines], [Route(BEHIND), *hostile])
    router.up()
    router.shows(f"""
        {mine} via {one.address} from n1 as 64512
        {theirs} via {other.address} from n2 as 64512
        {BEHIND} own
        {chr(10).join(f"{route.prefix} own" for route in hostile)}
    """)
    refuses(one, {"default route": 1, "outside the pools": 1, "own block": 1, "impossible next hop": 1})
    holds(one, f"{theirs} via {other.address} dev eth1\n{BEHIND} via {ADDRESS} dev eth1")
    wanted = {
        ("198.18.4.0/24", "AS loop"),
        ("198.18.2.0/24", "impossible next hop"),
        ("0.0.0.0/0", "default route"),
    }
    eventually(lambda: {(row["prefix"], row["reason"]) for row in one.status()["refused"]} >= wanted, one.status)
    shown = one.ctl("node", "status")
    assert f"Not taken of what {ADDRESS} announces: " in shown
    router.withdraw(Route(BEHIND))
    holds(one, f"{theirs} via {other.address} dev eth1")


def test_as_a_reflector_of_nodes_that_have_no_mesh(two: Cluster, router: Outside) -> None:
    one, other = two.machines
    mine, theirs = block(one), block(other)
    one.ctl("apply", "-f", "-", stdin=REFLECTED)
    router.as_number = 64512
    router.speak([Session(node.name, node.address, client=True) for node in two.machines])
    router.up()
    router.shows(f"""
        {mine} via {one.address} from n1 as - lp 100
        {theirs} via {other.address} from n2 as - lp 100
    """)
    for machine, prefix, owner in ((one, theirs, other), (other, mine, one)):
        holds(machine, f"{prefix} via {owner.address} dev eth1")
        eventually(lambda each=machine: taken(each) == 1, machine.status)
        eventually(lambda each=machine: [row["name"] for row in each.status()["peers"]] == ["outside"], machine.status)
    one.ctl("apply", "-f", "-", stdin=REFLECTED.replace("false", "true"))
    for machine in two.machines:
        machine.ready(peers=2)


def test_a_next_hop_on_a_link_that_the_node_gets_later(two: Cluster) -> None:
    one, other = two.machines
    one.ctl("apply", "-f", "-", stdin=FABRIC)
    router = Bird(two.lab, two.folder, ADDRESS, 65001)
    try:
        router.speak([Session(one.name, one.address)], [Route("198.18.2.0/24", next_hop="198.51.100.9")])
        refuses(one, {"impossible next hop": 1})
        ends = [f"name {link} netns {two.lab.node(node).pid}" for link, node in (("eth2", one.name), ("far", "switch"))]
        subprocess.run(["ip", "link", "add", *f"{ends[0]} type veth peer {ends[1]}".split()], check=True, timeout=30)
        one.run("ip", "address", "add", "198.51.100.1/24", "dev", "eth2")
        one.run("ip", "link", "set", "eth2", "up")
        two.lab.exec("switch", ["ip", "link", "set", "far", "up"])
        mesh = f"{block(other)} via {other.address} dev eth1"
        holds(one, f"{mesh}\n198.18.2.0/24 via 198.51.100.9 dev eth2")
        refuses(one, {})
        one.run("ip", "link", "del", "eth2")
        holds(one, mesh)
    finally:
        router.end()
        one.ctl("delete", "bgppeer", "outside")
