"""Import: what is taken of whom, every refusal with its reason, several ways for one prefix."""

from __future__ import annotations

from dataclasses import replace
from time import process_time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgpnet.bgp.imports import Accepted, Ground, Imported, Origin, Reason, Refusal, counts, imported
from bgpnet.bgp.policy import Direction, chain
from bgpnet.bgp.rib import Path, Table, Update
from bgpnet.model import ip
from bgpnet.model.bgpfilter import (
    Action,
    AddCommunity,
    BGPFilterSpec,
    FilterRule,
    MatchOperator,
    Operation,
    PrependASPath,
    SetPriority,
)
from bgpnet.model.ippool import Encap

ME = ip.interface("192.0.2.1/24")
A, B, TOR1, TOR2, FAR = (ip.address(f"192.0.2.{n}") for n in (2, 3, 201, 202, 77))
BEYOND = ip.address("198.51.100.3")
GROUND = Ground(
    address=ME,
    uplink="eth1",
    tunnel="tunl0",
    own=frozenset({ip.network("10.244.0.0/26"), ip.network("10.244.1.0/26")}),
    pools=((ip.network("10.244.0.0/16"), Encap.NEVER),),
    nodes=frozenset({A, B, BEYOND}),
    services=(ip.network("10.96.0.0/16"),),
)
MESH = Origin(64512)
EVERYTHING = FilterRule(action=Action.ACCEPT)


def outside(*rules: FilterRule) -> Origin:
    """A switch in AS 65001, with these rules."""
    made = chain(["tor"], {"tor": BGPFilterSpec(importV4=rules, importV6=rules)}, Direction.IMPORT)
    return Origin(64512, in_cluster=False, chain=made)


def path(prefix: str, peer: ip.Address = A, **more: object) -> Path:
    return Path(**{"prefix": ip.network(prefix), "next_hop": peer, "peer": peer} | more)


def taken(*paths: Path, ground: Ground = GROUND, **origins: Origin) -> Imported:
    by_peer = {A: MESH, B: MESH} | {ip.address(name[1:].replace("_", ".")): one for name, one in origins.items()}
    return imported(Table(paths), ground, by_peer, MESH)


def outcome(one: Path, origin: Origin = MESH, ground: Ground = GROUND) -> Accepted | Refusal:
    found = imported(Table([one]), ground, {one.peer: origin}, MESH)
    return found.chosen[one.prefix][0] if found.chosen else found.refused[0]


ALWAYS = replace(GROUND, pools=((ip.network("10.244.0.0/16"), Encap.ALWAYS),))
CROSS = replace(GROUND, pools=((ip.network("10.244.0.0/16"), Encap.CROSS_SUBNET),))


@pytest.mark.parametrize(
    ("ground", "next_hop", "tunnelled"),
    [(GROUND, A, False), (ALWAYS, A, True), (ALWAYS, BEYOND, True), (CROSS, A, False), (CROSS, BEYOND, True)],
)
def test_blocks_of_other_nodes_by_the_pools_mode(ground: Ground, next_hop: ip.Address, tunnelled: bool) -> None:
    block = path("10.244.2.0/26", next_hop=next_hop)
    assert outcome(block, ground=ground) == Accepted(block, tunnelled)


REFUSED = [
    (path("0.0.0.0/0"), Reason.DEFAULT, "0.0.0.0/0 from 192.0.2.2 is a default route: a BGPFilter that accepts it"),
    (path("10.99.0.0/26"), Reason.OUTSIDE, "10.99.0.0/26 from 192.0.2.2 is in no pool"),
    (path("10.0.0.0/8"), Reason.OUTSIDE, "is in no pool"),
    (path("fd00::/122"), Reason.OUTSIDE, "is in no pool"),
    (path("10.96.0.0/16"), Reason.SERVICE, "which every node serves by itself"),
    (path("10.96.0.10/32"), Reason.SERVICE, "which every node serves by itself"),
    (path("10.244.0.0/26"), Reason.OWN, "lies in a block of this node's own, 10.244.0.0/26"),
    (path("10.244.1.7/32"), Reason.OWN, "lies in a block of this node's own, 10.244.1.0/26"),
    (path("10.244.0.0/24"), Reason.OWN, "covers a block of this node's own"),
    (path("10.244.0.0/16"), Reason.OWN, "covers a block of this node's own"),
    (path("10.244.2.0/26", next_hop=ME.ip), Reason.NEXT_HOP, "has this node itself as its next hop"),
    (path("10.244.2.0/26", next_hop=BEYOND), Reason.NEXT_HOP, "its next hop 198.51.100.3 is outside 192.0.2.0/24"),
    (path("10.244.2.0/26", as_path=(65001, 64512)), Reason.LOOP, "has been in AS 64512 already"),
    (path("10.244.2.0/26", as_path=(65001, (7, 64512))), Reason.LOOP, "has been in AS 64512 already"),
    (path("10.244.2.0/26", originator_id="192.0.2.1"), Reason.REFLECTED, "is this node's own, reflected"),
    (path("192.0.2.0/24"), Reason.LINK, "is of this node's own link"),
    (path("192.0.2.1/32"), Reason.LINK, "is of this node's own link"),
]


