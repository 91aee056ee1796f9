"""VXLAN: what `ip route`, `ip neigh` and `bridge fdb` say of the other nodes' ends, and what is said of our own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import worlds
from msgspec import structs
from worlds import PEER, block, end, ended, found, later, machine, node, pool, run, state, synced, told

from bgpnet.agent import events, facts, tunnels
from bgpnet.agent.plan import plan
from bgpnet.agent.status import status
from bgpnet.agent.world import World
from bgpnet.kernel.fake import FakeKernel
from bgpnet.kernel.state import Tunnel, Vxlan
from bgpnet.model import ip, kinds
from bgpnet.model.ippool import AllowedUse, Encap, IPPool
from bgpnet.model.node import Node
from bgpnet.names import TUNNEL, VXLAN

FAR = ip.address("198.51.100.3")
NEAR, BEYOND = node("node2", "192.0.2.2/24"), node("node3", "198.51.100.3/24")
ENDS = (end(NEAR, "10.244.0.64"), end(BEYOND, "10.244.0.128"))
MAC, NEAR_MAC, FAR_MAC = "66:62:c0:00:02:01", "66:62:c0:00:02:02", "66:62:c6:33:64:03"


def vxlan(mode: Encap = Encap.ALWAYS, **more: object) -> IPPool:
    return pool(vxlanMode=mode, **more)


def mesh(wanted: IPPool, *nodes: Node) -> World:
    """This node with one block, another on its segment, a third elsewhere; both have told of a block, and all."""
    world = synced(wanted, blocks=[block()], nodes=nodes or ENDS)
    world = run(world, found(state(PEER), state(FAR)), told("10.244.0.64/26"), told("10.244.0.128/26", peer=FAR))
    return run(world, ended(PEER), ended(FAR))


def shown(kernel: FakeKernel) -> list[str]:
    """Learned routes, neighbours and forwarding entries, as `ip` and `bridge` show them."""
    learned = [line.replace(" proto bgpnet-bgp", "") for line in str(kernel).splitlines() if "bgpnet-bgp" in line]
    near = [f"{key.address} dev {key.dev} lladdr {mac} PERMANENT" for key, mac in sorted(kernel.neighbours.items())]
    return [*learned, *near, *(f"{key.mac} dst {to} self permanent" for key, to in sorted(kernel.fdb.items()))]


def applied(world: World, kernel: FakeKernel | None = None) -> list[str]:
    """The same after the World's plan."""
    kernel = kernel or machine()
    assert worlds.applied(world, kernel).refusals == ()
    return shown(kernel)


BOTH_ENDS = [
    f"10.244.0.64 dev vxlan.bgpnet lladdr {NEAR_MAC} PERMANENT",
    f"10.244.0.128 dev vxlan.bgpnet lladdr {FAR_MAC} PERMANENT",
    f"{NEAR_MAC} dst 192.0.2.2 self permanent",
    f"{FAR_MAC} dst 198.51.100.3 self permanent",
]


@pytest.mark.parametrize(
    ("mode", "near"),
    [
        (Encap.ALWAYS, "via 10.244.0.64 dev vxlan.bgpnet onlink"),
        (Encap.CROSS_SUBNET, "via 192.0.2.2 dev eth1"),
    ],
)
def test_learned_blocks_by_the_pools_mode(mode: Encap, near: str) -> None:
    assert applied(mesh(vxlan(mode))) == [
        f"10.244.0.64/26 {near}",
        "10.244.0.128/26 via 10.244.0.128 dev vxlan.bgpnet onlink",
        *BOTH_ENDS,
    ]


def test_the_device_has_its_address_its_mtu_its_mac_and_a_loose_filter() -> None:
    kernel = machine()
    applied(mesh(vxlan()), kernel)
    own = Vxlan(ip.address("192.0.2.1"), "eth1", MAC)
    assert kernel.read().tunnels == {VXLAN: Tunnel(VXLAN, "vxlan", 1450, ip.interface("10.244.0.0/32"), vxlan=own)}
    assert (own.vni, own.port, own.others) == (4096, 4789, ())
    assert kernel.sysctls["net/ipv4/conf/vxlan.bgpnet/rp_filter"] == "2"


