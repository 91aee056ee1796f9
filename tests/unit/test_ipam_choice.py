"""Inside a block: reserved ordinals, addresses asked for by name, and how a block changes hands."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bgpnet import integrity, ipam, stored
from bgpnet.errors import AddressRests, AllocationRefused
from bgpnet.ipam import REST, Claimant, Usage
from bgpnet.model import ip, kinds
from bgpnet.model.instant import stamp
from bgpnet.model.ip import Address
from bgpnet.model.ipamblock import Allocation, BlockState, IPAMBlock, Owner, Use

NOW = 1_763_690_823.5
MINE, THEIRS = Owner(name="node1", uid="7c1f"), Owner(name="node2", uid="99aa")
CIDR = "10.0.0.0/29"


def new(cidr: str = CIDR) -> IPAMBlock:
    return ipam.new_block(ip.network(cidr), MINE, NOW)


def who(number: int) -> Claimant:
    return Claimant(f"c{number}", "eth0", f"default/pod-{number}")


def at(number: int) -> Address:
    return ip.network(CIDR)[number]


def given_to(block: IPAMBlock, number: int, reserved: frozenset[int] = frozenset(), now: float = NOW) -> IPAMBlock:
    assigned = ipam.assign(block, who(number), now, reserved=reserved)
    assert assigned is not None
    return assigned[0]


def with_state(block: IPAMBlock, state: BlockState, owner: Owner | None = MINE) -> IPAMBlock:
    return replace(block, spec=replace(block.spec, state=state, owner=owner))


def test_reserved_addresses_are_passed_over_and_keep_their_place_in_the_queue() -> None:
    kept = frozenset({0, 2})
    block = given_to(given_to(new(), 1, kept), 2, kept)
    assert sorted(block.spec.allocations) == [1, 3]
    assert block.spec.free == (0, 2, 4, 5, 6, 7)
    assert ipam.usage(block, NOW, reserved=kept) == Usage(8, 2, 0, 4, 2)
    assert ipam.assignable(block, NOW, reserved=kept) == 4
    assert given_to(block, 3).spec.allocations.keys() == {0, 1, 3}  # the reservation is gone
    assert integrity.check(block) == []


def test_what_is_reserved_later_stays_with_who_has_it_and_is_counted_once() -> None:
    block = ipam.release(given_to(given_to(new(), 1), 2), "c2", "eth0", NOW)
    assert ipam.usage(block, NOW, reserved=frozenset({0, 1, 7})) == Usage(8, 1, 1, 5, 1)
    assert ipam.usage(block, NOW + REST, reserved=frozenset({0, 1, 7})) == Usage(8, 1, 0, 5, 2)


def test_no_pressure_gives_a_reserved_address_away() -> None:
    block = ipam.release(given_to(new("10.0.0.0/31"), 1), "c1", "eth0", NOW)
    assert ipam.assign(block, who(2), NOW, pressed=True, reserved=frozenset({0, 1})) is None
    assert ipam.assign(block, who(2), NOW + REST, pressed=True, reserved=frozenset({0, 1})) is None
    pressed = ipam.assign(block, who(2), NOW, pressed=True, reserved=frozenset({1}))
    assert pressed is not None
    assert str(pressed[1]) == "10.0.0.0"


def test_an_address_by_name_is_given_once_and_again_to_who_has_it() -> None:
    block = ipam.take(new(), at(5), who(1), NOW)
    found = ipam.find(block, "c1", "eth0")
    assert found is not None
    assert found[0] == at(5)
    assert block.spec.free == (0, 1, 2, 3, 4, 6, 7)
    assert ipam.take(block, at(5), who(1), NOW + 9) is block
    assert integrity.check(block) == []


def slot(use: Use, freed: str | None = None) -> Allocation:
    return Allocation(container="c9", ifname="eth0", pod="a/b", use=use, since=stamp(NOW), sequence=1, freedAt=freed)


REFUSED = [
    (
        slot(Use.WORKLOAD),
        "10.0.0.3 is taken by container c9 interface eth0 (pod a/b) since 2025-11-21T02:07:03.500Z: ask",
    ),
    (slot(Use.TUNNEL), "10.0.0.3 is taken by the tunnel eth0 since"),
    (
        slot(Use.RESERVED),
        "10.0.0.3 is reserved for container c9 interface eth0 (pod a/b) since .*bgpnetctl ipam release",
    ),
]


@pytest.mark.parametrize(("there", "words"), REFUSED)
def test_an_address_that_somebody_has_is_refused(there: Allocation, words: str) -> None:
    block = ipam.restore(new(), at(3), there)
    with pytest.raises(AllocationRefused, match=words.replace("(", r"\(").replace(")", r"\)")):
        ipam.take(block, at(3), who(1), NOW)


def test_an_address_that_rests_is_refused_until_exactly_then() -> None:
    block = ipam.release(ipam.take(new(), at(3), who(9), NOW), "c9", "eth0", NOW)
    with pytest.raises(
        AddressRests, match=r"10.0.0.3 of container c9 .* rests until 2025-11-21T02:07:33.500Z: ask again"
    ):
        ipam.take(block, at(3), who(1), NOW + REST - 0.001)
    taken = ipam.take(block, at(3), who(1), NOW + REST)
    assert ipam.find(taken, "c1", "eth0") is not None
    assert ipam.find(ipam.take(block, at(3), who(1), NOW, rest=0), "c1", "eth0") is not None
    assert integrity.check(taken) == []


def test_who_has_another_address_and_what_is_elsewhere_or_idle() -> None:
    block = ipam.take(new(), at(3), who(1), NOW)
    with pytest.raises(AllocationRefused, match=r"container c1 .* has 10.0.0.3 and asks for 10.0.0.4: delete it"):
        ipam.take(block, at(4), who(1), NOW)
    with pytest.raises(AllocationRefused, match=r"10.0.0.9 is not in block 10.0.0.0/29"):
        ipam.take(block, ip.address("10.0.0.9"), who(2), NOW)
    with pytest.raises(AllocationRefused, match=r"10.0.0.4 is in the idle block 10.0.0.0/29"):
        ipam.take(with_state(new(), BlockState.IDLE), at(4), who(2), NOW)


def test_an_idle_block_changes_hands_with_a_later_sequence_and_what_rests_goes_on_resting() -> None:
    block = ipam.release(given_to(new(), 1), "c1", "eth0", NOW + 1)
    idle = with_state(block, BlockState.IDLE)
    over = ipam.take_over(idle, THEIRS, NOW + 5)
    assert (over.spec.owner, over.spec.state, over.spec.claimedAt) == (THEIRS, BlockState.IN_USE, stamp(NOW + 5))
    assert over.spec.sequence > idle.spec.sequence
    assert over.spec.free == idle.spec.free
    assert ipam.usage(over, NOW + 5) == Usage(8, 0, 1, 7)
    assert ipam.take_over(idle, THEIRS, 0.0).spec.sequence == idle.spec.sequence + 1  # by a clock that lags
    assert integrity.check(over) == []


HANDS = [
    (new(), False),
    (with_state(new(), BlockState.IDLE), True),
    (with_state(new(), BlockState.IN_USE, None), True),
    (with_state(given_to(new(), 1), BlockState.IDLE), False),
    (with_state(given_to(new(), 1), BlockState.IDLE, None), False),
    (with_state(ipam.restore(new(), at(3), slot(Use.RESERVED)), BlockState.IDLE), False),
]


@pytest.mark.parametrize(("block", "may"), HANDS, ids=range(len(HANDS)))
def test_only_an_empty_block_that_is_idle_or_nobodys_changes_hands(block: IPAMBlock, may: bool) -> None:
    assert ipam.may_change_hands(block) is may
    if not may:
        with pytest.raises(
            AllocationRefused, match=r"block 10.0.0.0/29 of node .* cannot be taken over: only an empty"
        ):
            ipam.take_over(block, THEIRS, NOW)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["assign", "assign", "pressed", "take", "take", "release", "reserve"]), st.integers(0, 7)
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=200)
@given(steps=STEPS)
def test_nobody_is_given_what_is_reserved_unasked_or_live_or_resting(steps: list[tuple[str, int]]) -> None:
    block, kept, now = new(), frozenset[int](), NOW
    for what, number in steps:
        now += 7
        live = {one for one, slot in block.spec.allocations.items() if slot.freedAt is None}
        resting = ipam.usage(block, now).resting
        had = ipam.find(block, f"c{number}", "eth0")
        match what:
            case "assign" | "pressed":
                got = ipam.assign(block, who(number), now, pressed=what == "pressed", reserved=kept)
                if got is not None and had is None:
                    ordinal = int(got[1]) - int(at(0))
                    assert ordinal not in kept
                    assert ordinal not in live
                    assert what == "pressed" or ipam.usage(got[0], now).resting == resting
                block = got[0] if got else block
            case "take":
                try:
                    block = ipam.take(block, at(7 - number), who(number), now)
                    assert (7 - number) not in live or had is not None
                    assert ipam.usage(block, now).resting == resting
                except AllocationRefused:
                    pass
            case "release":
                block = ipam.release(block, f"c{number}", "eth0", now)
            case _:
                kept = kept ^ {number}
        assert integrity.check(block) == []
        counted = ipam.usage(block, now, reserved=kept)
        assert counted.total == counted.in_use + counted.resting + counted.free + counted.reserved


@settings(deadline=None, max_examples=100)
@given(order=st.permutations(range(8)), kept=st.frozensets(st.integers(0, 7), max_size=7))
def test_released_addresses_come_back_in_the_order_of_their_release(order: list[int], kept: frozenset[int]) -> None:
    block = new()
    for number in range(8):
        block = ipam.take(block, at(number), who(number), NOW)
    for index, number in enumerate(order):
        block = ipam.release(block, f"c{number}", "eth0", NOW + 1 + index)
    back: list[int] = []
    while got := ipam.assign(block, who(100 + len(back)), NOW + 10 + REST, reserved=kept):
        block = got[0]
        back.append(int(got[1]) - int(at(0)))
    assert back == [number for number in order if number not in kept]


def at_rest(order: list[int]) -> IPAMBlock:
    """All eight were given away, and these released within one millisecond, in that order."""
    block = new()
    for number in range(8):
        block = given_to(block, number)
    for at, number in enumerate(order):
        block = ipam.release(block, f"c{number}", "eth0", NOW + at * 0.0001)
    assert len({one.freedAt for one in block.spec.allocations.values() if one.freedAt}) == bool(order)
    return block


def taken(block: IPAMBlock, count: int, now: float, *, pressed: bool = False) -> list[int]:
    found = []
    for number in range(count):
        assigned = ipam.assign(block, who(100 + number), now, pressed=pressed)
        assert assigned is not None
        block, address = assigned
        found.append(int(address) - int(block.network.network_address))
    assert integrity.check(block) == []
    return found


ORDER = [6, 2, 5, 0]


def test_addresses_freed_in_one_millisecond_come_back_in_the_order_of_freeing() -> None:
    block = at_rest(ORDER)
    assert taken(block, 4, NOW + REST + 1) == ORDER
    assert taken(block, 4, NOW + 1, pressed=True) == ORDER
    assert ipam.assign(block, who(100), NOW + 1) is None


def test_the_order_of_freeing_outlives_the_datastore_and_the_journal() -> None:
    block = at_rest(ORDER)
    stored_block = stored.decode_stored(kinds.IPAMBLOCK, stored.encode(block), "1")
    assert isinstance(stored_block, IPAMBlock)
    assert taken(stored_block, 4, NOW + REST + 1) == ORDER
    replayed = at_rest([])
    for number in ORDER:
        replayed = ipam.restore(replayed, at(number), block.spec.allocations[number])
    assert taken(replayed, 4, NOW + REST + 1) == ORDER


def test_an_empty_block_queues_its_addresses_in_the_order_of_freeing() -> None:
    order = [*ORDER, 7, 1, 4, 3]
    assert ipam.idle(at_rest(order), NOW + REST + 1).spec.free == tuple(order)


def test_who_asks_for_the_tunnels_address_is_told_what_the_node_needs_it_for() -> None:
    block = ipam.restore(new(), at(3), slot(Use.TUNNEL))
    with pytest.raises(AllocationRefused) as refused:
        ipam.take(block, at(3), who(1), NOW)
    assert str(refused.value) == (
        "10.0.0.3 is taken by the tunnel eth0 since 2025-11-21T02:07:03.500Z: ask for another address: the node needs "
        "this one to reach pods of other nodes, and takes another only when the pool of block 10.0.0.0/29 is disabled "
        "or its allowedUses have no Tunnel"
    )
