"""A pod's second interface, on the real kernel: packets from its address leave by it, whoever has the main table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernels import LinuxMachine, ip_command, linux_machine, ping, wiring

from bgpnet.kernel import encode, netns
from bgpnet.kernel.netlink import Netlink
from bgpnet.kernel.state import Wiring
from bgpnet.kernel.wiring import FIRST_INDEX

pytestmark = pytest.mark.root

STRANGERS = {
    "a default route": ["route add default via 198.51.100.2"],
    "one of a metric": ["route add default via 198.51.100.2 metric 100"],
    "one that refuses everything": ["route add unreachable default metric 4278198272"],
    "one without an address": ["addr flush dev eth0", "route add default dev eth0"],
    "one without an address while lo is up": ["link set lo up", "addr flush dev eth0", "route add default dev eth0"],
    "one while lo is up": ["link set lo up", "route add default via 198.51.100.2 metric 100"],
    "our gateway": ["route add 169.254.1.1 dev eth0"],
    "our gateway, without an address": ["addr flush dev eth0", "route add 169.254.1.1 dev eth0"],
}
"""What another plugin may have left in the pod's namespace, with a link eth0 and its address."""


@pytest.fixture
def machine() -> Iterator[LinuxMachine]:
    with linux_machine() as made:
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        yield made


@pytest.fixture
def pod(machine: LinuxMachine) -> int:
    return machine.netns()


def main_table() -> list[str]:
    return [line.strip() for line in ip_command("route").splitlines()]


def rules() -> list[str]:
    """All but the kernel's own three."""
    lines = [" ".join(line.split()) for line in ip_command("rule").splitlines()]
    return [line for line in lines if not re.search("lookup (local|main|default)", line)]


def table_of(ifname: str) -> int:
    """In the pod's namespace."""
    return int(ip_command(f"-o link show {ifname}").partition(":")[0])


def second(machine: LinuxMachine, pod: int) -> tuple[Wiring, Wiring]:
    """eth0 and net1."""
    both = wiring(pod, 1), wiring(pod, 2, ifname="net1")
    for wish in both:
        machine.kernel.wire(wish)
    return both


def test_both_interfaces_answer_and_the_second_one_outlives_the_first(machine: LinuxMachine, pod: int) -> None:
    first, _ = second(machine, pod)
    other = machine.netns()
    machine.kernel.wire(wiring(other, 3))
    assert [ping("10.0.0.1"), ping("10.0.0.2")] == ["", ""]
    with netns.inside(other):
        assert [ping("10.0.0.1"), ping("10.0.0.2")] == ["", ""]
    with netns.inside(pod):
        assert [ping("10.0.0.3"), ping("10.0.0.3", "10.0.0.1"), ping("10.0.0.3", "10.0.0.2")] == ["", "", ""]
        assert main_table() == ["default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link"]
    machine.kernel.unwire(first.link, first.alias)
    machine.kernel.reap()
    assert ping("10.0.0.2") == ""
    with netns.inside(other):
        assert ping("10.0.0.2") == ""
    machine.kernel.wire(first)
    with netns.inside(other):
        assert [ping("10.0.0.1"), ping("10.0.0.2")] == ["", ""]


def test_each_interface_has_a_table_of_its_own(machine: LinuxMachine, pod: int) -> None:
    second(machine, pod)
    machine.kernel.wire(wiring(pod, 3, ifname="net2"))
    assert [ping(f"10.0.0.{number}") for number in (1, 2, 3)] == ["", "", ""]
    with netns.inside(pod):
        tables = [table_of("net1"), table_of("net2")]
        assert rules() == [
            f"32765: from 10.0.0.2 lookup {tables[0]} proto 144",
            f"32765: from 10.0.0.3 lookup {tables[1]} proto 144",
        ]
        for ifname, table in zip(("net1", "net2"), tables, strict=True):
            assert [line.strip() for line in ip_command(f"route show table {table}").splitlines()] == [
                f"default via 169.254.1.1 dev {ifname}",
                f"169.254.1.1 dev {ifname} scope link",
            ]
    assert min(tables) >= FIRST_INDEX


@pytest.mark.parametrize("kind", STRANGERS)
def test_what_a_stranger_led_before_is_led_by_it_afterwards(machine: LinuxMachine, pod: int, kind: str) -> None:
    with netns.inside(pod):
        ip_command("link add eth0 type veth peer name eth0p")
        ip_command("link set eth0p up")
        ip_command("link set eth0 up")
        ip_command("addr add 198.51.100.1/24 dev eth0")
        for line in STRANGERS[kind]:
            ip_command(line)
        before = main_table()
    wish = wiring(pod, 2, ifname="net1")
    machine.kernel.wire(wish)
    with netns.inside(pod):
        assert main_table() == before
    assert machine.kernel.differences(wish) == []
    assert ping("10.0.0.2") == ""


