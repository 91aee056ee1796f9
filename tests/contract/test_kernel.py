"""What every kernel promises (bgpnet/kernel/api.py): the fake and a real namespace pass the same tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
from kernels import MACHINES, NEIGHBOUR, UPLINK, UPLINK_ADDRESS, Machine, eventually, wiring

from bgpnet.agent.apply import apply
from bgpnet.agent.plan import Plan
from bgpnet.errors import JournalFailed, KernelRefused
from bgpnet.kernel.api import (
    Change,
    DropNeighbour,
    DropRoute,
    PutFdb,
    PutNeighbour,
    PutRoute,
    PutSysctl,
    PutTunnel,
)
from bgpnet.kernel.state import FdbKey, Hop, KernelState, NeighbourKey, Owner, PodLink, Route, Tunnel, Uplink, Vxlan
from bgpnet.model import ip
from bgpnet.names import VXLAN, Alias

STATIC, BIRD = 4, 12
BLOCK = ip.network("10.0.0.0/26")
GATEWAY = ip.address(NEIGHBOUR)


@pytest.fixture(params=["fake", pytest.param("linux", marks=pytest.mark.root)])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine with one uplink."""
    with MACHINES[request.param]() as made:
        yield made


def via(gateway: str = NEIGHBOUR, dev: str = UPLINK, *, onlink: bool = False) -> Hop:
    return Hop(dev, ip.address(gateway), onlink)


ROUTES = {
    "blackhole": Route(BLOCK),
    "blackhole of one address": Route(ip.network("10.0.0.7/32")),
    "gateway": Route(ip.network("10.0.1.0/26"), (via(),)),
    "onlink": Route(ip.network("10.0.2.0/26"), (via("203.0.113.9", onlink=True),)),
    "on the link": Route(ip.network("10.0.3.5/32"), (Hop(UPLINK),)),
    "multipath": Route(ip.network("10.0.4.0/26"), (via("192.0.2.2"), via("192.0.2.3"))),
    "multipath onlink": Route(
        ip.network("10.0.5.0/26"), (via("203.0.113.1", onlink=True), via("203.0.113.2", onlink=True))
    ),
    "the default": Route(ip.network("0.0.0.0/0"), (via(),)),
    "half of everything": Route(ip.network("128.0.0.0/1"), (via(),)),
    "IPv6 blackhole": Route(ip.network("fd00:10::/122")),
    "IPv6 gateway": Route(ip.network("fd00:11::/122"), (via("fe80::1"),)),
    "IPv6 host": Route(ip.network("fd00:12::5/128"), (Hop(UPLINK),)),
}


@pytest.mark.parametrize("owner", list(Owner))
@pytest.mark.parametrize("route", ROUTES.values(), ids=list(ROUTES))
def test_a_route_is_read_as_it_was_put_and_dropped(machine: Machine, route: Route, owner: Owner) -> None:
    assert machine.kernel.change([PutRoute(owner, route, new=True)]) == []
    assert machine.kernel.read().routes == {Owner.LOCAL: {}, Owner.LEARNED: {}} | {owner: {route.dst: route}}
    assert machine.kernel.change([DropRoute(owner, route)]) == []
    assert machine.kernel.read().routes == {Owner.LOCAL: {}, Owner.LEARNED: {}}


def test_the_listing_is_what_ip_route_prints(machine: Machine) -> None:
    four = [route for route in ROUTES.values() if route.dst.version == 4]
    assert machine.kernel.change([PutRoute(Owner.LEARNED, route, new=True) for route in four]) == []
    machine.kernel.wire(wiring(machine.netns(), 5))
    link = wiring(0, 5).link
    assert machine.listing() == (
        "default via 192.0.2.2 dev up0 proto bgpnet-bgp\n"
        "blackhole 10.0.0.0/26 proto bgpnet-bgp\n"
        f"10.0.0.5 dev {link} proto bgpnet scope link\n"
        "blackhole 10.0.0.7 proto bgpnet-bgp\n"
        "10.0.1.0/26 via 192.0.2.2 dev up0 proto bgpnet-bgp\n"
        "10.0.2.0/26 via 203.0.113.9 dev up0 proto bgpnet-bgp onlink\n"
        "10.0.3.5 dev up0 proto bgpnet-bgp scope link\n"
        "10.0.4.0/26 proto bgpnet-bgp\n"
        "\tnexthop via 192.0.2.2 dev up0 weight 1\n"
        "\tnexthop via 192.0.2.3 dev up0 weight 1\n"
        "10.0.5.0/26 proto bgpnet-bgp\n"
        "\tnexthop via 203.0.113.1 dev up0 weight 1 onlink\n"
        "\tnexthop via 203.0.113.2 dev up0 weight 1 onlink\n"
        "128.0.0.0/1 via 192.0.2.2 dev up0 proto bgpnet-bgp\n"
        "192.0.2.0/24 dev up0 proto kernel scope link src 192.0.2.1"
    )


