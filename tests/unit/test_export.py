"""Export: the order of what decides, what each peer is told and how; service addresses."""

from __future__ import annotations

import pytest

from bgpnet.bgp.commands import announce
from bgpnet.bgp.export import Advert, Decision, Offer, Stage, Target, decide, exports
from bgpnet.bgp.policy import Direction, chain
from bgpnet.bgp.rib import Path
from bgpnet.bgp.services import Ranges, announced
from bgpnet.model import ip
from bgpnet.model.bgpfilter import (
    Action,
    AddCommunity,
    BGPFilterSpec,
    CommunityMatch,
    FilterRule,
    Operation,
    PeerType,
    PrependASPath,
    RouteSource,
    SetPriority,
)
from bgpnet.model.bgppeer import NextHopMode
from bgpnet.model.service import Endpoint, Service, ServiceType, TrafficPolicy

A, B, TOR, TOR2 = (ip.address(f"192.0.2.{n}") for n in (2, 3, 201, 202))
NET, DARK, SINGLE, LOST = map(ip.network, ("10.244.0.0/26", "10.244.9.64/26", "10.244.1.1/32", "192.0.2.0/26"))
VIP, LEARNED = ip.network("10.96.0.0/16"), ip.network("10.244.7.0/26")
POOLS = ((ip.network("10.244.9.0/24"), False), (ip.network("10.244.0.0/16"), True), (ip.network("fd00::/64"), True))
OFFER = Offer(frozenset({NET, DARK, SINGLE, LOST}), POOLS, frozenset({VIP}))
ACCEPT, REJECT = (FilterRule(action=action) for action in Action)
REMOTE = FilterRule(action=Action.ACCEPT, source=RouteSource.REMOTE_PEERS)


def target(*rules: FilterRule, address: ip.Address = A, external: bool = False, **more: object) -> Target:
    made = chain(["f"] if rules else [], {"f": BGPFilterSpec(exportV4=rules)}, Direction.EXPORT)
    return Target(address, 64512, external, chain=made, **more)  # type: ignore[arg-type]  # the target's own fields


def told(offer: Offer, one: Target) -> dict[str, Advert]:
    return {str(advert.prefix): advert for advert in exports(offer, [one])[one.address]}


def learned(peer: ip.Address = TOR, **more: object) -> Offer:
    path = Path(**{"prefix": LEARNED, "next_hop": peer, "peer": peer, "external": True, "as_path": (65001,)} | more)
    return Offer(frozenset({NET}), POOLS, learned={LEARNED: (path, "eth1")})


def test_own_blocks_as_the_pools_permit_and_service_addresses() -> None:
    adverts = {Advert(NET), Advert(SINGLE), Advert(VIP)}
    found = exports(OFFER, [target(), target(address=B), target(address=TOR, external=True)])
    assert found == {A: adverts, B: adverts, TOR: adverts}
    assert found[A] is found[B]
    assert exports(OFFER, []) == {}
    assert exports(Offer(OFFER.blocks, ()), [target()]) == {A: frozenset()}


def test_either_family() -> None:
    six = ip.network("fd00::/122")
    offer = Offer(frozenset({six}), POOLS)
    assert exports(offer, [target(REJECT)]) == {A: {Advert(six)}}
    assert exports(offer, [target(versions=(4,))]) == {A: frozenset()}
    assert decide(offer, target(versions=(4,)), six).stage is Stage.FAMILY


@pytest.mark.parametrize(
    ("one", "prefix", "stage", "text"),
    [
        (target(), NET, Stage.BLOCK, "a block of this node"),
        (target(), DARK, Stage.POOL, "disableBGPExport: true"),
        (target(), LOST, Stage.OUTSIDE, "nothing outside the pools"),
        (target(ACCEPT), LOST, Stage.OUTSIDE, "nothing outside the pools"),
        (target(), VIP, Stage.SERVICE, "a service address"),
        (target(ACCEPT), DARK, Stage.FILTER, "decided by BGPFilter(f) spec.exportV4[0], action Accept"),
        (target(REJECT), NET, Stage.FILTER, "decided by BGPFilter(f) spec.exportV4[0], action Reject"),
        (target(REJECT), VIP, Stage.FILTER, "action Reject"),
        (target(), ip.network("10.244.0.5/32"), Stage.NOTHING, "single pods are never told"),
        (target(ACCEPT), ip.network("10.244.0.5/32"), Stage.NOTHING, "lies in 10.244.0.0/26"),
        (target(), ip.network("10.1.0.0/26"), Stage.NOTHING, "no block and no service address"),
        (Target(A, 1, False, chain=chain(["f"], {}, Direction.EXPORT)), NET, Stage.MISSING, "BGPFilter f does not"),
    ],
)
def test_what_decides(one: Target, prefix: ip.Network, stage: Stage, text: str) -> None:
    found = decide(OFFER, one, prefix)
    accepted = stage in (Stage.BLOCK, Stage.SERVICE) or "action Accept" in found.text
    assert (found.stage, text in found.text, found.advert is not None) == (stage, True, accepted)
    assert (found.advert in exports(OFFER, [one])[A]) is accepted


