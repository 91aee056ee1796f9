"""Changes against what exists: overlaps, immutable fields, and what may not be deleted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rule_table import one

from bgpnet import admission, names
from bgpnet.model import instant, ip
from bgpnet.model.ipamblock import Allocation, IPAMBlock, IPAMBlockSpec, Use
from bgpnet.model.ippool import IPPool, IPPoolSpec
from bgpnet.model.kinds import Resource
from bgpnet.model.node import Identity, Node, NodeStatus
from bgpnet.model.resource import Metadata

NOW = 1_800_000_000.0


def pool(name: str, spec: str) -> Resource:
    return one("IPPool", spec, name)


def block(cidr: str, *allocations: Allocation) -> IPAMBlock:
    spec = IPAMBlockSpec(cidr=cidr, allocations=dict(enumerate(allocations)))
    return IPAMBlock(metadata=Metadata(name=names.block(ip.network(cidr))), spec=spec)


def allocation(use: Use = Use.WORKLOAD, freed: str | None = None) -> Allocation:
    return Allocation(since="2026-01-01T00:00:00.000Z", sequence=1, use=use, freedAt=freed)


RED = pool("red", "{cidr: 10.0.0.0/8}")
CREATE = {
    "beside": ("{cidr: 11.0.0.0/16}", []),
    "another family": ("{cidr: 'fd00::/64'}", []),
    "inside": (
        "{cidr: 10.1.0.0/16}",
        ["IPPool(blue) CIDR 10.1.0.0/16 overlaps with IPPool(red) CIDR 10.0.0.0/8; choose a range outside it"],
    ),
    "around": ("{cidr: 8.0.0.0/6}", ["IPPool(blue) CIDR 8.0.0.0/6 overlaps with IPPool(red) CIDR 10.0.0.0/8; choose"]),
    "equal": ("{cidr: 10.0.0.0/8}", ["IPPool(blue) CIDR 10.0.0.0/8 overlaps with IPPool(red)"]),
    "a disabled pool": (
        "{cidr: 10.0.0.0/8, disabled: true}",
        ["IPPool(blue) CIDR 10.0.0.0/8 overlaps with IPPool(red)"],
    ),
}


@pytest.mark.parametrize(("spec", "expected"), CREATE.values(), ids=CREATE.keys())
def test_pools_do_not_overlap(spec: str, expected: list[str]) -> None:
    found = admission.on_create(pool("blue", spec), [RED], [])
    assert [finding.path for finding in found] == ["spec.cidr"] * len(expected)
    assert all(finding.problem.startswith(start) for finding, start in zip(found, expected, strict=True))


def test_a_pool_overlaps_each_of_several() -> None:
    others = [pool("a", "{cidr: 10.1.0.0/16}"), pool("b", "{cidr: 10.2.0.0/16}"), pool("c", "{cidr: 11.0.0.0/16}")]
    assert len(admission.on_create(pool("blue", "{cidr: 10.0.0.0/8}"), others, [])) == 2


@given(*(st.integers(0, 2**32 - 1) for _ in range(2)), *(st.integers(0, 32) for _ in range(2)))
def test_overlap_is_symmetric_and_as_sets(one_base: int, other_base: int, one_length: int, other_length: int) -> None:
    nets = [
        ip.interface(f"{ip.IPv4Address(base)}/{length}").network
        for base, length in ((one_base, one_length), (other_base, other_length))
    ]
    pools = [IPPool(metadata=Metadata(name=str(i)), spec=IPPoolSpec(cidr=str(net))) for i, net in enumerate(nets)]
    expected = nets[0].overlaps(nets[1])
    assert bool(admission.on_create(pools[0], pools[1:], [])) == expected
    assert bool(admission.on_create(pools[1], pools[:1], [])) == expected


def test_blocks_of_another_size_are_named() -> None:
    blocks = [block("10.1.0.0/28"), block("10.1.1.0/28"), block("11.0.0.0/30")]
    (found,) = admission.on_create(pool("blue", "{cidr: 10.0.0.0/8}"), [], blocks)
    assert str(found) == (
        "spec.blockSize = 26: does not fit the blocks that exist inside 10.0.0.0/8 (/28);"
        " write blockSize: 28, or release those blocks"
    )
    assert admission.on_create(pool("blue", "{cidr: 10.0.0.0/8, blockSize: 28}"), [], blocks) == []


def test_blocks_of_several_sizes_fit_nothing() -> None:
    (found,) = admission.on_create(pool("blue", "{cidr: 10.0.0.0/8}"), [], [block("10.1.0.0/28"), block("10.2.0.0/30")])
    assert "(/28, /30); choose another cidr, or release those blocks" in found.problem


UPDATE = {
    "nothing": ("{cidr: 10.0.0.0/16}", "{cidr: 10.0.0.0/16}", []),
    "other fields": ("{cidr: 10.0.0.0/16}", "{cidr: 10.0.0.0/16, ipipMode: Always, disabled: true}", []),
    "another spelling": ("{cidr: 'fd00::/64'}", "{cidr: 'FD00:0::/64'}", []),
    "the default written out": ("{cidr: 10.0.0.0/16}", "{cidr: 10.0.0.0/16, blockSize: 26}", []),
    "cidr": (
        "{cidr: 10.0.0.0/16}",
        "{cidr: 10.0.0.0/17}",
        ["spec.cidr: cannot be changed from 10.0.0.0/16 to 10.0.0.0/17; create a second pool and disable this one"],
    ),
    "blockSize": (
        "{cidr: 10.0.0.0/16}",
        "{cidr: 10.0.0.0/16, blockSize: 28}",
        ["spec.blockSize: cannot be changed from 26 to 28; delete the pool and create it anew"],
    ),
    "LoadBalancer to Workload": (
        "{cidr: 10.0.0.0/16, allowedUses: [LoadBalancer]}",
        "{cidr: 10.0.0.0/16, allowedUses: [Workload]}",
        ["spec.allowedUses: a LoadBalancer pool stays one; create a second pool for the other uses"],
    ),
    "Workload to both": ("{cidr: 10.0.0.0/16, allowedUses: [Workload]}", "{cidr: 10.0.0.0/16}", []),
}


@pytest.mark.parametrize(("old", "new", "expected"), UPDATE.values(), ids=UPDATE.keys())
def test_what_cannot_be_changed(old: str, new: str, expected: list[str]) -> None:
    found = admission.on_update(pool("blue", new), pool("blue", old))
    assert [f"{finding.path}: {finding.problem}" for finding in found] == expected


DELETE = {
    "no blocks": ([], None),
    "empty blocks": ([block("10.1.0.0/26")], None),
    "a reserved one": (
        [block("10.1.0.0/26", allocation(Use.RESERVED), allocation(Use.RESERVED, "2026-01-01T00:00:00.000Z"))],
        "1 address of workloads in 1 block;",
    ),
    "only a tunnel address": ([block("10.1.0.0/26", allocation(Use.TUNNEL))], None),
    "only resting addresses": ([block("10.1.0.0/26", allocation(freed="2026-01-01T00:00:01.000Z"))], None),
    "another pool's": ([block("11.1.0.0/26", allocation())], None),
    "one": ([block("10.1.0.0/26", allocation(Use.TUNNEL), allocation())], "1 address of workloads in 1 block;"),
    "several": (
        [block("10.1.0.0/26", allocation(), allocation()), block("10.2.0.0/26", allocation()), block("10.3.0.0/26")],
        "3 addresses of workloads in 2 blocks;",
    ),
}


@pytest.mark.parametrize(("blocks", "expected"), DELETE.values(), ids=DELETE.keys())
def test_a_pool_in_use_stays(blocks: list[IPAMBlock], expected: str | None) -> None:
    found = admission.on_delete(RED, blocks, NOW)
    remedy = "disable it (spec.disabled: true), delete its pods, then delete it"
    assert [finding.problem for finding in found] == ([f"still serves {expected} {remedy}"] if expected else [])


def node(heartbeat: str) -> Node:
    return Node(metadata=Metadata(name="n1"), status=NodeStatus(identity=Identity(uuid="u", heartbeat=heartbeat)))


@pytest.mark.parametrize(("age", "alive"), [(-5.0, True), (0.0, True), (59.9, True), (60.0, False), (3600.0, False)])
def test_a_living_node_stays(age: float, alive: bool) -> None:
    found = admission.on_delete(node(instant.stamp(NOW - age)), [], NOW)
    assert bool(found) == alive
    assert all("delete the node 60 s later" in finding.problem for finding in found)


def test_a_node_of_unknown_life_stays_and_one_without_identity_goes() -> None:
    (found,) = admission.on_delete(node("yesterday"), [], NOW)
    assert "is not an instant" in found.problem
    assert admission.on_delete(Node(metadata=Metadata(name="n1")), [], NOW) == []


def test_other_kinds_are_free() -> None:
    peer = one("BGPPeer", "{peerIP: 192.0.2.1}")
    assert admission.on_create(peer, [peer], []) == []
    assert admission.on_update(peer, peer) == []
    assert admission.on_delete(peer, [], NOW) == []