@pytest.mark.parametrize("new", [False, True], ids=["replaced", "added though it is there"])
def test_our_own_route_is_replaced(machine: Machine, new: bool) -> None:
    before, after = Route(BLOCK), Route(BLOCK, (via(),))
    assert machine.kernel.change([PutRoute(Owner.LEARNED, before, new=True)]) == []
    assert machine.kernel.change([PutRoute(Owner.LEARNED, after, new=new)]) == []
    assert machine.kernel.read().routes[Owner.LEARNED] == {BLOCK: after}


def test_a_route_passes_from_learned_to_local_without_a_gap(machine: Machine) -> None:
    machine.kernel.change([PutRoute(Owner.LEARNED, Route(BLOCK, (via(),)), new=True)])
    changes: list[Change] = [
        PutRoute(Owner.LOCAL, Route(BLOCK), new=True),
        DropRoute(Owner.LEARNED, Route(BLOCK, (via(),))),
    ]
    assert machine.kernel.change(changes) == []
    assert machine.kernel.read().routes == {Owner.LOCAL: {BLOCK: Route(BLOCK)}, Owner.LEARNED: {}}


def test_a_route_that_somebody_removed_meanwhile_is_put_again_by_a_replacement(machine: Machine) -> None:
    assert machine.kernel.change([PutRoute(Owner.LOCAL, Route(BLOCK), new=False)]) == []
    assert machine.kernel.read().routes[Owner.LOCAL] == {BLOCK: Route(BLOCK)}


@pytest.mark.parametrize("new", [True, False])
def test_a_strangers_route_is_never_taken_over(machine: Machine, new: bool) -> None:
    machine.put_route(Route(BLOCK, (via(),)), BIRD)
    before = machine.listing()
    (refusal,) = machine.kernel.change([PutRoute(Owner.LEARNED, Route(BLOCK), new=new)])
    assert str(refusal) == (
        "route blackhole 10.0.0.0/26: a route to 10.0.0.0/26 of protocol bird is there already and is not bgpnet's: "
        "remove it (ip route del 10.0.0.0/26 proto bird), or keep its owner off the pools' addresses"
    )
    assert machine.listing() == before


def test_a_strangers_route_is_never_dropped(machine: Machine) -> None:
    machine.put_route(Route(BLOCK), STATIC)
    before = machine.listing()
    assert machine.kernel.change([DropRoute(Owner.LOCAL, Route(BLOCK)), DropRoute(Owner.LEARNED, Route(BLOCK))]) == []
    assert machine.listing() == before


def test_one_owners_drop_leaves_the_other_ones_route(machine: Machine) -> None:
    machine.kernel.change([PutRoute(Owner.LOCAL, Route(BLOCK), new=True)])
    assert machine.kernel.change([DropRoute(Owner.LEARNED, Route(BLOCK))]) == []
    assert machine.kernel.read().routes[Owner.LOCAL] == {BLOCK: Route(BLOCK)}


def test_routes_of_other_tables_and_protocols_are_not_ours(machine: Machine) -> None:
    machine.put_route(Route(ip.network("10.9.0.0/24"), (via(),)), STATIC)
    machine.put_route(Route(ip.network("10.9.1.0/24"), (via(),)), int(Owner.LEARNED), table=100)
    assert machine.kernel.read().routes == {Owner.LOCAL: {}, Owner.LEARNED: {}}
    assert machine.kernel.change([PutRoute(Owner.LEARNED, Route(ip.network("10.9.1.0/24")), new=True)]) == []


def test_one_refusal_never_stops_the_rest(machine: Machine) -> None:
    good = [Route(ip.network(f"10.1.{n}.0/26")) for n in range(3)]
    bad = Route(ip.network("10.2.0.0/26"), (Hop("nowhere0", GATEWAY),))
    far = Route(ip.network("10.3.0.0/26"), (via("203.0.113.1"),))
    wish = [good[0], bad, good[1], far, good[2]]
    refused = machine.kernel.change([PutRoute(Owner.LEARNED, route, new=True) for route in wish])
    assert len(refused) == 2
    assert "there is no link nowhere0" in "".join(map(str, refused))
    assert "route 10.3.0.0/26 via 203.0.113.1 dev up0: the kernel refused it" in "".join(map(str, refused))
    assert set(machine.kernel.read().routes[Owner.LEARNED].values()) == set(good)


def test_nothing_to_do_is_nothing_done(machine: Machine) -> None:
    assert machine.kernel.change([]) == []


def test_five_thousand_routes_in_one_change(machine: Machine) -> None:
    routes = [
        Route(ip.network(f"10.{n >> 8}.{n & 255}.0/26"), (via(f"203.0.{n % 64}.1", onlink=True),)) for n in range(5000)
    ]
    assert machine.kernel.change([PutRoute(Owner.LEARNED, route, new=True) for route in routes]) == []
    assert machine.kernel.read().routes[Owner.LEARNED] == {route.dst: route for route in routes}
    assert machine.kernel.change([DropRoute(Owner.LEARNED, route) for route in routes]) == []
    assert machine.kernel.read().routes[Owner.LEARNED] == {}


