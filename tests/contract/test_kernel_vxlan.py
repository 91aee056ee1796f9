"""What every kernel promises of the VXLAN device, its neighbours and its forwarding database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from kernels import MACHINES, UPLINK, Machine

from bgpnet.agent.apply import apply
from bgpnet.agent.plan import Plan
from bgpnet.errors import KernelRefused
from bgpnet.kernel.api import Change, DropFdb, PutFdb, PutNeighbour, PutRoute, PutTunnel
from bgpnet.kernel.state import FdbKey, Hop, KernelState, NeighbourKey, Owner, Route, Tunnel, Vxlan
from bgpnet.model import ip
from bgpnet.names import TUNNEL, VXLAN

OWN = Vxlan(ip.address("192.0.2.1"), UPLINK, "66:00:c0:00:02:01")
WISH = Tunnel(VXLAN, "vxlan", 1450, ip.interface("10.0.0.1/32"), vxlan=OWN)
END, NODE, OTHER = ip.address("10.0.1.0"), ip.address("192.0.2.2"), ip.address("192.0.2.3")
MAC = "66:00:c0:00:02:02"
KEY, NEAR = FdbKey(VXLAN, MAC), NeighbourKey(VXLAN, END)
ROUTE = Route(ip.network("10.0.1.0/26"), (Hop(VXLAN, END, onlink=True),))


@pytest.fixture(params=["fake", pytest.param("linux", marks=pytest.mark.root)])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine with one uplink."""
    with MACHINES[request.param]() as made:
        yield made


def put(machine: Machine, *changes: Change) -> None:
    """Which none may refuse."""
    assert machine.kernel.change(list(changes)) == []


def whole(machine: Machine) -> None:
    """The device and a way to one other node."""
    put(machine, PutTunnel(WISH), PutFdb(KEY, NODE), PutNeighbour(NEAR, MAC), PutRoute(Owner.LEARNED, ROUTE, new=True))


def test_the_device_is_read_as_it_was_put(machine: Machine) -> None:
    assert machine.kernel.read().tunnels == {}
    put(machine, PutTunnel(WISH))
    assert machine.kernel.read().tunnels == {VXLAN: WISH}
    put(machine, PutTunnel(WISH))
    assert machine.kernel.read().tunnels == {VXLAN: WISH}


def test_a_device_without_an_address_yet_and_with_another_one_later(machine: Machine) -> None:
    put(machine, PutTunnel(replace(WISH, address=None)))
    assert machine.kernel.read().tunnels == {VXLAN: replace(WISH, address=None)}
    moved = replace(WISH, address=ip.interface("10.0.0.64/32"), mtu=1400)
    for wish in (WISH, moved):
        put(machine, PutTunnel(wish))
        assert machine.kernel.read().tunnels == {VXLAN: wish}
    put(machine, PutTunnel(replace(WISH, address=None)))
    assert machine.kernel.read().tunnels == {VXLAN: replace(moved, mtu=1450)}
    put(machine, PutTunnel(replace(WISH, address=None, bare=True)))
    assert machine.kernel.read().tunnels == {VXLAN: replace(WISH, address=None)}


@pytest.mark.parametrize(
    "before",
    [
        replace(OWN, others=("learning",)),
        replace(OWN, mac="66:00:00:00:00:99"),
        replace(OWN, local=ip.address("192.0.2.8")),
    ],
    ids=["it learns", "another MAC", "another address to send from"],
)
def test_a_device_is_repaired_in_place(machine: Machine, before: Vxlan) -> None:
    machine.add_vxlan(VXLAN, before)
    put(machine, PutFdb(KEY, NODE), PutRoute(Owner.LEARNED, ROUTE, new=True))
    assert machine.kernel.read().tunnels[VXLAN].vxlan == before
    put(machine, PutTunnel(WISH))
    have = machine.kernel.read()
    assert (have.tunnels, have.fdb, have.routes[Owner.LEARNED]) == ({VXLAN: WISH}, {KEY: NODE}, {ROUTE.dst: ROUTE})


