"""What needs ipip: tunl0 as the kernel makes it. Runs in the current kernel, which must have it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import LinuxMachine, ip_command, linux_machine

from bgpnet.kernel.api import PutRoute, PutTunnel
from bgpnet.kernel.state import Hop, Owner, Route, Tunnel
from bgpnet.model import ip

pytestmark = [pytest.mark.root, pytest.mark.uml]

FIRST = Tunnel("tunl0", "ipip", 1480, ip.interface("10.0.0.1/32"))


@pytest.fixture
def machine() -> Iterator[LinuxMachine]:
    with linux_machine() as made:
        yield made


def addresses() -> list[str]:
    """tunl0's, as `ip` shows them."""
    return [line.split()[3] for line in ip_command("-o -4 addr show dev tunl0").splitlines()]


def test_a_tunnel_is_read_as_it_was_put(machine: LinuxMachine) -> None:
    assert machine.kernel.read().tunnels == {}
    assert machine.kernel.change([PutTunnel(FIRST)]) == []
    assert machine.kernel.read().tunnels == {"tunl0": FIRST}
    assert "mtu 1480" in ip_command("link show tunl0")
    assert "remote any local any" in ip_command("-details link show tunl0")
    assert machine.kernel.change([PutTunnel(FIRST)]) == []
    assert addresses() == ["10.0.0.1/32"]


def test_a_tunnel_without_an_address_yet(machine: LinuxMachine) -> None:
    bare = Tunnel("tunl0", "ipip", 1400)
    assert machine.kernel.change([PutTunnel(bare)]) == []
    assert machine.kernel.read().tunnels == {"tunl0": bare}


def test_an_address_is_kept_while_its_successor_is_unknown(machine: LinuxMachine) -> None:
    machine.kernel.change([PutTunnel(FIRST)])
    assert machine.kernel.change([PutTunnel(Tunnel("tunl0", "ipip", 1480))]) == []
    assert machine.kernel.read().tunnels == {"tunl0": FIRST}


def test_a_bare_tunnel_loses_its_address(machine: LinuxMachine) -> None:
    machine.kernel.change([PutTunnel(FIRST)])
    ip_command("addr add 10.0.0.9/26 dev tunl0")
    bare = Tunnel("tunl0", "ipip", 1480, bare=True)
    assert machine.kernel.change([PutTunnel(bare)]) == []
    assert machine.kernel.read().tunnels == {"tunl0": bare}
    assert addresses() == []
    assert machine.kernel.change([PutTunnel(bare)]) == []


def test_the_address_and_mtu_are_changed(machine: LinuxMachine) -> None:
    machine.kernel.change([PutTunnel(FIRST)])
    second = Tunnel("tunl0", "ipip", 1400, ip.interface("10.0.0.64/32"))
    assert machine.kernel.change([PutTunnel(second)]) == []
    assert machine.kernel.read().tunnels == {"tunl0": second}
    assert addresses() == ["10.0.0.64/32"]


@pytest.mark.parametrize("other", ["10.0.0.2/32", "10.0.0.0/24", "10.0.0.1/24", "10.0.0.9/26"])
def test_other_addresses_go_and_ours_stays(machine: LinuxMachine, other: str) -> None:
    machine.kernel.change([PutTunnel(FIRST)])
    ip_command(f"addr add {other} dev tunl0")
    assert machine.kernel.read().tunnels == {}
    assert machine.kernel.change([PutTunnel(FIRST)]) == []
    assert addresses() == ["10.0.0.1/32"]


def test_a_secondary_address_of_ours_outlives_its_primary(machine: LinuxMachine) -> None:
    machine.kernel.change([PutTunnel(Tunnel("tunl0", "ipip", 1480))])
    ip_command("addr add 10.0.0.9/26 dev tunl0")
    wish = Tunnel("tunl0", "ipip", 1480, ip.interface("10.0.0.1/26"))
    assert machine.kernel.change([PutTunnel(wish)]) == []
    assert addresses() == ["10.0.0.1/26"]


def test_a_tunnel_that_is_down_is_brought_up(machine: LinuxMachine) -> None:
    machine.kernel.change([PutTunnel(FIRST)])
    ip_command("link set tunl0 down")
    assert machine.kernel.read().tunnels == {}
    assert machine.kernel.change([PutTunnel(FIRST)]) == []
    assert machine.kernel.read().tunnels == {"tunl0": FIRST}


def test_an_impossible_mtu_is_refused(machine: LinuxMachine) -> None:
    (refusal,) = machine.kernel.change([PutTunnel(Tunnel("tunl0", "ipip", 20))])
    assert str(refusal).startswith("tunnel tunl0 (MTU 20, address None) could not be set up:")


def test_routes_over_the_tunnel(machine: LinuxMachine) -> None:
    route = Route(ip.network("10.0.1.0/26"), (Hop("tunl0", ip.address("192.0.2.2"), onlink=True),))
    assert machine.kernel.change([PutTunnel(FIRST), PutRoute(Owner.LEARNED, route, new=True)]) == []
    assert machine.kernel.read().routes[Owner.LEARNED] == {route.dst: route}
    assert "10.0.1.0/26 via 192.0.2.2 dev tunl0 proto bgpnet-bgp onlink" in machine.listing()


def test_tunnels_are_no_uplinks(machine: LinuxMachine) -> None:
    machine.kernel.change([PutTunnel(FIRST)])
    assert "tunl0" not in {one.name for one in machine.kernel.uplinks()}