def test_refusals_of_a_whole_burst_are_all_told(machine: Machine) -> None:
    for n in range(30):
        machine.put_route(Route(ip.network(f"10.4.{n}.0/26")), BIRD)
    wish = [Route(ip.network(f"10.4.{n}.0/26")) for n in range(30)]
    assert len(machine.kernel.change([PutRoute(Owner.LOCAL, route, new=True) for route in wish])) == 30
    assert machine.kernel.read().routes[Owner.LOCAL] == {}


def test_a_link_that_goes_down_loses_its_routes_for_good(machine: Machine) -> None:
    kept = Route(BLOCK)
    machine.kernel.change(
        [
            PutRoute(Owner.LOCAL, kept, new=True),
            PutRoute(Owner.LEARNED, ROUTES["gateway"], new=True),
            PutNeighbour(NeighbourKey(UPLINK, GATEWAY), "02:00:00:00:00:01"),
        ]
    )
    machine.set_link(UPLINK, up=False)
    machine.set_link(UPLINK, up=True)
    found = machine.kernel.read()
    assert found.routes == {Owner.LOCAL: {BLOCK: kept}, Owner.LEARNED: {}}
    assert found.neighbours == {}


def test_a_neighbour_is_read_as_it_was_put_and_dropped(machine: Machine) -> None:
    keys = [NeighbourKey(UPLINK, GATEWAY), NeighbourKey(UPLINK, ip.address("fd00::5"))]
    put = [PutNeighbour(key, "02:00:00:00:00:01") for key in keys]
    assert machine.kernel.change(put) == []
    assert machine.kernel.change([PutNeighbour(keys[0], "02:00:00:00:00:02")]) == []
    assert machine.kernel.read().neighbours == {keys[0]: "02:00:00:00:00:02", keys[1]: "02:00:00:00:00:01"}
    assert machine.kernel.change([DropNeighbour(key) for key in keys]) == []
    assert machine.kernel.change([DropNeighbour(key) for key in keys]) == []
    assert machine.kernel.read().neighbours == {}


def test_a_neighbour_over_no_link(machine: Machine) -> None:
    key = NeighbourKey("nowhere0", GATEWAY)
    assert machine.kernel.change([DropNeighbour(key)]) == []
    (refusal,) = machine.kernel.change([PutNeighbour(key, "02:00:00:00:00:01")])
    assert "there is no link nowhere0" in str(refusal)


def test_a_sysctl_is_read_as_it_was_put(machine: Machine) -> None:
    names = ("net/ipv4/ip_forward", f"net/ipv4/conf/{UPLINK}/rp_filter")
    assert machine.kernel.change([PutSysctl(names[0], "1"), PutSysctl(names[1], "2")]) == []
    assert machine.kernel.read(names).sysctls == {names[0]: "1", names[1]: "2"}
    assert machine.kernel.read().sysctls == {}


def test_a_sysctl_of_a_link_with_a_dot_in_its_name(machine: Machine) -> None:
    machine.add_link("up0.100")
    name = "net/ipv4/conf/up0.100/rp_filter"
    assert machine.kernel.change([PutSysctl(name, "2")]) == []
    assert machine.kernel.read([name]).sysctls == {name: "2"}


def test_a_sysctl_that_is_not_there(machine: Machine) -> None:
    name = "net/ipv4/conf/nowhere0/rp_filter"
    assert machine.kernel.read([name]).sysctls == {}
    (refusal,) = machine.kernel.change([PutSysctl(name, "2")])
    assert str(refusal).startswith(f"sysctl {name} cannot be set to 2: No such file or directory; let the agent")


def test_a_tunnel_of_unknown_kind(machine: Machine) -> None:
    (refusal,) = machine.kernel.change([PutTunnel(Tunnel("tunl0", "gre", 1480))])
    assert str(refusal) == "tunnel tunl0: kind gre is not built; known are ipip, vxlan"


def test_uplinks_are_the_hosts_links_with_their_addresses(machine: Machine) -> None:
    machine.add_link("up1", "198.51.100.7/25")
    machine.put_route(Route(ip.network("0.0.0.0/0"), (via("198.51.100.1", "up1"),)), STATIC)
    machine.kernel.wire(wiring(machine.netns()))
    found = {one.name: one for one in machine.kernel.uplinks()}
    assert list(found) == [one.name for one in sorted(found.values(), key=lambda one: one.index)]
    assert {"lo", UPLINK, "up1"} <= set(found)
    assert wiring(0).link not in found
    assert [seen(found[name]) for name in (UPLINK, "up1")] == [
        (UPLINK, 1500, True, (ip.interface(UPLINK_ADDRESS),), False),
        ("up1", 1500, True, (ip.interface("198.51.100.7/25"),), True),
    ]
    machine.set_link("up1", up=False)
    assert not next(one for one in machine.kernel.uplinks() if one.name == "up1").up