def test_a_device_with_another_parent_is_repaired_in_place(machine: Machine) -> None:
    machine.add_link("up1", "198.51.100.1/24")
    machine.add_vxlan(VXLAN, replace(OWN, parent="up1"))
    put(machine, PutFdb(KEY, NODE), PutTunnel(WISH))
    have = machine.kernel.read()
    assert (have.tunnels, have.fdb) == ({VXLAN: WISH}, {KEY: NODE})


@pytest.mark.parametrize(
    "before",
    [
        replace(OWN, vni=7),
        replace(OWN, port=8472),
        replace(OWN, others=("noudpcsum",)),
        replace(OWN, others=("remote",)),
        replace(OWN, others=("l2miss", "learning", "proxy")),
    ],
    ids=["another VNI", "another port", "it does not sum up", "it floods", "it asks"],
)
def test_a_device_that_cannot_be_repaired_is_made_anew(machine: Machine, before: Vxlan) -> None:
    machine.add_vxlan(VXLAN, before)
    assert machine.kernel.read().tunnels[VXLAN].vxlan == before
    put(machine, PutTunnel(WISH))
    have = machine.kernel.read()
    assert (have.tunnels, have.fdb) == ({VXLAN: WISH}, {})


def test_an_apply_puts_again_what_hung_on_a_device_that_was_made_anew(machine: Machine) -> None:
    wish = KernelState(
        tunnels={VXLAN: WISH},
        routes={Owner.LEARNED: {ROUTE.dst: ROUTE}},
        neighbours={NEAR: MAC},
        fdb={KEY: NODE},
        sysctls={f"net/ipv4/conf/{VXLAN}/rp_filter": "2"},
        sweep=frozenset(Owner),
        sweep_ends=True,
    )
    machine.add_vxlan(VXLAN, replace(OWN, vni=7))
    put(machine, PutFdb(KEY, OTHER), PutNeighbour(NEAR, MAC), PutRoute(Owner.LEARNED, ROUTE, new=True))
    for mac in (OWN.mac, "66:00:00:00:00:99"):
        wish = replace(wish, tunnels={VXLAN: replace(WISH, vxlan=replace(OWN, mac=mac))})
        assert apply(Plan(wish), machine.kernel).refusals == ()
        have = machine.kernel.read(wish.sysctls)
        assert (have.tunnels, have.neighbours, have.fdb) == (wish.tunnels, wish.neighbours, wish.fdb)
        assert (have.routes[Owner.LEARNED], have.sysctls) == (wish.routes[Owner.LEARNED], wish.sysctls)
        assert apply(Plan(wish), machine.kernel).changes == 0
    machine.set_link(VXLAN, up=False)
    assert apply(Plan(wish), machine.kernel).refusals == ()
    have = machine.kernel.read()
    assert (have.neighbours, have.fdb, have.routes[Owner.LEARNED]) == ({NEAR: MAC}, {KEY: NODE}, {ROUTE.dst: ROUTE})
    gone = replace(wish, routes={Owner.LEARNED: {}}, neighbours={}, fdb={})
    assert apply(Plan(replace(gone, sweep_ends=False)), machine.kernel).changes == 1  # unknown is not empty
    assert machine.kernel.read().fdb == {KEY: NODE}
    assert apply(Plan(gone), machine.kernel).changes == 2
    have = machine.kernel.read()
    assert (have.neighbours, have.fdb) == ({}, {})


def test_a_forwarding_entry_is_read_as_it_was_put_replaced_and_dropped(machine: Machine) -> None:
    whole(machine)
    assert machine.kernel.read().fdb == {KEY: NODE}
    put(machine, PutFdb(KEY, OTHER))
    assert machine.kernel.read().fdb == {KEY: OTHER}
    put(machine, DropFdb(KEY), DropFdb(KEY))
    assert machine.kernel.read().fdb == {}
    assert machine.kernel.read().neighbours == {NEAR: MAC}