def test_rules_choose_by_session_and_by_the_communities_of_advertisements() -> None:
    offer = Offer(frozenset({NET, SINGLE}), POOLS, marked=((NET, ("65001:1", "65001:1:1")), (SINGLE, ("65001:2",))))
    rules = (
        FilterRule(action=Action.REJECT, peerType=PeerType.EBGP, communities=CommunityMatch(values=("65001:2",))),
        FilterRule(action=Action.REJECT, interface="*"),  # what begins here leads over no link
        FilterRule(action=Action.REJECT, source=RouteSource.REMOTE_PEERS),
    )
    assert set(told(offer, target(*rules))) == {str(NET), "10.244.1.1/32"}
    assert told(offer, target(*rules, external=True)) == {str(NET): Advert(NET, communities=("65001:1", "65001:1:1"))}


OPERATIONS = (
    Operation(addCommunity=AddCommunity(value="65001:7")),
    Operation(prependASPath=PrependASPath(prefix=(64512, 64512))),
    Operation(setPriority=SetPriority(value=512)),
)


def test_operations_inside_the_as_and_to_another() -> None:
    rule = FilterRule(action=Action.ACCEPT, operations=OPERATIONS)
    offer = Offer(frozenset({NET}), POOLS, marked=((NET, ("65001:9",)),))
    inside, outside = (told(offer, target(rule, external=external))[str(NET)] for external in (False, True))
    both = ("65001:7", "65001:9")
    assert inside == Advert(NET, None, both, (64512, 64512), local_pref=612, med=512)
    assert outside == Advert(NET, None, both, (64512, 64512, 64512), med=512)
    assert announce([A], [NET], inside) == [
        "neighbor 192.0.2.2 announce attributes next-hop self as-path [ 64512 64512 ] local-preference 612 med 512 "
        "community [ 65001:7 65001:9 ] nlri 10.244.0.0/26"
    ]


def test_what_was_learned_is_passed_on_by_a_rule_that_says_so_and_by_no_other() -> None:
    for rules in ((), (ACCEPT,), (REJECT,), (ACCEPT, REMOTE)):
        assert str(LEARNED) not in told(learned(), target(*rules))
    assert "source: RemotePeers" in decide(learned(), target(ACCEPT), LEARNED).text
    assert told(learned(), target(REMOTE)) == {
        str(NET): Advert(NET),
        str(LEARNED): Advert(LEARNED, TOR, as_path=(65001,)),
    }


def test_bgp_itself_keeps_some_routes_in() -> None:
    inside = learned(B, external=False, as_path=())
    assert str(LEARNED) not in told(inside, target(REMOTE))
    assert str(LEARNED) in told(inside, target(REMOTE, external=True))
    assert str(LEARNED) not in told(learned(), target(REMOTE, address=TOR, external=True))
    assert str(LEARNED) not in told(learned(communities=("65535:65282",)), target(REMOTE))
    assert str(LEARNED) not in told(learned(communities=("65535:65281",)), target(REMOTE, external=True))
    assert str(LEARNED) in told(learned(communities=("65535:65281",)), target(REMOTE))
    assert str(LEARNED) not in told(learned(communities=("65535:65283",)), target(REMOTE, external=True))


@pytest.mark.parametrize(
    ("external", "more", "next_hop"),
    [
        (False, {}, TOR),
        (True, {}, None),
        (False, {"next_hop_mode": NextHopMode.SELF}, None),
        (True, {"next_hop_mode": NextHopMode.SELF}, None),
        (True, {"next_hop_mode": NextHopMode.KEEP}, TOR),
        (True, {"keep_next_hop": True}, TOR),
        (False, {"keep_next_hop": True}, TOR),
    ],
)
def test_next_hops_of_what_is_passed_on(external: bool, more: dict[str, object], next_hop: ip.Address | None) -> None:
    one = target(REMOTE, address=TOR2, external=external, **more)
    found = told(learned(med=5, local_pref=200, origin="egp"), one)
    path = (64512, 65001) if external else (65001,)
    local_pref, med = (None, None) if external else (200, 5)
    assert found[str(LEARNED)] == Advert(LEARNED, next_hop, (), path, local_pref, med, "egp")
    assert found[str(NET)].next_hop is None