def test_addressed_are_those_with_an_address(machine: Machine) -> None:
    machine.add_link("up1", "198.51.100.7/25")
    machine.add_link("up2", "198.51.100.200/25")
    machine.put_route(Route(ip.network("0.0.0.0/0"), (via("198.51.100.1", "up1"),)), STATIC)
    machine.kernel.wire(wiring(machine.netns()))
    machine.set_link("up2", up=False)
    found = {one.name: one for one in machine.kernel.addressed()}
    assert [one for one in found if one != "lo"] == [UPLINK, "up1", "up2"]
    assert [(seen(one), one.addresses) for name, one in found.items() if name == "up1"] == [
        (("up1", 1500, True, (ip.interface("198.51.100.7/25"),), False), (ip.interface("198.51.100.7/25"),))
    ]
    assert not found["up2"].up


def seen(one: Uplink) -> tuple[str, int, bool, tuple[ip.Interface, ...], bool]:
    """Without index and link-local addresses, which the kernel chooses."""
    return one.name, one.mtu, one.up, tuple(own for own in one.addresses if own.version == 4), one.is_default_route


def test_a_pod_is_read_as_it_was_wired(machine: Machine) -> None:
    pod = machine.netns()
    wish = wiring(pod)
    machine.kernel.wire(wish)
    zeros = [f"net/ipv6/conf/{wish.link}/accept_ra", f"net/ipv4/neigh/{wish.link}/proxy_delay"]
    found = machine.kernel.read(
        [*zeros, *(f"net/ipv4/conf/{wish.link}/{name}" for name in ("proxy_arp", "forwarding", "rp_filter"))]
    )
    dst = ip.host(wish.address)
    assert found.pods == {wish.link: PodLink(wish.link, wish.alias, 1480)}
    assert found.routes[Owner.LOCAL] == {dst: Route(dst, (Hop(wish.link),))}
    assert found.neighbours == {NeighbourKey(wish.link, wish.address): wish.mac}
    assert [name for name, value in found.sysctls.items() if value == "0"] == zeros
    assert len(found.sysctls) == 5
    assert machine.interfaces(pod) == {"eth0"}


def test_a_pod_as_it_was_wired_has_no_differences(machine: Machine) -> None:
    wish = wiring(machine.netns())
    machine.kernel.wire(wish)
    assert machine.kernel.differences(wish) == []


def test_differences_of_the_hosts_side_are_named(machine: Machine) -> None:
    pod = machine.netns()
    wish = wiring(pod)
    assert machine.kernel.differences(wish) == [f"link {wish.link} is gone", "the pod has no interface eth0"]
    machine.kernel.wire(wish)
    machine.drop_route(ip.host(wish.address))
    assert machine.kernel.differences(wish) == [f"the route {wish.address}/32 dev {wish.link} is missing"]
    machine.set_link(wish.link, up=False)
    assert f"{wish.link} is down" in machine.kernel.differences(wish)
    newer = replace(wish, alias=Alias("newer", "eth0", wish.alias.since))
    (phrase,) = machine.kernel.differences(newer)
    assert phrase.startswith(f"link {wish.link} is not of this container")
    machine.delete_link(wish.link)
    assert machine.kernel.differences(wish) == [f"link {wish.link} is gone", "the pod has no interface eth0"]


def test_a_pod_is_unwired_and_reaped(machine: Machine) -> None:
    pod = machine.netns()
    wish = wiring(pod)
    machine.kernel.wire(wish)
    assert machine.kernel.unwire(wish.link, wish.alias)
    found = machine.kernel.read()
    assert found.pods == {wish.link: PodLink(wish.link, wish.alias, 1480, reaping=True)}
    assert found.routes[Owner.LOCAL] == {}
    assert not machine.kernel.unwire(wish.link, wish.alias)
    assert machine.kernel.reap() == 1
    assert machine.kernel.reap() == 0
    assert machine.kernel.read().pods == {}
    assert machine.kernel.read().neighbours == {}
    assert machine.interfaces(pod) == set()


def test_an_interface_that_waits_to_be_reaped_makes_place_for_another_containers(machine: Machine) -> None:
    pod = machine.netns()
    old, new = wiring(pod, 1), wiring(pod, 2, container="c2")
    machine.kernel.wire(old)
    machine.kernel.unwire(old.link, old.alias)
    machine.kernel.wire(new)
    assert machine.kernel.read().pods == {new.link: PodLink(new.link, new.alias, 1480)}
    assert machine.kernel.differences(new) == []
    assert machine.interfaces(pod) == {"eth0"}
    assert machine.kernel.reap() == 0


