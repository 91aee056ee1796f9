"""Blocks of two sizes with addresses in common: one node keeps its own, both agree on which."""

from __future__ import annotations

from dataclasses import replace

import pytest
from asks import asked, given, refusal, working
from msgspec import structs
from worlds import ME, NOW, block, effects, fresh, node, pool, run, synced

from bgpnet import ipam
from bgpnet.agent import events, peers
from bgpnet.agent.effects import ClaimBlock, DropBlock, Effect, ForgetBlock, TakeBack
from bgpnet.agent.plan import announcements
from bgpnet.agent.world import World
from bgpnet.cnispec import Attachment
from bgpnet.model import ip, kinds
from bgpnet.model.instant import stamp
from bgpnet.model.ipamblock import IPAMBlock

BIG = ip.network("10.244.0.0/26")
SMALL = pool(blockSize=28)


def claimed(cidr: str, owner: str, at: float, revision: str = "5") -> IPAMBlock:
    one = block(cidr, owner, f"uuid-{owner[-1]}")
    spec = structs.replace(one.spec, claimedAt=stamp(at))
    return structs.replace(one, metadata=structs.replace(one.metadata, resourceVersion=revision), spec=spec)


def lived_in() -> World:
    """A node with a pod at .20 of its /26, when the pool has blocks of /28 by now."""
    world = run(working(blocks=(claimed(str(BIG), "node1", NOW),)), asked("c1", address="10.244.0.20"))
    return run(world, events.PodWired(1, Attachment("c1", "eth0"), "1.0.0"), events.Changed(kinds.IPPOOL, SMALL))


def told(world: World, other: IPAMBlock) -> tuple[World, list[Effect]]:
    return effects(world, events.Changed(kinds.IPAMBLOCK, other, read=True))


@pytest.mark.parametrize("theirs", ["10.244.0.0/28", "10.244.0.0/24"])
def test_the_one_that_was_claimed_later_gives_way(theirs: str) -> None:
    world, done = told(lived_in(), claimed(theirs, "node2", NOW - 5))
    assert (dict(world.blocks), [one for one in done if isinstance(one, ForgetBlock)]) == ({}, [ForgetBlock(str(BIG))])
    assert [str(one.address) for one in world.pods.values()] == ["10.244.0.20"]  # goes on, as after any fence
    assert (announcements(world, peers.of(world)) or {}).get(ip.address("192.0.2.2"), frozenset()) == frozenset()
    world, done = told(lived_in(), claimed(theirs, "node2", NOW + 5))
    assert (list(world.blocks), [one for one in done if isinstance(one, ForgetBlock)]) == ([BIG], [])


def test_both_come_to_the_same_end() -> None:
    for first, second in ((NOW, NOW + 5), (NOW + 5, NOW), (NOW, NOW)):
        ours, theirs = claimed(str(BIG), "node1", first), claimed("10.244.0.0/28", "node2", second)
        here = synced(SMALL, blocks=(ours, theirs))
        other = replace(fresh(), me=replace(ME, node="node2", uuid="uuid-2"))
        there = synced(SMALL, blocks=(ours, theirs), nodes=(node("node2", "192.0.2.2/24"),), start=other)
        assert {*map(str, here.blocks)} ^ {*map(str, there.blocks)} in ({str(BIG)}, {"10.244.0.0/28"})
        assert not here.blocks or not there.blocks


def test_what_is_not_recorded_any_more_gives_way_however_old() -> None:
    world = run(lived_in(), events.Gone(kinds.IPAMBLOCK, "10-244-0-0-26"))
    assert list(told(world, claimed("10.244.0.0/28", "node2", NOW + 99))[0].blocks) == []


def test_the_record_of_what_gave_way_is_deleted_and_its_pods_get_a_block_of_the_new_size() -> None:
    other = claimed("10.244.0.0/28", "node2", NOW - 5)
    world = told(lived_in(), other)[0]
    recorded = world.of_kind(kinds.IPAMBLOCK)["10-244-0-0-26"]
    assert isinstance(recorded, IPAMBlock)
    world, done = effects(world, events.Tick(world.now + 1, world.clock + 1))
    assert [one for one in done if isinstance(one, TakeBack | DropBlock)] == [DropBlock(recorded)]
    world = run(world, events.Dropped(BIG))
    world, done = effects(world, events.Tick(world.now + 1, world.clock + 1))
    [claim] = [one for one in done if isinstance(one, ClaimBlock)]
    assert str(claim.wanted) == "10.244.0.16/28"
    new = claimed("10.244.0.16/28", "node1", NOW)
    world = run(world, events.Claimed(new))
    found = ipam.find(world.blocks[new.network], "c1", "eth0")
    assert found
    assert str(found[0]) == "10.244.0.20"
    assert given(effects(world, asked("c2", number=2, pod="shop/other"))[1]).startswith("10.244.0.")


def test_a_claim_that_overlaps_what_was_heard_meanwhile_is_not_held() -> None:
    other = claimed("10.244.0.0/28", "node2", NOW - 5)
    world = run(synced(), events.Changed(kinds.IPAMBLOCK, other))
    mine = claimed(str(BIG), "node1", NOW - 99)  # by a clock that is late: it gives way all the same
    world, done = effects(world, asked(number=7), events.Claimed(mine))
    assert dict(world.blocks) == {}
    assert [one for one in done if not isinstance(one, ClaimBlock)] == [ForgetBlock(str(BIG)), DropBlock(mine)]
    world, done = effects(world, events.Dropped(BIG))
    [again] = [one for one in done if isinstance(one, ClaimBlock)]  # and only then is anybody tried again
    assert other in again.known


def test_an_address_of_the_other_block_is_refused_with_its_owner() -> None:
    world = told(lived_in(), claimed("10.244.0.0/28", "node2", NOW - 5))[0]
    _, said = refusal(effects(world, asked("c9", address="10.244.0.3", number=9, pod="shop/z"))[1])
    assert "node2" in said
