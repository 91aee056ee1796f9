"""What only the real kernel can show: packets, notifications, namespaces, and what strangers leave behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from descriptors import no_descriptors
from kernels import UPLINK, LinuxMachine, eventually, heard, ip_command, linux_machine, new_netns, ping, wiring

from bgpnet.agent.apply import apply
from bgpnet.agent.plan import Plan
from bgpnet.errors import KernelRefused
from bgpnet.kernel import encode, netns, rtnl, table
from bgpnet.kernel.api import Change, DropRoute, PutRoute, PutSysctl
from bgpnet.kernel.netlink import Netlink
from bgpnet.kernel.state import Hop, KernelState, NeighbourKey, Owner, PodLink, Route
from bgpnet.kernel.wiring import FIRST_INDEX, Wirer, keep_mac, make_place
from bgpnet.model import ip
from bgpnet.names import HOST_MAC

pytestmark = pytest.mark.root


@pytest.fixture
def machine() -> Iterator[LinuxMachine]:
    with linux_machine() as made:
        yield made


def test_an_old_link_that_went_by_itself_has_made_place(machine: LinuxMachine) -> None:
    """As when a pod's namespace is made anew under its name: the kernel ends the former one whenever it likes."""
    home, netlink = netns.own(), Netlink.open()
    wish = wiring(machine.netns())
    try:
        make_place(netlink, wish, FIRST_INDEX, home)  # after an EEXIST; by now, nothing has that name
        machine.kernel.wire(wish)
        other = replace(wish, link="cali0000000000f")
        with pytest.raises(KernelRefused, match="the pod's namespace has an interface eth0 already"):
            make_place(netlink, other, FIRST_INDEX, home)
    finally:
        netlink.close()
        os.close(home)


def test_a_wiring_thread_that_gets_no_socket_refuses_the_pod(machine: LinuxMachine) -> None:
    wish = wiring(machine.netns())
    with no_descriptors(), pytest.raises(KernelRefused, match="no netlink socket to be had"):
        machine.kernel.wire(wish)
    machine.kernel.wire(wish)
    assert machine.kernel.differences(wish) == []


def test_an_address_of_another_length_is_shown_whole(machine: LinuxMachine) -> None:
    pod = machine.netns()
    wish = wiring(pod)
    machine.kernel.wire(wish)
    with netns.inside(pod):
        ip_command("addr add 10.0.0.1/24 dev eth0")
    assert machine.kernel.differences(wish) == []
    with netns.inside(pod):
        ip_command("addr del 10.0.0.1/32 dev eth0")
    found = machine.kernel.differences(wish)
    assert "eth0 of the pod has the address 10.0.0.1/24 instead of 10.0.0.1/32" in found


@pytest.mark.parametrize(
    ("tampering", "phrase"),
    [
        ("link set eth0 down", "eth0 of the pod is down"),
        ("link set eth0 mtu 9000", "eth0 of the pod has MTU 9000 instead of 1480"),
        ("link set eth0 address 02:00:00:00:00:01", "eth0 of the pod has MAC 02:00:00:00:00:01 instead of 0a:58:"),
        ("link set eth0 name eth7", "the pod has no interface eth0"),
        ("addr del 10.0.0.1/32 dev eth0", "eth0 of the pod has the address none instead of 10.0.0.1/32"),
        ("addr add 10.9.9.9/32 dev eth0", ""),
        ("route del default", "the pod has no default route via 169.254.1.1"),
        ("route del 169.254.1.1", "the pod has no route to 169.254.1.1 (dev eth0, scope link)"),
        ("neigh del 169.254.1.1 dev eth0", "the pod's neighbour 169.254.1.1 dev eth0 is missing instead of ee:ee:"),
        (
            "neigh replace 169.254.1.1 lladdr 02:00:00:00:00:02 dev eth0",
            "the pod's neighbour 169.254.1.1 dev eth0 is 02:00:00:00:00:02 instead of ee:ee:",
        ),
    ],
)
def test_differences_inside_the_pod_are_named(machine: LinuxMachine, tampering: str, phrase: str) -> None:
    pod = machine.netns()
    wish = wiring(pod)
    machine.kernel.wire(wish)
    with netns.inside(pod):
        ip_command(tampering)
    found = machine.kernel.differences(wish)
    assert any(one.startswith(phrase) for one in found) if phrase else found == []


