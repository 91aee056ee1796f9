"""Our packet rules beside those of a real kube-proxy: Services work, and NAT is where it belongs."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import Cluster, Machine, Pod, cluster, eventually
from kube_rules import CLUSTER_IP, EMPTY, NODE_PORT, PORT, kube_proxy, rules, service
from kube_server import ApiServer, api_server
from raw_packets import UDP, datagram, send
from test_packets import has, put_pool

pytestmark = pytest.mark.root

MANY = 30
"""Questions that certainly reach both of two pods: not once in 500 million times do all go to one."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """n1 and n2 with agents, n3 outside; a pool with natOutgoing."""
    with cluster(tmp_path_factory.mktemp("services"), 3, f"agservices{os.getpid()}", pool="") as found:
        put_pool(found[0], "pods", "10.244.0.0/16", "natOutgoing: true")
        for machine in found.machines[:2]:
            machine.start()
        for machine in found.machines[:2]:
            machine.ready(peers=1)
            machine.run("ip", "route", "add", "default", "via", found[2].address)
        yield found


def said(machine: Machine, netns: str, address: str, port: int, times: int = 1) -> set[str]:
    """What a Service's pods answer: `<its name> sees <whom>`; or what is wrong."""
    inside = ["ip", "netns", "exec", netns] if netns else []
    return set(machine.run(*inside, "python3", "-c", ASK, address, str(port), str(times)).splitlines())


ASK = """
import socket, sys
for _ in range(int(sys.argv[3])):
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as asked:
            asked.settimeout(5)
            print(asked.recv(100).decode())
    except OSError as problem:
        print(type(problem).__name__)
"""
ANSWER = """
import socket, sys
with socket.create_server((sys.argv[1], 8000), backlog=64) as listening:
    while True:
        near, peer = listening.accept()
        with near:
            near.sendall(f"{sys.argv[2]} sees {peer[0]}".encode())
"""


@pytest.fixture(scope="module")
def pods(made: Cluster) -> Iterator[list[Pod]]:
    """One on each node, that answer."""
    found = [made[0].add("web"), made[1].add("shop")]
    servers = []
    for machine, pod in zip(made.machines, found, strict=False):
        inside = ("ip", "netns", "exec", pod.name)
        servers.append(machine.process("answers", *inside, "python3", "-c", ANSWER, pod.address, pod.name))
    servers.append(made[2].process("answers", "python3", "-c", ANSWER, made[2].address, "outside"))
    for one in servers:
        one.start()
    for machine in made.machines[:2]:
        has(machine, "natOutgoing")
        for pod in found:
            eventually(
                lambda m=machine, p=pod: "sees" in str(said(m, "", p.address, 8000)), lambda m=machine: m.routes()
            )
    yield found
    for one in servers:
        one.end()


@pytest.fixture(scope="module")
def server(made: Cluster, pods: list[Pod], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("api")) as found:
        nodes = {machine.name: machine.address for machine in made.machines[:2]}
        service(found, nodes, {pod.address: pod.node for pod in pods})
        yield found


def visits(made: Cluster) -> int:
    """How often n1 meets one packet from somewhere behind its router to an address that no Service has."""
    n1, _, outside = made.machines
    n1.run("nft", "-f", "-", stdin=WATCH)
    send(outside.place, "198.51.100.5", UNUSED, UDP, datagram(9999, b""))
    eventually(lambda: _count(n1) > 0, lambda: n1.run("nft", "list", "ruleset"))
    before = -1
    while before != (now := _count(n1)):  # it goes round in microseconds
        before = now
        threading.Event().wait(0.2)
    return now


def _count(n1: Machine) -> int:
    found = re.search(r"packets (\d+)", n1.run("nft", "list", "table", "ip", "watch"))
    return int(found[1]) if found else 0


@pytest.fixture(scope="module")
def routed(made: Cluster) -> None:
    """The outside is the nodes' router, and has the Services' range by n1."""
    n1, _, outside = made.machines
    outside.run("ip", "route", "add", RANGE, "via", n1.address)
    for machine in (n1, outside):
        machine.run("sh", "-c", FORWARDS)


def configure(made: Cluster) -> None:
    """The range is one of Services, and the nodes know it."""
    made[0].ctl("apply", "-f", "-", stdin=CONFIGURATION)
    for machine in made.machines[:2]:
        has(machine, "nobody's Service")


@pytest.mark.usefixtures("routed")
def test_what_is_no_service_goes_to_and_fro_until_the_ranges_are_configured(made: Cluster) -> None:
    assert visits(made) > 20
    configure(made)
    assert visits(made) == 1