def test_a_stranger_without_a_default_route_leaves_it_to_us(machine: LinuxMachine, pod: int) -> None:
    with netns.inside(pod):
        machine.add_link("eth0", "198.51.100.1/24")
    wish = wiring(pod, 2, ifname="net1")
    machine.kernel.wire(wish)
    with netns.inside(pod):
        assert main_table()[0] == "default via 169.254.1.1 dev net1"
        assert rules() == []
    assert machine.kernel.differences(wish) == []


@pytest.mark.parametrize(
    ("tampering", "phrases"),
    [
        ("rule del from 10.0.0.2", ["the pod has no rule from 10.0.0.2 to table {} (ip rule)"]),
        ("route del default table {}", ["the pod has no default route via 169.254.1.1 in table {}"]),
        (
            "route flush table {}",
            [
                "the pod has no route to 169.254.1.1 (dev net1, scope link) in table {}",
                "the pod has no default route via 169.254.1.1 in table {}",
            ],
        ),
        ("neigh del 169.254.1.1 dev net1", ["the pod's neighbour 169.254.1.1 dev net1 is missing instead of ee:ee:"]),
        ("route del default", []),
    ],
)
def test_differences_of_the_second_interface_are_named(
    machine: LinuxMachine, pod: int, tampering: str, phrases: list[str]
) -> None:
    _, wish = second(machine, pod)
    with netns.inside(pod):
        table = table_of("net1")
        ip_command(tampering.format(table))
    found = machine.kernel.differences(wish)
    assert len(found) == len(phrases)
    assert all(one.startswith(phrase.format(table)) for one, phrase in zip(found, phrases, strict=True)), found


def test_a_second_interface_that_was_wired_without_a_table_is_not_as_it_should_be(
    machine: LinuxMachine, pod: int
) -> None:
    """As agents before had it: nobody reached it."""
    _, wish = second(machine, pod)
    with netns.inside(pod):
        table = table_of("net1")
        ip_command("rule del from 10.0.0.2")
        ip_command(f"route flush table {table}")
    assert machine.kernel.differences(wish) == [
        "the pod has no route to 169.254.1.1 (dev net1, scope link)",
        "the pod has no default route via 169.254.1.1",
    ]
    machine.kernel.wire(wish)
    assert machine.kernel.differences(wish) == []
    assert ping("10.0.0.2") == ""


def test_a_rule_is_replaced_by_the_next_one_of_its_address(machine: LinuxMachine, pod: int) -> None:
    _, wish = second(machine, pod)
    for _ in range(3):
        machine.kernel.unwire(wish.link, wish.alias)
        machine.kernel.reap()
        machine.kernel.wire(wish)
        with netns.inside(pod):
            assert rules() == [f"32765: from 10.0.0.2 lookup {table_of('net1')} proto 144"]
    assert ping("10.0.0.2") == ""


def test_a_rule_whose_interface_went_goes_with_the_next_second_interface(machine: LinuxMachine, pod: int) -> None:
    first, wish = second(machine, pod)
    with netns.inside(pod):
        ip_command("rule add from 10.0.0.77 lookup 77")
        ip_command("rule add from 10.0.0.2 to 192.0.2.0/24 lookup 77")
        theirs = rules()[:2]
    machine.kernel.unwire(wish.link, wish.alias)
    machine.kernel.reap()
    machine.kernel.wire(wiring(pod, 3, ifname="net1"))
    with netns.inside(pod):
        assert [one for one in rules() if "proto 144" not in one] == theirs
        assert [one.split()[2] for one in rules() if "proto 144" in one] == ["10.0.0.3"]
    assert machine.kernel.differences(first) == []


def test_a_rule_that_was_left_does_not_harm_an_interface_with_its_address(machine: LinuxMachine, pod: int) -> None:
    """Both went, and the second one's address comes back as the first one's, in the main table."""
    for wish in second(machine, pod):
        machine.kernel.unwire(wish.link, wish.alias)
    machine.kernel.reap()
    machine.kernel.wire(wiring(pod, 2))
    assert ping("10.0.0.2") == ""
    assert machine.kernel.differences(wiring(pod, 2)) == []


def test_a_link_of_ours_has_addresses_and_lo_does_not_count(machine: LinuxMachine, pod: int) -> None:
    with netns.inside(pod):
        netlink = Netlink.brief()
        assert not netlink.has_addresses()
        ip_command("link set lo up")
        assert not netlink.has_addresses()
        ip_command("addr add 127.0.0.9/8 dev lo")
        assert netlink.has_addresses()  # a look too many does no harm
        ip_command("link set lo down")
        ip_command("addr flush dev lo")
        assert not netlink.has_addresses()
    netlink.close()
    machine.kernel.wire(wiring(pod, 1))
    with netns.inside(pod):
        netlink = Netlink.brief()
        assert netlink.has_addresses()
        assert netlink.send([encode.WAY_OUT]) == [None]
    netlink.close()