@pytest.mark.parametrize(
    ("name", "wired", "other"),
    [
        ("ipv4/conf/{}/proxy_arp", "1", "0"),
        ("ipv4/conf/{}/forwarding", "1", "0"),
        ("ipv4/conf/{}/rp_filter", "1", "0"),
        ("ipv4/neigh/{}/proxy_delay", "0", "80"),
        ("ipv6/conf/{}/accept_ra", "0", "1"),
    ],
)
def test_differences_of_sysctls_are_named(machine: LinuxMachine, name: str, wired: str, other: str) -> None:
    wish = wiring(machine.netns())
    machine.kernel.wire(wish)
    path = f"net/{name.format(wish.link)}"
    machine.kernel.change([PutSysctl(path, other)])
    assert machine.kernel.differences(wish) == [f"sysctl {path} is {other} instead of {wired}"]


def routes(found: list[rtnl.Message]) -> list[rtnl.Message]:
    """Those about IPv4 routes of the main table: links bring IPv6 ones of their own a second later."""
    kinds = (rtnl.RTM_NEWROUTE, rtnl.RTM_DELROUTE)
    return [one for one in found if one.kind in kinds and one.body[0] == rtnl.AF_INET and encode.in_main_table(one)]


def test_host_and_pod_reach_each_other_without_arp(machine: LinuxMachine) -> None:
    pod = machine.netns()
    machine.kernel.wire(wiring(pod, 5))
    assert ping("10.0.0.5") == ""
    with netns.inside(pod):
        assert ping("192.0.2.1") == ""
        neighbours = ip_command("neigh show nud all dev eth0").split("\n")
    assert any(f"169.254.1.1 lladdr {HOST_MAC} PERMANENT" in line for line in neighbours)


def test_two_pods_reach_each_other_through_the_host(machine: LinuxMachine) -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    pods = [machine.netns(), machine.netns()]
    for number, pod in enumerate(pods, 1):
        machine.kernel.wire(wiring(pod, number))
    with netns.inside(pods[0]):
        assert ping("10.0.0.2") == ""


def test_the_peer_is_born_in_the_pods_namespace(machine: LinuxMachine) -> None:
    pod = machine.netns()
    wish = wiring(pod)
    with heard() as found:
        machine.kernel.wire(wish)
    links = [table.read_link(one) for one in found if one.kind in (rtnl.RTM_NEWLINK, rtnl.RTM_DELLINK)]
    assert {one.name for one in links} - {UPLINK, f"p-{UPLINK}"} == {wish.link}
    assert not any(one.kind == rtnl.RTM_DELLINK for one in found)


def test_the_hosts_end_has_its_mac_and_one_queue(machine: LinuxMachine) -> None:
    wish = wiring(machine.netns())
    machine.kernel.wire(wish)
    shown = ip_command(f"-details link show {wish.link}")
    assert f"link/ether {HOST_MAC}" in shown
    assert "numtxqueues 1 " in shown
    assert "mtu 1480" in shown
    assert f"alias {wish.alias}" in shown


def test_the_pods_end_is_as_calico_makes_it(machine: LinuxMachine) -> None:
    wish = wiring(machine.netns(), 5)
    machine.kernel.wire(wish)
    with netns.inside(wish.netns):
        assert ip_command("-o -4 addr show eth0").split()[1:4] == ["eth0", "inet", "10.0.0.5/32"]
        assert [line.strip() for line in ip_command("route").splitlines()] == [
            "default via 169.254.1.1 dev eth0",
            "169.254.1.1 dev eth0 scope link",
        ]
        assert wish.mac in ip_command("link show eth0")
        assert "UP" in ip_command("link show lo")


