"""NAT and source checks over real tunl0, beside the rules that kube-proxy wrote (tests/integration records them).

Where the kernel has no nftables, as in User Mode Linux, ours are chains of iptables-legacy, and so are kube-proxy's.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import Cluster, Machine, Pod, cluster, eventually
from raw_packets import IPIP, arrives, passes

from bgpnet.errors import AgentAway
from bgpnet.kernel.netns import run_inside
from bgpnet.lab import uml
from bgpnet.lab.probe import PORT, Place, listeners, reach

pytestmark = [pytest.mark.root, pytest.mark.uml, pytest.mark.timeout(900)]

RULES = Path(__file__).parent / "kube_proxy.rules"
SERVICE, EMPTY, SERVICE_PORT, NODE_PORT = "10.96.0.80", "10.96.0.81", 80, 30080
SLOW = 150.0
"""Seconds for what takes 10 on one CPU that has nothing else to do."""
POOL = """
apiVersion: bgpnet.io/v1
kind: IPPool
metadata: {name: pods}
spec: {cidr: 10.244.0.0/16, ipipMode: Always, natOutgoing: true}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """n1 and n2 with agents, n3 without one and without a route to any pod; a pool with ipipMode Always."""
    with cluster(tmp_path_factory.mktemp("tunnel"), 3, f"agtunnel{os.getpid()}", pool="") as found:
        found[0].ctl("create", "-f", "-", stdin=POOL)
        for machine in found.machines[:2]:
            machine.start()
        for machine in found.machines[:2]:
            eventually(lambda m=machine: peers(m) == 1, lambda m=machine: [m.status(), m.log()], SLOW)
            machine.run("ip", "route", "add", "default", "via", found[2].address)
        yield found


def peers(machine: Machine) -> int:
    """How many of its sessions are up."""
    try:
        return sum(peer["state"] == "up" for peer in machine.status()["peers"])
    except AgentAway:
        return 0


@pytest.fixture(scope="module")
def pods(made: Cluster) -> list[Pod]:
    """One on each node, once each is known to the other."""
    found = [made[0].add("web"), made[1].add("shop")]
    for machine, other in ((made[0], found[1]), (made[1], found[0])):
        eventually(lambda m=machine: is_guarded(m), lambda m=machine: [ours(m), m.status()], SLOW)
        way = f"{re.escape(other.address.rpartition('.')[0])}.* dev tunl0 proto bgpnet-bgp onlink"
        eventually(
            lambda m=machine, w=way: re.search(w, str(m.routes())) is not None,
            lambda m=machine: [m.routes(), m.status(), m.log()],
            SLOW,
        )
    return found


def ours(machine: Machine) -> str:
    """All packet rules of a node."""
    return machine.run("iptables-legacy-save") if uml.inside() else machine.run("nft", "list", "ruleset")


def is_guarded(machine: Machine) -> bool:
    """Whether natOutgoing and both nodes have arrived in its rules."""
    masquerades = "-s 10.244.0.0/16 -j MASQUERADE" if uml.inside() else "natOutgoing"
    return all(word in ours(machine) for word in (masquerades, "192.0.2.1", "192.0.2.2"))


def tunnel(machine: Machine) -> str:
    """The address of its tunl0."""
    return machine.run("ip", "-o", "-4", "addr", "show", "dev", "tunl0").split()[3].partition("/")[0]


def seen(source: Place, target: Place, address: str, port: int) -> str:
    """Under which address the target sees who asks for an address that leads to it, or what is wrong."""
    with listeners([target]) as listening:
        try:
            with run_inside(source.netns, _client) as near:
                near.connect((address, port))
                far, peer = listening[target.name].accept()
                far.close()
                return str(peer[0])
        except OSError as problem:
            return type(problem).__name__


def is_seen(expected: str, source: Place, target: Place, address: str, port: int) -> None:
    """What `seen` says, at the latest when the machine has time for it."""
    eventually(
        lambda: seen(source, target, address, port) == expected, lambda: seen(source, target, address, port), SLOW
    )


def _client() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.settimeout(10)
    return made


def test_pods_see_each_other_and_outside_sees_their_node(made: Cluster, pods: list[Pod]) -> None:
    n1, n2, outside = made.machines
    web, shop = n1.pod_place(pods[0]), n2.pod_place(pods[1])
    is_seen(tunnel(n1), n1.place, shop, shop.address, PORT)
    with listeners([outside.place, web, shop]) as listening:
        for source, target, address in (
            (web, outside.place, n1.address),
            (shop, outside.place, n2.address),
            (web, shop, web.address),
            (shop, web, shop.address),
        ):
            eventually(
                lambda s=source, t=target, a=address: reach(s, t, listening).seen_as == a,
                lambda s=source, t=target: reach(s, t, listening),
                SLOW,
            )
    eventually(lambda: n1.status()["warnings"] == [], n1.status, SLOW)


def test_tunnelled_packets_come_from_nodes_alone(made: Cluster, pods: list[Pod]) -> None:
    n1, n2, outside = made.machines
    web, shop = n1.pod_place(pods[0]), n2.pod_place(pods[1])
    assert passes(n2.place, n2.address, n1.place, IPIP, b"\0" * 20, witness=n2.place) == n2.address
    for sender in (outside.place, shop, web):
        assert arrives(sender, sender.address, n1.place, IPIP, b"\0" * 20, witness=n2.place) == "", sender.name


def test_services_over_the_tunnel(made: Cluster, pods: list[Pod]) -> None:
    n1, n2, outside = made.machines
    web, shop = n1.pod_place(pods[0]), n2.pod_place(pods[1])
    text = RULES.read_text().replace("POD1", shop.address).replace("POD2", shop.address)
    iptables = "iptables-legacy" if uml.inside() else "iptables-nft"

    def services_work() -> None:
        is_seen(web.address, web, shop, SERVICE, SERVICE_PORT)
        is_seen(tunnel(n1), n1.place, shop, SERVICE, SERVICE_PORT)
        is_seen(tunnel(n1), outside.place, shop, n1.address, NODE_PORT)

    n1.run(f"{iptables}-restore", "--noflush", stdin=text)
    services_work()
    # kube-proxy writes this only where it knows the pods' range; else it is ours to have answers find the tunnel.
    (line,) = [one for one in text.splitlines() if one.startswith("-A KUBE-SVC") and "! -s 10.244.0.0/16" in one]
    n1.run(f"{iptables}-restore", "--noflush", stdin=f"*nat\n-D{line[2:]}\nCOMMIT\n")
    services_work()
    n1.run(iptables, "-P", "FORWARD", "DROP")
    is_seen("ConnectionRefusedError", web, shop, EMPTY, SERVICE_PORT)
    n1.restart_agent()
    eventually(lambda: n1.run(iptables, "-S", "FORWARD").count("bgpnet: pods") == 2, lambda: ours(n1), SLOW)
    is_seen("ConnectionRefusedError", web, shop, EMPTY, SERVICE_PORT)
    services_work()