def test_a_pod_may_have_several_interfaces(machine: Machine) -> None:
    pod = machine.netns()
    wishes = [wiring(pod, number, ifname=f"net{number}") for number in (1, 2, 3)]
    for wish in wishes:
        machine.kernel.wire(wish)
    assert [machine.kernel.differences(wish) for wish in wishes] == [[], [], []]
    machine.kernel.unwire(wishes[0].link, wishes[0].alias)
    machine.kernel.reap()
    assert [machine.kernel.differences(wish) for wish in wishes[1:]] == [[], []]
    machine.kernel.wire(wishes[0])
    assert [machine.kernel.differences(wish) for wish in wishes] == [[], [], []]
    assert machine.interfaces(pod) == {"net1", "net2", "net3"}


def test_the_link_of_a_newer_sandbox_is_not_unwired(machine: Machine) -> None:
    wish = wiring(machine.netns(), container="newer")
    machine.kernel.wire(wish)
    assert not machine.kernel.unwire(wish.link, replace(wish.alias, container="older"))
    assert not machine.kernel.unwire(wish.link, replace(wish.alias, ifname="net1"))
    assert machine.kernel.read().pods == {wish.link: PodLink(wish.link, wish.alias, 1480)}
    assert machine.kernel.unwire(wish.link, replace(wish.alias, since="2020-01-01T00:00:00Z"))


def test_a_strangers_link_is_not_unwired(machine: Machine) -> None:
    machine.add_link("cali0123456789a")
    assert not machine.kernel.unwire("cali0123456789a", None)
    assert not machine.kernel.unwire("nowhere0", None)
    assert machine.kernel.reap() == 0
    assert machine.kernel.reap(abandoned=True) == 0
    assert "cali0123456789a" not in machine.kernel.read().pods


@pytest.mark.parametrize("before", ["live", "waiting to be reaped"])
def test_an_old_link_of_ours_makes_place(machine: Machine, before: str) -> None:
    old, new = wiring(machine.netns(), container="old"), wiring(machine.netns(), container="new")
    machine.kernel.wire(old)
    if before != "live":
        machine.kernel.unwire(old.link, None)
    machine.kernel.wire(new)
    assert machine.kernel.read().pods == {new.link: PodLink(new.link, new.alias, 1480)}
    assert machine.interfaces(old.netns) == set()
    assert machine.kernel.reap() == 0
    assert machine.kernel.read().pods == {new.link: PodLink(new.link, new.alias, 1480)}


def test_the_same_attachment_is_wired_again(machine: Machine) -> None:
    wish = wiring(machine.netns())
    machine.kernel.wire(wish)
    machine.kernel.wire(wish)
    assert machine.interfaces(wish.netns) == {"eth0"}
    assert list(machine.kernel.read().pods) == [wish.link]


@contextmanager
def nothing_half_made(machine: Machine) -> Iterator[None]:
    """A refused pod leaves no trace."""
    before = machine.kernel.read(), machine.listing()
    yield
    assert (machine.kernel.read(), machine.listing()) == before
    assert machine.kernel.reap(abandoned=True) == 0


def test_a_strangers_link_of_that_name_is_refused(machine: Machine) -> None:
    wish = wiring(machine.netns())
    machine.add_link(wish.link)
    with nothing_half_made(machine), pytest.raises(KernelRefused) as refusal:
        machine.kernel.wire(wish)
    assert str(refusal.value).startswith(f"link {wish.link} is there and is not bgpnet's")
    assert machine.interfaces(wish.netns) == set()


@pytest.mark.parametrize("again", [True, False], ids=["wired again", "a newer sandbox with another address"])
def test_a_strangers_route_at_the_address_leaves_the_old_link_alone(machine: Machine, again: bool) -> None:
    old = wiring(machine.netns())
    machine.kernel.wire(old)
    new = old if again else replace(old, netns=machine.netns(), address=ip.address("10.0.0.77"))
    if again:
        machine.drop_route(ip.host(new.address))
    machine.put_route(Route(ip.host(new.address), (via(),)), STATIC)
    before = machine.listing()
    with nothing_half_made(machine), pytest.raises(KernelRefused, match="leads elsewhere: find out whose it is"):
        machine.kernel.wire(new)
    assert machine.listing() == before
    assert machine.interfaces(old.netns) == {"eth0"}


def test_an_interface_that_the_pod_has_is_refused(machine: Machine) -> None:
    pod = machine.netns()
    machine.kernel.wire(wiring(pod, 1))
    with nothing_half_made(machine), pytest.raises(KernelRefused, match="namespace has an interface eth0 already"):
        machine.kernel.wire(wiring(pod, 2))
    assert machine.interfaces(pod) == {"eth0"}