def test_a_second_apply_sends_nothing_to_the_kernel(machine: LinuxMachine) -> None:
    wish = wiring(machine.netns(), 5)
    machine.kernel.wire(wish)
    dst, block = ip.host(wish.address), ip.network("10.0.0.0/26")
    plan = Plan(
        KernelState(
            routes={Owner.LOCAL: {block: Route(block), dst: Route(dst, (Hop(wish.link),))}},
            neighbours={NeighbourKey(wish.link, wish.address): wish.mac},
            sysctls={"net/ipv4/ip_forward": "1"},
            pods={wish.link: PodLink(wish.link, wish.alias, wish.mtu)},
            sweep=frozenset(Owner),
            sweep_pods=True,
        )
    )
    with heard() as first:
        assert apply(plan, machine.kernel).changes == 2
    with heard() as second:
        assert apply(plan, machine.kernel).changes == 0
    assert [one.kind for one in routes(first)] == [rtnl.RTM_NEWROUTE]
    assert routes(second) == []


def test_a_replaced_route_is_never_missing(machine: LinuxMachine) -> None:
    before = Route(ip.network("10.0.1.0/26"), (Hop(UPLINK, ip.address("192.0.2.2")),))
    after = replace(before, hops=(Hop(UPLINK, ip.address("192.0.2.3")),))
    machine.kernel.change([PutRoute(Owner.LEARNED, before, new=True)])
    with heard() as found:
        machine.kernel.change([PutRoute(Owner.LEARNED, after, new=False)])
    assert [one.kind for one in routes(found)] == [rtnl.RTM_NEWROUTE]
    assert routes(found)[0].flags & rtnl.NLM_F_REPLACE


def test_a_route_under_a_strangers_of_another_metric_is_ours_to_have(machine: LinuxMachine) -> None:
    ip_command("route add 10.0.1.0/26 via 192.0.2.9 proto static metric 50")
    route = Route(ip.network("10.0.1.0/26"))
    assert machine.kernel.change([PutRoute(Owner.LOCAL, route, new=True)]) == []
    assert machine.kernel.change([PutRoute(Owner.LOCAL, route, new=False)]) == []
    assert machine.kernel.change([DropRoute(Owner.LOCAL, route)]) == []
    assert machine.listing().splitlines()[0] == "10.0.1.0/26 via 192.0.2.9 dev up0 proto static metric 50"


def test_a_route_that_a_stranger_put_before_ours_is_not_replaced(machine: LinuxMachine) -> None:
    """`ip route prepend` lets two routes share destination and metric: a replacement would hit the stranger's."""
    route = Route(ip.network("10.0.1.0/26"))
    machine.kernel.change([PutRoute(Owner.LOCAL, route, new=True)])
    ip_command("route prepend 10.0.1.0/26 via 192.0.2.9 proto static")
    before = machine.listing()
    (refusal,) = machine.kernel.change([PutRoute(Owner.LOCAL, route, new=False)])
    assert "of protocol static is there already" in str(refusal)
    assert machine.listing() == before


def test_more_refusals_than_fit_a_datagram(machine: LinuxMachine) -> None:
    wish = [
        Route(ip.network(f"10.{n >> 8}.{n & 255}.0/26"), (Hop(UPLINK, ip.address("198.51.100.1")),))
        for n in range(1500)
    ]
    changes: list[Change] = [PutRoute(Owner.LEARNED, route, new=True) for route in wish]
    changes.insert(750, PutRoute(Owner.LOCAL, Route(ip.network("10.200.0.0/26")), new=True))
    assert len(machine.kernel.change(changes)) == 1500
    assert len(machine.kernel.read().routes[Owner.LOCAL]) == 1


def test_a_route_of_very_many_hops(machine: LinuxMachine) -> None:
    hops = tuple(Hop(UPLINK, ip.address("203.0.113.0") + n, onlink=True) for n in range(1, 250))
    wish = [Route(ip.network(f"10.1.{n}.0/26"), hops) for n in range(60)]
    assert machine.kernel.change([PutRoute(Owner.LEARNED, route, new=True) for route in wish]) == []
    assert list(machine.kernel.read().routes[Owner.LEARNED].values()) == wish