@pytest.mark.parametrize(("one", "reason", "text"), REFUSED)
def test_what_the_cluster_may_not_send(one: Path, reason: Reason, text: str) -> None:
    found = outcome(one)
    assert isinstance(found, Refusal)
    assert (found.peer, found.prefix, found.reason) == (A, one.prefix, reason)
    assert text in found.text


@pytest.mark.parametrize(("one", "reason", "text"), REFUSED)
def test_what_a_filter_may_ask_for_and_what_it_may_not(one: Path, reason: Reason, text: str) -> None:
    found = outcome(one, outside(EVERYTHING))
    asked = reason in (Reason.DEFAULT, Reason.OUTSIDE, Reason.SERVICE) or "covers" in text
    assert isinstance(found, Accepted if asked else Refusal)


def test_an_outside_peer_without_a_filter_may_send_what_is_in_the_pools() -> None:
    origin = Origin(64512, in_cluster=False)
    assert isinstance(outcome(path("10.244.2.0/26", TOR1), origin), Accepted)
    for prefix in ("0.0.0.0/0", "10.99.0.0/26"):
        assert isinstance(outcome(path(prefix, TOR1), origin), Refusal)


def test_a_filters_rule_refuses_and_is_named() -> None:
    origin = outside(FilterRule(action=Action.REJECT, cidr="10.244.0.0/16", matchOperator=MatchOperator.IN))
    found = outcome(path("10.244.2.0/26", TOR1), origin)
    assert isinstance(found, Refusal)
    assert (found.reason, found.text) == (
        Reason.FILTER,
        "10.244.2.0/26 from 192.0.2.201 is refused by BGPFilter(tor) spec.importV4[0], action Reject",
    )
    assert isinstance(outcome(path("10.99.0.0/26", TOR1), origin), Refusal)  # no rule is for it: as without


def test_a_missing_filter_lets_nothing_in() -> None:
    found = outcome(path("10.244.2.0/26"), Origin(64512, chain=chain(["tor"], {}, Direction.IMPORT)))
    assert isinstance(found, Refusal)
    assert (found.reason, "BGPFilter tor does not exist" in found.text) == (Reason.MISSING, True)


def test_next_hops_on_another_link_of_the_node() -> None:
    beyond = replace(GROUND, subnets=((ip.network("198.51.100.0/24"), "eth2"),))
    origin = outside(EVERYTHING)
    far = path("203.0.113.0/24", TOR1, next_hop=BEYOND)
    assert "outside 192.0.2.0/24" in getattr(outcome(far, origin), "text", "")
    found = outcome(far, origin, beyond)
    assert isinstance(found, Accepted)
    assert (found.tunnelled, found.link) == (False, "eth2")
    by_gateway = replace(beyond, gateways={TOR1: BEYOND, BEYOND: A})
    assert getattr(outcome(path("203.0.113.0/24", TOR1), origin, by_gateway), "link", "-") == "eth2"
    assert getattr(outcome(far, origin, by_gateway), "link", "-") == ""
    connected = path("198.51.100.0/24", TOR1, next_hop=BEYOND)
    assert getattr(outcome(connected, origin, beyond), "reason", "") == Reason.LINK
    nowhere = path("203.0.113.0/24", TOR1, next_hop=ip.address("203.0.113.9"))
    assert "is outside 192.0.2.0/24 and 198.51.100.0/24" in getattr(outcome(nowhere, origin, beyond), "text", "")
    for pool, tunnelled in ((ALWAYS, True), (CROSS, True), (GROUND, False)):
        block = outcome(path("10.244.9.0/26", A, next_hop=BEYOND), ground=replace(beyond, pools=pool.pools))
        assert isinstance(block, Accepted)
        assert (block.tunnelled, block.link) == (tunnelled, "" if tunnelled else "eth2")