def test_nothing_outside_the_pools_is_passed_on() -> None:
    offer = Offer(frozenset(), POOLS[:0], learned=learned().learned)
    assert decide(offer, target(REMOTE), LEARNED) == Decision(
        Stage.OUTSIDE, "10.244.7.0/26 is in no pool: nothing outside the pools is told to anybody"
    )


def test_sets_in_a_path() -> None:
    like = Advert(NET, as_path=(1, (2, 3), (4,), 5, 6))
    assert "as-path [ 1 ] ( 2 3 ) ( 4 ) [ 5 6 ] " in announce([A], [NET], like)[0]


# services

RANGES = Ranges(
    cluster=(ip.network("10.96.0.0/16"),),
    external=(ip.network("198.51.100.0/24"), ip.network("203.0.113.9/32")),
    load_balancer=(ip.network("198.18.0.0/24"), ip.network("203.0.113.10/32")),
)
AGGREGATES = {"10.96.0.0/16", "198.51.100.0/24", "198.18.0.0/24"}
SERVICE = Service(
    type=ServiceType.LOAD_BALANCER,
    cluster_ips=("10.96.0.10",),
    external_ips=("198.51.100.7", "8.8.8.8"),
    load_balancer_ips=("198.18.0.3", "lb.example.com"),
)
LOCAL = Service(
    type=SERVICE.type,
    cluster_ips=SERVICE.cluster_ips,
    external_ips=SERVICE.external_ips,
    load_balancer_ips=SERVICE.load_balancer_ips,
    policy=TrafficPolicy.LOCAL,
)
HERE, THERE, UNREADY = Endpoint(node="node1"), Endpoint(node="node2"), Endpoint(node="node1", ready=False)


def served(service: Service, *endpoints: Endpoint, ranges: Ranges = RANGES) -> set[str]:
    """What is announced beside the ranges."""
    found = announced(ranges, "node1", {"default/web": service}, {"default/web": endpoints})
    ours = {str(net) for net in found}
    assert {str(net) for net in announced(ranges, "node1", {}, {})} <= ours
    return ours - {str(net) for net in announced(ranges, "node1", {}, {})}


def test_every_node_announces_the_ranges_but_not_single_addresses() -> None:
    assert {str(net) for net in announced(RANGES, "node1", {}, {})} == AGGREGATES
    apart = Ranges(RANGES.cluster, RANGES.external, RANGES.load_balancer, aggregated=False)
    assert {str(net) for net in announced(apart, "node1", {}, {})} == AGGREGATES - {"198.18.0.0/24"}
    assert announced(Ranges(), "node1", {"default/web": LOCAL}, {"default/web": (HERE,)}) == frozenset()


def test_local_services_from_nodes_with_a_ready_endpoint() -> None:
    assert served(LOCAL, HERE, THERE) == {"10.96.0.10/32", "198.51.100.7/32", "198.18.0.3/32"}
    assert served(LOCAL, THERE) == served(LOCAL, UNREADY) == served(LOCAL) == set()


def test_cluster_services_are_in_the_ranges() -> None:
    assert served(SERVICE, HERE) == set()


def test_a_range_of_one_address_is_announced_for_its_service() -> None:
    one = Service(cluster_ips=("10.96.0.11",), external_ips=("203.0.113.9",), load_balancer_ips=("203.0.113.10",))
    assert served(one) == {"203.0.113.9/32", "203.0.113.10/32"}


def test_without_aggregation_each_load_balancer_address_with_a_ready_endpoint_anywhere() -> None:
    apart = Ranges(RANGES.cluster, RANGES.external, RANGES.load_balancer, aggregated=False)
    assert served(SERVICE, THERE, ranges=apart) == {"198.18.0.3/32"}
    assert served(SERVICE, UNREADY, ranges=apart) == set()
    assert served(LOCAL, THERE, ranges=apart) == set()


@pytest.mark.parametrize(
    "service",
    [
        Service(cluster_ips=("None",), policy=TrafficPolicy.LOCAL),
        Service(type=ServiceType.EXTERNAL_NAME, external_ips=("198.51.100.7",), policy=TrafficPolicy.LOCAL),
    ],
)
def test_services_without_an_address_of_their_own(service: Service) -> None:
    assert served(service, HERE) == set()


def test_services_of_the_other_family() -> None:
    ranges = Ranges(cluster=(ip.network("fd00:96::/112"),))
    assert served(
        Service(cluster_ips=("fd00:96::1", "10.96.0.1"), policy=TrafficPolicy.LOCAL), HERE, ranges=ranges
    ) == {"fd00:96::1/128"}
