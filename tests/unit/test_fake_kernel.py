"""The fake's own sides: what it prints, what it is told to refuse, and that it loses what Linux loses."""

from __future__ import annotations

import pytest

from bgpnet.errors import KernelRefused
from bgpnet.kernel.api import PutNeighbour, PutRoute, PutTunnel
from bgpnet.kernel.fake import FakeKernel
from bgpnet.kernel.state import Hop, NeighbourKey, Owner, Route, Tunnel, Wiring
from bgpnet.model import ip
from bgpnet.names import Alias

TUNNEL = Tunnel("tunl0", "ipip", 1480, ip.interface("10.0.0.1/32"))
LEARNED = Route(ip.network("10.0.1.0/26"), (Hop("tunl0", ip.address("192.0.2.2"), onlink=True),))
BLOCK = Route(ip.network("10.0.0.0/26"))
POD = Wiring(
    link="cali0123456789a",
    ifname="eth0",
    netns=9,
    address=ip.address("10.0.0.5"),
    mac="0a:58:0a:00:00:05",
    mtu=1480,
    alias=Alias("c1", "eth0", "2026-01-01T00:00:00Z"),
)


@pytest.fixture
def kernel() -> FakeKernel:
    made = FakeKernel()
    made.strangers.add_link("eth1", "192.0.2.1/24")
    return made


def test_a_node_prints_itself_as_ip_route_would(kernel: FakeKernel) -> None:
    kernel.change(
        [PutTunnel(TUNNEL), PutRoute(Owner.LOCAL, BLOCK, new=True), PutRoute(Owner.LEARNED, LEARNED, new=True)]
    )
    kernel.wire(POD)
    assert str(kernel).splitlines() == [
        "blackhole 10.0.0.0/26 proto bgpnet",
        "10.0.0.5 dev cali0123456789a proto bgpnet scope link",
        "10.0.1.0/26 via 192.0.2.2 dev tunl0 proto bgpnet-bgp onlink",
        "192.0.2.0/24 dev eth1 proto kernel scope link src 192.0.2.1",
    ]


def test_a_tunnel_is_read_as_it_was_put(kernel: FakeKernel) -> None:
    assert kernel.change([PutTunnel(TUNNEL)]) == []
    assert kernel.read().tunnels == {"tunl0": TUNNEL}
    kernel.strangers.add_address("tunl0", "10.0.0.9/32")
    assert kernel.read().tunnels == {}
    assert kernel.change([PutTunnel(TUNNEL)]) == []
    kernel.strangers.set_link("tunl0", up=False)
    assert kernel.read().tunnels == {}
    assert kernel.change([PutTunnel(TUNNEL)]) == []
    assert kernel.read().tunnels == {"tunl0": TUNNEL}


def test_a_bare_tunnel_loses_its_address(kernel: FakeKernel) -> None:
    bare = Tunnel("tunl0", "ipip", 1480, bare=True)
    assert kernel.change([PutTunnel(TUNNEL), PutTunnel(bare)]) == []
    assert kernel.read().tunnels == {"tunl0": bare}


def test_an_address_is_kept_while_its_successor_is_unknown(kernel: FakeKernel) -> None:
    kernel.change([PutTunnel(TUNNEL), PutTunnel(Tunnel("tunl0", "ipip", 1400))])
    assert kernel.read().tunnels == {"tunl0": Tunnel("tunl0", "ipip", 1400, TUNNEL.address)}


def test_a_kernel_without_ipip_says_what_to_do() -> None:
    (refusal,) = FakeKernel(modules=()).change([PutTunnel(TUNNEL)])
    assert str(refusal) == (
        "this kernel has no ipip (Unknown device type), needed by pools with ipipMode Always or CrossSubnet: "
        "run modprobe ipip, or set the pools' ipipMode to Never"
    )


def test_a_tunnels_name_on_a_strangers_link(kernel: FakeKernel) -> None:
    kernel.strangers.add_link("tunl0", kind="dummy")
    (refusal,) = kernel.change([PutTunnel(TUNNEL)])
    assert str(refusal) == "link tunl0 is there and is dummy, not ipip: rename it or delete it (ip link del tunl0)"


def test_a_link_that_is_down_takes_no_route(kernel: FakeKernel) -> None:
    kernel.strangers.set_link("eth1", up=False)
    route = Route(ip.network("10.0.2.0/26"), (Hop("eth1", ip.address("192.0.2.2")),))
    (refusal,) = kernel.change([PutRoute(Owner.LEARNED, route, new=True)])
    assert "see that eth1 is up" in str(refusal)


def test_a_deleted_link_takes_everything_with_it(kernel: FakeKernel) -> None:
    kernel.wire(POD)
    kernel.change([PutNeighbour(NeighbourKey("eth1", ip.address("192.0.2.2")), "02:00:00:00:00:01")])
    kernel.strangers.delete_link(POD.link)
    kernel.strangers.delete_link("eth1")
    assert str(kernel) == ""
    assert kernel.read(["net/ipv4/conf/eth1/rp_filter"]).sysctls == {}
    assert (kernel.read().neighbours, kernel.pods) == ({}, {9: {"lo"}})


def test_it_refuses_what_it_is_told_to(kernel: FakeKernel) -> None:
    kernel.refuse = lambda item: "No buffer space available" if item in (POD, put) else ""
    put = PutRoute(Owner.LOCAL, BLOCK, new=True)
    other = PutRoute(Owner.LOCAL, Route(ip.network("10.0.9.0/26")), new=True)
    (refusal,) = kernel.change([put, other])
    assert "No buffer space available" in str(refusal)
    with pytest.raises(KernelRefused, match="No buffer space available"):
        kernel.wire(POD)
    assert set(kernel.read().routes[Owner.LOCAL]) == {other.route.dst}
    assert kernel.log == ["put blackhole 10.0.9.0/26"]
