"""Nodes that reflect routes between nodes that do not speak with one another."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from agents import POOL_TEXT, ROOT, Cluster, Machine, Process, cluster, eventually
from bird_router import Bird
from frr_peer import Frr
from gobgp_peer import Gobgp
from outside import Outside, Route, Session
from reflectors import NO_MESH, blocks, connected, learned, reflect

pytestmark = pytest.mark.root

CLUSTER = "244.0.0.1"
ROUTERS: dict[str, type[Outside]] = {"bird": Bird, "frr": Frr, "gobgp": Gobgp}
ADDRESS, BEHIND = "192.0.2.101", "10.244.200.0/26"
CLIENT = """
apiVersion: bgpnet.io/v1
kind: BGPPeer
metadata: {name: outside}
spec: {node: n1, peerIP: 192.0.2.101, asNumber: 64512}
"""


NODE = """
apiVersion: bgpnet.io/v1
kind: Node
metadata: {{name: "{at}"}}
spec: {{bgp: {{ipv4Address: {at}/24}}}}
"""


def begin(made: Cluster, reflectors: int) -> None:
    """Run all nodes with so many of them as reflectors, a pod each, and wait for all routes."""
    made[0].ctl("apply", "-f", "-", stdin=NO_MESH)
    for machine in made.machines:
        machine.start()
    for machine in made.machines:
        machine.ready()
    for machine in made.machines[:reflectors]:
        reflect(machine, CLUSTER)
    for machine in made.machines:
        machine.add("pod")
    connected(made)


def peers(machine: Machine) -> dict[str, dict[str, object]]:
    """What the node says of its sessions, by address."""
    return {peer["address"]: peer for peer in machine.status()["peers"]}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One reflector with two clients."""
    with cluster(tmp_path_factory.mktemp("reflectors"), 3, f"rrone{os.getpid()}") as made:
        begin(made, 1)
        yield made


@pytest.fixture(params=ROUTERS)
def router(request: pytest.FixtureRequest, three: Cluster) -> Iterator[Outside]:
    """Each of three programs as one more client."""
    three[0].ctl("apply", "-f", "-", stdin=CLIENT)
    made = ROUTERS[request.param](three.lab, three.folder, ADDRESS, 64512)
    made.speak([Session("n1", three[0].address)], [Route(BEHIND)])
    yield made
    made.end()
    three[0].ctl("delete", "bgppeer", "outside")


def test_what_a_client_of_another_make_is_told_and_tells(three: Cluster, router: Outside) -> None:
    router.up()
    one = three[0].address
    told = [
        f"{cidr} via {owner} from n1 as - lp 100" + ("" if owner == one else f" originator {owner} clusters {CLUSTER}")
        for cidr, owner in blocks(three).items()
    ]
    router.shows("\n".join([*told, f"{BEHIND} own"]))
    for machine in three.machines:
        eventually(lambda each=machine: learned(each).get(BEHIND) == ADDRESS, machine.status)
    router.withdraw(Route(BEHIND))
    connected(three)


def test_a_reflector_that_restarts_loses_nothing(three: Cluster) -> None:
    one, two, _ = three.machines
    owner = {address: cidr for cidr, address in blocks(three).items()}
    assert set(peers(two)) == {one.address}
    with ExitStack() as stack:
        heard = [stack.enter_context(machine.monitor()) for machine in three.machines]
        began = peers(two)[one.address]["since"]
        one.agent.end()
        one.kill_speaker()
        eventually(lambda: peers(two)[one.address]["state"] != "up", two.status)
        one.start()
        eventually(lambda: peers(two)[one.address]["state"] == "up", two.status)
        one.ready(peers=2)
        eventually(lambda: peers(two)[one.address]["received"] == 2, two.status)
        assert peers(two)[one.address]["since"] != began
    assert [line for lines in heard for line in lines if "eleted" in line] == []
    connected(three)
    assert learned(two)[owner[three[2].address]] == three[2].address


def test_a_cluster_of_two_serves_while_one_is_away(tmp_path: Path) -> None:
    with cluster(tmp_path, 4, f"rrtwo{os.getpid()}") as made:
        begin(made, 2)
        first, second, third, fourth = made.machines
        eventually(lambda: peers(second)[first.address]["refused"] == {"reflection loop": 2}, second.status)
        assert set(peers(third)) == {first.address, second.address}
        with ExitStack() as stack:
            heard = [stack.enter_context(machine.monitor()) for machine in (third, fourth)]
            first.agent.end()
            first.kill_speaker()
            eventually(lambda: peers(third)[first.address]["state"] != "up", third.status)
            second.ctl("create", "-f", "-", stdin=POOL_TEXT.format(name="more", cidr="10.245.0.0/26", size=26))
            fourth.add("more", ipv4_pools=["more"])
            eventually(lambda: learned(third).get("10.245.0.0/26") == fourth.address, third.status)
            first.start()
            first.ready(peers=3)
            eventually(lambda: peers(third)[first.address]["received"] == 4, third.status)
        assert [line for lines in heard for line in lines if "eleted" in line] == []
        connected(made)


@pytest.mark.timeout(600)
def test_a_hundred_clients_with_three_hundred_routes(tmp_path: Path) -> None:
    with cluster(tmp_path, 1, f"rrherd{os.getpid()}") as made:
        (one,) = made.machines
        addresses = [f"192.0.2.{at}" for at in range(100, 200)]
        made.lab.exec("switch", ["ip", "-b", "-"], stdin="".join(f"addr add {at}/24 dev br0\n" for at in addresses))
        one.ctl("create", "-f", "-", stdin="---".join(NODE.format(at=at) for at in addresses) + "---" + NO_MESH)
        one.start()
        one.ready()
        reflect(one, CLUSTER)
        eventually(lambda: len(peers(one)) == 100, one.status)
        argv = [sys.executable, "-m", "herd", one.address, "64512", *addresses]
        support = Path(__file__).parents[1] / "support"
        herd = Process(made.lab, "switch", argv, tmp_path / "herd.log", {"PYTHONPATH": f"{support}:{ROOT}"})
        herd.start()
        try:
            assert herd.wait(400) == 0, herd.log.read_text()
        finally:
            herd.end()
        said = json.loads(herd.log.read_text())
        assert (said["wrong"], said["clusters"]) == (0, [CLUSTER])
        assert min(said["all"], said["one"], said["gone"]) > 0, said
        assert [warning for warning in one.status()["warnings"] if "reflects" in warning] == []
