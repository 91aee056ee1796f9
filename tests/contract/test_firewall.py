"""The firewall's contract on the fake and on nft; and what only nft has."""

from __future__ import annotations

import os
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from descriptors import no_descriptors
from firewall_suite import VALUES, FirewallContract, LinuxWall, command, rules
from kernels import eventually, ip_command, linux_machine, new_netns

from bgpnet.errors import KernelRefused
from bgpnet.kernel import netns
from bgpnet.kernel.api import PutSysctl
from bgpnet.kernel.fake_firewall import FakeFirewall
from bgpnet.kernel.firewall import LinuxFirewall
from bgpnet.kernel.linux import LinuxKernel
from bgpnet.kernel.packets import NOTHING, Barrier


class FakeWall:
    """Values."""

    def __init__(self) -> None:
        self.firewall = FakeFirewall()

    def flush(self) -> None:
        self.firewall.rules = None

    def drop_forwarded(self) -> None:
        self.firewall.barriers = [Barrier("nft", "ip filter", "FORWARD")]


class TestFake(FirewallContract):
    """Values."""

    @pytest.fixture
    def wall(self) -> FakeWall:
        return FakeWall()


@pytest.fixture
def nft() -> Iterator[LinuxWall]:
    with linux_machine():
        yield LinuxWall(lambda: command("nft", "flush", "table", "inet", "bgpnet") and None, "iptables-nft")


@pytest.mark.root
class TestNft(FirewallContract):
    """The table `inet bgpnet`."""

    @pytest.fixture
    def wall(self, nft: LinuxWall) -> LinuxWall:
        return nft


pytestmark = pytest.mark.timeout(120)


@pytest.mark.root
@pytest.mark.parametrize(
    "tampering",
    [
        "add rule inet bgpnet prerouting accept",
        "insert rule inet bgpnet pods accept",
        "flush chain inet bgpnet postrouting",
        "add chain inet bgpnet mine",
        "add element inet bgpnet nodes { 203.0.113.66 }",
        "flush set inet bgpnet inside",
        "add chain inet bgpnet input { policy drop; }",
        "delete table inet bgpnet",
    ],
)
def test_whatever_a_stranger_changes_is_seen_and_repaired(nft: LinuxWall, tampering: str) -> None:
    wish = VALUES["over both"]
    nft.firewall.put(wish, None)
    command("nft", "-f", "-", stdin=tampering + "\n")
    found = nft.firewall.read().rules
    assert found != wish
    nft.firewall.put(wish, found)
    assert nft.firewall.read().rules == wish


@pytest.mark.root
def test_changes_of_our_table_and_of_forward_are_told_and_no_others(nft: LinuxWall) -> None:
    heard, over = threading.Semaphore(0), threading.Event()
    nft.firewall.put(VALUES["one pool"], None)
    thread = threading.Thread(target=nft.firewall.follow, args=(heard.release, over.is_set))
    thread.start()
    try:
        nudge = "add table ip other\nadd chain ip other c\nadd chain ip other KUBE-FORWARD\n"
        assert eventually(lambda: _told(heard, "delete table inet bgpnet\n", "add table inet bgpnet\n"), 30)
        while heard.acquire(timeout=2):
            pass
        command("nft", "-f", "-", stdin=nudge)
        assert not heard.acquire(timeout=1.5)
        command("iptables-nft", "-P", "FORWARD", "DROP")
        assert heard.acquire(timeout=30)
    finally:
        over.set()
        thread.join(20)


def _told(heard: threading.Semaphore, *scripts: str) -> bool:
    for script in scripts:
        command("nft", "-f", "-", stdin=script)
    return heard.acquire(timeout=1)


@pytest.mark.root
def test_pods_are_accepted_before_what_refuses_everything_and_behind_all_else(nft: LinuxWall) -> None:
    for words in (
        "-A FORWARD -s 203.0.113.0/24 -j DROP",
        "-A FORWARD -m comment --comment everything -j REJECT",
        "-A FORWARD -d 203.0.113.0/24 -j ACCEPT",
    ):
        command("iptables-nft", *words.split())
    (barrier,) = nft.firewall.read().barriers
    nft.firewall.accept(barrier)
    assert command("iptables-nft", "-S", "FORWARD").splitlines() == [
        "-P FORWARD ACCEPT",
        "-A FORWARD -s 203.0.113.0/24 -j DROP",
        '-A FORWARD -i cali+ -m comment --comment "bgpnet: pods" -j ACCEPT',
        '-A FORWARD -o cali+ -m comment --comment "bgpnet: pods" -j ACCEPT',
        "-A FORWARD -m comment --comment everything -j REJECT --reject-with icmp-port-unreachable",
        "-A FORWARD -d 203.0.113.0/24 -j ACCEPT",
    ]
    assert [one.open for one in nft.firewall.read().barriers] == [True]


