"""VXLAN on the running kernel: who reaches whom and how, what the wire shows, and switches of modes without loss."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest
from agent_parts import eventually
from agents import cluster
from restarts import DIRECT, OVER_VXLAN, Gate
from test_topologies import blocks, deployed, holds, status, with_pods

from bgpnet.lab import processes
from bgpnet.lab.nodes import Lab
from bgpnet.lab.pods import LabPod
from bgpnet.lab.probe import Place, listeners, reach

pytestmark = pytest.mark.root

NAMES = ("node1", "node2", "node3")
NODES = {"node1": "192.0.2.11", "node2": "192.0.2.12", "node3": "192.0.2.131"}
POOL = """
apiVersion: bgpnet.io/v1
kind: IPPool
metadata: {{name: pods}}
spec: {{cidr: 10.244.0.0/16, {modes}}}
"""
OUTER = re.compile(r"IP (\S+)\.\d+ > (\S+)\.4789: VXLAN, .*vni 4096")


@contextmanager
def wire(lab: Lab, expected: set[tuple[str, str]]) -> Iterator[None]:
    """Between these nodes, and no others, VXLAN is seen by the router, which is the switch of the first subnet, too."""
    argv = ["tcpdump", "-i", "any", "-nn", "-l", "-B", "8192", "--immediate-mode", "udp dst port 4789"]
    with NamedTemporaryFile("w") as told:  # a pipe that nobody empties meanwhile would stop it

        def seen() -> set[tuple[str, str]]:
            return {(found[1], found[2]) for found in OUTER.finditer(Path(told.name).read_text())}

        with lab.popen("router", argv, stdout=told, stderr=subprocess.PIPE, text=True) as tcpdump:
            assert tcpdump.stderr is not None
            for line in tcpdump.stderr:
                if "listening on" in line:
                    break
            yield
            eventually(lambda: seen() >= expected, seen)  # it may be behind
            processes.interrupt(lab.node("router"), "tcpdump")
            tcpdump.wait(30)
        assert seen() == expected


def places(lab: Lab, found: dict[str, LabPod]) -> tuple[list[Place], list[Place]]:
    """Pods and nodes as ends of connections."""
    root = {name: Path(f"/proc/{lab.node(name).pid}/root") for name in NAMES}
    own = [Place(name, root[name].parent / "ns/net", NODES[name], is_pod=False) for name in NAMES]
    return [
        Place(f"pod of {name}", root[name] / "run/netns" / pod.name, pod.address, is_pod=True)
        for name, pod in found.items()
    ], own


def everybody_reaches_everybody(lab: Lab, found: dict[str, LabPod]) -> None:
    """Under their own addresses: no NAT anywhere."""
    of_pods, of_nodes = places(lab, found)
    pairs = [
        *itertools.permutations(of_pods, 2),
        *itertools.product(of_nodes, of_pods),
        *itertools.product(of_pods, of_nodes),
    ]
    with listeners([*of_pods, *of_nodes]) as listening:
        for source, target in pairs:
            eventually(
                lambda source=source, target=target: reach(source, target, listening).ok,
                lambda source=source, target=target: reach(source, target, listening),
            )


def ends(lab: Lab) -> dict[str, str]:
    """The tunnel's address of each node."""
    eventually(
        lambda: all(status(lab, name).get("vxlan") for name in NAMES), lambda: [status(lab, name) for name in NAMES]
    )
    return {name: str(status(lab, name)["vxlan"]) for name in NAMES}


def pinged(lab: Lab, source: LabPod, target: LabPod, size: int) -> bool:
    """Whether a packet of this size, with its IP header, passes whole."""
    argv = ["ping", "-n", "-c", "1", "-W", "2", "-M", "do", "-s", str(size - 28), target.address]
    return lab.exec(source.node, ["ip", "netns", "exec", source.name, *argv]).returncode == 0


def test_two_subnets_and_what_the_wire_shows() -> None:
    with deployed("vxlan") as lab:
        found = with_pods(lab, list(NAMES))
        own, end = blocks(lab, list(NAMES)), ends(lab)
        tunnelled = {name: f"{own[name]} via {end[name]} dev vxlan.bgpnet onlink" for name in NAMES}
        direct = {name: f"{own[name]} via {NODES[name]} dev eth1" for name in NAMES}
        holds(lab, "node1", direct["node2"], tunnelled["node3"])
        holds(lab, "node2", direct["node1"], tunnelled["node3"])
        holds(lab, "node3", tunnelled["node1"], tunnelled["node2"])
        far = {(NODES[name], NODES["node3"]) for name in ("node1", "node2")}
        with wire(lab, far | {(other, one) for one, other in far}):
            everybody_reaches_everybody(lab, found)
        eventually(lambda: pinged(lab, found["node1"], found["node3"], 1450), "no packet of 1450 bytes passes")
        shown = lab.exec("node1", ["ip", "-details", "link", "show", "vxlan.bgpnet"]).stdout
        assert "mtu 1450" in shown
        assert "vxlan id 4096 local 192.0.2.11 dev eth1 srcport 0 0 dstport 4789 nolearning" in shown
        assert " udpcsum" in shown

        applied(lab, "vxlanMode: Always")
        for name in NAMES:
            holds(lab, name, *(tunnelled[other] for other in NAMES if other != name))
        with wire(lab, set(itertools.permutations(NODES.values(), 2))):
            everybody_reaches_everybody(lab, found)
        listed = lab.exec("node1", ["bgpnetctl", "get", "ippool", "-o", "wide"]).stdout
        assert re.search(r"^pods +10\.244\.0\.0/16 +false +Never +Always ", listed, re.MULTILINE)
        said = lab.exec("node1", ["bgpnetctl", "bgp", "explain", own["node3"], "--peer", "node3"]).stdout
        assert f"via {end['node3']} dev vxlan.bgpnet onlink" in said
        said = lab.exec("node1", ["bgpnetctl", "ipam", "show", "--ip", end["node1"]]).stdout
        assert "vxlan.bgpnet" in said


def applied(lab: Lab, modes: str) -> None:
    """The pool as it shall be."""
    done = lab.exec("node1", ["bgpnetctl", "apply", "-f", "-"], stdin=POOL.format(modes=modes))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not acted on" not in done.stdout + done.stderr


def test_modes_change_under_traffic_and_nothing_is_lost(tmp_path: Path) -> None:
    """And back: every route is replaced, none is dropped."""
    with cluster(tmp_path, 3, f"modes{os.getpid()}") as made:
        gate = Gate.of(made, 500)
        outcome = gate.switched([OVER_VXLAN, ("vxlanMode: CrossSubnet", "eth1"), OVER_VXLAN])
        argv = ["ip", "netns", "exec", gate.pods[0].name, "ping", "-c", "1", "-M", "do", "-s", "1472"]
        told = made[0].run(*argv, gate.pods[1].address, check=False)
        assert "mtu = 1450" in told  # a pod that is older than the tunnel is told what fits
        back = gate.switched([DIRECT])
    assert outcome.problems() == [], outcome.figures()
    assert back.problems() == [], back.figures()
    assert (len(outcome.changed), len(back.changed)) == (3 * 6, 6)
