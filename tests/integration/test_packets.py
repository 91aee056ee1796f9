"""Two nodes and a host outside: who is seen under which address, and whose packets are let through."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from agents import Cluster, Machine, Pod, cluster, eventually
from raw_packets import ICMP, IPIP, MORE, UDP, arrives, datagram, header, passes, send, too_large

from bgpnet.kernel.netns import run_inside
from bgpnet.lab.probe import Place, Reached, listeners, reach

pytestmark = pytest.mark.root

POOL = """
apiVersion: bgpnet.io/v1
kind: IPPool
metadata: {{name: {name}}}
spec: {{cidr: {cidr}, {more}}}
"""
SERVICE = "10.96.0.10"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """n1 and n2 with agents, n3 without one and without a route to any pod; a pool with natOutgoing."""
    with cluster(tmp_path_factory.mktemp("packets"), 3, f"agpackets{os.getpid()}", pool="") as found:
        put_pool(found[0], "pods", "10.244.0.0/16", "natOutgoing: true")
        put_pool(found[0], "old", "198.51.100.0/24", "disabled: true")
        for machine in found.machines[:2]:
            machine.start()
        for machine in found.machines[:2]:
            machine.ready(peers=1)
            machine.run("sh", "-c", "echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter")
        yield found


@pytest.fixture(scope="module")
def pods(made: Cluster) -> list[Pod]:
    """One on each node, that reach each other."""
    found = [made[0].add("web"), made[1].add("shop")]
    for machine in made.machines[:2]:
        has_route(machine)
        eventually(lambda machine=machine: "natOutgoing" in table(machine), lambda machine=machine: machine.log())
    return found


def put_pool(machine: Machine, name: str, cidr: str, more: str) -> None:
    machine.ctl("apply", "-f", "-", stdin=POOL.format(name=name, cidr=cidr, more=more))


def has_route(machine: Machine) -> None:
    eventually(lambda: "bgpnet-bgp" in str(machine.routes()), lambda: machine.routes())


def table(machine: Machine) -> str:
    """Our table with its handles, without counters."""
    told = machine.run("nft", "-a", "list", "table", "inet", "bgpnet", check=False)
    return re.sub(r"counter packets \d+ bytes \d+", "counter", told)


def has(machine: Machine, *words: str, absent: str = "") -> None:
    """Wait until our table says so."""
    eventually(
        lambda: all(word in table(machine) for word in words) and not (absent and absent in table(machine)),
        lambda: [words, table(machine), machine.log()[-2000:]],
    )


def seen(source: Place, target: Place) -> str:
    """Under which address one end sees the other, or what is wrong."""
    with listeners([target]) as listening:
        found: Reached = reach(source, target, listening)
    return found.problem or found.seen_as


def eventually_seen(source: Place, target: Place, address: str) -> None:
    eventually(lambda: seen(source, target) == address, lambda: seen(source, target))


def test_outside_sees_the_node_and_everybody_else_sees_the_pod(made: Cluster, pods: list[Pod]) -> None:
    n1, n2, outside = made.machines
    web, shop = n1.pod_place(pods[0]), n2.pod_place(pods[1])
    eventually_seen(web, outside.place, n1.address)
    assert seen(shop, outside.place) == n2.address
    assert seen(web, shop) == web.address
    assert seen(shop, web) == shop.address
    assert seen(web, n1.place) == web.address
    assert seen(n2.place, web) == n2.address


def test_a_disabled_pool_is_not_outside(made: Cluster, pods: list[Pod]) -> None:
    n1, _, outside = made.machines
    outside.run("ip", "address", "add", "198.51.100.7/32", "dev", "lo")
    n1.run("ip", "route", "add", "198.51.100.0/24", "via", outside.address)
    inner = Place("old", outside.place.netns, "198.51.100.7", is_pod=False)
    assert seen(n1.pod_place(pods[0]), inner) == "timed out"
    outside.run("ip", "route", "add", "10.244.0.0/16", "via", n1.address)
    try:
        assert seen(n1.pod_place(pods[0]), inner) == pods[0].address
    finally:
        outside.run("ip", "route", "del", "10.244.0.0/16")


def test_nodes_are_outside_unless_they_are_excluded(made: Cluster, pods: list[Pod]) -> None:
    n1, n2, outside = made.machines
    web = n1.pod_place(pods[0])
    assert seen(web, n2.place) == n1.address
    n1.agent.env["BGPNET_NAT_OUTGOING_EXCLUSIONS"] = "IPPoolsAndHostIPs"
    n1.restart_agent()
    eventually_seen(web, n2.place, web.address)
    assert seen(web, outside.place) == n1.address
    del n1.agent.env["BGPNET_NAT_OUTGOING_EXCLUSIONS"]
    n1.restart_agent()
    eventually_seen(web, n2.place, n1.address)


def test_a_pod_never_passes_for_the_peer_that_its_node_is(made: Cluster, pods: list[Pod]) -> None:
    """A node that takes connections from its peers' addresses would speak BGP with it."""
    n1, _, outside = made.machines
    web = n1.pod_place(pods[0])
    outside.run("ip", "route", "add", "10.244.0.0/16", "via", n1.address)
    assert asked_by(web, outside.place, 179) == n1.address
    n1.ctl("apply", "-f", "-", stdin=NODE.replace("192.0.2.77", outside.address))
    try:
        has(n1, outside.address)
        assert asked_by(web, outside.place, 179) == pods[0].address
        assert asked_by(web, outside.place, 180) == n1.address
    finally:
        n1.ctl("delete", "node", "far")
        outside.run("ip", "route", "del", "10.244.0.0/16")
    has(n1, absent=outside.address)


