"""Pools: which a node may use, in which order their blocks are tried, and what is said when there is nothing left."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bgpnet import ipam, reservations
from bgpnet.errors import NoAddress
from bgpnet.model import ip
from bgpnet.model.ipamblock import IPAMBlock, Owner, Use
from bgpnet.model.ippool import AllowedUse, AssignmentMode, Encap, IPPool, IPPoolSpec, IPPoolStatus
from bgpnet.model.ipreservation import IPReservation, IPReservationSpec
from bgpnet.model.resource import Condition, Metadata

NOW = 1_763_690_823.5
LABELS = {"zone": "a"}


def pool(name: str, cidr: str, **spec: Any) -> IPPool:
    return IPPool(metadata=Metadata(name=name), spec=IPPoolSpec(cidr=cidr, **spec))


def withdrawn(name: str, cidr: str, reason: str) -> IPPool:
    """As a controller leaves it whose deletion has begun."""
    status = IPPoolStatus(conditions=(Condition(type="Allocatable", status="False", reason=reason),))
    return replace(pool(name, cidr), status=status)


BLUE = pool("blue", "10.1.0.0/16", ipipMode=Encap.ALWAYS)
GREEN = pool("green", "10.2.0.0/16")


def names_of(pools: list[IPPool]) -> list[str]:
    return [one.metadata.name for one in pools]


def test_pools_come_in_the_order_of_their_names() -> None:
    assert names_of(ipam.pools_for([GREEN, BLUE], Use.WORKLOAD, {})) == ["blue", "green"]


@pytest.mark.parametrize("reason", ["PoolDisabled", "SmallerThanBlock", "FamilyNotSupported"])
def test_what_the_spec_says_itself_counts_by_the_spec_alone(reason: str) -> None:
    """The condition may be behind it: there may be no controller at the moment."""
    assert names_of(ipam.pools_for([withdrawn("blue", "10.1.0.0/16", reason)], Use.WORKLOAD, {})) == ["blue"]


RED = "10.3.0.0/24"
UNFIT = [
    (pool("red", RED, disabled=True), "pool red is disabled (spec.disabled: true)"),
    (pool("red", "fd00::/64"), "pool red is IPv6, which is not wired yet (spec.cidr: fd00::/64)"),
    (
        pool("red", "10.3.0.0/28"),
        "pool red is smaller than one of its blocks (spec.cidr: 10.3.0.0/28, spec.blockSize: 26, which can be "
        "made greater while spec.disabled is true)",
    ),
    (pool("red", RED, allowedUses=(AllowedUse.TUNNEL,)), "pool red is not for this use (spec.allowedUses: Tunnel)"),
    (
        withdrawn("red", RED, "Terminating"),
        "pool red gives no addresses (status.conditions: Allocatable is False, Terminating)",
    ),
    (pool("red", RED, allowedUses=()), "pool red is not for this use (spec.allowedUses: none)"),
    (
        pool("red", RED, assignmentMode=AssignmentMode.MANUAL),
        "pool red is only for pods that ask for it (spec.assignmentMode: Manual)",
    ),
    (
        pool("red", RED, nodeSelector="zone == 'b'"),
        "pool red does not select this node (spec.nodeSelector: zone == 'b')",
    ),
    (
        pool("red", RED, nodeSelector="zone =="),
        "pool red has a selector that cannot be read (spec.nodeSelector: zone ==; "
        "at column 8: expected a string in quotes, found the end)",
    ),
    (
        pool("red", RED, namespaceSelector="team == 'x'"),
        "pool red selects by labels of the pod's namespace, which are not known here "
        "(spec.namespaceSelector: team == 'x')",
    ),
]


@pytest.mark.parametrize(("unfit", "reason"), UNFIT)
def test_a_pool_that_does_not_qualify_is_left_out_and_the_refusal_says_why(unfit: IPPool, reason: str) -> None:
    assert names_of(ipam.pools_for([unfit, BLUE], Use.WORKLOAD, LABELS)) == ["blue"]
    with pytest.raises(NoAddress) as refused:
        ipam.pools_for([unfit], Use.WORKLOAD, LABELS)
    assert str(refused.value) == (
        f"no IP pool has Workload addresses for this node: {reason}; "
        "change that field of one of them, or create a pool that permits it"
    )


def test_no_pool_at_all() -> None:
    with pytest.raises(NoAddress, match="there is no IP pool: create one with bgpnetctl create -f FILE"):
        ipam.pools_for([], Use.WORKLOAD, {})


def test_many_reasons_are_counted() -> None:
    with pytest.raises(NoAddress, match=r"p0 is disabled .*p4 is disabled .*; and 2 more; change"):
        ipam.pools_for([pool(f"p{n}", f"10.{n}.0.0/16", disabled=True) for n in range(7)], Use.WORKLOAD, {})


def test_selectors_of_nodes_and_namespaces() -> None:
    red = pool("red", RED, nodeSelector="zone == 'a'", namespaceSelector="team == 'x'")
    assert names_of(ipam.pools_for([red], Use.WORKLOAD, LABELS, namespace={"team": "x"})) == ["red"]
    with pytest.raises(NoAddress, match="does not select the pod's namespace"):
        ipam.pools_for([red], Use.WORKLOAD, LABELS, namespace={"team": "y"})


@pytest.mark.parametrize("asked", ["red", RED])
def test_a_pool_that_is_asked_for_needs_no_selector_and_may_be_manual(asked: str) -> None:
    red = pool(
        "red", RED, nodeSelector="zone == 'b'", namespaceSelector="x == 'y'", assignmentMode=AssignmentMode.MANUAL
    )
    assert names_of(ipam.pools_for([BLUE, red], Use.WORKLOAD, {}, [asked])) == ["red"]


def test_several_pools_asked_for_by_name_and_cidr_come_once_each_in_the_order_of_the_asking() -> None:
    for asked in (["green", "10.1.0.0/16", "blue"], ["green", "10.1.2.3/16"], ["10.2.0.0/16", "blue"]):
        assert names_of(ipam.pools_for([GREEN, BLUE], Use.WORKLOAD, {}, asked)) == ["green", "blue"]
    assert names_of(ipam.pools_for([GREEN, BLUE], Use.WORKLOAD, {}, ["blue", "green"])) == ["blue", "green"]


def test_asking_for_what_is_not_there_or_disabled() -> None:
    with pytest.raises(NoAddress) as refused:
        ipam.pools_for([GREEN, BLUE], Use.WORKLOAD, {}, ["blue", "10.9.0.0/16"])
    assert str(refused.value) == (
        "the pool 10.9.0.0/16 that was asked for does not exist: "
        "create it, or ask for blue (10.1.0.0/16); green (10.2.0.0/16)"
    )
    with pytest.raises(
        NoAddress, match=r"the pool red \(10.3.0.0/24\) that was asked for is disabled: set its spec.disabled"
    ):
        ipam.pools_for([BLUE, pool("red", RED, disabled=True)], Use.WORKLOAD, {}, ["red", "blue"])
    with pytest.raises(NoAddress, match="pool red is not for this use"):
        ipam.pools_for([BLUE, pool("red", RED, allowedUses=(AllowedUse.TUNNEL,))], Use.WORKLOAD, {}, ["red"])


def test_the_tunnels_address_comes_from_pools_that_tunnel() -> None:
    manual = pool("manual", RED, ipipMode=Encap.CROSS_SUBNET, assignmentMode=AssignmentMode.MANUAL)
    assert names_of(ipam.pools_for([GREEN, BLUE, manual], Use.TUNNEL, {})) == ["blue", "manual"]
    with pytest.raises(NoAddress, match=r"pool green does not tunnel \(spec.ipipMode: Never\)"):
        ipam.pools_for([GREEN], Use.TUNNEL, {})


@st.composite
def small_pools(draw: st.DrawFn) -> IPPool:
    """Up to 1,024 blocks, anywhere in the address space, at its very end as well."""
    low, high, width = draw(st.sampled_from([(20, 32, 32), (116, 128, 128)]))
    size = draw(st.integers(low, high))
    length = size - draw(st.integers(0, 10))
    place = draw(st.one_of(st.integers(0, 2**length - 1), st.just(2**length - 1)))
    family = IPv4Network if width == 32 else IPv6Network
    return pool("p", str(family((place << (width - length), length))), blockSize=size)


@settings(deadline=None, max_examples=100)
@given(one=small_pools(), node=st.text(max_size=20))
def test_every_block_of_a_pool_is_tried_once_upwards_and_around(one: IPPool, node: str) -> None:
    blocks = list(ipam.candidate_blocks(one, node))
    assert blocks == list(ipam.candidate_blocks(one, node))
    assert sorted(blocks, key=ip.order) == list(one.network.subnets(new_prefix=one.block_size))
    wraps = [(before, after) for before, after in pairwise(blocks) if ip.order(after) <= ip.order(before)]
    assert len(wraps) <= 1
    assert all(
        before.broadcast_address + 1 == after.network_address
        for before, after in pairwise(blocks)
        if (before, after) not in wraps
    )
    for before, after in wraps:
        assert before.broadcast_address == one.network.broadcast_address
        assert after.network_address == one.network.network_address


def test_a_pool_of_one_block_and_one_smaller_than_a_block() -> None:
    assert names_of(ipam.pools_for([pool("p", "10.0.0.0/26")], Use.WORKLOAD, {})) == ["p"]
    assert list(ipam.candidate_blocks(pool("p", "10.0.0.0/26"), "n")) == [ip.network("10.0.0.0/26")]
    assert list(ipam.candidate_blocks(pool("p", "10.0.0.1/32", blockSize=32), "n")) == [ip.network("10.0.0.1/32")]
    assert list(ipam.candidate_blocks(pool("p", "10.0.0.0/28"), "n")) == []


@pytest.mark.parametrize(
    "huge", [pool("p", "10.0.0.0/8", blockSize=32), pool("p", "fd00::/8"), pool("p", "::/0", blockSize=128)]
)
def test_huge_pools_cost_nothing(huge: IPPool) -> None:
    first = list(islice(ipam.candidate_blocks(huge, "node1"), 3))
    assert len(set(first)) == 3
    assert all(ip.contains(huge.network, net) and net.prefixlen == huge.block_size for net in first)


def test_the_start_of_a_node_stays_what_it_is() -> None:
    """A node that comes back finds its way again; another start after an upgrade would only cost a search."""
    starts = [str(next(ipam.candidate_blocks(BLUE, name))) for name in ("node1", "node2", "node3")]
    assert starts == ["10.1.160.128/26", "10.1.51.64/26", "10.1.119.0/26"]


@pytest.mark.parametrize("cidr", ["10.0.0.0/16", "10.0.0.0/8", "fd00::/64", "fd00::/8"])
def test_nodes_start_at_different_places_all_over_the_pool(cidr: str) -> None:
    one = pool("p", cidr)
    starts = sorted(int(next(ipam.candidate_blocks(one, f"node{n}")).network_address) for n in range(200))
    assert len(set(starts)) >= 175
    eighths = {(start - int(one.network.network_address)) * 8 // one.network.num_addresses for start in starts}
    assert eighths == set(range(8))


def owned(cidr: str, owner: str, live: int) -> IPAMBlock:
    block = ipam.new_block(ip.network(cidr), Owner(name=owner, uid="u"), NOW)
    for number in range(live):
        assigned = ipam.assign(block, ipam.Claimant(f"c{number}", "eth0"), NOW)
        assert assigned
        block = assigned[0]
    return block


def test_the_refusal_when_no_block_is_left() -> None:
    small = pool("small", "10.1.0.0/24")
    blocks = [
        owned("10.1.0.0/26", "n1", 64),
        owned("10.1.0.64/26", "n2", 4),
        owned("10.1.0.128/26", "n3", 60),
        owned("10.1.0.192/26", "n2", 64),
        owned("10.9.0.0/26", "n2", 0),
    ]
    assert ipam.exhausted("n1", [small], blocks) == (
        "node n1 gets no further block: pool small (10.1.0.0/24) has 4 blocks of /26, 1 owned by this node, "
        "3 by others; "
        "unused addresses: 0 in its own blocks, 64 in the blocks of others (n2 60; n3 4); create another IPPool, "
        "or delete the Nodes that are gone, or give the next pool smaller blocks (a greater spec.blockSize)"
    )


def test_the_refusal_when_blocks_could_not_be_smaller_and_nobody_else_has_any() -> None:
    single = pool("single", "10.1.0.0/31", blockSize=32)
    blocks = [owned("10.1.0.0/32", "n1", 1), owned("10.1.0.1/32", "n1", 0)]
    assert ipam.exhausted("n1", [single], blocks) == (
        "node n1 gets no further block: pool single (10.1.0.0/31) has 2 blocks of /32, 2 owned by this node, "
        "0 by others; "
        "unused addresses: 1 in its own blocks; create another IPPool, or delete the Nodes that are gone"
    )


def test_who_asked_for_a_pool_is_named_and_one_that_is_being_deleted_is_refused() -> None:
    with pytest.raises(NoAddress) as refused:
        ipam.pools_for([BLUE], Use.WORKLOAD, {}, ["red"], source="annotation a/b of pod shop/cart-0")
    assert str(refused.value) == (
        "the pool red that annotation a/b of pod shop/cart-0 asks for does not exist: "
        "create it, or ask for blue (10.1.0.0/16)"
    )
    with pytest.raises(NoAddress, match=r"the pool red .* that was asked for gives no addresses .*: ask for"):
        ipam.pools_for([withdrawn("red", RED, "CIDROverlap")], Use.WORKLOAD, {}, ["red"])


SOURCE = "CNI_ARGS IP"
OUTSIDE = [
    ([], "10.3.0.5", "CNI_ARGS IP = 10.3.0.5 is outside every IP pool: ask for an address of one, there is none yet"),
    ([BLUE], "10.3.0.5", "is outside every IP pool: ask for an address of one, there is blue (10.1.0.0/16)"),
    ([pool("red", RED, disabled=True)], "10.3.0.5", "= 10.3.0.5: pool red is disabled (spec.disabled: true); change"),
    ([pool("red", RED, allowedUses=(AllowedUse.TUNNEL,))], "10.3.0.5", "pool red is not for this use"),
    ([withdrawn("red", RED, "Terminating")], "10.3.0.5", "pool red gives no addresses"),
]


@pytest.mark.parametrize(("pools", "address", "words"), OUTSIDE)
def test_an_address_that_no_pool_gives(pools: list[IPPool], address: str, words: str) -> None:
    with pytest.raises(NoAddress) as refused:
        ipam.pool_of(pools, ip.address(address), Use.WORKLOAD, SOURCE)
    assert words in str(refused.value)


def test_an_address_by_name_needs_no_selector_and_a_manual_pool_gives_it() -> None:
    red = pool("red", RED, nodeSelector="zone == 'b'", assignmentMode=AssignmentMode.MANUAL)
    assert ipam.pool_of([BLUE, red], ip.address("10.3.0.5"), Use.WORKLOAD, SOURCE) is red


def test_the_refusal_counts_what_is_reserved() -> None:
    kept = IPReservation(
        metadata=Metadata(name="r"), spec=IPReservationSpec(reservedCIDRs=("10.1.0.0/30", "10.1.0.64/26"))
    )
    one = pool("one", "10.1.0.0/25")
    assert ipam.exhausted("n1", [one], [owned("10.1.0.0/26", "n2", 4)], reservations.of([kept])) == (
        "node n1 gets no further block: pool one (10.1.0.0/25) has 2 blocks of /26, 0 owned by this node, "
        "1 by others, 1 wholly reserved; unused addresses: 0 in its own blocks, 60 in the blocks of others (n2 60); "
        "create another IPPool, or delete the Nodes that are gone, or give the next pool smaller blocks "
        "(a greater spec.blockSize), or take addresses out of an IPReservation"
    )
