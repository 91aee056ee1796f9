"""The topologies of containerlab/ with peers outside the cluster, deployed as they are: what both sides have."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from agent_parts import eventually
from bird_router import Bird
from frr_peer import Frr
from gobgp_peer import Gobgp
from outside import Outside, Session, needed

from bgpnet.client import AgentClient
from bgpnet.errors import BgpnetError
from bgpnet.lab import nodes, pods, processes
from bgpnet.lab.nodes import Lab
from bgpnet.lab.parse import parse
from bgpnet.lab.pods import LabPod

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
PROGRAMS = {"bird": "bird2", "bgpd": "frr", "zebra": "frr", "vtysh": "frr", "gobgpd": "gobgpd", "gobgp": "gobgpd"}


@contextmanager
def deployed(name: str) -> Iterator[Lab]:
    """The topology of that name, ended and forgotten afterwards."""
    for program, package in PROGRAMS.items():
        needed(program, package)
    file = ROOT / f"containerlab/{name}.clab.yml"
    lab = nodes.deploy(parse(file.read_text(), str(file), {}), lambda line: None)
    try:
        yield lab
    except AssertionError:
        for node in lab.nodes.values():
            print(node.name, Path(node.log).read_text()[-3000:])
        raise
    finally:
        lab.destroy()
        shutil.rmtree(f"/run/bgpnet-{name}", ignore_errors=True)


def status(lab: Lab, node: str) -> dict[str, Any]:
    """The agent's own word; empty while it has none."""
    try:
        return AgentClient(f"/proc/{lab.node(node).pid}/root/run/bgpnet/agent.sock", timeout=30).ask("status")
    except BgpnetError:
        return {}


def with_pods(lab: Lab, names: list[str]) -> dict[str, LabPod]:
    """A pod on each of these nodes, once their agents are ready."""
    for name in names:
        eventually(lambda name=name: bool(status(lab, name).get("ready")), lambda name=name: status(lab, name))
    return {name: pods.add(lab, name, "pod", pods.program(ROOT)) for name in names}


def blocks(lab: Lab, names: list[str]) -> dict[str, str]:
    """Each node's block."""
    return {name: str(status(lab, name)["blocks"][0]["cidr"]) for name in names}


def learned(lab: Lab, node: str) -> list[str]:
    """What BGP put into the node's kernel."""
    mark = " proto bgpnet-bgp"
    told = lab.exec(node, ["ip", "route"]).stdout.splitlines()
    return sorted(line.replace(mark, "").strip() for line in told if mark in line)


def holds(lab: Lab, node: str, *expected: str) -> None:
    """Wait until these are its learned routes, and no others."""
    eventually(lambda: learned(lab, node) == sorted(expected), lambda: [node, learned(lab, node), status(lab, node)])


def reach(lab: Lab, found: dict[str, LabPod]) -> None:
    """Every pod reaches every other."""
    for one in found.values():
        for other in found.values():
            if one is not other:
                argv = ["ip", "netns", "exec", one.name, "ping", "-n", "-c", "1", "-W", "5", other.address]
                eventually(
                    lambda argv=argv, one=one: lab.exec(one.node, argv).returncode == 0,
                    lambda argv=argv, one=one: [one, argv, lab.exec(one.node, argv).stdout],
                    30,
                )


def named(router: Outside, **sessions: str) -> Outside:
    """The router, with its sessions by name and address."""
    router.sessions = tuple(Session(name, address) for name, address in sessions.items())
    return router


def test_two_racks(tmp_path: Path) -> None:
    with deployed("racks") as lab:
        names = ["node1", "node2", "node3", "node4"]
        found = with_pods(lab, names)
        own = blocks(lab, names)
        tor1 = named(
            Bird(lab, tmp_path, "192.0.2.1", 65001, node="tor1"),
            node1="192.0.2.11", node2="192.0.2.12", tor2="198.51.100.2",
        )  # fmt: skip
        tor2 = named(
            Frr(lab, tmp_path, "192.0.2.129", 65002, node="tor2"),
            node3="192.0.2.139", node4="192.0.2.140", tor1="198.51.100.1",
        )  # fmt: skip
        tor1.shows(f"""
            {own["node1"]} via 192.0.2.11 from node1 as 65101
            {own["node2"]} via 192.0.2.12 from node2 as 65102
            {own["node3"]} via 198.51.100.2 from tor2 as 65002 65103
            {own["node4"]} via 198.51.100.2 from tor2 as 65002 65104
            192.0.2.0/25 own
            192.0.2.128/25 via 198.51.100.2 from tor2 as 65002
            198.51.100.0/30 own
            198.51.100.0/30 via 198.51.100.2 from tor2 as 65002
        """)
        tor2.shows(f"""
            {own["node1"]} via 198.51.100.1 from tor1 as 65001 65101
            {own["node2"]} via 198.51.100.1 from tor1 as 65001 65102
            {own["node3"]} via 192.0.2.139 from node3 as 65103
            {own["node4"]} via 192.0.2.140 from node4 as 65104
            192.0.2.0/25 via 198.51.100.1 from tor1 as 65001
            192.0.2.128/25 own
            198.51.100.0/30 own
            198.51.100.0/30 via 198.51.100.1 from tor1 as 65001
        """)
        for node, gateway in zip(names, ("192.0.2.1", "192.0.2.1", "192.0.2.129", "192.0.2.129"), strict=True):
            others = [own[other] for other in names if other != node]
            holds(lab, node, *(f"{block} via {gateway} dev eth1" for block in others))
            eventually(
                lambda node=node: refused(lab, node) == {"outside the pools": 2, "own link": 1},
                lambda node=node: status(lab, node),
            )
        reach(lab, found)