def test_an_address_that_leads_elsewhere_is_refused(machine: Machine) -> None:
    machine.put_route(Route(ip.network("10.0.0.1/32"), (via(),)), STATIC)
    wish = wiring(machine.netns(), 1)
    with nothing_half_made(machine), pytest.raises(KernelRefused, match=r"a route to 10\.0\.0\.1/32 is there already"):
        machine.kernel.wire(wish)
    assert machine.interfaces(wish.netns) == set()


def test_two_pods_never_get_one_address(machine: Machine) -> None:
    machine.kernel.wire(wiring(machine.netns(), 1))
    twice = replace(wiring(machine.netns(), 2), address=ip.address("10.0.0.1"))
    with nothing_half_made(machine), pytest.raises(KernelRefused, match=r"a route to 10\.0\.0\.1/32 is there already"):
        machine.kernel.wire(twice)


def test_the_hosts_own_namespace_is_refused(machine: Machine) -> None:
    with nothing_half_made(machine), pytest.raises(KernelRefused, match="is the host's own"):
        machine.kernel.wire(wiring(machine.host_netns()))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "sixteen-letters-", "eth%d", "a b", "a/b", "a:b", "a\nb", "eth0\0x", "žžžžžžžž"]
)
def test_hostile_names_are_refused(machine: Machine, name: str) -> None:
    pod = machine.netns()
    for wish in (replace(wiring(pod), ifname=name), replace(wiring(pod), link=name)):
        with nothing_half_made(machine), pytest.raises(KernelRefused) as refusal:
            machine.kernel.wire(wish)
        assert repr(name) in str(refusal.value)
    assert machine.interfaces(pod) == set()


@pytest.mark.parametrize("name", ["fifteen-letters", "a.b", "a-b_c+d=e", "žlutý", "$(ls)';--"])
def test_unusual_names_are_taken(machine: Machine, name: str) -> None:
    pod = machine.netns()
    machine.kernel.wire(replace(wiring(pod), ifname=name))
    assert machine.interfaces(pod) == {name}


@pytest.mark.parametrize(
    "alias",
    [
        Alias("c" * 300, "eth0", "now"),
        Alias("a/b", "eth0", "now"),
        Alias("", "eth0", "now"),
        Alias("ž" * 130, "e", "now"),
    ],
    ids=["too long", "with a slash", "empty", "too many bytes"],
)
def test_a_mark_that_does_not_fit_is_refused(machine: Machine, alias: Alias) -> None:
    with nothing_half_made(machine), pytest.raises(KernelRefused, match="its mark"):
        machine.kernel.wire(replace(wiring(machine.netns()), alias=alias))


def test_the_longest_mark_is_read_as_it_was_put(machine: Machine) -> None:
    alias = Alias("c" * (255 - len("/eth0/2026-01-01T00:00:00Z")), "eth0", "2026-01-01T00:00:00Z")
    wish = replace(wiring(machine.netns()), alias=alias)
    machine.kernel.wire(wish)
    assert machine.kernel.read().pods[wish.link].alias == alias


def test_an_ipv6_pod_is_refused(machine: Machine) -> None:
    with nothing_half_made(machine), pytest.raises(KernelRefused, match="fd00::5 is IPv6"):
        machine.kernel.wire(replace(wiring(machine.netns()), address=ip.address("fd00::5")))


def test_what_is_to_be_on_the_disk_is_begun_before_there_is_a_link_and_waited_for_before_one_is_whole(
    machine: Machine,
) -> None:
    wish, told = wiring(machine.netns()), list[str]()

    def look(when: str) -> None:
        told.append(f"{when}: {sorted(machine.kernel.read().pods)}")

    def begin() -> Callable[[], None]:
        look("begun")
        return lambda: look("waited for")

    machine.kernel.wire(wish, begin)
    look("whole")
    assert told == ["begun: []", "waited for: []", f"whole: ['{wish.link}']"]


@pytest.mark.parametrize("late", [False, True], ids=["begun", "waited for"])
def test_a_disk_that_refuses_leaves_no_link(machine: Machine, late: bool) -> None:
    def refuse() -> None:
        raise JournalFailed("the disk is full")

    def begin() -> Callable[[], None]:
        return refuse if late else refuse()  # type: ignore[func-returns-value] # it raises

    pod = machine.netns()
    with nothing_half_made(machine), pytest.raises(JournalFailed, match="the disk is full"):
        machine.kernel.wire(wiring(pod), begin)
    assert machine.interfaces(pod) == set()
    machine.kernel.wire(wiring(pod))


def test_twenty_pods_from_ten_threads(machine: Machine) -> None:
    wishes = [wiring(machine.netns(), n, container=f"c{n}") for n in range(1, 21)]
    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(machine.kernel.wire, wishes)) == [None] * 20
        assert set(machine.kernel.read().pods) == {wish.link for wish in wishes}
        assert len(machine.kernel.read().routes[Owner.LOCAL]) == 20
        assert all(pool.map(lambda wish: machine.kernel.unwire(wish.link, wish.alias), wishes))
    assert machine.kernel.read().routes[Owner.LOCAL] == {}
    assert machine.kernel.reap() == 20
    assert machine.kernel.read().pods == {}
    assert [machine.interfaces(wish.netns) for wish in wishes] == [set()] * 20