def test_an_external_path_that_went_through_no_as_is_malformed() -> None:
    empty = path("198.18.0.0/24", TOR1, external=True)
    assert getattr(outcome(empty, outside(EVERYTHING)), "reason", "") == Reason.MALFORMED
    assert isinstance(
        outcome(path("198.18.0.0/24", TOR1, external=True, as_path=(65001,)), outside(EVERYTHING)), Accepted
    )


def test_rules_see_the_link_that_the_route_would_lead_over() -> None:
    over = outside(FilterRule(action=Action.REJECT, interface="tun*"))
    assert isinstance(outcome(path("10.244.2.0/26"), over, ALWAYS), Refusal)
    assert isinstance(outcome(path("10.244.2.0/26"), over, CROSS), Accepted)


def test_operations_change_what_is_taken_and_with_it_the_choice() -> None:
    operations = (
        Operation(addCommunity=AddCommunity(value="65001:9")),
        Operation(addCommunity=AddCommunity(value="65001:1:2")),
        Operation(prependASPath=PrependASPath(prefix=(65001, 65001))),
        Operation(setPriority=SetPriority(value=512)),
    )
    origin = outside(FilterRule(action=Action.ACCEPT, operations=operations))
    plain, other = path("10.99.0.0/24", TOR1, as_path=(65001,)), path("10.99.0.0/24", TOR2, as_path=(65001,))
    found = taken(plain, other, P192_0_2_201=outside(EVERYTHING), P192_0_2_202=origin)
    (best,) = found.chosen[plain.prefix]
    assert best.path == msgspec.structs.replace(
        other,
        communities=("65001:9",),
        large_communities=("65001:1:2",),
        as_path=(65001, 65001, 65001),
        local_pref=612,
        med=512,
    )
    assert str(best.verdict) == "BGPFilter(tor) spec.importV4[0], action Accept"


def test_own_as_numbers_as_often_as_permitted() -> None:
    looped = path("10.244.2.0/26", as_path=(64512, 65001, 64512))
    assert [isinstance(outcome(looped, replace(MESH, allowed_own_as=n)), Accepted) for n in (0, 1, 2)] == [
        False,
        False,
        True,
    ]


def test_what_went_through_our_cluster_of_reflectors_is_not_taken() -> None:
    reflected = path("10.244.2.0/26", cluster_list=("1.0.0.1", "2.0.0.2"))
    assert isinstance(outcome(reflected), Accepted)
    assert isinstance(outcome(reflected, ground=replace(GROUND, cluster_id="2.0.0.2")), Refusal)


def test_prefixes_beyond_the_limit_are_refused_and_those_before_them_stay() -> None:
    ground = replace(GROUND, limit=2)
    table = Table([path(f"10.244.{n}.0/26") for n in (9, 8)])
    more = table.apply(Update(A, (path("10.244.7.0/26"), path("10.244.9.0/26", med=1))))
    found = imported(more, ground, {A: MESH}, MESH)
    assert {str(prefix) for prefix in found.chosen} == {"10.244.9.0/26", "10.244.8.0/26"}
    (refusal,) = found.refused
    assert (refusal.reason, str(refusal.prefix)) == (Reason.LIMIT, "10.244.7.0/26")
    less = imported(more.apply(Update(A, withdrawn=((ip.network("10.244.8.0/26"), 0),))), ground, {A: MESH}, MESH)
    assert (len(less.chosen), less.refused) == (2, ())


def test_what_one_peer_says_too_much_costs_nothing_when_another_says_something() -> None:
    ground = replace(GROUND, limit=2)
    table = Table(path(f"10.244.{n}.0/26", TOR1) for n in range(2, 40))
    origins = {A: MESH, TOR1: outside(EVERYTHING)}
    first = imported(table, ground, origins, MESH)
    second = imported(table.apply(Update(A, (path("10.244.50.0/26"),))), ground, origins, MESH)
    assert [one.reason for one in first.refused] == [Reason.LIMIT] * 36
    assert len(second.chosen) == 3
    assert all(one is other for one, other in zip(first.refused, second.refused, strict=True))


def test_a_path_that_is_refused_hides_no_other() -> None:
    bad, good = path("10.244.2.0/26", A, local_pref=500, next_hop=BEYOND), path("10.244.2.0/26", B)
    found = taken(bad, good)
    assert (found.chosen[good.prefix], len(found.refused)) == ((Accepted(good),), 1)


