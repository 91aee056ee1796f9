"""Changes against what exists: overlaps, immutable fields, and what may not be deleted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rule_table import one

from bgpnet import admission, names
from bgpnet.model import instant, ip
from bgpnet.model.ipamblock import Allocation, IPAMBlock, IPAMBlockSpec, Owner, Use
from bgpnet.model.ippool import IPPool, IPPoolSpec
from bgpnet.model.kinds import Resource
from bgpnet.model.node import Identity, Node, NodeStatus
from bgpnet.model.releaserequest import ReleaseRequest, ReleaseRequestSpec
from bgpnet.model.resource import Metadata

NOW = 1_800_000_000.0


def pool(name: str, spec: str) -> Resource:
    return one("IPPool", spec, name)


def block(cidr: str, *allocations: Allocation) -> IPAMBlock:
    spec = IPAMBlockSpec(cidr=cidr, allocations=dict(enumerate(allocations)))
    return IPAMBlock(metadata=Metadata(name=names.block(ip.network(cidr))), spec=spec)


def owned(cidr: str, node: str, *allocations: Allocation) -> IPAMBlock:
    made = block(cidr, *allocations)
    return replace(made, spec=replace(made.spec, owner=Owner(name=node, uid="u")))


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


DISABLE = "bgpnetctl get ippool blue -o yaml | sed 's/disabled: false/disabled: true/' | bgpnetctl apply -f -"
UPDATE = {
    "nothing": ("{cidr: 10.0.0.0/16}", "{cidr: 10.0.0.0/16}", []),
    "other fields": ("{cidr: 10.0.0.0/16}", "{cidr: 10.0.0.0/16, ipipMode: Always, disabled: true}", []),
    "another spelling": ("{cidr: 'fd00::/64'}", "{cidr: 'FD00:0::/64'}", []),
    "the default written out": ("{cidr: 10.0.0.0/16}", "{cidr: 10.0.0.0/16, blockSize: 26}", []),
    "cidr": (
        "{cidr: 10.0.0.0/16}",
        "{cidr: 10.0.0.0/17}",
        [
            "spec.cidr: cannot be changed from 10.0.0.0/16 to 10.0.0.0/17 while nodes may claim blocks of it;"
            f" disable it first ({DISABLE}), or create a second pool and disable this one"
        ],
    ),
    "blockSize": (
        "{cidr: 10.0.0.0/16}",
        "{cidr: 10.0.0.0/16, blockSize: 28}",
        [
            "spec.blockSize: cannot be changed from 26 to 28 while nodes may claim blocks of it;"
            f" disable it first ({DISABLE}), or create a second pool with that size and disable this one,"
            " or delete the pool and create it anew"
        ],
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


OFF = "cidr: 10.0.0.0/16, disabled: true"
RESHAPE = {
    "no blocks": (f"{{{OFF}, blockSize: 28}}", [], None),
    "blocks elsewhere": (f"{{{OFF}, blockSize: 28}}", [block("10.1.0.0/26")], None),
    "blocks of the new size": (f"{{{OFF}, blockSize: 28}}", [block("10.0.0.0/28")], None),
    "enabled by the same change": ("{cidr: 10.0.0.0/16, blockSize: 28}", [], None),
    "blocks of the old size": (
        f"{{{OFF}, blockSize: 28}}",
        [owned("10.0.0.0/26", "n1"), owned("10.0.0.64/26", "n2"), owned("10.0.0.128/26", "n1")],
        "spec.blockSize = 28: cannot be changed from 26 to 28 while nodes own 3 blocks of it (n1 2, n2 1);",
    ),
    "another cidr": ("{cidr: 10.9.0.0/16, disabled: true}", [], None),
    "another cidr with blocks in the old one": (
        "{cidr: 10.9.0.0/16, disabled: true}",
        [owned("10.0.0.0/26", "n1")],
        "spec.cidr = '10.9.0.0/16': cannot be changed from 10.0.0.0/16 to 10.9.0.0/16 while nodes own 1 block",
    ),
    "another cidr over another pool": (
        "{cidr: 11.0.0.0/16, disabled: true}",
        [],
        "spec.cidr = '11.0.0.0/16': IPPool(blue) CIDR 11.0.0.0/16 overlaps with IPPool(green) CIDR 11.0.0.0/24;",
    ),
    "another cidr with other blocks": (
        "{cidr: 10.9.0.0/16, disabled: true}",
        [owned("10.9.0.0/28", "n1")],
        "spec.blockSize = 26: does not fit the blocks that exist inside 10.9.0.0/16 (/28);",
    ),
}


@pytest.mark.parametrize(("new", "blocks", "expected"), RESHAPE.values(), ids=RESHAPE.keys())
def test_a_disabled_pool_changes_its_shape_while_no_block_is_in_the_way(
    new: str, blocks: list[IPAMBlock], expected: str | None
) -> None:
    others = [pool("green", "{cidr: 11.0.0.0/24}")]
    found = admission.on_update(pool("blue", new), pool("blue", f"{{{OFF}}}"), others, blocks)
    assert [str(finding).startswith(expected or "-") for finding in found] == ([True] if expected else []), found


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
    "one": (
        [block("10.1.0.0/26", allocation(Use.TUNNEL), allocation())],
        "1 address of workloads in 1 block;",
    ),
    "several": (
        [
            owned("10.1.0.0/26", "n2", allocation()),
            owned("10.2.0.0/26", "n1", allocation(), allocation()),
            owned("10.3.0.0/26", "n1", allocation()),
            owned("10.4.0.0/26", "n3"),
        ],
        "4 addresses of workloads in 3 blocks (n1 3, n2 1);",
    ),
    "of more nodes than one wants to read": (
        [owned(f"10.{at}.0.0/26", f"n{at}", allocation()) for at in range(1, 8)],
        "7 addresses of workloads in 7 blocks (n1 1, n2 1, n3 1, n4 1, n5 1, and 2 more nodes);",
    ),
}


@pytest.mark.parametrize(("blocks", "expected"), DELETE.values(), ids=DELETE.keys())
def test_a_pool_in_use_stays(blocks: list[IPAMBlock], expected: str | None) -> None:
    found = admission.on_delete(RED, blocks, NOW)
    disable = DISABLE.replace("blue", "red")
    remedy = f"disable it ({disable}), delete their pods or wait until they are gone, then bgpnetctl delete ippool red"
    assert [finding.problem for finding in found] == ([f"still serves {expected} {remedy}"] if expected else [])


def test_an_enabled_pool_is_disabled_before_it_goes_because_its_owners_may_give_addresses_away() -> None:
    blocks = [owned("10.1.0.0/26", "n1"), owned("10.2.0.0/26", "n2", allocation(Use.TUNNEL))]
    (found,) = admission.on_delete(RED, blocks, NOW)
    assert found.path == "spec.disabled"
    disable = DISABLE.replace("blue", "red")
    assert found.problem == (
        "is enabled, and nodes may give away addresses of 2 blocks (n1 1, n2 1): "
        f"disable it ({disable}), then bgpnetctl delete ippool red"
    )
    assert admission.on_delete(pool("red", "{cidr: 10.0.0.0/8, disabled: true}"), blocks, NOW) == []


def test_a_disabled_pool_in_use_needs_no_disabling() -> None:
    blocks = [owned("10.1.0.0/26", "n1", allocation())]
    (found,) = admission.on_delete(pool("red", "{cidr: 10.0.0.0/8, disabled: true}"), blocks, NOW)
    assert found.problem == (
        "still serves 1 address of workloads in 1 block (n1 1); it is disabled already: delete their pods or wait "
        "until they are gone, then bgpnetctl delete ippool red"
    )


ABANDONED = {
    "empty": (block("10.1.0.0/26"), True),
    "resting": (block("10.1.0.0/26", allocation(freed="2026-01-01T00:00:01.000Z")), True),
    "in use": (block("10.1.0.0/26", allocation()), False),
    "owned": (owned("10.1.0.0/26", "n1"), False),
    "no block": (RED, False),
    "a request": (ReleaseRequest(spec=ReleaseRequestSpec(node="n1", address="10.0.0.1", sequence=1)), True),
}


@pytest.mark.parametrize(("resource", "expected"), ABANDONED.values(), ids=ABANDONED.keys())
def test_an_empty_block_without_owner_may_go(resource: Resource, expected: bool) -> None:
    assert admission.abandoned(resource) == expected


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


def test_a_pool_inside_somebodys_block_is_refused() -> None:
    """Its pool was deleted while the block is still owned, empty as recorded: two nodes would have one address."""
    around = owned("10.0.0.0/26", "n1")
    [finding] = admission.on_create(pool("small", "{cidr: 10.0.0.0/27, blockSize: 28}"), [], [around])
    assert finding.path == "spec.blockSize"
    assert finding.problem == (
        "does not fit the blocks that exist around 10.0.0.0/27 (/26); choose another cidr, or release those blocks"
    )