def wish_of_a_node(machine: Machine) -> Plan:
    """A node with a pod, a block and what it learned."""
    pod = wiring(machine.netns(), 5)
    machine.kernel.wire(pod)
    dst = ip.host(pod.address)
    learned = [ROUTES[name] for name in ("gateway", "onlink", "multipath", "IPv6 gateway")]
    return Plan(
        KernelState(
            routes={
                Owner.LOCAL: {BLOCK: Route(BLOCK), dst: Route(dst, (Hop(pod.link),))},
                Owner.LEARNED: {route.dst: route for route in learned},
            },
            neighbours={NeighbourKey(pod.link, pod.address): pod.mac},
            sysctls={"net/ipv4/ip_forward": "1", f"net/ipv4/conf/{UPLINK}/rp_filter": "2"},
            pods={pod.link: PodLink(pod.link, pod.alias, pod.mtu)},
            sweep=frozenset(Owner),
            sweep_pods=True,
        )
    )


def test_what_was_applied_needs_no_second_apply(machine: Machine) -> None:
    machine.put_route(Route(ip.network("10.9.0.0/24"), (via(),)), STATIC)
    machine.kernel.change([PutRoute(Owner.LEARNED, Route(ip.network("10.8.0.0/24")), new=True)])
    wish = wish_of_a_node(machine)
    first, second = apply(wish, machine.kernel), apply(wish, machine.kernel)
    assert (first.refusals, second.refusals) == ((), ())
    assert (first.changes, second.changes) == (8, 0)  # a block, four learned, two sysctls; one route swept
    assert machine.kernel.read(wish.kernel.sysctls) == replace(wish.kernel, sweep=frozenset(), sweep_pods=False)
    assert "10.9.0.0/24 via 192.0.2.2 dev up0 proto static" in machine.listing()


def test_a_pod_that_may_advertise_itself_is_found_and_forbidden_it(machine: Machine) -> None:
    wish = wish_of_a_node(machine)
    (pod,) = wish.kernel.pods.values()
    apply(wish, machine.kernel)
    name = f"net/ipv6/conf/{pod.name}/accept_ra"
    machine.set_sysctl(name, "1")
    assert machine.kernel.read().pods == {pod.name: replace(pod, deaf=False)}
    held = apply(replace(wish, hold_links=frozenset({pod.name})), machine.kernel)
    found = apply(wish, machine.kernel)
    assert [(one.changes, one.refusals) for one in (held, found)] == [(0, ()), (1, ())]
    assert machine.kernel.read([name]).sysctls == {name: "0"}


def test_after_a_link_went_down_an_apply_repairs_it(machine: Machine) -> None:
    wish = wish_of_a_node(machine)
    apply(wish, machine.kernel)
    before = machine.listing()
    machine.set_link(UPLINK, up=False)
    machine.set_link(UPLINK, up=True)
    apply(replace(wish, kernel=replace(wish.kernel, neighbours={})), machine.kernel)
    assert machine.listing() == before


@contextmanager
def monitored(machine: Machine) -> Iterator[list[str]]:
    """The reasons that a monitor gives meanwhile."""
    reasons: list[str] = []
    stop = threading.Event()
    thread = threading.Thread(target=machine.kernel.monitor, args=(reasons.append, stop.is_set))
    thread.start()
    machine.add_link("probe0")
    assert eventually(lambda: _poke(machine) or bool(reasons)), "the monitor hears nothing"
    machine.delete_link("probe0")
    assert eventually(lambda: "link probe0 is gone" in reasons), "the monitor is behind"
    assert eventually(lambda: _settled(reasons))
    try:
        yield reasons
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def _poke(machine: Machine) -> bool:
    machine.set_link("probe0", up=False)
    machine.set_link("probe0", up=True)
    return False


def _settled(reasons: list[str]) -> bool:
    """Nothing more comes of what was done before; what is heard from then on is of later."""
    before = len(reasons)
    threading.Event().wait(0.3)
    if len(reasons) != before:
        return False
    reasons.clear()
    return True


def test_the_monitor_hears_of_strangers(machine: Machine) -> None:
    machine.kernel.change(
        [PutRoute(Owner.LEARNED, ROUTES["gateway"], new=True), PutRoute(Owner.LOCAL, Route(BLOCK), new=True)]
    )
    wish = wiring(machine.netns())
    machine.kernel.wire(wish)
    with monitored(machine) as reasons:
        machine.drop_route(ROUTES["gateway"].dst)
        machine.put_route(Route(BLOCK, (via(),)), BIRD)
        machine.set_link(UPLINK, up=False)
        machine.set_link(UPLINK, up=True)
        machine.add_link("up1", "198.51.100.7/25")
        machine.delete_link("up1")
        machine.set_link(wish.link, up=False)
        machine.delete_link(wish.link)
        expected = [
            "route 10.0.1.0/26 went",
            "route 10.0.0.0/26 was replaced by one of protocol 12",
            f"link {UPLINK} is down",
            f"link {UPLINK} is up",
            "link up1 came",
            "link up1 is gone",
            f"link {wish.link} is down",
            f"link {wish.link} is gone",
        ]
        assert eventually(lambda: set(expected) <= set(reasons)), reasons
        assert [one for one in reasons if one in expected] == expected