def test_equal_routes_of_outside_peers_share_and_those_of_nodes_do_not() -> None:
    one, two = (path("10.99.0.0/24", peer, as_path=(65001,), external=True) for peer in (TOR1, TOR2))
    tors = {"P192_0_2_201": outside(EVERYTHING), "P192_0_2_202": outside(EVERYTHING)}
    assert [way.path for way in taken(two, one, **tors).chosen[one.prefix]] == [one, two]
    longer = path("10.99.0.0/24", TOR2, as_path=(65001, 65001), external=True)
    assert [way.path for way in taken(one, longer, **tors).chosen[one.prefix]] == [one]
    blocks = [path("10.244.2.0/26", A), path("10.244.2.0/26", B)]
    assert [way.path for way in taken(*blocks).chosen[blocks[0].prefix]] == blocks[:1]


def test_the_lower_identifier_is_preferred_not_the_lower_address() -> None:
    paths = [path("10.244.2.0/26", peer) for peer in (A, B)]
    low = replace(MESH, router_id=ip.address("1.1.1.1"))
    found = imported(Table(paths), GROUND, {A: replace(MESH, router_id=A), B: low}, MESH)
    assert [way.path.peer for way in found.chosen[paths[0].prefix]] == [B]


def test_refusals_are_counted_by_peer_and_reason() -> None:
    found = taken(path("0.0.0.0/0"), path("10.99.0.0/26"), path("10.98.0.0/26"), path("10.99.0.0/26", B))
    assert counts(found.refused) == {A: {Reason.DEFAULT: 1, Reason.OUTSIDE: 2}, B: {Reason.OUTSIDE: 1}}


prefixes = st.sampled_from(["0.0.0.0/0", "10.244.0.0/26", "10.244.2.0/26", "10.244.2.64/26", "10.99.0.0/24"])
changes = st.tuples(st.sampled_from([A, B, TOR1]), prefixes, st.none() | st.integers(0, 2))
grounds = st.sampled_from([GROUND, ALWAYS, replace(GROUND, limit=1)])
rules = st.sampled_from([(), (EVERYTHING,), (FilterRule(action=Action.REJECT, priority=1),)])


@given(st.lists(st.tuples(changes, grounds, rules), max_size=12), st.booleans())
def test_what_is_remembered_is_what_would_be_found_anew(
    steps: list[tuple[tuple[ip.Address, str, int | None], Ground, tuple[FilterRule, ...]]], many: bool
) -> None:
    """many: where there are so many others that only what changed is chosen for again."""
    others = [f"10.244.{number}.0/26" for number in range(2, 42)] if many else []
    table = Table(path(prefix, peer) for prefix in others for peer in (A, TOR1))
    for (peer, prefix, med), ground, listed in steps:
        key = (ip.network(prefix), 0)
        update = Update(peer, withdrawn=(key,)) if med is None else Update(peer, (path(prefix, peer, med=med),))
        table = table.apply(update)
        origins = {A: MESH, B: MESH, TOR1: outside(*listed)}
        remembered = imported(table, ground, origins, MESH)
        inside = [each for peer in table.peers() for each in table.of(peer).values()]
        anew = imported(Table(inside), ground, origins, MESH)
        assert (remembered.chosen, sorted(remembered.refused, key=str)) == (anew.chosen, sorted(anew.refused, key=str))


def test_ten_thousand_paths_are_judged_once() -> None:
    nets = list(ip.network("10.244.0.0/16").subnets(new_prefix=30))[64 * 8 : 64 * 8 + 10_000]
    peers = [ip.address(f"192.0.2.{n}") for n in range(2, 102)]
    table = Table()
    for number, peer in enumerate(peers):
        table = table.apply(Update(peer, tuple(path(str(net), peer) for net in nets[number::100])))
    rule = FilterRule(action=Action.REJECT, cidr="10.0.0.0/16", matchOperator=MatchOperator.IN)
    origins = dict.fromkeys(peers, outside(*[rule] * 10))
    began = process_time()
    first = imported(table, GROUND, origins, MESH)
    took = process_time() - began
    assert len(first.chosen) == 10_000
    assert took < 2.0  # 0.15 s on an idle machine
    assert imported(table, GROUND, dict(origins), MESH) is first
    table = table.apply(Update(A, (path("10.244.255.0/26"),)))
    more = imported(table, GROUND, origins, MESH)
    assert len(more.chosen) == 10_001
    assert all(more.chosen[net][0] is first.chosen[net][0] for net in nets)
    print(f"10,000 paths: {took * 1000:.0f} ms")
