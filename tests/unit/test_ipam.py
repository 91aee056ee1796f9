"""Addresses inside a block: every boundary, and long histories against a plain model."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bgpnet import integrity, ipam
from bgpnet.errors import AllocationRefused
from bgpnet.ipam import REST, Claimant, Usage
from bgpnet.model import ip
from bgpnet.model.instant import stamp
from bgpnet.model.ipamblock import Allocation, BlockState, IPAMBlock, Owner, Use

NOW = 1_763_690_823.5
OWNER = Owner(name="node1", uid="7c1f")
SIZES = [f"10.0.16.0/{size}" for size in range(20, 33)] + [f"fd00::1000/{size}" for size in range(116, 129)]


def block_of(cidr: str) -> IPAMBlock:
    return ipam.new_block(ip.network(cidr), OWNER, NOW)


def claimant(number: int) -> Claimant:
    return Claimant(f"c{number}", "eth0", f"default/pod-{number}")


def filled(cidr: str, count: int, now: float = NOW) -> IPAMBlock:
    block = block_of(cidr)
    for number in range(count):
        block, _ = taken(block, number, now)
    return block


def taken(block: IPAMBlock, number: int, now: float, *, pressed: bool = False) -> tuple[IPAMBlock, str]:
    given_away = ipam.assign(block, claimant(number), now, pressed=pressed)
    assert given_away is not None
    return given_away[0], str(given_away[1])


def with_spec(block: IPAMBlock, **changes: object) -> IPAMBlock:
    return replace(block, spec=replace(block.spec, **changes))


@pytest.mark.parametrize("cidr", SIZES)
def test_every_size_of_block_from_its_first_address_to_its_last(cidr: str) -> None:
    net = ip.network(cidr)
    block = block_of(cidr)
    assert integrity.check(block) == []
    assert ipam.usage(block, NOW) == Usage(net.num_addresses, 0, 0, net.num_addresses)
    block, first = taken(block, 0, NOW)
    assert first == str(net.network_address)
    while len(block.spec.free) > 1:  # all but the last: straight into their slots, for speed
        free = block.spec.free
        slots = {one: Allocation(container=f"s{one}", since=stamp(NOW), sequence=1) for one in free[:-1]}
        block = with_spec(block, allocations={**block.spec.allocations, **slots}, free=free[-1:])
    if net.num_addresses > 1:
        block, last = taken(block, 1, NOW)
        assert last == str(net.broadcast_address)
    assert ipam.assign(block, claimant(2), NOW) is None
    assert ipam.usage(block, NOW) == Usage(net.num_addresses, net.num_addresses, 0, 0)
    assert ipam.assignable(block, NOW) == 0
    assert integrity.check(block) == []


def test_a_new_block() -> None:
    block = block_of("10.0.0.64/26")
    assert block.metadata.name == "10-0-0-64-26"
    assert block.spec.owner == OWNER
    assert block.spec.claimedAt == "2025-11-21T02:07:03.500Z"
    assert block.spec.state is BlockState.IN_USE
    assert block.spec.sequence == 1_763_690_823_500_000
    assert block.spec.free == tuple(range(64))
    assert ipam.is_empty(block)


def test_an_allocation_says_who_and_when() -> None:
    block, address = taken(block_of("10.0.0.0/26"), 7, NOW)
    found = ipam.find(block, "c7", "eth0")
    assert found is not None
    assert str(found[0]) == address == "10.0.0.0"
    assert found[1] == Allocation(
        container="c7",
        ifname="eth0",
        pod="default/pod-7",
        use=Use.WORKLOAD,
        since="2025-11-21T02:07:03.500Z",
        sequence=block.spec.sequence,
    )
    assert not ipam.is_empty(block)
    assert ipam.find(block, "c7", "eth1") is None
    assert ipam.find(block, "c8", "eth0") is None


def test_asked_again_the_answer_is_the_same() -> None:
    block, address = taken(block_of("10.0.0.0/26"), 7, NOW)
    again = ipam.assign(block, claimant(7), NOW + 5)
    assert again is not None
    assert again[0] is block
    assert str(again[1]) == address


def test_a_second_interface_has_an_address_of_its_own() -> None:
    block, first = taken(block_of("10.0.0.0/26"), 7, NOW)
    second = ipam.assign(block, Claimant("c7", "net1"), NOW)
    assert second is not None
    assert str(second[1]) != first


def test_addresses_come_back_as_late_as_possible() -> None:
    block = filled("10.0.0.0/30", 2)
    block = ipam.release(block, "c0", "eth0", NOW)
    later = NOW + REST
    order = []
    for number in (10, 11, 12):
        block, address = taken(block, number, later)
        order.append(address)
    assert order == ["10.0.0.2", "10.0.0.3", "10.0.0.0"]


def test_several_that_have_rested_come_back_the_oldest_first() -> None:
    block = filled("10.0.0.0/30", 4)
    for number, at in ((2, 1.0), (0, 2.0), (3, 3.0)):
        block = ipam.release(block, f"c{number}", "eth0", NOW + at)
    block, address = taken(block, 9, NOW + 2 + REST)
    assert address == "10.0.0.2"
    assert block.spec.free == (0,)
    assert ipam.usage(block, NOW + 2 + REST) == Usage(4, 2, 1, 1)
    assert integrity.check(block) == []


def test_the_rest_is_over_exactly_then() -> None:
    block = ipam.release(filled("10.0.0.0/32", 1), "c0", "eth0", NOW)
    just_before = NOW + REST - 0.001
    assert ipam.assign(block, claimant(1), just_before) is None
    assert ipam.usage(block, just_before) == Usage(1, 0, 1, 0)
    assert ipam.usage(block, NOW + REST) == Usage(1, 0, 0, 1)
    assert taken(block, 1, NOW + REST)[1] == "10.0.0.0"


def test_the_rest_can_be_another() -> None:
    block = ipam.release(filled("10.0.0.0/32", 1), "c0", "eth0", NOW)
    assert ipam.assign(block, claimant(1), NOW, rest=0) is not None
    assert ipam.assign(block, claimant(1), NOW + REST, rest=60) is None
    assert ipam.assignable(block, NOW, rest=0) == 1


def test_under_pressure_the_longest_resting_address_is_taken() -> None:
    block = filled("10.0.0.0/30", 4)
    for number, at in ((2, 1.0), (0, 2.0), (3, 3.0)):
        block = ipam.release(block, f"c{number}", "eth0", NOW + at)
    assert ipam.assign(block, claimant(9), NOW + 4) is None
    block, address = taken(block, 9, NOW + 4, pressed=True)
    assert address == "10.0.0.2"
    assert taken(block, 10, NOW + 4, pressed=True)[1] == "10.0.0.0"
    assert integrity.check(block) == []


def test_pressure_takes_no_resting_address_while_others_are_free() -> None:
    block = ipam.release(filled("10.0.0.0/31", 1), "c0", "eth0", NOW)
    assert taken(block, 9, NOW, pressed=True)[1] == "10.0.0.1"


def test_pressure_takes_no_live_address() -> None:
    assert ipam.assign(filled("10.0.0.0/31", 2), claimant(9), NOW, pressed=True) is None


def test_an_idle_block_gives_nothing_away_until_it_is_taken_back() -> None:
    idle = with_spec(block_of("10.0.0.0/26"), state=BlockState.IDLE)
    assert ipam.assign(idle, claimant(0), NOW, pressed=True) is None
    assert ipam.assignable(idle, NOW) == 0
    back = ipam.take_back(idle, NOW + 1)
    assert back.spec.state is BlockState.IN_USE
    assert back.spec.sequence > idle.spec.sequence
    assert taken(back, 0, NOW)[1] == "10.0.0.0"


def test_releasing_what_is_not_there_changes_nothing() -> None:
    block = filled("10.0.0.0/26", 1)
    assert ipam.release(block, "other", "eth0", NOW) is block
    released = ipam.release(block, "c0", "eth0", NOW)
    assert ipam.is_empty(released)
    assert ipam.release(released, "c0", "eth0", NOW) is released


def test_a_late_release_does_not_free_a_later_allocation() -> None:
    block = filled("10.0.0.0/32", 1)
    first = block.spec.sequence
    block = ipam.release(block, "c0", "eth0", NOW, sequence=first)
    block, _ = taken(block, 0, NOW + REST)
    with pytest.raises(AllocationRefused, match=rf"10.0.0.0 of container c0 interface eth0 .* not {first}"):
        ipam.release(block, "c0", "eth0", NOW + REST, sequence=first)


def test_sequences_never_come_back_even_after_a_lost_history() -> None:
    new = block_of("10.0.0.0/26")
    used, _ = taken(new, 0, NOW + 1)
    after_the_loss, _ = taken(new, 1, NOW + 2)
    assert after_the_loss.spec.sequence > used.spec.sequence
    burst, _ = taken(used, 1, NOW + 1)
    backwards, _ = taken(burst, 2, NOW - 1000)
    assert backwards.spec.sequence == burst.spec.sequence + 1 == used.spec.sequence + 2


def test_a_discarded_address_goes_to_the_tail_at_once() -> None:
    block = ipam.discard(filled("10.0.0.0/30", 1), ip.address("10.0.0.0"))
    assert block.spec.free == (1, 2, 3, 0)
    assert ipam.is_empty(block)
    assert ipam.discard(block, ip.address("10.0.0.0")) is block
    with pytest.raises(AllocationRefused, match=r"10.0.0.4 is not in block 10.0.0.0/30"):
        ipam.discard(block, ip.address("10.0.0.4"))


def journalled(container: str, sequence: int, freed: str | None = None) -> Allocation:
    return Allocation(container=container, ifname="eth0", since=stamp(NOW), sequence=sequence, freedAt=freed)


def test_a_journal_is_replayed_whatever_the_queue_says() -> None:
    block = with_spec(block_of("10.0.0.0/30"), state=BlockState.IDLE)
    later = block.spec.sequence + 5
    block = ipam.restore(block, ip.address("10.0.0.2"), journalled("a", later))
    assert block.spec.free == (0, 1, 3)
    assert block.spec.sequence == later
    assert block.spec.state is BlockState.IN_USE
    assert ipam.restore(block, ip.address("10.0.0.2"), journalled("a", later)) is block
    block = ipam.restore(block, ip.address("10.0.0.3"), journalled("b", 1))
    assert block.spec.sequence == later
    assert integrity.check(block) == []


def test_a_journal_does_not_take_another_ones_address() -> None:
    block = filled("10.0.0.0/30", 1)
    with pytest.raises(AllocationRefused, match=r"10.0.0.0 is recorded for container c0 .* restored to container b"):
        ipam.restore(block, ip.address("10.0.0.0"), journalled("b", 1))
    with pytest.raises(AllocationRefused, match=r"10.0.0.9 is not in block"):
        ipam.restore(block, ip.address("10.0.0.9"), journalled("b", 1))
    resting = ipam.release(block, "c0", "eth0", NOW)
    restored = ipam.restore(resting, ip.address("10.0.0.0"), journalled("b", 1))
    assert ipam.find(restored, "b", "eth0") is not None


def test_a_restored_claimant_has_one_address_and_its_older_one_rests() -> None:
    block = ipam.restore(filled("10.0.0.0/30", 1), ip.address("10.0.0.3"), journalled("c0", 1))
    found = ipam.find(block, "c0", "eth0")
    assert found is not None
    assert str(found[0]) == "10.0.0.3"
    assert ipam.usage(block, NOW) == Usage(4, 1, 1, 2)
    assert integrity.check(block) == []


def test_a_journal_can_put_an_address_to_rest() -> None:
    idle = with_spec(block_of("10.0.0.0/31"), state=BlockState.IDLE)
    block = ipam.restore(idle, ip.address("10.0.0.0"), journalled("a", 1, freed=stamp(NOW)))
    assert ipam.usage(block, NOW) == Usage(2, 0, 1, 1)
    assert block.spec.state is BlockState.IDLE
    assert integrity.check(block) == []


def test_check_names_everything_that_is_wrong() -> None:
    block = filled("10.0.0.0/30", 2)
    slot = block.spec.allocations[0]
    spoiled = with_spec(
        block, free=(0, 2, 2, 9), allocations={0: slot, 1: slot, 7: replace(slot, container="x", sequence=2**60)}
    )
    assert integrity.check(replace(spoiled, metadata=replace(block.metadata, name="b"))) == [
        "block 10.0.0.0/30: ordinal 7 is outside the block of 4 addresses",
        "block 10.0.0.0/30: ordinal 9 is outside the block of 4 addresses",
        "block 10.0.0.0/30: ordinal 2 is 2 times in the queue",
        "block 10.0.0.0/30: ordinal 0 is both free and allocated",
        "block 10.0.0.0/30: ordinal 3 is neither free nor allocated",
        "block 10.0.0.0/30: container c0 interface eth0 (pod default/pod-0) has 2 addresses",
        f"block 10.0.0.0/30: ordinal 7 has sequence {2**60}, later than the block's {block.spec.sequence}",
        "block 10.0.0.0/30: its name is 'b' instead of '10-0-0-0-30'",
    ]


@dataclass
class Plain:
    """The same, as one would write it on paper: a queue, who lives where, who rests since when (milliseconds).

    Who rests is in the order of release.
    """

    free: list[int]
    live: dict[int, int] = field(default_factory=dict)
    resting: list[tuple[int, int]] = field(default_factory=list)

    def assign(self, who: int, at: int, pressed: bool) -> int | None:
        if who in self.live:
            return self.live[who]
        rested = sorted((one for one in self.resting if one[0] + REST * 1000 <= at), key=lambda one: one[0])
        queue = self.free + [ordinal for _, ordinal in rested]
        if not queue and pressed and self.resting:
            queue = [min(self.resting, key=lambda one: one[0])[1]]
        if not queue:
            return None
        self.live[who] = queue[0]
        self.free = queue[1:]
        self.resting = [one for one in self.resting if one not in rested and one[1] != queue[0]]
        return queue[0]

    def release(self, who: int, at: int) -> None:
        if who in self.live:
            self.resting.append((at, self.live.pop(who)))

    def discard(self, who: int) -> None:
        if who in self.live:
            self.free.append(self.live.pop(who))


WAITS = (1, 9_999, 15_000, 29_999, 30_000, 60_000)
"""Milliseconds, around the rest of 30 s."""

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["assign", "assign", "assign", "pressed", "release", "release", "release", "discard", "wait"]),
        st.integers(min_value=0, max_value=5),
    ),
    min_size=10,
    max_size=60,
)


@settings(deadline=None, max_examples=150)
@given(cidr=st.sampled_from(["10.0.0.0/29", "10.0.0.8/31", "10.0.0.255/32", "fd00::8/125"]), steps=STEPS)
def test_long_histories_double_nothing_lose_nothing_and_keep_the_order(cidr: str, steps: list[tuple[str, int]]) -> None:
    net, block, at = ip.network(cidr), block_of(cidr), 1_763_690_823_500
    plain = Plain(list(range(net.num_addresses)))
    for what, number in steps:
        now, before = at / 1000, block
        match what:
            case "assign" | "pressed":
                expected = plain.assign(number, at, what == "pressed")
                got = ipam.assign(block, claimant(number), now, pressed=what == "pressed")
                assert (got and got[1]) == (None if expected is None else net[expected])
                block = got[0] if got else block
            case "release":
                plain.release(number, at)
                block = ipam.release(block, f"c{number}", "eth0", now)
            case "discard":
                found = ipam.find(block, f"c{number}", "eth0")
                plain.discard(number)
                block = ipam.discard(block, found[0]) if found else block
            case "wait":
                at += WAITS[number]
        assert integrity.check(block) == []
        assert block is before or block.spec.sequence > before.spec.sequence
        counted = ipam.usage(block, at / 1000)
        assert counted.in_use == len(plain.live)
        assert counted.resting == sum(1 for freed, _ in plain.resting if freed + REST * 1000 > at)
        assert counted.total == counted.in_use + counted.resting + counted.free == net.num_addresses
        assert ipam.is_empty(block) == (not plain.live)


@settings(deadline=None, max_examples=60)
@given(steps=STEPS)
def test_a_journal_of_the_living_brings_every_block_back(steps: list[tuple[str, int]]) -> None:
    """Replayed over the block as it was when new: the same allocations live, and nothing is given away twice."""
    new = block = block_of("10.0.0.0/29")
    for what, number in steps:
        if what in ("assign", "pressed"):
            got = ipam.assign(block, claimant(number), NOW, pressed=what == "pressed")
            block = got[0] if got else block
        elif what == "release":
            block = ipam.release(block, f"c{number}", "eth0", NOW)
    living = {one: slot for one, slot in block.spec.allocations.items() if slot.freedAt is None}
    replayed = new
    for ordinal, slot in living.items():
        replayed = ipam.restore(replayed, new.network[ordinal], slot)
    assert replayed.spec.allocations == living
    assert integrity.check(replayed) == []
    while got := ipam.assign(replayed, Claimant(f"n{len(replayed.spec.free)}", "eth0"), NOW):
        replayed = got[0]
    assert ipam.usage(replayed, NOW).in_use == 8


def reserved(sequence: int = 7) -> tuple[IPAMBlock, ip.Address]:
    """A block of one free address, and one that is reserved for a container."""
    block = block_of("10.0.0.0/31")
    slot = Allocation(container="c1", ifname="eth0", use=Use.RESERVED, since="2025-01-01T00:00:00Z", sequence=sequence)
    return with_spec(block, allocations={0: slot}, free=(1,)), block.network[0]


def test_a_reserved_slot_is_nobodys_to_find_and_is_never_assigned() -> None:
    block, address = reserved()
    assert ipam.find(block, "c1", "eth0") is None
    assert ipam.release(block, "c1", "eth0", NOW) is block
    block, own = taken(block, 1, NOW)
    assert own == "10.0.0.1"
    assert ipam.assign(block, claimant(2), NOW + 1e9, pressed=True) is None
    assert integrity.check(block) == []
    assert not ipam.is_empty(reserved()[0])
    assert ipam.usage(block, NOW).in_use == 2
    assert str(address) == "10.0.0.0"


def test_a_reservation_ends_by_its_sequence_alone() -> None:
    block, address = reserved()
    for sequence, other in ((8, address), (7, block.network[1])):
        with pytest.raises(AllocationRefused, match=f"is not reservation {sequence} but "):
            ipam.end_reservation(block, other, sequence, NOW)
    ended = ipam.end_reservation(block, address, 7, NOW)
    assert ipam.usage(ended, NOW) == Usage(2, 0, 1, 1)
    assert ended.spec.sequence > block.spec.sequence
    assert ipam.end_reservation(ended, address, 7, NOW + 1) is ended
    assert taken(taken(ended, 1, NOW + 31)[0], 2, NOW + 31)[1] == "10.0.0.0"