def test_the_monitor_hears_that_a_vxlan_device_has_another_mac(machine: Machine) -> None:
    own = Vxlan(ip.address("192.0.2.1"), UPLINK, "66:62:c0:00:02:01")
    machine.kernel.change([PutTunnel(Tunnel(VXLAN, "vxlan", 1450, vxlan=own))])
    with monitored(machine) as reasons:
        machine.set_mac(VXLAN, "66:00:00:00:00:09")
        assert eventually(lambda: f"link {VXLAN} has the MAC 66:00:00:00:00:09 now" in reasons), reasons


def test_the_monitor_hears_that_a_vxlan_device_has_lost_an_end(machine: Machine) -> None:
    own = Vxlan(ip.address("192.0.2.1"), UPLINK, "66:62:c0:00:02:01")
    near, entry = NeighbourKey(VXLAN, ip.address("10.9.0.0")), FdbKey(VXLAN, "66:62:c0:00:02:02")
    away = FdbKey(VXLAN, "66:62:c0:00:02:03")
    told = f"what leads to another node went from {VXLAN} (ip neigh, bridge fdb)"
    machine.kernel.change([PutTunnel(Tunnel(VXLAN, "vxlan", 1450, vxlan=own))])
    with monitored(machine) as reasons:
        machine.kernel.change([PutNeighbour(near, entry.mac), PutFdb(entry, GATEWAY), PutFdb(away, GATEWAY)])
        machine.kernel.change([PutFdb(entry, ip.address("192.0.2.9"))])
        machine.kernel.change([PutNeighbour(NeighbourKey(UPLINK, GATEWAY), "02:00:00:00:00:01")])
        machine.drop_end(NeighbourKey(UPLINK, GATEWAY))
        assert _settled([*reasons])
        assert reasons == []
        for key in (near, entry):
            machine.drop_end(key)
            assert eventually(lambda: told in reasons), reasons
            assert eventually(lambda: _settled(reasons))


def test_the_monitor_hears_of_sysctls_that_cut_pods_off(machine: Machine) -> None:
    wish = wiring(machine.netns())
    machine.kernel.wire(wish)
    strict = f"net/ipv4/conf/{UPLINK}/rp_filter"
    machine.kernel.change([PutSysctl("net/ipv4/ip_forward", "1"), PutSysctl(strict, "2")])
    with monitored(machine) as reasons:
        machine.set_sysctl(strict, "1")
        machine.set_sysctl("net/ipv4/ip_forward", "0")
        expected = [f"rp_filter of {UPLINK} is 1 now", "net.ipv4.ip_forward is 0 now"]
        assert eventually(lambda: set(expected) <= set(reasons)), reasons
        assert eventually(lambda: _settled(reasons))
        machine.kernel.change([PutSysctl("net/ipv4/ip_forward", "1"), PutSysctl(strict, "2")])
        machine.kernel.wire(wiring(machine.netns(), 2))
        assert _settled([*reasons])
        assert reasons == []


def test_the_monitor_does_not_hear_of_us(machine: Machine) -> None:
    with monitored(machine) as reasons:
        for n in range(1, 4):
            machine.kernel.wire(wiring(machine.netns(), n))
        machine.kernel.change([PutRoute(Owner.LEARNED, route, new=True) for route in ROUTES.values()])
        machine.kernel.change([PutRoute(Owner.LEARNED, Route(ROUTES["gateway"].dst), new=False)])
        machine.kernel.change([PutNeighbour(NeighbourKey(UPLINK, GATEWAY), "02:00:00:00:00:01")])
        machine.kernel.change([DropRoute(Owner.LEARNED, route) for route in ROUTES.values()])
        machine.kernel.unwire(wiring(0, 1).link, None)
        machine.kernel.wire(wiring(machine.netns(), 2))
        with pytest.raises(KernelRefused):
            machine.kernel.wire(replace(wiring(machine.netns(), 9), address=ip.address("10.0.0.2")))
        machine.kernel.reap()
        machine.put_route(Route(BLOCK), STATIC)
        machine.put_route(Route(BLOCK, (via(),)), STATIC)
        assert eventually(lambda: "route 10.0.0.0/26 was replaced by one of protocol 4" in reasons), reasons
        assert reasons == ["route 10.0.0.0/26 was replaced by one of protocol 4"]