@pytest.mark.root
def test_one_that_was_put_before_ours_closes_it_again(nft: LinuxWall) -> None:
    command("iptables-nft", "-P", "FORWARD", "DROP")
    nft.firewall.accept(nft.firewall.read().barriers[0])
    command("iptables-nft", "-I", "FORWARD", "-j", "DROP")
    (barrier,) = nft.firewall.read().barriers
    assert not barrier.open
    nft.firewall.accept(barrier)
    assert [one.open for one in nft.firewall.read().barriers] == [True]
    assert len(command("iptables-nft", "-S", "FORWARD").splitlines()) == 4


@pytest.mark.root
def test_another_table_that_drops_is_named_and_left_alone(nft: LinuxWall) -> None:
    command(
        "nft",
        "-f",
        "-",
        stdin="table inet mine { chain forward { type filter hook forward priority 0; policy drop; }; }\n",
    )
    (barrier,) = nft.firewall.read().barriers
    assert (barrier.open, barrier.ours) == (False, False)
    assert barrier.complaint == (
        "nft table inet mine chain forward drops packets that are forwarded to and from pods (policy drop): let it "
        "accept them: nft add rule inet mine forward iifname 'cali*' accept; "
        "nft add rule inet mine forward oifname 'cali*' accept"
    )
    for words in barrier.complaint.partition("accept them: ")[2].split("; "):
        command(*words.replace("'", '"').split())
    assert nft.firewall.read().barriers == ()


@pytest.mark.root
def test_another_table_that_refuses_what_nobody_accepted_is_named(nft: LinuxWall) -> None:
    """As firewalld's, whose policy is to accept."""
    table = """table inet walled {
        chain zones { }
        chain forward {
            type filter hook forward priority 10; policy accept;
            ct state established,related accept
            jump zones
            ct state invalid drop
            reject with icmpx type admin-prohibited
        }
        chain later { type filter hook forward priority 20; policy accept; }
    }
    """
    command("nft", "-f", "-", stdin=table)
    (barrier,) = nft.firewall.read().barriers
    assert "nft insert rule inet walled forward iifname 'cali*' accept" in barrier.complaint
    assert "(a rule for everything)" in barrier.complaint
    command("nft", 'add rule inet walled zones iifname "cali*" accept')  # where they lead to is theirs to know
    assert nft.firewall.read().barriers == ()


