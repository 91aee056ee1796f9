"""The firewall's contract on iptables-legacy, in a kernel without nftables: User Mode Linux."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from firewall_suite import VALUES, FirewallContract, LinuxWall, command
from kernels import linux_machine

from bgpnet.kernel.packets import NOTHING
from bgpnet.lab import uml

pytestmark = [pytest.mark.root, pytest.mark.uml, pytest.mark.timeout(900)]


@pytest.fixture
def legacy() -> Iterator[LinuxWall]:
    iptables = "iptables-legacy" if uml.inside() else "iptables-nft"
    with linux_machine():
        yield LinuxWall(_flush if uml.inside() else _flush_nft, iptables)


def _flush() -> None:
    command("iptables-legacy", "-F", "BGPNET-INPUT")
    command("iptables-legacy", "-t", "raw", "-F", "PREROUTING")


def _flush_nft() -> None:
    command("nft", "flush", "table", "inet", "bgpnet")


class TestLegacy(FirewallContract):
    """Chains BGPNET-*; a kernel that has nftables gets nft's table instead."""

    steps = (3,)

    @pytest.fixture
    def wall(self, legacy: LinuxWall) -> LinuxWall:
        return legacy


def test_the_chains_are_what_an_administrator_reads(legacy: LinuxWall) -> None:
    if not uml.inside():
        return
    command("iptables-legacy", "-P", "FORWARD", "DROP")
    command("iptables-legacy", "-A", "FORWARD", "-s", "203.0.113.0/24", "-j", "ACCEPT")
    command("iptables-legacy", "-A", "FORWARD", "-j", "REJECT")
    command("iptables-legacy", "-t", "nat", "-A", "POSTROUTING", "-j", "RETURN")
    legacy.firewall.put(VALUES["over both"], None)
    legacy.firewall.accept(legacy.firewall.read().barriers[0])
    told = [command("iptables-legacy", "-t", table, "-S") for table in ("filter", "nat", "raw")]
    assert "\n".join(told).replace("-p ipencap", "-p 4") == LISTING
    legacy.firewall.put(NOTHING, None)
    left = command("iptables-legacy-save")
    assert "BGPNET" not in left
    assert "-A POSTROUTING -j RETURN" in left


MASQUERADE = "-j MASQUERADE --random-fully"
SERVICE = (
    "-m conntrack --ctstate DNAT -m addrtype --src-type LOCAL -m addrtype ! --src-type LOCAL --limit-iface-out "
    + MASQUERADE
)
LISTING = f"""\
-P INPUT ACCEPT
-P FORWARD DROP
-P OUTPUT ACCEPT
-N BGPNET-FORWARD
-N BGPNET-INPUT
-N BGPNET-NODES
-A INPUT -m comment --comment bgpnet -j BGPNET-INPUT
-A FORWARD -m comment --comment bgpnet -j BGPNET-FORWARD
-A FORWARD -s 203.0.113.0/24 -j ACCEPT
-A FORWARD -i cali+ -m comment --comment "bgpnet: pods" -j ACCEPT
-A FORWARD -o cali+ -m comment --comment "bgpnet: pods" -j ACCEPT
-A FORWARD -j REJECT --reject-with icmp-port-unreachable
-A BGPNET-FORWARD -i cali+ -p udp -m udp --dport 4789 -j DROP
-A BGPNET-INPUT -p 4 -j BGPNET-NODES
-A BGPNET-INPUT -p udp -m udp --dport 4789 -j BGPNET-NODES
-A BGPNET-NODES -s 192.0.2.1/32 -j RETURN
-A BGPNET-NODES -s 203.0.113.7/32 -j RETURN
-A BGPNET-NODES -j DROP

-P PREROUTING ACCEPT
-P INPUT ACCEPT
-P OUTPUT ACCEPT
-P POSTROUTING ACCEPT
-N BGPNET-NAT
-A POSTROUTING -m comment --comment bgpnet -j BGPNET-NAT
-A POSTROUTING -j RETURN
-A BGPNET-NAT -o lo -j RETURN
-A BGPNET-NAT -o cali+ -j RETURN
-A BGPNET-NAT -o tunl0 {SERVICE}
-A BGPNET-NAT -o vxlan.bgpnet {SERVICE}
-A BGPNET-NAT -d 192.0.2.1/32 -p tcp -m tcp --dport 179 -j RETURN
-A BGPNET-NAT -d 192.0.2.1/32 -p tcp -m tcp --dport 1790 -j RETURN
-A BGPNET-NAT -d 203.0.113.7/32 -p tcp -m tcp --dport 179 -j RETURN
-A BGPNET-NAT -d 203.0.113.7/32 -p tcp -m tcp --dport 1790 -j RETURN
-A BGPNET-NAT -d 10.244.0.0/16 -j RETURN
-A BGPNET-NAT -s 10.244.0.0/16 {MASQUERADE}

-P PREROUTING ACCEPT
-P OUTPUT ACCEPT
-N BGPNET-PODS
-A PREROUTING -i cali+ -m comment --comment bgpnet -j BGPNET-PODS
-A BGPNET-PODS -p 4 -j DROP
-A BGPNET-PODS -m rpfilter --invert -j DROP
"""