def asked_by(source: Place, target: Place, port: int) -> str:
    """Whom the target sees ask for a TCP connection to the port, whether it answers or not."""
    with (
        run_inside(target.netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)) as heard,
        run_inside(source.netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as asking,
    ):
        heard.settimeout(30)
        asking.setblocking(False)
        asking.connect_ex((target.address, port))
        while True:
            packet = heard.recv(65536)
            if int.from_bytes(packet[22:24], "big") == port and packet[33] == TCP_SYN:
                return socket.inet_ntoa(packet[12:16])


TCP_SYN = 2


def test_a_pod_sends_under_its_own_address_only(made: Cluster, pods: list[Pod]) -> None:
    n1, n2, outside = made.machines
    web = n1.pod_place(pods[0])
    n1.run("sh", "-c", f"echo 0 >/proc/sys/net/ipv4/conf/{pods[0].link}/rp_filter")
    for source in ("203.0.113.9", "10.244.77.7", pods[1].address, n1.address, n2.address):
        for target in (n1.place, n2.place, outside.place):
            if source != target.address:
                assert arrives(web, source, target, UDP, datagram(9999, b""), witness=web) == "", (source, target)
    assert passes(web, web.address, n1.place, UDP, datagram(9999, b""), witness=web) == web.address
    assert "not the pod's own address" in n1.run("nft", "list", "chain", "inet", "bgpnet", "pods")


VXLAN = datagram(4789, b"\x08\0\0\0\0\x10\0\0")
"""The beginning of a packet of VNI 4096."""


@pytest.mark.parametrize(
    ("mode", "protocol", "payload", "rule"),
    [
        ("ipipMode", IPIP, b"\0" * 20, "IP in IP, not from a node"),
        ("vxlanMode", UDP, VXLAN, "VXLAN, not from a node"),
    ],
    ids=["IP in IP", "VXLAN"],
)
def test_only_nodes_send_tunnelled_packets(
    made: Cluster, pods: list[Pod], mode: str, protocol: int, payload: bytes, rule: str
) -> None:
    n1, n2, outside = made.machines
    put_pool(n1, "tunnelled", "10.9.0.0/24", f"disabled: true, {mode}: Always")
    try:
        for machine in (n1, n2):
            has(machine, rule)
        assert passes(n2.place, n2.address, n1.place, protocol, payload, witness=n2.place) == n2.address
        assert arrives(outside.place, outside.address, n1.place, protocol, payload, witness=n2.place) == ""
        assert arrives(outside.place, "203.0.113.66", n1.place, protocol, payload, witness=n2.place) == ""
        for receiver in (n1.place, n2.place):
            witness = n2.place if receiver is n1.place else n1.place
            assert arrives(n1.pod_place(pods[0]), pods[0].address, receiver, protocol, payload, witness) == ""
    finally:
        put_pool(n1, "tunnelled", "10.9.0.0/24", "disabled: true")
    # The device stays up for those who have not heard of it: it is still for nodes alone.
    n1.ctl("apply", "-f", "-", stdin=NODE)
    has(n1, rule, "192.0.2.77")
    assert arrives(outside.place, outside.address, n1.place, protocol, payload, witness=n2.place) == ""
    n1.ctl("delete", "node", "far")


