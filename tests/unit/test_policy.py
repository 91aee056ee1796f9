"""BGPFilters: every field, the order of rules and filters, and an interpreter of its own to compare with."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from time import process_time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgpnet.bgp.policy import Candidate, Changes, Direction, Verdict, chain, changes, compiled, preference, priority_of
from bgpnet.bgp.rib import Path
from bgpnet.model import ip
from bgpnet.model.bgpfilter import (
    Action,
    AddCommunity,
    BGPFilterSpec,
    CommunityMatch,
    FilterRule,
    MatchOperator,
    Operation,
    PeerType,
    PrefixLength,
    PrependASPath,
    RouteSource,
    SetPriority,
)

NET = ip.network("10.244.0.0/16")
ROUTE = Candidate(NET)


def candidate(prefix: str = "10.244.0.0/16", **more: object) -> Candidate:
    return replace(ROUTE, prefix=ip.network(prefix), **more)  # type: ignore[arg-type]  # the candidate's own fields


def rule(action: Action = Action.ACCEPT, **fields: object) -> FilterRule:
    return FilterRule(action=action, **fields)  # type: ignore[arg-type]  # the rule's own fields


def matches(one: FilterRule, route: Candidate) -> bool:
    (made,) = compiled("f", BGPFilterSpec(importV4=(one,)), Direction.IMPORT, 4)
    return made.decides(route)


EQUAL, NOT_EQUAL, IN, NOT_IN = MatchOperator


@pytest.mark.parametrize(
    ("operator", "length", "matching", "other"),
    [
        (EQUAL, None, ["10.244.0.0/16"], ["10.244.0.0/17", "10.0.0.0/8", "10.245.0.0/16"]),
        (NOT_EQUAL, None, ["10.244.0.0/17", "10.0.0.0/8"], ["10.244.0.0/16"]),
        (IN, None, ["10.244.0.0/16", "10.244.255.255/32"], ["10.0.0.0/8", "10.245.0.0/16", "0.0.0.0/0"]),
        (NOT_IN, None, ["10.0.0.0/8", "10.245.0.0/16"], ["10.244.0.0/16", "10.244.255.0/24"]),
        (IN, (24, 26), ["10.244.1.0/24", "10.244.1.64/26"], ["10.244.0.0/16", "10.244.1.0/27", "10.245.0.0/24"]),
        (IN, (None, 20), ["10.244.0.0/16", "10.244.16.0/20"], ["10.244.0.0/21"]),
        (IN, (8, None), ["10.244.0.0/16", "10.244.0.1/32"], ["10.0.0.0/8"]),
        (NOT_IN, (24, 26), ["10.244.0.0/16", "10.245.0.0/24"], ["10.244.1.0/25"]),
        (EQUAL, (16, 16), ["10.244.0.0/16"], ["10.244.0.0/17"]),
        (EQUAL, (17, None), [], ["10.244.0.0/16", "10.244.0.0/17"]),
        (NOT_EQUAL, (17, None), ["10.244.0.0/16"], []),
    ],
)
def test_prefixes(
    operator: MatchOperator, length: tuple[int | None, int | None] | None, matching: list[str], other: list[str]
) -> None:
    lengths = PrefixLength(min=length[0], max=length[1]) if length else None
    one = rule(cidr=str(NET), matchOperator=operator, prefixLength=lengths)
    assert [prefix for prefix in matching + other if matches(one, candidate(prefix))] == matching


@pytest.mark.parametrize(
    ("fields", "matching", "other"),
    [
        ({}, [{}], []),
        ({"source": RouteSource.REMOTE_PEERS}, [{"learned": True}], [{}]),
        ({"interface": "eth*"}, [{"interface": "eth0"}], [{"interface": "tunl0"}, {"interface": ""}]),
        ({"interface": "tunl0"}, [{"interface": "tunl0"}], [{"interface": "tunl01"}]),
        ({"peerType": PeerType.EBGP}, [{"external": True}], [{}]),
        ({"peerType": PeerType.IBGP}, [{}], [{"external": True}]),
        (
            {"communities": CommunityMatch(values=("65001:0100",))},
            [{"communities": ("1:1", "65001:100")}],
            [{}, {"communities": ("65001:10", "65001:100:0")}],
        ),
        ({"communities": CommunityMatch(values=("65001:1:2",))}, [{"communities": ("65001:1:2",)}], [{}]),
        (
            {"asPathPrefix": (1, 2)},
            [{"as_path": (1, 2)}, {"as_path": (1, 2, 3)}],
            [{"as_path": (1,)}, {"as_path": (2, 1)}, {"as_path": ((1, 2),)}, {}],
        ),
        ({"priority": 512}, [{"priority": 512}], [{}]),
        ({"source": RouteSource.REMOTE_PEERS, "priority": 1}, [{"learned": True, "priority": 1}], [{"priority": 1}]),
    ],
)
def test_every_other_condition(
    fields: dict[str, object], matching: list[dict[str, object]], other: list[dict[str, object]]
) -> None:
    one = rule(**fields)
    assert [each for each in matching + other if matches(one, candidate(**each))] == matching


def test_each_list_is_for_its_own_direction_and_family() -> None:
    spec = BGPFilterSpec(
        exportV4=(rule(Action.REJECT, cidr="10.0.0.0/8", matchOperator=IN),),
        importV6=(rule(Action.REJECT, cidr="fd00::/8", matchOperator=IN, prefixLength=PrefixLength(max=64)),),
        exportV6=(rule(interface="a"), rule(cidr="fd00::/8", matchOperator=NOT_IN)),
    )
    incoming, outgoing = (chain(["f"], {"f": spec}, each) for each in Direction)
    four, six, long = candidate(), candidate("fd00:1::/64"), candidate("fd00:1::/122")
    assert [incoming.judge(one) for one in (four, long)] == [None, None]
    assert incoming.judge(six) == Verdict("f", "importV6", 0, False)
    assert outgoing.judge(four) == Verdict("f", "exportV4", 0, False)
    assert [outgoing.judge(one) for one in (six, long)] == [None, None]
    assert outgoing.judge(candidate("2001:db8::/32")) == Verdict("f", "exportV6", 1, True)


def test_the_first_rule_of_the_first_filter_decides() -> None:
    filters = {
        "a": BGPFilterSpec(importV4=(rule(priority=1), rule(Action.REJECT, priority=2))),
        "b": BGPFilterSpec(importV4=(rule(priority=2), rule(Action.REJECT))),
    }
    judge = chain(["a", "b"], filters, Direction.IMPORT).judge
    assert judge(candidate(priority=1)) == Verdict("a", "importV4", 0, True)
    assert judge(candidate(priority=2)) == Verdict("a", "importV4", 1, False)
    assert judge(candidate(priority=3)) == Verdict("b", "importV4", 1, False)
    assert str(judge(candidate(priority=3))) == "BGPFilter(b) spec.importV4[1], action Reject"
    turned = chain(["b", "a"], filters, Direction.IMPORT).judge
    assert turned(candidate(priority=2)) == Verdict("b", "importV4", 0, True)


def test_a_filter_that_does_not_exist_is_named() -> None:
    assert chain(["gone"], {}, Direction.IMPORT).missing == ("gone",)


def test_operations_in_order() -> None:
    operations = (
        Operation(addCommunity=AddCommunity(value="064512:1")),
        Operation(prependASPath=PrependASPath(prefix=(1, 2))),
        Operation(setPriority=SetPriority(value=7)),
        Operation(addCommunity=AddCommunity(value="64512:1:2")),
        Operation(prependASPath=PrependASPath(prefix=(3,))),
        Operation(setPriority=SetPriority(value=9)),
    )
    assert changes(operations) == Changes(("64512:1", "64512:1:2"), (3, 1, 2), 9)
    one = rule(source=RouteSource.REMOTE_PEERS, operations=operations)
    (made,) = compiled("f", BGPFilterSpec(exportV4=(one,)), Direction.EXPORT, 4)
    assert made.verdict == Verdict("f", "exportV4", 0, True, changes(operations), remote=True)


@pytest.mark.parametrize(
    ("fields", "priority"),
    [
        ({}, 1024),
        ({"local_pref": 100}, 1024),
        ({"local_pref": 612}, 512),
        ({"local_pref": 5000}, 1),
        ({"local_pref": 2147482623}, 1024),  # as Calico 3.32 says 1024
        ({"local_pref": 2147483135}, 512),
        ({"med": 20}, 20),
        ({"local_pref": 100, "med": 20}, 20),
    ],
)
def test_a_routes_metric(fields: dict[str, int], priority: int) -> None:
    peer = ip.address("192.0.2.2")
    assert priority_of(msgspec.structs.replace(Path(prefix=NET, next_hop=peer, peer=peer), **fields)) == priority


def test_a_metric_and_its_preference() -> None:
    assert [preference(one) for one in (1, 512, 1024, 1124, 1125, 2**31 - 2)] == [1123, 612, 100, 0, 0, 0]


networks = st.builds(
    lambda bits, length: IPv4Network((bits << 24 >> (32 - length) << (32 - length), length)),
    st.integers(0, 255),
    st.integers(0, 8),
)
routes = st.builds(
    Candidate,
    prefix=networks,
    interface=st.sampled_from(["", "eth0", "eth1", "tunl0"]),
    learned=st.booleans(),
    external=st.booleans(),
    communities=st.sets(st.sampled_from(["1:1", "1:2", "1:1:1"])).map(tuple),
    as_path=st.lists(st.integers(1, 2), max_size=3).map(tuple),
    priority=st.integers(1, 2),
)
lengths = st.builds(PrefixLength, min=st.none() | st.integers(0, 8), max=st.none() | st.integers(0, 8))
prefixed = st.fixed_dictionaries(
    {"cidr": networks.map(str), "matchOperator": st.sampled_from(MatchOperator)}, optional={"prefixLength": lengths}
)
conditions = st.fixed_dictionaries(
    {},
    optional={
        "source": st.just(RouteSource.REMOTE_PEERS),
        "interface": st.sampled_from(["eth*", "*", "tunl0", "eth0"]),
        "peerType": st.sampled_from(PeerType),
        "communities": st.sampled_from(["1:1", "1:2", "1:1:1"]).map(lambda one: CommunityMatch(values=(one,))),
        "asPathPrefix": st.lists(st.integers(1, 2), min_size=1, max_size=2).map(tuple),
        "priority": st.integers(1, 2),
    },
)
rules = st.builds(
    lambda action, one, two: FilterRule(action=action, **one, **two),
    st.sampled_from(Action),
    conditions,
    st.just({}) | prefixed,
)


def holds(one: FilterRule, route: Candidate) -> bool:
    """A rule as reference/calico-behaviour.md reads, with nothing worked out beforehand."""
    if one.cidr:
        net = IPv4Network(one.cidr)
        same = route.prefix == net
        inside = route.prefix.version == 4 and route.prefix.subnet_of(net)
        low = one.prefixLength.min if one.prefixLength and one.prefixLength.min is not None else 0
        high = one.prefixLength.max if one.prefixLength and one.prefixLength.max is not None else 32
        good = max(net.prefixlen, low) <= route.prefix.prefixlen <= min(32, high)
        wanted = {
            EQUAL: same and good,
            NOT_EQUAL: not (same and good),
            IN: inside and good,
            NOT_IN: not (inside and good),
        }
        if one.matchOperator is None or not wanted[one.matchOperator]:
            return False
    stem = one.interface.rstrip("*")
    said = [
        one.source is None or route.learned,
        not one.interface
        or (route.interface == one.interface)
        or (one.interface != stem and route.interface != "" and route.interface.startswith(stem)),
        one.peerType is None or (one.peerType == PeerType.EBGP) == route.external,
        one.communities is None or one.communities.values[0] in route.communities,
        one.asPathPrefix == route.as_path[: len(one.asPathPrefix)],
        one.priority in (None, route.priority),
    ]
    return all(said)


@given(st.lists(st.lists(rules, max_size=4), max_size=3), st.lists(routes, min_size=1, max_size=5), st.data())
def test_verdicts_are_those_of_a_plain_reading(
    lists: list[list[FilterRule]], candidates: list[Candidate], data: st.DataObject
) -> None:
    direction = data.draw(st.sampled_from(Direction))
    filters = {f"f{number}": BGPFilterSpec(**{f"{direction}V4": tuple(listed)}) for number, listed in enumerate(lists)}
    made = chain(list(filters), filters, direction)
    for route in candidates:
        first = next(
            (
                (name, index, one.action is Action.ACCEPT)
                for name, spec in filters.items()
                for index, one in enumerate(getattr(spec, f"{direction}V4"))
                if holds(one, route)
            ),
            None,
        )
        verdict = made.judge(route)
        assert (verdict and (verdict.filter, verdict.rule, verdict.accepted)) == first


def test_ten_thousand_routes_against_twenty_rules() -> None:
    spec = BGPFilterSpec(
        importV4=tuple(rule(Action.REJECT, cidr=f"10.{n}.0.0/16", matchOperator=IN) for n in range(20))
    )
    made = chain(["f"], {"f": spec}, Direction.IMPORT)
    asked = [candidate(str(net)) for net in list(ip.network("172.16.0.0/12").subnets(new_prefix=26))[:10_000]]
    began = process_time()
    assert all(made.judge(one) is None for one in asked)
    assert process_time() - began < 2.0  # 0.15 s on an idle machine
    assert compiled("f", spec, Direction.IMPORT, 4) is compiled("f", spec, Direction.IMPORT, 4)
