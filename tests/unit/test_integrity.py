"""A block that somebody wrote by hand: what is wrong in it is put right before anybody gets an address of it."""

from __future__ import annotations

import pytest
from asks import asked, given, working
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from ipam_worlds import block, slot
from msgspec import structs
from worlds import BLOCK, CLOCK, NOW, effects, run, synced
from worlds import block as fresh_block

from bgpnet import integrity, ipam
from bgpnet.agent import events
from bgpnet.cnispec import Attachment
from bgpnet.model.instant import stamp

ORDINALS = st.lists(st.integers(-3, 12), max_size=14)


@settings(max_examples=300, deadline=None)
@drawn(
    free=ORDINALS, slots=st.dictionaries(st.integers(-2, 10), st.integers(0, 9), max_size=6), sequence=st.integers(0, 9)
)
def test_a_mended_block_has_nothing_wrong_and_keeps_who_is_in_it(
    free: list[int], slots: dict[int, int], sequence: int
) -> None:
    held = {one: slot(f"c{one}", seq) for one, seq in slots.items()}
    broken = block("10.0.0.0/29", "n1", held)
    broken = structs.replace(broken, spec=structs.replace(broken.spec, free=tuple(free), sequence=sequence))
    mended = integrity.mended(broken, NOW)
    assert integrity.check(mended) == []
    assert mended.spec.allocations == {one: held[one] for one in held if 0 <= one < 8}
    kept = [one for one in dict.fromkeys(free) if one in mended.spec.free]
    assert mended.spec.free[: len(kept)] == tuple(kept)  # the queue's order stays
    assert integrity.mended(mended, NOW) is mended


def test_an_own_block_that_is_malformed_gives_each_address_once() -> None:
    one = fresh_block()
    odd = structs.replace(one, spec=structs.replace(one.spec, free=(1, 1, 2, 900)))
    for world in (synced(blocks=(odd,)), run(working(), events.Claimed(odd))):
        got = []
        for number in range(5):
            world, done = effects(world, asked(f"c{number}", number=number, pod=f"a/p{number}"))
            got.append(given(done))
            world = run(world, events.PodWired(number, Attachment(f"c{number}", "eth0"), "1.0.0"))
        assert len(set(got)) == 5
    assert BLOCK in {block.spec.cidr for block in world.blocks.values()}


@pytest.mark.parametrize("freed", ["garbage", "", "0001-01-01T00:00:00"])
def test_an_address_released_at_no_instant_rests_from_its_adoption_on(freed: str) -> None:
    one = fresh_block()
    held = {0: structs.replace(slot("c0", 1), freedAt=freed)}
    spec = structs.replace(one.spec, allocations=held, free=tuple(range(1, 64)))
    odd = structs.replace(one, spec=spec)
    assert ipam.usage(odd, NOW).resting == 0  # to others it has rested
    world = run(synced(blocks=(odd,)), events.Tick(NOW + 1, CLOCK + 1))
    assert world.blocks[one.network].spec.allocations[0].freedAt == stamp(NOW)