def test_vxlan_of_a_pod_never_passes_for_its_nodes(made: Cluster, pods: list[Pod]) -> None:
    """Neither to an address of a node that its Node does not have, which natOutgoing masquerades, nor by a Service."""
    n1, n2, _ = made.machines
    put_pool(n1, "tunnelled", "10.9.0.0/24", "disabled: true, vxlanMode: Always")
    put_pool(n1, "tunnelled", "10.9.0.0/24", "disabled: true")
    other, service = "203.0.113.200", "10.96.0.9"
    n2.run("ip", "address", "add", f"{other}/32", "dev", "lo")
    n1.run("ip", "route", "add", other, "via", n2.address)
    n1.run("ip", "route", "add", service, "via", n2.address)
    n1.run("nft", "-f", "-", stdin=SERVICE_TO_A_NODE.format(service=service, node=n2.address))
    web = n1.pod_place(pods[0])
    try:
        has(n1, "VXLAN from a pod")
        for address, port in ((other, 4789), (service, 53)):
            far = Place("far", n2.place.netns, address, is_pod=False)
            plain = datagram(9999, b"") if port == 4789 else datagram(54, b"")
            assert passes(web, web.address, far, UDP, plain, witness=n1.place) == n1.address
            packet = datagram(port, VXLAN[8:])
            assert arrives(web, web.address, far, UDP, packet, witness=n1.place) == ""
    finally:
        n1.run("nft", "delete", "table", "ip", "services")
        n1.run("ip", "route", "del", other)
        n1.run("ip", "route", "del", service)


SERVICE_TO_A_NODE = """
table ip services {{
    chain prerouting {{
        type nat hook prerouting priority -100;
        ip daddr {service} udp dport 53 dnat to {node}:4789
        ip daddr {service} udp dport 54 dnat to {node}:9999
    }}
    chain output {{ type nat hook output priority -100; ip daddr {service} udp dport 53-54 dnat to {node}:4789; }}
}}
"""


def test_a_pod_does_not_tell_its_node_that_the_way_to_another_is_narrow(made: Cluster, pods: list[Pod]) -> None:
    """One packet would do for all that the node and its other pods send there, for ten minutes."""
    n1, n2, outside = made.machines
    put_pool(n1, "tunnelled", "10.9.0.0/24", "disabled: true, vxlanMode: Always")
    web = n1.pod_place(pods[0])
    unknown = (50_001).to_bytes(2, "big") + VXLAN[2:]  # a flow that connection tracking has not seen, nor translated
    forged = too_large(600, header(n1.address, n2.address, UDP) + unknown)

    def width() -> str:
        return n1.run("ip", "route", "get", n2.address)

    try:
        has(n1, "VXLAN, not from a node")
        eventually(lambda: ":4789" in n1.run("ss", "-Huln"), lambda: n1.run("ss", "-Huln"))
        send(web, web.address, n1.address, ICMP, forged)
        send(web, web.address, n1.address, ICMP, forged[:8], MORE)
        send(web, web.address, n1.address, ICMP, forged[8:], 1)
        assert refused_by(n1.place, web)  # what a pod says of itself is heard, and behind what it said of others
        assert "mtu" not in width()
        assert "ICMP error about what came to no pod" in n1.run("nft", "list", "chain", "inet", "bgpnet", "errors")
        send(outside.place, outside.address, n1.address, ICMP, forged)  # well made: believed of whom no rule is about
        eventually(lambda: "mtu 600" in width(), width)
    finally:
        n1.run("ip", "route", "flush", "cache")
        put_pool(n1, "tunnelled", "10.9.0.0/24", "disabled: true")