@pytest.mark.root
def test_another_table_that_nft_cannot_print_keeps_ours_from_nothing(
    nft: LinuxWall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = "table inet odd { chain forward { type filter hook forward priority 0; policy drop; }; }\n"
    command("nft", "-f", "-", stdin=table)
    assert len(nft.firewall.read().barriers) == 1
    picky = tmp_path / "nft"
    picky.write_text(f"""#!/bin/sh
case "$*" in *" inet odd"*) echo "netlink: Error: cannot decode" >&2; exit 1;; esac
exec {shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin")} "$@"
""")
    picky.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    wish = VALUES["one pool"]
    nft.firewall.put(wish, nft.firewall.read().rules)
    assert (nft.firewall.read().rules, nft.firewall.read().barriers) == (wish, ())


@pytest.mark.root
def test_a_pod_has_no_ipv6_address_but_that_of_its_link() -> None:
    with linux_machine(), between() as (pod, outside):
        ip_command("-6 addr add fd00::1/64 dev out0 nodad")
        Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
        for descriptor, address in ((outside, "fd00::2/64"), (pod, "fd00::77/128")):
            with netns.inside(descriptor):
                ip_command(f"-6 addr add {address} dev eth0 nodad")
        assert eventually(lambda: bool(_link_local("cali1")), 30)
        near = _link_local("cali1")[0]
        with netns.inside(pod):
            assert eventually(lambda: bool(_link_local("eth0")), 30)
            ip_command(f"-6 route add default via {near} dev eth0")
        assert eventually(lambda: _comes(pod, outside, "fd00::77", "fd00::2"), 30)
        wall = LinuxFirewall()
        assert wall.dropped() == {}
        wall.put(VALUES["over vxlan"], NOTHING)
        before = wall.dropped()
        assert before.keys() == {
            "IP in IP from a pod",
            "not the pod's own address",
            "ICMP error about what came to no pod",
            "VXLAN from a pod",
            "VXLAN, not from a node",
        }
        assert not _comes(pod, outside, "fd00::77", "fd00::2")
        assert wall.dropped()["not the pod's own address"] > before["not the pod's own address"]
        with netns.inside(pod):
            own = _link_local("eth0")[0]
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            assert eventually(lambda: _comes(pod, here, f"{own}%eth0", f"{near}%cali1"), 30)
        finally:
            os.close(here)


def _link_local(link: str) -> list[str]:
    """Its own addresses, once they may be used."""
    return re.findall(r"inet6 (fe80\S+)/64", ip_command(f"-6 addr show dev {link} scope link -tentative"))


def _comes(sender: int, receiver: int, source: str, target: str) -> bool:
    """Whether a datagram over IPv6 arrives within a second; an address with a link is meant on that link."""
    port = 9006
    with netns.inside(receiver):
        heard = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        address = socket.getaddrinfo(target, port, socket.AF_INET6, socket.SOCK_DGRAM)[0][4]
        heard.bind(address)
    with heard, netns.inside(sender):
        heard.settimeout(1)
        own = socket.getaddrinfo(source, 0, socket.AF_INET6, socket.SOCK_DGRAM)[0][4]
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as told:
            told.bind(own)
            told.sendto(b"?", (target.partition("%")[0], port, 0, own[3]))
        with suppress(TimeoutError):
            return heard.recv(16) == b"?"
    return False


@pytest.mark.root
def test_what_the_kernel_refuses_is_a_sentence(nft: LinuxWall) -> None:
    command("nft", "add table inet bgpnet { flags dormant; }")
    wish = VALUES["one pool"]
    nft.firewall.put(wish, nft.firewall.read().rules)
    assert nft.firewall.read().rules == wish
    with pytest.raises(KernelRefused, match="packet rules: nft refuses"):
        nft.firewall.put(VALUES["one pool"].__class__(nodes=wish.nodes, tunnels=frozenset({"a" * 40})), wish)
    assert nft.firewall.read().rules == wish


@pytest.mark.root
def test_a_program_that_cannot_be_started_is_a_refusal(nft: LinuxWall) -> None:
    known = LinuxFirewall()
    known.read()
    for firewall in (known, LinuxFirewall()):
        with no_descriptors(), pytest.raises(KernelRefused, match=": Too many open files; see to that"):
            firewall.read()


@pytest.mark.root
def test_no_packet_passes_between_the_old_rules_and_the_new() -> None:
    """Every datagram of a flood is a connection of its own, and meets the rules as they are in that moment."""
    one, other = rules("10.244.0.0/16", "10.244.0.0/16"), VALUES["over both"]
    with linux_machine(), between() as (pod, outside):
        wall = LinuxFirewall()
        wall.put(one, NOTHING)
        seen: set[str] = set()
        over = threading.Event()
        threads = [
            threading.Thread(target=_flood, args=(pod, over)),
            threading.Thread(target=_listen, args=(outside, over, seen)),
        ]
        for thread in threads:
            thread.start()
        try:
            assert eventually(lambda: bool(seen), 30)
            for have, want in [(one, other), (other, one)] * 30:
                wall.put(want, have)
            command("nft", "flush", "chain", "inet", "bgpnet", "input")
            wall.put(one, wall.read().rules)
        finally:
            over.set()
            for thread in threads:
                thread.join(30)
        assert wall.read().rules == one
        assert seen == {"203.0.113.1"}


@contextmanager
def between() -> Iterator[tuple[int, int]]:
    """The machine routes between a pod, 10.244.0.5, and a host 203.0.113.2, which knows no pods: their namespaces."""
    pod, outside = new_netns(), new_netns()
    try:
        for name, peer in (("cali1", pod), ("out0", outside)):
            ip_command(f"link add {name} type veth peer name eth0 netns /proc/{os.getpid()}/fd/{peer}")
            ip_command(f"link set {name} up")
        ip_command("addr add 203.0.113.1/24 dev out0")
        ip_command("route add 10.244.0.5/32 dev cali1")
        kernel = LinuxKernel()
        kernel.change([PutSysctl("net/ipv4/ip_forward", "1"), PutSysctl("net/ipv4/conf/cali1/proxy_arp", "1")])
        kernel.close()
        for descriptor, address in ((outside, "203.0.113.2/24"), (pod, "10.244.0.5/32")):
            with netns.inside(descriptor):
                ip_command("link set eth0 up")
                ip_command(f"addr add {address} dev eth0")
        with netns.inside(pod):
            ip_command("route add default dev eth0")
        yield pod, outside
    finally:
        os.close(pod)
        os.close(outside)


def _flood(pod: int, over: threading.Event) -> None:
    with netns.inside(pod):
        while not over.is_set():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"?", ("203.0.113.2", 9000))


def _listen(outside: int, over: threading.Event, seen: set[str]) -> None:
    with netns.inside(outside), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("203.0.113.2", 9000))
        receiver.settimeout(0.2)
        while not over.is_set():
            with suppress(TimeoutError):
                seen.add(receiver.recvfrom(16)[1][0])
