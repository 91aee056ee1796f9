"""What is to become of packets, printed as the table that nft gets: whom natOutgoing masquerades, who may tunnel."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from worlds import ME, fresh, later, node, pool, run, synced

from bgpnet.agent import events
from bgpnet.agent.plan import plan
from bgpnet.agent.status import status
from bgpnet.agent.world import World
from bgpnet.kernel import legacy, nftables
from bgpnet.kernel.packets import NOTHING, PacketRules
from bgpnet.model import kinds
from bgpnet.model.bgpconfiguration import BGPConfiguration, BGPConfigurationSpec, CidrBlock
from bgpnet.model.ippool import AllowedUse, Encap
from bgpnet.model.resource import Metadata

NODES = (node("node2", "192.0.2.2/24"), node("node3", "203.0.113.7/24"))
OUT = pool("out", "10.1.0.0/16", natOutgoing=True)
SPARING = replace(fresh(), me=replace(ME, nat_spares_nodes=True))


def rules(world: World) -> PacketRules:
    found = plan(world).packets
    assert found is not None
    return found


def said(networks: frozenset[object]) -> str:
    return " ".join(sorted(str(one) for one in networks))


def test_nothing_is_known_before_nodes_and_pools_are() -> None:
    world = fresh()
    assert plan(world).packets is None
    world = run(world, events.Listed(kinds.IPPOOL, (OUT,)))
    assert plan(world).packets is None
    world = run(world, events.Listed(kinds.NODE, ()))
    assert plan(world).packets is None
    world = run(world, events.Listed(kinds.BGPCONFIGURATION, ()))
    assert said(rules(world).nodes) == "192.0.2.1"


def test_pools_of_an_emptied_datastore_are_not_believed_to_be_gone() -> None:
    world = synced(OUT)
    assert plan(replace(world, synced=world.synced - {kinds.IPPOOL.plural})).packets is None


def test_masquerading_is_for_pools_that_ask_for_it_and_for_none_of_the_pools_addresses() -> None:
    world = synced(
        OUT,
        pool("plain", "10.2.0.0/16"),
        pool("off", "10.3.0.0/16", disabled=True),
        pool("off-out", "10.4.0.0/16", disabled=True, natOutgoing=True),
        pool("lb", "198.51.100.0/24", allowedUses=(AllowedUse.LOAD_BALANCER,)),
        pool("six", "fd00::/64", natOutgoing=True),
        nodes=NODES,
    )
    found = rules(world)
    assert said(found.masquerade) == "10.1.0.0/16 10.4.0.0/16"
    assert said(found.inside) == "10.1.0.0/16 10.2.0.0/15 10.4.0.0/16"
    assert said(found.nodes) == "192.0.2.1 192.0.2.2 203.0.113.7"
    assert (found.tunnels, found.nat) == (frozenset(), True)


def test_bgp_is_spoken_where_the_configuration_says() -> None:
    assert rules(synced(OUT, nodes=NODES)).bgp == {179}
    cluster = BGPConfiguration(metadata=Metadata(name="default"), spec=BGPConfigurationSpec(listenPort=1790))
    own = BGPConfiguration(metadata=Metadata(name="node.node2"), spec=BGPConfigurationSpec(listenPort=1791))
    world = run(synced(OUT, nodes=NODES), events.Listed(kinds.BGPCONFIGURATION, (cluster, own)))
    assert rules(world).bgp == {1790, 1791}


def test_nodes_addresses_are_spared_where_the_agent_is_told_to() -> None:
    found = rules(synced(OUT, nodes=NODES, start=SPARING))
    assert said(found.inside) == "10.1.0.0/16 192.0.2.1/32 192.0.2.2/32 203.0.113.7/32"


def test_an_icmp_error_may_be_about_what_came_to_a_pod_and_never_to_a_node() -> None:
    world = synced(OUT, pool("plain", "10.9.0.0/24", disabled=True), nodes=NODES, start=SPARING)
    listed = nftables.table(rules(world)).partition("chain errors {")[2].partition("}")[0]
    assert re.findall("== (0x[0-9a-f]+) return", listed) == ["0x0a010000", "0x0a090000"]
    assert "192.0.2.2/32" in said(rules(world).inside)


def test_a_nodes_address_in_a_pool_is_no_second_element() -> None:
    found = rules(synced(pool("wide", "192.0.0.0/16", natOutgoing=True), nodes=NODES, start=SPARING))
    assert said(found.inside) == "192.0.0.0/16 203.0.113.7/32"


@pytest.mark.parametrize(
    ("more", "tunnels"),
    [
        ({}, set()),
        ({"mode": Encap.ALWAYS}, {"tunl0"}),
        ({"mode": Encap.CROSS_SUBNET}, {"tunl0"}),
        ({"vxlanMode": Encap.ALWAYS}, {"vxlan.bgpnet"}),
        ({"vxlanMode": Encap.CROSS_SUBNET, "disabled": True}, {"vxlan.bgpnet"}),
    ],
)
def test_tunnels_that_are_in_use_are_guarded(more: dict[str, object], tunnels: set[str]) -> None:
    found = rules(synced(pool(**more)))  # type: ignore[arg-type]  # the pool's own fields
    assert (found.tunnels, found.nat) == (tunnels, bool(tunnels))


def test_what_was_deleted_just_now_is_in_the_rules_a_moment_longer() -> None:
    world = synced(OUT, pool("plain", "10.2.0.0/16"), nodes=NODES)
    world = run(world, events.Gone(kinds.IPPOOL, "out", "9"), events.Gone(kinds.NODE, "node2", "9"))
    assert said(rules(world).masquerade) == "10.1.0.0/16"
    assert said(rules(world).nodes) == "192.0.2.1 192.0.2.2 203.0.113.7"
    world = later(world, 5)
    assert (said(rules(world).masquerade), said(rules(world).nodes)) == ("", "192.0.2.1 203.0.113.7")


def test_an_agent_without_firewall_wants_nothing_and_says_so_where_it_matters() -> None:
    off = replace(fresh(), me=replace(ME, firewall=False))
    assert rules(off) == NOTHING
    assert status(off, plan(off))["warnings"] == []
    world = synced(OUT, start=off)
    assert status(world, plan(world))["warnings"] == [
        "natOutgoing of out is not acted on here, because the agent's setting firewall is off: set firewall to required"
    ]


def test_what_is_wrong_with_the_rules_is_in_the_status() -> None:
    world = run(synced(OUT), events.FirewallLooked(("the program nft is missing",)))
    assert status(world, plan(world))["warnings"] == ["the program nft is missing"]


TABLE = """\
table inet bgpnet {
	set outgoing { type ipv4_addr; flags interval; elements = { 10.1.0.0/16 }; }
	set inside { type ipv4_addr; flags interval; elements = { 10.1.0.0/16 }; }
	set nodes { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2, 203.0.113.7 }; }
	set tunnels { type ifname; }
	set services { type ipv4_addr; flags interval; }
	set bgp { type inet_service; elements = { 179 }; }
	chain errors {
		@th,192,32 & 0xffff0000 == 0x0a010000 return comment "bgpnet 61c887c8: about what came to a pod"
		counter drop comment "bgpnet 441aab5b: ICMP error about what came to no pod"
	}
	chain pods {
		meta l4proto 4 counter drop comment "bgpnet 11694c24: IP in IP from a pod"
		fib saddr . iif oif missing counter drop comment "bgpnet f0c82568: not the pod's own address"
		icmp type { destination-unreachable, redirect, time-exceeded, parameter-problem } jump errors \
comment "bgpnet 0adfab3a: ICMP errors"
	}
	chain prerouting {
		type filter hook prerouting priority -300; policy accept;
		iifname "cali*" jump pods comment "bgpnet 5e6e6986: from pods"
	}
	chain input {
		type filter hook input priority 0; policy accept;
	}
	chain forward {
		type filter hook forward priority 0; policy accept;
	}
	chain output {
		type filter hook output priority -300; policy accept;
	}
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		oifname "lo" return comment "bgpnet 1f8d0340: stays here"
		oifname "cali*" return comment "bgpnet 373f3444: stays here"
		oifname @tunnels ct status dnat fib saddr type local fib saddr . oif type != local \