def refused_by(source: Place, target: Place) -> bool:
    """Whether the source is told that nobody listens on a port of the target."""
    with run_inside(source.netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asking:
        asking.settimeout(30)
        asking.connect((target.address, 9))
        asking.send(b"?")
        try:
            asking.recv(1)
        except ConnectionRefusedError:
            return True
    return False


def test_a_new_node_is_known_and_a_deleted_one_is_not(made: Cluster, pods: list[Pod]) -> None:
    n1 = made[0]
    n1.ctl("apply", "-f", "-", stdin=NODE)
    has(n1, "192.0.2.77")
    n1.ctl("delete", "node", "far")
    has(n1, absent="192.0.2.77")


NODE = """
apiVersion: bgpnet.io/v1
kind: Node
metadata: {name: far}
spec: {bgp: {ipv4Address: 192.0.2.77/24}}
"""


def test_pods_forward_where_docker_drops(made: Cluster, pods: list[Pod]) -> None:
    n1, n2, _ = made.machines
    n1.run("iptables-nft", "-P", "FORWARD", "DROP")

    def accepted() -> int:
        return n1.run("iptables-nft", "-S", "FORWARD").count("bgpnet: pods")

    try:
        eventually(lambda: accepted() == 2, lambda: n1.log()[-2000:])
        assert seen(n1.pod_place(pods[0]), n2.pod_place(pods[1])) == pods[0].address
        assert seen(n2.pod_place(pods[1]), n1.pod_place(pods[0])) == pods[1].address
        n1.run("iptables-nft", "-F", "FORWARD")
        eventually(lambda: accepted() == 2, lambda: n1.log()[-2000:])
        eventually_seen(n2.pod_place(pods[1]), n1.pod_place(pods[0]), pods[1].address)
    finally:
        n1.run("iptables-nft", "-P", "FORWARD", "ACCEPT")


def test_another_table_that_drops_is_in_the_status(made: Cluster, pods: list[Pod]) -> None:
    n2 = made[1]
    rules = "table inet admin { chain gate { type filter hook forward priority 0; policy drop; }; }\n"
    n2.run("nft", "-f", "-", stdin=rules)
    try:
        n2.restart_agent()
        eventually(lambda: "table inet admin chain gate drops" in str(n2.status()["warnings"]), lambda: n2.status())
    finally:
        n2.run("nft", "delete", "table", "inet", "admin")
    n2.restart_agent()
    eventually(lambda: n2.status()["warnings"] == [], n2.status)


def test_rules_outlive_the_agent_and_are_repaired_by_it(made: Cluster, pods: list[Pod]) -> None:
    n1, _, outside = made.machines
    web = n1.pod_place(pods[0])
    before = table(n1)
    n1.agent.end()
    assert table(n1) == before
    assert seen(web, outside.place) == n1.address
    n1.agent.start()
    n1.ready()
    n1.run("nft", "flush", "table", "inet", "bgpnet")
    has(n1, "natOutgoing")
    eventually_seen(web, outside.place, n1.address)
    n1.run("nft", "delete", "table", "inet", "bgpnet")
    has(n1, "natOutgoing")
    eventually(lambda: n1.status()["warnings"] == [], n1.status)


def test_what_strangers_switch_off_is_on_again_long_before_the_next_look(made: Cluster, pods: list[Pod]) -> None:
    n1, n2, _ = made.machines
    put_pool(n1, "tunnelled", "10.9.0.0/24", "disabled: true, vxlanMode: Always")

    def entries() -> str:
        return n1.run("bridge", "fdb", "show", "dev", "vxlan.bgpnet", check=False)

    def forwards() -> str:
        return n1.run("cat", "/proc/sys/net/ipv4/ip_forward").strip()

    try:
        eventually(lambda: f"dst {n2.address} self permanent" in entries(), entries)
        n1.run("bridge", "fdb", "del", entries().split()[0], "dev", "vxlan.bgpnet")
        eventually(lambda: f"dst {n2.address} self permanent" in entries(), entries, SOON)
        n1.run("sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward")
        eventually(lambda: forwards() == "1", forwards, SOON)
    finally:
        put_pool(n1, "tunnelled", "10.9.0.0/24", "disabled: true")


SOON = 25.0
"""Seconds: much less than the minute between two looks at everything."""


def test_a_successor_writes_nothing_anew(made: Cluster, pods: list[Pod]) -> None:
    n1 = made[0]
    has(n1, "natOutgoing")
    before = table(n1)
    n1.restart_agent()
    written = n1.log().count("packet rules: written")
    n1.ctl("apply", "-f", "-", stdin=NODE)
    has(n1, "192.0.2.77")
    # it is said once nft has ended, a moment after its rules are there
    eventually(lambda: n1.log().count("packet rules: written") > written, n1.log)
    assert n1.log().count("packet rules: written") == written + 1
    n1.ctl("delete", "node", "far")
    has(n1, absent="192.0.2.77")
    assert table(n1) == before


def test_connections_outlive_natoutgoing_of_their_pool(made: Cluster, pods: list[Pod]) -> None:
    n1, _, outside = made.machines
    with echoes(n1.pod_place(pods[0]), outside.place) as said:
        assert said() == n1.address
        put_pool(n1, "pods", "10.244.0.0/16", "natOutgoing: false")
        has(n1, absent="10.244.0.0/16 }\n\t}\n\n\tset inside")
        eventually_seen(n1.pod_place(pods[0]), outside.place, "timed out")
        assert said() == n1.address
        n1.run("nft", "flush", "table", "inet", "bgpnet")
        has(n1, "natOutgoing")
        assert said() == n1.address
        put_pool(n1, "pods", "10.244.0.0/16", "natOutgoing: true")
        eventually_seen(n1.pod_place(pods[0]), outside.place, n1.address)
        assert said() == n1.address
    eventually_seen(made[1].pod_place(pods[1]), outside.place, made[1].address)


@contextmanager
def echoes(source: Place, target: Place) -> Iterator[Callable[[], str]]:
    """A connection that stays; asked, the far end says whom it sees."""
    listening = run_inside(target.netns, lambda: socket.create_server((target.address, 8001)))
    near = run_inside(source.netns, lambda: socket.create_connection((target.address, 8001), 30))
    far, peer = listening.accept()
    with closing(listening), closing(near), closing(far):
        near.settimeout(30)
        far.settimeout(30)

        def said() -> str:
            near.sendall(b"?")
            assert far.recv(1) == b"?"
            far.sendall(socket.inet_aton(peer[0]))
            return socket.inet_ntoa(near.recv(4))

        yield said