FORWARDS = (
    "cd /proc/sys/net/ipv4; echo 1 >ip_forward; for i in conf/*; do echo 0 | tee $i/rp_filter >$i/send_redirects; done"
)
"""Each redirect would make the kernel withhold its other words to that address, kube-proxy's refusals, for a second."""
WATCH = """
table ip watch
delete table ip watch
table ip watch { chain seen { type filter hook prerouting priority -400; ip daddr 10.96.77.7 counter; }; }
"""
RANGE, UNUSED = "10.96.0.0/16", "10.96.77.7"
CONFIGURATION = f"""
apiVersion: bgpnet.io/v1
kind: BGPConfiguration
metadata: {{name: default}}
spec: {{serviceClusterIPs: [{{cidr: {RANGE}}}]}}
"""


@pytest.mark.usefixtures("routed")
@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_services_beside_kube_proxy(made: Cluster, pods: list[Pod], server: ApiServer, mode: str) -> None:
    n1, n2, outside = made.machines
    web, shop = pods
    configure(made)
    with kube_proxy(server, n1, mode, made.folder), kube_proxy(server, n2, mode, made.folder):
        both = {f"shop sees {n1.address}", f"web sees {n1.address}"}
        # to itself: through the node, or the pod would see itself and answer past it
        assert said(n1, "web", CLUSTER_IP, PORT, MANY) == {f"shop sees {web.address}", f"web sees {n1.address}"}
        assert said(n2, "shop", CLUSTER_IP, PORT, MANY) == {f"shop sees {n2.address}", f"web sees {shop.address}"}
        assert said(n1, "", CLUSTER_IP, PORT, MANY) == both
        assert said(outside, "", n1.address, NODE_PORT, MANY) == both
        assert said(n1, "web", EMPTY, PORT) == {"ConnectionRefusedError"}
        assert said(outside, "", CLUSTER_IP, PORT, MANY) == both
        assert said(outside, "", EMPTY, PORT) == {"ConnectionRefusedError"}  # kube-proxy's word goes before ours
        assert visits(made) == 1
        n1.run("iptables-nft", "-P", "FORWARD", "DROP")
        try:
            eventually(lambda: "bgpnet: pods" in n1.run("iptables-nft", "-S", "FORWARD"), lambda: n1.log()[-2000:])
            assert said(n1, "web", EMPTY, PORT) == {"ConnectionRefusedError"}
            assert said(n1, "web", CLUSTER_IP, PORT, MANY) == {f"shop sees {web.address}", f"web sees {n1.address}"}
        finally:
            n1.run("iptables-nft", "-P", "FORWARD", "ACCEPT")
        n1.run("nft", "delete", "table", "inet", "bgpnet")
        has(n1, "natOutgoing")
        assert said(n1, "web", outside.address, 8000) == {f"outside sees {n1.address}"}


def test_what_is_loaded_over_tunl0_is_what_kube_proxy_writes(made: Cluster, server: ApiServer) -> None:
    """tests/tunnel loads the record by iptables-legacy, where no API server runs."""
    n1 = made[0]
    with kube_proxy(server, n1, "iptables", made.folder):
        eventually(
            lambda: recorded(rules(n1, "iptables")) == RECORD.read_text(), lambda: recorded(rules(n1, "iptables"))
        )


RECORD = Path(__file__).parents[1] / "tunnel" / "kube_proxy.rules"


def recorded(saved: str) -> str:
    """kube-proxy's part of what iptables-save prints, the Service's pods called POD1 and POD2, without accounting.

    Its chain of pod 1 is the one to which the Service's chain leads first.
    """
    chains = re.findall(r"^-A KUBE-SVC-.* -j (KUBE-SEP-\w+)$", saved, re.MULTILINE)
    for number, chain in enumerate(chains, 1):
        address = re.search(rf"^-A {chain} .*--to-destination ([0-9.]+):", saved, re.MULTILINE)
        assert address, saved
        saved = re.sub(rf"{re.escape(address[1])}(?!\d)", f"POD{number}", saved).replace(chain, f"KUBE-SEP-{number}")
    saved = re.sub(r" -m nfacct --nfacct-name +ct_state_invalid_dropped_pkts", "", saved)
    tables = re.findall(r"^\*(filter|nat)\n(.*?)^COMMIT", saved, re.MULTILINE | re.DOTALL)
    found = ""
    for name, text in sorted(tables):
        lines = [re.sub(r"\[\d+:\d+\]", "[0:0]", line) for line in text.splitlines() if "KUBE" in line]
        kept = [line for line in lines if "nfacct" not in line]
        found += "\n".join([f"*{name}", *sorted(kept, key=_chain), "COMMIT", ""])
    return found


def _chain(line: str) -> tuple[bool, str, str]:
    """In which order lines are kept: declarations, then rules by their chain; kube-proxy's own order there, but where
    it has none: among the Services without pods, and in the kernel's own chains, which it may find filled.
    """
    if not line.startswith("-A"):
        return False, line, ""
    chain = line.split()[1]
    return True, chain, line if "has no endpoints" in line or not chain.startswith("KUBE-") else ""