def test_what_leads_to_an_end_is_there_before_the_routes_and_goes_after_them() -> None:
    kernel = machine()
    world = mesh(vxlan())
    applied(world, kernel)
    order = [" ".join(line.split()[:2]) for line in kernel.log if "10.244.0.64" in line or NEAR_MAC in line]
    assert order == ["put fdb", "put neighbour", "put 10.244.0.64/26"]
    kernel.log.clear()
    moved = run(world, events.Changed(kinds.NODE, end(NEAR, "10.244.0.99")))
    assert applied(moved, kernel)[0] == "10.244.0.64/26 via 10.244.0.99 dev vxlan.bgpnet onlink"
    assert kernel.log == [
        f"put neighbour 10.244.0.99 {NEAR_MAC}",
        "put 10.244.0.64/26 via 10.244.0.99 dev vxlan.bgpnet onlink",
        "drop neighbour 10.244.0.64",
    ]


def test_a_node_that_has_not_said_where_its_tunnel_ends_is_waited_for() -> None:
    world = mesh(vxlan(), NEAR, ENDS[1])
    assert applied(world) == ["10.244.0.128/26 via 10.244.0.128 dev vxlan.bgpnet onlink", *BOTH_ENDS[1:4:2]]
    [warning] = [one for one in status(world, plan(world))["warnings"] if "VXLAN" in one]  # type: ignore[attr-defined]
    assert warning == (
        "10.244.0.64/26 from 192.0.2.2: its next hop 192.0.2.2 has not said yet where its VXLAN tunnel ends "
        "(spec.vxlanTunnelMACAddr of its Node): the route waits for its agent, which writes that"
    )
    assert applied(run(world, events.Changed(kinds.NODE, ENDS[0]))) == applied(mesh(vxlan()))


@pytest.mark.parametrize("before", [pool(), pool(mode=Encap.ALWAYS), pool(mode=Encap.CROSS_SUBNET)], ids=str)
def test_while_it_is_waited_for_the_way_that_there_was_stays(before: IPPool) -> None:
    kernel = machine()
    world = mesh(before, NEAR, BEYOND)
    former = applied(world, kernel)
    world = run(world, events.Changed(kinds.IPPOOL, vxlan()))
    assert applied(world, kernel) == former
    assert kernel.read().tunnels[VXLAN].address is not None
    world = run(world, *(events.Changed(kinds.NODE, one) for one in ENDS))
    kernel.log.clear()
    assert applied(world, kernel) == applied(mesh(vxlan()))
    assert not [line for line in kernel.log if line.startswith("drop")]


@pytest.mark.parametrize("after", [pool(), pool(mode=Encap.ALWAYS)], ids=["Never", "ipip"])
def test_back_from_vxlan_routes_are_replaced_and_the_device_stays(after: IPPool) -> None:
    kernel = machine()
    near = pool(cidr="10.244.0.0/25")
    assert near
    world = run(mesh(vxlan()), events.Changed(kinds.IPPOOL, after))
    applied(mesh(vxlan()), kernel)
    kernel.log.clear()
    lines = applied(world, kernel)
    assert lines[0].startswith("10.244.0.64/26 via 192.0.2.2 dev ")
    assert not [line for line in lines if "vxlan" in line]
    routes = [at for at, line in enumerate(kernel.log) if line.startswith("put 10.244.0.64/26 via")]
    drops = [at for at, line in enumerate(kernel.log) if line.startswith(("drop neighbour", "drop fdb"))]
    assert (len(routes), len(drops)) == (1, 4)
    assert routes[0] < min(drops)
    assert kernel.links[VXLAN].up
    assert kernel.links[VXLAN].addresses == [ip.interface("10.244.0.0/32")]


def test_a_node_that_goes_is_led_to_for_a_while_and_unknown_nodes_are_not_gone() -> None:
    kernel = machine()
    world = mesh(vxlan())
    whole = applied(world, kernel)
    gone = run(world, events.Gone(kinds.NODE, "node3"))
    assert applied(gone, kernel) == whole
    assert applied(later(gone, 3), kernel) == [whole[0], *BOTH_ENDS[0:3:2]]
    again = machine()
    applied(world, again)
    for kind in (kinds.NODE, kinds.IPPOOL):
        unknown = replace(world, synced=world.synced - {kind.plural})
        wish = plan(replace(unknown, resources={**world.resources, kind.plural: {}}))
        assert not wish.kernel.sweep_ends
    applied(replace(world, synced=frozenset(), resources={}), again)
    assert [line for line in shown(again) if "self permanent" in line] == BOTH_ENDS[2:]


def test_a_node_without_a_tunnel_address_is_led_to_by_its_own() -> None:
    """Its pool is disabled, so its address is gone; its pods are there still."""
    lines = applied(mesh(vxlan(), end(NEAR), ENDS[1]))
    assert lines[0] == "10.244.0.64/26 via 192.0.2.2 dev vxlan.bgpnet onlink"
    assert f"192.0.2.2 dev vxlan.bgpnet lladdr {NEAR_MAC} PERMANENT" in lines