def test_two_hundred_nodes_in_one_change(machine: Machine) -> None:
    put(machine, PutTunnel(WISH))
    wish = {FdbKey(VXLAN, f"66:00:c0:00:02:{number:02x}"): ip.address(f"192.0.2.{number}") for number in range(2, 202)}
    put(machine, *(PutFdb(key, to) for key, to in wish.items()))
    assert machine.kernel.read().fdb == wish


def test_a_forwarding_entry_over_no_link(machine: Machine) -> None:
    (refusal,) = machine.kernel.change([PutFdb(KEY, NODE)])
    assert str(refusal) == f"there is no link {VXLAN}: what leads over it is put when the link is there"
    assert machine.kernel.change([DropFdb(KEY)]) == []


def refused(machine: Machine, wish: Tunnel) -> str:
    """The only refusal."""
    (refusal,) = machine.kernel.change([PutTunnel(wish)])
    assert isinstance(refusal, KernelRefused)
    return str(refusal)


def test_a_link_that_is_no_vxlan_device_is_refused(machine: Machine) -> None:
    machine.add_link(VXLAN)
    assert refused(machine, WISH) == (
        "link vxlan.bgpnet is there and is veth, not vxlan: rename it or delete it (ip link del vxlan.bgpnet)"
    )


def test_another_device_of_the_same_number_is_refused(machine: Machine) -> None:
    machine.add_vxlan("vxlan.calico", OWN)
    assert refused(machine, WISH) == (
        "tunnel vxlan.bgpnet: another VXLAN device has VNI 4096 on port 4789, as Calico's vxlan.calico: delete it "
        "(ip -details link show type vxlan, ip link del NAME), or set the pools' vxlanMode to Never"
    )
    assert machine.kernel.read().tunnels == {}


def test_a_device_over_a_link_that_is_not_there(machine: Machine) -> None:
    wish = replace(WISH, vxlan=replace(OWN, parent="up7"))
    assert refused(machine, wish) == (
        "tunnel vxlan.bgpnet: there is no link up7 to send over; it is made once that is there"
    )


def test_the_device_goes_with_the_link_that_it_sends_over(machine: Machine) -> None:
    whole(machine)
    machine.delete_link(UPLINK)
    have = machine.kernel.read()
    assert (have.tunnels, have.fdb, have.neighbours, have.routes[Owner.LEARNED]) == ({}, {}, {}, {})


def test_one_tunnel_that_is_refused_does_not_stop_the_other(machine: Machine) -> None:
    machine.add_link(TUNNEL)  # what has no kind that is asked for
    other = Tunnel(TUNNEL, "ipip", 1480, ip.interface("10.0.0.9/32"))
    wish = KernelState(
        tunnels={TUNNEL: other, VXLAN: WISH},
        routes={Owner.LEARNED: {ROUTE.dst: ROUTE}},
        neighbours={NEAR: MAC},
        fdb={KEY: NODE},
    )
    (refusal,) = apply(Plan(wish), machine.kernel).refusals
    assert "tunl0" in refusal
    have = machine.kernel.read()
    assert (have.routes[Owner.LEARNED], have.fdb) == ({ROUTE.dst: ROUTE}, {KEY: NODE})


def test_several_addresses_are_not_as_it_should_be(machine: Machine) -> None:
    whole(machine)
    machine.add_address(VXLAN, "10.0.0.9/32")
    assert machine.kernel.read().tunnels == {}
    put(machine, PutTunnel(WISH))
    assert machine.kernel.read().tunnels == {VXLAN: WISH}


def test_tunnels_are_no_uplinks(machine: Machine) -> None:
    whole(machine)
    assert VXLAN not in {one.name for one in machine.kernel.uplinks()}
    assert VXLAN not in {one.name for one in machine.kernel.addressed()}