counter masquerade fully-random comment "bgpnet d0611d2a: this node to a Service, through the tunnel"
		ip daddr @nodes tcp dport @bgp return comment "bgpnet d3396e87: BGP, under its own address"
		ip saddr @outgoing ip daddr != @inside counter masquerade fully-random comment "bgpnet afe77974: natOutgoing"
	}
}
"""


def test_the_whole_table() -> None:
    assert nftables.table(rules(synced(OUT, nodes=NODES))) == TABLE


def serving(start: World | None = None) -> World:
    ranges = BGPConfigurationSpec(
        serviceClusterIPs=(CidrBlock(cidr="10.96.0.0/16"), CidrBlock(cidr="fd00:96::/112")),
        serviceExternalIPs=(CidrBlock(cidr="203.0.113.0/25"),),
        serviceLoadBalancerIPs=(CidrBlock(cidr="203.0.113.128/25"),),
    )
    return run(
        synced(OUT, start=start),
        events.Changed(kinds.BGPCONFIGURATION, BGPConfiguration(metadata=Metadata(name="default"), spec=ranges)),
    )


def test_what_comes_for_an_address_that_no_service_has_is_dropped_where_ranges_are_announced() -> None:
    found = rules(serving())
    assert said(found.services) == "10.96.0.0/16 203.0.113.0/24"
    chain = nftables.table(found).partition("\tchain unserved {\n")[2].partition("\t}\n")[0]
    assert [line.strip().partition(" comment")[0] for line in chain.splitlines()] == [
        "type filter hook forward priority 50; policy accept;",
        "ct status dnat return",
        'iifname != "cali*" oifname != "cali*" ct direction original ip daddr @services counter drop',
    ]
    assert "-A BGPNET-SERVICES -d 203.0.113.0/24 -m conntrack --ctdir ORIGINAL -j DROP" in legacy.script(found, {})
    assert "chain unserved" not in nftables.table(rules(synced(OUT)))
    assert "delete chain inet bgpnet unserved" in nftables.script(rules(synced(OUT)), found)


def test_it_goes_where_the_routes_lead_where_the_agent_is_told_so() -> None:
    indifferent = replace(fresh(), me=replace(ME, stops_service_loops=False))
    assert rules(serving(indifferent)).services == frozenset()


def test_a_node_more_is_an_element_more() -> None:
    before, after = rules(synced(OUT, nodes=NODES[:1])), rules(synced(OUT, nodes=NODES))
    assert nftables.script(after, before) == "add element inet bgpnet nodes { 203.0.113.7 }\n"
    assert nftables.script(before, after) == "delete element inet bgpnet nodes { 203.0.113.7 }\n"


def test_other_rules_take_their_place_without_the_table_being_deleted() -> None:
    before, after = rules(synced(OUT)), rules(synced(OUT, pool("over", "10.9.0.0/16", Encap.ALWAYS)))
    script = nftables.script(after, before)
    assert "delete table" not in script
    assert "flush set" not in script
    assert script.count("flush chain") == 8
    assert "IP in IP, not from a node" in script


def test_iptables_legacy_keeps_what_is_not_ours() -> None:
    saved = "*nat\n:POSTROUTING ACCEPT [1:2]\n:KUBE-POSTROUTING - [0:0]\n-A POSTROUTING -j KUBE-POSTROUTING\nCOMMIT\n"
    have = legacy.tables(saved)
    assert legacy.parse(have) == NOTHING
    script = legacy.script(rules(synced(OUT)), have)
    assert "KUBE" not in script
    assert "-I POSTROUTING -m comment --comment bgpnet -j BGPNET-NAT" in script.splitlines()
    assert legacy.script(NOTHING, have) == ""


@pytest.mark.parametrize("world", [synced(OUT), serving()], ids=["plain", "serving"])
@pytest.mark.parametrize("extra", ["-A BGPNET-NAT -j ACCEPT", "-A OUTPUT -m comment --comment bgpnet -j ACCEPT"])
def test_iptables_legacy_with_a_strangers_rule_among_ours_is_not_ours(extra: str, world: World) -> None:
    wish = rules(world)
    lines = [line for line in legacy.script(wish, {}).splitlines() if line.startswith(("*", ":", "-"))]
    saved = "\n".join(line.replace("-I PREROUTING", "-A PREROUTING") for line in lines)
    saved = saved.replace("-I ", "-A ")
    assert legacy.parse(legacy.tables(saved)) == wish
    assert legacy.parse(legacy.tables(saved + "\n" + extra)) is None