def test_a_read_while_links_come_and_go(machine: LinuxMachine) -> None:
    wish = wiring(machine.netns(), 250, container="steady")
    machine.kernel.wire(wish)
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            ip_command("link add churn0 type veth peer name churn1")
            ip_command("link del churn0")

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(50):
            assert wish.link in machine.kernel.read().pods
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("what", ["a file", "a closed descriptor", "another sort of namespace"])
def test_a_descriptor_that_is_no_network_namespace(machine: LinuxMachine, what: str) -> None:
    path = "/proc/self/ns/uts" if what.startswith("another") else "/dev/null"
    descriptor = os.open(path, os.O_RDONLY)
    if what == "a closed descriptor":
        os.close(descriptor)
    home = Path("/proc/thread-self/ns/net").stat().st_ino
    with pytest.raises(KernelRefused, match="cali"):
        machine.kernel.wire(wiring(descriptor))
    assert Path("/proc/thread-self/ns/net").stat().st_ino == home
    assert machine.kernel.read().pods == {}
    if what != "a closed descriptor":
        os.close(descriptor)


def test_an_mtu_that_the_kernel_does_not_take(machine: LinuxMachine) -> None:
    with pytest.raises(KernelRefused, match="MTU 20"):
        machine.kernel.wire(replace(wiring(machine.netns()), mtu=20))
    assert machine.kernel.read().pods == {}


def test_the_pods_side_that_fails_takes_the_hosts_side_with_it(machine: LinuxMachine) -> None:
    pod = machine.netns()
    with netns.inside(pod):
        ip_command("link add other type veth peer name other1")
        ip_command("link set other up")
        ip_command("addr add 198.51.100.1/24 dev other")
        ip_command("route add default via 198.51.100.2")
        ip_command(f"route add default via 198.51.100.2 table {FIRST_INDEX + 8}")
    before = machine.kernel.read()
    wirer = Wirer(FIRST_INDEX + 7)
    with pytest.raises(
        KernelRefused,
        match=rf"cali\w+: the pod's namespace has a default route by another interface already, and the kernel did not "
        rf"add the default route in table {FIRST_INDEX + 8} for eth0: File exists",
    ):
        wirer.wire(wiring(pod))
    wirer.close()
    assert machine.kernel.read() == before
    assert machine.kernel.reap(abandoned=True) == 0
    assert machine.interfaces(pod) == {"other", "other1"}


def test_what_a_killed_agent_left_half_made_is_taken_away(machine: LinuxMachine) -> None:
    wish = wiring(machine.netns())
    netlink = Netlink.open()
    netlink.ask([encode.veth(wish, 5000, 5001)])
    netlink.close()
    assert machine.kernel.read().pods == {}
    assert not machine.kernel.unwire(wish.link, wish.alias)
    assert machine.kernel.reap() == 0
    assert machine.interfaces(wish.netns) == {"eth0"}
    assert machine.kernel.reap(abandoned=True) == 1
    assert machine.interfaces(wish.netns) == set()


def test_what_a_killed_agent_left_half_made_makes_place(machine: LinuxMachine) -> None:
    wish = wiring(machine.netns())
    netlink = Netlink.open()
    netlink.ask([encode.veth(wish, 5000, 5001)])
    netlink.close()
    machine.kernel.wire(wish)
    assert list(machine.kernel.read().pods) == [wish.link]


def test_a_strangers_link_in_the_group_of_the_reaped_stays(machine: LinuxMachine) -> None:
    wish = wiring(machine.netns())
    machine.kernel.wire(wish)
    ip_command(f"link set {UPLINK} group {encode.REAPING}")
    machine.kernel.unwire(wish.link, wish.alias)
    assert machine.kernel.reap() == 1
    assert UPLINK in {one.name for one in machine.kernel.uplinks()}
    assert machine.kernel.read().pods == {}


def test_a_pod_whose_namespace_is_gone_is_unwired_in_peace(machine: LinuxMachine) -> None:
    with linux_machine() as other:
        pod = other.netns()
        machine_wish = wiring(pod)
        other.kernel.wire(machine_wish)
        ip_command(f"link del {machine_wish.link}")
        assert not other.kernel.unwire(machine_wish.link, machine_wish.alias)
        assert other.kernel.reap() == 0


