"""The firewall's contract on iptables-legacy, in a kernel without nftables: User Mode Linux."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from firewall_suite import VALUES, FirewallContract, LinuxWall, command
from kernels import linux_machine

from bgpnet.lab import uml

pytestmark = [pytest.mark.root, pytest.mark.uml]


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

    @pytest.fixture
    def wall(self, legacy: LinuxWall) -> LinuxWall:
        return legacy


def test_the_chains_are_what_an_administrator_reads(legacy: LinuxWall) -> None:
    if not uml.inside():
        return
    command("iptables-legacy", "-P", "FORWARD", "DROP")
    command("iptables-legacy", "-A", "FORWARD", "-j", "REJECT")
    command("iptables-legacy", "-t", "nat", "-A", "POSTROUTING", "-j", "RETURN")
    legacy.firewall.put(VALUES["over both"], None)
    legacy.firewall.accept(legacy.firewall.read().barriers[0])
    assert command("iptables-legacy", "-S").splitlines() == []
    assert command("iptables-legacy", "-t", "nat", "-S").splitlines() == []
    assert command("iptables-legacy", "-t", "raw", "-S").splitlines() == []
