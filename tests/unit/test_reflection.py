"""Route reflectors: who is told what (RFC 4456), when, and what too much is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import worlds
from msgspec import structs
from test_bgp_talk import A, B, living, run, told, wish
from worlds import node, state, synced

from bgpnet.agent import events, policies
from bgpnet.agent.effects import Warn
from bgpnet.agent.plan import plan
from bgpnet.agent.status import status
from bgpnet.agent.world import World
from bgpnet.bgp.commands import announce
from bgpnet.bgp.conf import RESTART_TIME
from bgpnet.bgp.export import Advert, Offer, Stage, Target, decide, exports
from bgpnet.bgp.lines import Failed
from bgpnet.bgp.policy import Chain, Direction, chain
from bgpnet.bgp.reflection import CLIENTS, ROUTES, Reflection, is_client, overloaded
from bgpnet.bgp.rib import Path
from bgpnet.bgp.talk import Talk
from bgpnet.kernel.state import Owner
from bgpnet.model import ip, kinds
from bgpnet.model.bgpconfiguration import BGPConfiguration, BGPConfigurationSpec, CidrBlock
from bgpnet.model.bgpfilter import Action, BGPFilterSpec, FilterRule
from bgpnet.model.bgppeer import BGPPeer, BGPPeerSpec, NextHopMode
from bgpnet.model.node import Node, NodeBGP
from bgpnet.model.resource import Metadata

CLUSTER = "244.0.0.1"
ONE, TWO, TWIN, TOR = (ip.address(f"192.0.2.{n}") for n in (11, 12, 2, 201))
OWN, OF_ONE, OF_TWIN, OF_TOR, DARK = map(
    ip.network, ("10.244.0.0/26", "10.244.1.0/26", "10.244.2.0/26", "10.244.9.0/26", "10.245.0.0/26")
)
POOLS = ((ip.network("10.245.0.0/16"), False), (ip.network("10.244.0.0/16"), True))
REFLECTION = Reflection(CLUSTER, frozenset({ONE, TWO}), {ONE: ip.address("1.1.1.1")})


def path(prefix: ip.Network, peer: ip.Address, **more: object) -> Path:
    return Path(**{"prefix": prefix, "next_hop": peer, "peer": peer} | more)  # type: ignore[arg-type]  # its fields


PATHS = (
    path(OF_ONE, ONE, local_pref=100, communities=("1:2",), extended_communities=("target:64512:7", "0x99")),
    path(OF_TWIN, TWIN, med=7, originator_id="192.0.2.77", cluster_list=("9.9.9.9",), as_path=(65001,)),
    path(OF_TOR, TOR, external=True, as_path=(65001,)),
    path(DARK, ONE),
)
OFFER = Offer(frozenset({OWN}), POOLS, learned={one.prefix: (one, "eth1") for one in PATHS}, reflection=REFLECTION)
CLIENT, OTHER_CLIENT = (Target(one, 64512, external=False, client=True) for one in (ONE, TWO))
NON_CLIENT, ANOTHER = (Target(one, 64512, external=False) for one in (TWIN, ip.address("192.0.2.3")))
EXTERNAL = Target(TOR, 64512, external=True)


def prefixes(target: Target, offer: Offer = OFFER) -> set[ip.Network]:
    return {advert.prefix for advert in exports(offer, [target])[target.address]}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (CLIENT, {OWN, OF_TWIN}),  # not what it said itself
        (OTHER_CLIENT, {OWN, OF_ONE, OF_TWIN}),
        (NON_CLIENT, {OWN, OF_ONE}),  # of clients, not of others like it
        (ANOTHER, {OWN, OF_ONE}),
        (EXTERNAL, {OWN}),
    ],
)
def test_from_clients_to_all_and_from_others_to_clients(target: Target, expected: set[ip.Network]) -> None:
    assert prefixes(target) == expected
    assert prefixes(target, replace(OFFER, reflection=None)) == {OWN}
    for prefix in (OWN, OF_ONE, OF_TWIN, OF_TOR, DARK):
        assert (decide(OFFER, target, prefix).advert is not None) is (prefix in expected)


def test_who_sent_it_and_through_which_clusters_is_said_and_nothing_else_is_changed() -> None:
    first, second = (decide(OFFER, OTHER_CLIENT, prefix) for prefix in (OF_ONE, OF_TWIN))
    assert (first.stage, "this node is a route reflector" in first.text) == (Stage.REFLECTED, True)
    assert first.advert == Advert(
        OF_ONE, ONE, ("1:2",), originator_id="1.1.1.1", cluster_list=(CLUSTER,), extended=("target:64512:7",)
    )
    assert second.advert == Advert(
        OF_TWIN, TWIN, (), (65001,), med=7, originator_id="192.0.2.77", cluster_list=(CLUSTER, "9.9.9.9")
    )
    assert announce([A], [OF_ONE], first.advert) == [
        "neighbor 10.0.0.1 announce attributes next-hop 192.0.2.11 community [ 1:2 ] extended-community "
        "[ target:64512:7 ] originator-id 1.1.1.1 cluster-list [ 244.0.0.1 ] nlri 10.244.1.0/26"
    ]


def test_communities_of_this_nodes_advertisements_are_for_its_own_routes() -> None:
    offer = replace(OFFER, marked=((ip.network("10.244.0.0/16"), ("65001:1",)),))
    found = {one.prefix: one.communities for one in exports(offer, [OTHER_CLIENT])[TWO]}
    assert found == {OWN: ("65001:1",), OF_ONE: ("1:2",), OF_TWIN: ()}


def test_an_unknown_identifier_is_the_peers_address_and_self_means_self() -> None:
    offer = replace(OFFER, reflection=replace(REFLECTION, identifiers={}))
    found = decide(offer, replace(OTHER_CLIENT, next_hop_mode=NextHopMode.SELF), OF_ONE).advert
    assert found is not None
    assert (found.originator_id, found.next_hop) == (str(ONE), None)


def filtered(action: Action) -> Chain:
    rule = FilterRule(action=action, cidr="10.244.1.0/24", matchOperator="In")  # type: ignore[arg-type]  # as text
    return chain(["f"], {"f": BGPFilterSpec(exportV4=(rule,))}, Direction.EXPORT)


def test_a_filters_rule_may_refuse_what_would_be_reflected() -> None:
    assert prefixes(replace(OTHER_CLIENT, chain=filtered(Action.REJECT))) == {OWN, OF_TWIN}
    assert prefixes(replace(OTHER_CLIENT, chain=filtered(Action.ACCEPT))) == {OWN, OF_ONE, OF_TWIN}


def test_what_is_to_be_told_to_nobody_is_not_reflected() -> None:
    quiet = structs.replace(PATHS[0], communities=("65535:65282",))
    assert prefixes(OTHER_CLIENT, replace(OFFER, learned={OF_ONE: (quiet, "eth1")})) == {OWN}


def test_a_hundred_clients_are_told_one_set_less_their_own() -> None:
    peers = [ip.address(f"192.0.3.{n}") for n in range(100)]
    nets = [ip.network(f"10.244.{n}.0/26") for n in range(100)]
    learned = {net: (path(net, peer), "eth1") for net, peer in zip(nets, peers, strict=True)}
    offer = Offer(frozenset(), POOLS, learned=learned, reflection=Reflection(CLUSTER, frozenset(peers)))
    found = exports(offer, [Target(peer, 64512, external=False, client=True) for peer in peers])
    for peer, net in zip(peers, nets, strict=True):
        assert {advert.prefix for advert in found[peer]} == set(nets) - {net}


@pytest.mark.parametrize(
    ("cluster", "other", "peer_as", "expected"),
    [
        (CLUSTER, "", 64512, True),
        (CLUSTER, "244.0.0.2", 64512, True),
        (CLUSTER, CLUSTER, 64512, False),
        (CLUSTER, "", 65001, False),
        ("", CLUSTER, 64512, False),
    ],
)
def test_who_is_a_client(cluster: str, other: str, peer_as: int, expected: bool) -> None:
    assert is_client(cluster, other, 64512, peer_as) is expected


def test_too_much_is_said_with_what_to_do() -> None:
    assert overloaded("n1", CLIENTS, ROUTES) == []
    clients, routes = overloaded("n1", CLIENTS + 1, ROUTES + 1)
    assert clients.startswith("node n1 reflects to 101 clients, more than the 100 that it serves well: use reflectors")
    assert routes.startswith("node n1 reflects 301 routes, more than the 300 that it serves well: use reflectors")


# in the agent


def reflector(*nodes: Node) -> World:
    """node1 as a reflector of all others, without the mesh; nobody has spoken yet."""
    made = synced(blocks=[worlds.block()], nodes=nodes)
    me = node("node1", "192.0.2.1/24", "uuid-1")
    me = structs.replace(
        me, spec=structs.replace(me.spec, bgp=NodeBGP(ipv4Address="192.0.2.1/24", routeReflectorClusterID=CLUSTER))
    )
    off = BGPConfiguration(metadata=Metadata(name="default"), spec=BGPConfigurationSpec(nodeToNodeMeshEnabled=False))
    peer = BGPPeer(metadata=Metadata(name="rr"), spec=BGPPeerSpec(node="node1", peerSelector="all()"))
    return worlds.run(
        made,
        events.Changed(kinds.NODE, me),
        events.Changed(kinds.BGPCONFIGURATION, off),
        events.Changed(kinds.BGPPEER, peer),
        worlds.found(*(state(one.ipv4.ip) for one in nodes if one.ipv4)),
    )


NODES = (node("node2", "192.0.2.2/24"), node("node3", "192.0.2.3/24"))
P2, P3 = worlds.PEER, worlds.OTHER


def test_the_agent_reflects_and_settles_as_its_clients_have_spoken() -> None:
    made = worlds.run(reflector(*NODES), worlds.told("10.244.2.0/26", peer=P2))
    wished = plan(made)
    assert wished.announcements is not None
    assert {str(one.prefix) for one in wished.announcements[P3]} == {"10.244.0.0/26", "10.244.2.0/26"}
    assert {str(one.prefix) for one in wished.announcements[P2]} == {"10.244.0.0/26"}
    assert wished.unsettled == {P2, P3}
    made = worlds.run(made, worlds.ended(P2))
    assert plan(made).unsettled == {P2}  # for P3 all others have spoken
    made = worlds.run(made, worlds.ended(P3))
    assert plan(made).unsettled == frozenset()


def test_a_client_that_is_new_and_refuses_is_waited_for_as_long_as_a_restart_takes() -> None:
    made = worlds.run(reflector(*NODES), worlds.ended(P2), worlds.ended(P3))
    made = worlds.run(made, events.Changed(kinds.NODE, node("node4", "192.0.2.4/24")))
    made = worlds.run(worlds.later(made, RESTART_TIME), Failed(ip.address("192.0.2.4"), "closing connection"))
    assert P2 in plan(made).unsettled
    assert Owner.LEARNED not in plan(made).kernel.sweep
    made = worlds.later(made, RESTART_TIME)
    assert plan(made).unsettled == frozenset()
    assert Owner.LEARNED in plan(made).kernel.sweep


def test_service_addresses_of_other_nodes_are_passed_on_and_not_used() -> None:
    vip, cluster_ip = "198.51.100.7/32", "10.96.0.7/32"
    spec = BGPConfigurationSpec(
        nodeToNodeMeshEnabled=False,
        serviceLoadBalancerIPs=(CidrBlock(cidr="198.51.100.0/24"),),
        serviceClusterIPs=(CidrBlock(cidr="10.96.0.0/16"),),
    )
    made = worlds.run(
        reflector(*NODES),
        events.Changed(kinds.BGPCONFIGURATION, BGPConfiguration(metadata=Metadata(name="default"), spec=spec)),
        worlds.told(vip, cluster_ip, "203.0.113.0/24", peer=P2),
    )
    wished = plan(made)
    assert wished.announcements is not None
    found = {str(one.prefix): one.originator_id for one in wished.announcements[P3]}
    assert found == {"10.244.0.0/26": "", "198.51.100.0/24": "", "10.96.0.0/16": "", vip: str(P2)}
    assert vip not in {str(one.prefix) for one in wished.announcements[P2]}
    assert wished.kernel.routes[Owner.LEARNED] == {}
    made = worlds.run(made, worlds.told(vip, peer=P3))
    both = plan(made).announcements
    assert both is not None
    assert {peer for peer in (P2, P3) if vip in {str(one.prefix) for one in both[peer]}} == {P3}


def test_nothing_is_said_before_the_table_is_known() -> None:
    made = replace(reflector(*NODES), table=None)
    assert plan(made).announcements is None
    mesh = replace(synced(blocks=[worlds.block()], nodes=NODES), table=None)
    assert plan(mesh).announcements == dict.fromkeys((P2, P3), frozenset({Advert(ip.network(worlds.BLOCK))}))


def test_a_lost_clients_routes_are_reflected_for_its_restart_time() -> None:
    made = worlds.run(reflector(*NODES), worlds.up(P2), worlds.told("10.244.2.0/26", peer=P2), worlds.lost(P2))
    assert {str(one.prefix) for one in (plan(made).announcements or {})[P3]} == {"10.244.0.0/26", "10.244.2.0/26"}
    made = worlds.later(made, 121)
    assert {str(one.prefix) for one in (plan(made).announcements or {})[P3]} == {"10.244.0.0/26"}


def test_the_same_announcements_are_the_same_object() -> None:
    made = worlds.run(reflector(*NODES), worlds.told("10.244.2.0/26", peer=P2))
    assert plan(made).announcements is plan(worlds.later(made, 1)).announcements


def test_too_many_clients_are_a_warning_of_the_status_and_of_the_log_once() -> None:
    many = [node(f"m{n}", f"192.0.2.{n}/24") for n in range(2, 2 + CLIENTS + 1)]
    made = reflector(*many)
    said = status(made, plan(made))["warnings"]
    assert isinstance(said, list)
    assert [one for one in said if "reflects to" in one] == policies.overload(made, plan(made).peerings, None)
    made, effects = worlds.effects(made, events.Tick(made.now + 1, made.clock + 1))
    assert [one.sentence for one in effects if isinstance(one, Warn)] == policies.overload(
        made, plan(made).peerings, None
    )
    _, effects = worlds.effects(made, events.Tick(made.now + 10, made.clock + 10))
    assert not any(isinstance(one, Warn) for one in effects)


# in the conversation with ExaBGP


def reflected(*nets: ip.Network) -> frozenset[Advert]:
    return frozenset(Advert(net, B, originator_id="10.0.0.2", cluster_list=(CLUSTER,)) for net in nets)


def test_an_unsettled_peer_hears_no_end_and_loses_nothing_that_was_reflected_before_us() -> None:
    nets = [ip.network(f"10.244.{n}.0/26") for n in range(4)]
    exabgp, former = living(A), Talk()
    former.wish({A: frozenset({Advert(nets[0])}) | reflected(nets[1], nets[2])})
    run(exabgp, former)
    exabgp.wire.clear()
    talk = Talk()
    talk.wish({A: reflected(nets[3])}, frozenset({A}))
    run(exabgp, talk)
    assert set(exabgp.told[A]) == {nets[1], nets[2], nets[3]}  # our own block went: we know what is ours
    talk.wish({A: reflected(nets[2])}, frozenset({A}))
    run(exabgp, talk)
    assert set(exabgp.told[A]) == {nets[1], nets[2]}  # what came and went since we are here is gone
    exabgp.session(A, False)
    exabgp.session(A, True)
    run(exabgp, talk)
    assert not any("eor" in line for line in exabgp.wire)
    talk.wish({A: reflected(nets[2])})
    run(exabgp, talk)
    assert set(exabgp.told[A]) == {nets[2]}
    assert exabgp.wire[-1] == "neighbor 10.0.0.1 announce eor ipv4 unicast"


def test_a_wish_that_did_not_change_for_a_peer_says_nothing_to_it() -> None:
    first, second = (ip.network(f"10.244.{n}.0/26") for n in range(2))
    exabgp, same = living(A, B), frozenset({Advert(first)})
    talk = Talk({A: same, B: same})
    run(exabgp, talk)
    exabgp.wire.clear()
    talk.wish({A: same, B: frozenset({Advert(first), Advert(second)})})
    run(exabgp, talk)
    talk.wish(wish(second, peers=(B,)))
    run(exabgp, talk)
    assert exabgp.told == {A: told(first), B: told(second)}
    assert exabgp.wire == [
        "neighbor 10.0.0.2 announce attributes next-hop self nlri 10.244.1.0/26",
        "neighbor 10.0.0.2 withdraw attributes next-hop self nlri 10.244.0.0/26",
    ]