@pytest.mark.parametrize("mac", ["00:00:00:00:00:00", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", ""])
def test_a_mac_that_is_nobodys_is_no_end(mac: str) -> None:
    odd = structs.replace(NEAR, spec=structs.replace(NEAR.spec, vxlanTunnelMACAddr=mac))
    assert list(tunnels.ends(mesh(vxlan(), odd, ENDS[1]))) == [FAR]


def own(world: World) -> Node:
    """This node's Node as it shall be recorded."""
    return next(one for one in plan(world).records if isinstance(one, Node))


def test_our_own_end_is_published_once_it_has_its_address_and_stays() -> None:
    waiting = synced(vxlan())
    assert plan(waiting).records == ()
    assert "vxlan.bgpnet has no address yet" in str(status(waiting, plan(waiting))["reasons"])
    world = run(waiting, events.Claimed(block()))
    said = own(world)
    assert (said.spec.ipv4VXLANTunnelAddr, said.spec.vxlanTunnelMACAddr) == ("10.244.0.0", MAC)
    assert status(world, plan(world))["vxlan"] == "10.244.0.0"
    world = run(world, events.Changed(kinds.NODE, said))
    assert not [one for one in plan(world).records if isinstance(one, Node)]
    off = run(world, events.Changed(kinds.IPPOOL, vxlan(disabled=True)))
    assert (own(off).spec.ipv4VXLANTunnelAddr, own(off).spec.vxlanTunnelMACAddr) == ("", MAC)
    never = run(world, events.Changed(kinds.IPPOOL, pool()))
    assert not [one for one in plan(never).records if isinstance(one, Node)]


def test_a_pool_without_tunnel_addresses_has_ends_all_the_same() -> None:
    world = run(synced(vxlan(allowedUses=(AllowedUse.WORKLOAD,)), blocks=[block()]), events.Tick(worlds.NOW, 1000.5))
    assert (own(world).spec.ipv4VXLANTunnelAddr, own(world).spec.vxlanTunnelMACAddr) == ("", MAC)


def test_both_tunnels_at_once() -> None:
    other = pool("tunnelled", "10.250.0.0/16", Encap.ALWAYS)
    world = synced(vxlan(), other, blocks=[block(), block("10.250.0.0/26")], nodes=ENDS)
    world = run(world, found(state(PEER)), told("10.244.0.64/26", "10.250.0.64/26"), ended(PEER))
    addresses = [str(facts.tunnel_address(world, name)) for name in (TUNNEL, VXLAN)]
    assert addresses == ["10.250.0.0", "10.244.0.0"]
    kernel = machine()
    assert applied(world, kernel)[:2] == [
        "10.244.0.64/26 via 10.244.0.64 dev vxlan.bgpnet onlink",
        "10.250.0.64/26 via 192.0.2.2 dev tunl0 onlink",
    ]
    assert {name: one.mtu for name, one in kernel.read().tunnels.items()} == {TUNNEL: 1480, VXLAN: 1450}
    assert facts.pod_mtu(world) == 1450
    said = own(world).spec
    assert (said.bgp.ipv4IPIPTunnelAddr if said.bgp else "", said.ipv4VXLANTunnelAddr) == ("10.250.0.0", "10.244.0.0")
    swapped = run(world, events.Changed(kinds.IPPOOL, pool("tunnelled", "10.250.0.0/16", vxlanMode=Encap.ALWAYS)))
    assert str(facts.tunnel_address(swapped, TUNNEL)) == "10.250.0.0"  # stays, for others may still send to it


@pytest.mark.parametrize(
    ("mode", "more", "mtu"),
    [(Encap.NEVER, {}, 9000), (Encap.ALWAYS, {}, 8980), (Encap.NEVER, {"vxlanMode": Encap.CROSS_SUBNET}, 8950)],
)
def test_pods_packets_fit_every_tunnel(mode: Encap, more: dict[str, Encap], mtu: int) -> None:
    assert facts.pod_mtu(run(synced(pool(mode=mode, **more)), events.LinksLooked({}, 9000))) == mtu


def test_without_a_vxlan_pool_nothing_is_made_for_it() -> None:
    six = pool("six", "fd00:10::/64", vxlanMode=Encap.ALWAYS)
    world = run(mesh(pool(mode=Encap.ALWAYS)), events.Changed(kinds.IPPOOL, six))
    wish = plan(world).kernel
    assert (list(wish.tunnels), wish.fdb, wish.neighbours) == ([TUNNEL], {}, {})