def refused(lab: Lab, node: str) -> dict[str, int]:
    """How much it does not take of its switch; FRR tells a node its own routes, too, BIRD does not."""
    peers = status(lab, node).get("peers") or [{"refused": {}}]
    return {reason: count for reason, count in peers[0]["refused"].items() if reason != "AS loop"}


def test_reflectors_outside_and_speakers_that_restart(tmp_path: Path) -> None:
    with deployed("reflectors") as lab:
        names = ["node1", "node2", "node3"]
        found = with_pods(lab, names)
        own = blocks(lab, names)
        addresses = {"node1": "192.0.2.1", "node2": "192.0.2.2", "node3": "192.0.2.3"}
        reflectors = [
            named(Gobgp(lab, tmp_path, "192.0.2.101", 64512, node="rr1"), **addresses),
            named(Frr(lab, tmp_path, "192.0.2.102", 64512, node="rr2"), **addresses),
        ]
        table = "\n".join(f"{own[name]} via {addresses[name]} from {name} as - lp 100" for name in names)
        routes = {
            node: [f"{own[other]} via {addresses[other]} dev eth1" for other in names if other != node]
            for node in names
        }

        def both_sides() -> None:
            for reflector in reflectors:
                reflector.up(*names)
                reflector.shows(table)
            for node in names:
                holds(lab, node, *routes[node])
                eventually(lambda node=node: heard(lab, node) == [2, 2], lambda node=node: status(lab, node))

        both_sides()
        reach(lab, found)
        before = [reflector.since("node1") for reflector in reflectors]
        with lab.popen("node3", ["ip", "-4", "monitor", "route"], stdout=-1, text=True) as monitor:
            for name in ("node1", "node2"):
                assert processes.kill(lab.node(name), "speaker")
            eventually(
                lambda: all(
                    now not in ("", then)
                    for now, then in zip((one.since("node1") for one in reflectors), before, strict=True)
                ),
                lambda: [before, status(lab, "node1")],
            )
            eventually(
                lambda: all(peers_up(lab, name) == 2 for name in ("node1", "node2")), lambda: status(lab, "node1")
            )
            both_sides()
            monitor.terminate()
            told, _ = monitor.communicate(timeout=30)
        assert not [line for line in told.splitlines() if line.startswith("Deleted 10.244.")]


def heard(lab: Lab, node: str) -> list[int]:
    """How many prefixes each reflector announces to the node, its own apart, which FRR sends back."""
    peers = status(lab, node).get("peers", ())
    assert all(set(peer["refused"]) <= {"reflection loop"} for peer in peers)
    return [peer["received"] - sum(peer["refused"].values()) for peer in peers]


def peers_up(lab: Lab, node: str) -> int:
    """How many of its sessions are up."""
    return sum(peer["state"] == "up" for peer in status(lab, node).get("peers", ()))


def test_a_password_and_ttl_security_over_two_hops(tmp_path: Path) -> None:
    with deployed("guarded") as lab:
        names = ["node1", "node2"]
        found = with_pods(lab, names)
        own = blocks(lab, names)
        edge = named(Bird(lab, tmp_path, "198.51.100.2", 65001, node="edge"), node1="192.0.2.11", node2="192.0.2.12")
        edge.up("node1", "node2")
        edge.shows(f"""
            203.0.113.0/24 own
            {own["node1"]} via 192.0.2.11 from node1 as 64512
            {own["node2"]} via 192.0.2.12 from node2 as 64512
        """)
        near = {"node1": "192.0.2.11", "node2": "192.0.2.12"}
        for node, other in (("node1", "node2"), ("node2", "node1")):
            holds(
                lab,
                node,
                f"{own[other]} via {near[other]} dev eth1",
                "198.51.100.2 via 192.0.2.1 dev eth1",
                "203.0.113.0/24 via 192.0.2.1 dev eth1",
            )
        reach(lab, found)
        everything = str(status(lab, "node1")) + lab.exec("node1", ["ps", "axww"]).stdout
        assert "of the lab alone" not in everything
        assert "of the lab alone" not in Path(lab.node("node1").log).read_text()