def test_one_datagram_reaps_them_all(machine: LinuxMachine) -> None:
    wishes = [wiring(machine.netns(), n) for n in range(1, 9)]
    for wish in wishes:
        machine.kernel.wire(wish)
        machine.kernel.unwire(wish.link, wish.alias)
    with heard() as found:
        assert machine.kernel.reap() == 8
    gone = [table.read_link(one) for one in found if one.kind == rtnl.RTM_DELLINK]
    assert {one.name for one in gone} == {wish.link for wish in wishes}
    assert len({one.port for one in found}) <= 2


def test_a_monitor_that_lost_notifications_says_so(machine: LinuxMachine) -> None:
    reasons: list[str] = []
    stop, busy = threading.Event(), threading.Event()

    def slow(reason: str) -> None:
        reasons.append(reason)
        busy.wait(60)

    thread = threading.Thread(target=machine.kernel.monitor, args=(slow, stop.is_set))
    thread.start()
    assert eventually(lambda: _heard_of_lo(machine, reasons))
    wish = [Route(ip.network(f"10.{n >> 8}.{n & 255}.0/26")) for n in range(20000)]
    machine.kernel.change([PutRoute(Owner.LOCAL, route, new=True) for route in wish])
    busy.set()
    assert eventually(lambda: any(one.startswith("overrun") for one in reasons)), reasons
    stop.set()
    thread.join(30)
    assert not thread.is_alive()


def _heard_of_lo(machine: LinuxMachine, reasons: list[str]) -> bool:
    machine.set_link("lo", up=False)
    machine.set_link("lo", up=True)
    return bool(reasons)


@pytest.mark.parametrize("where", ["host", "pod"])
def test_an_index_in_use_is_passed_over(machine: LinuxMachine, where: str) -> None:
    first, pod = FIRST_INDEX + 7, machine.netns()
    taken = first if where == "host" else first + 1
    with netns.inside(pod if where == "pod" else machine.host_netns()):
        ip_command(f"link add taken index {taken} type veth peer name taken1")
    wirer = Wirer(first)
    wirer.wire(wiring(pod))
    wirer.close()
    assert machine.kernel.read().pods.keys() == {wiring(pod).link}
    assert "eth0" in machine.interfaces(pod)


def test_a_namespace_that_ends_while_its_pod_is_unwired(machine: LinuxMachine) -> None:
    for number in range(1, 21):
        pod = new_netns()
        wish = wiring(pod, number)
        machine.kernel.wire(wish)
        os.close(pod)
        machine.kernel.unwire(wish.link, wish.alias)
    machine.kernel.reap()
    assert eventually(lambda: machine.kernel.read().pods == {})
    assert machine.kernel.read().routes[Owner.LOCAL] == {}


def test_a_table_that_was_never_written_to_is_empty(machine: LinuxMachine) -> None:
    netlink = Netlink.open()
    assert netlink.dump(rtnl.RTM_GETROUTE, rtnl.ROUTE.pack(rtnl.AF_INET, 0, 0, 0, 77, 0, 0, 0, 0)) == []
    netlink.close()


def test_a_mac_that_udev_changed_is_set_again(machine: LinuxMachine) -> None:
    wish = wiring(machine.netns())
    machine.kernel.wire(wish)
    ip_command(f"link set {wish.link} address 02:00:00:00:00:01")
    netlink = Netlink.open()
    found = table.link(netlink, name=wish.link)
    assert found is not None
    assert machine.kernel.read().neighbours == {}
    keep_mac(netlink, wish, found.index)
    netlink.close()
    assert f"link/ether {HOST_MAC}" in ip_command(f"link show {wish.link}")
    assert machine.kernel.read().neighbours == {NeighbourKey(wish.link, wish.address): wish.mac}


def test_a_refusal_carries_the_kernels_own_words(machine: LinuxMachine) -> None:
    netlink = Netlink.open()
    route = Route(ip.network("10.0.1.0/26"), (Hop(UPLINK, ip.address("198.51.100.1")),))
    index = table.link(netlink, name=UPLINK)
    assert index is not None
    (refusal,) = netlink.send([encode.put_route(Owner.LEARNED, route, lambda _: index.index, new=True)])
    netlink.close()
    assert refusal is not None
    assert refusal.told == "Nexthop has invalid gateway"
