"""A block that is recorded as ours, though we do not hold it: an operator's hand-over, or an import's word."""

from __future__ import annotations

from dataclasses import replace

from lost_pods import NET, having, slot
from worlds import NOW, block, effects, run, synced

from bgpnet import ipam
from bgpnet.agent import events
from bgpnet.agent.events import ClaimBlock, JournalBlocks
from bgpnet.agent.world import Phase, World
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import IPAMBlock, Owner, Use

STRANGER = ipam.Claimant("theirs", "eth0", "test/theirs")


def given(*who: ipam.Claimant, owner: str = "node1") -> IPAMBlock:
    """As another node left it, and somebody wrote our name into it."""
    one = block(str(NET), owner, "uuid-of-somebody")
    for each in who:
        assigned = ipam.assign(one, each, NOW)
        assert assigned
        one = assigned[0]
    return one


def tick(world: World) -> tuple[World, list[ClaimBlock]]:
    world, done = effects(world, events.Tick(world.now + 1, world.clock + 1))
    return world, [one for one in done if isinstance(one, ClaimBlock)]


def live(one: IPAMBlock) -> list[str]:
    return [slot.container for slot in one.spec.allocations.values() if slot.freedAt is None]


def test_it_is_written_as_ours_with_nobody_in_it_who_is_not_here() -> None:
    tunnel = ipam.Claimant("", "tunl0", "", Use.TUNNEL)
    world, [claim] = tick(run(synced(), events.Changed(kinds.IPAMBLOCK, given(STRANGER, tunnel))))
    assert claim.found is not None
    assert (claim.wanted, claim.found.spec.owner) == (NET, Owner(name="node1", uid="uuid-1"))
    assert live(claim.found) == [""]  # we have no other tunnel address
    assert NET not in world.blocks
    assert tick(world)[1] == []  # one claim at a time
    world = run(world, events.Claimed(claim.found))
    assert NET in world.blocks
    assert tick(world)[1] == []


def test_pods_that_a_fence_had_left_in_it_have_their_addresses_again() -> None:
    theirs = given(owner="node2")
    world = run(having(Phase.READY), events.Changed(kinds.IPAMBLOCK, theirs))
    assert world.fenced
    world, [claim] = tick(run(world, events.Changed(kinds.IPAMBLOCK, given())))
    assert claim.found is not None
    assert live(claim.found) == ["c1"]
    world, done = effects(world, events.Claimed(claim.found))
    assert slot(world).freedAt is None
    assert not [one for one in done if isinstance(one, JournalBlocks)]  # the claimer journalled it as it is


def test_nothing_is_found_without_the_datastore_or_in_what_is_empty_or_anothers() -> None:
    world = run(synced(), events.Changed(kinds.IPAMBLOCK, given(STRANGER)))
    assert tick(replace(world, store_away="no route"))[1] == []
    assert tick(replace(world, adopted=False))[1] == []
    assert tick(replace(world, dropping=ip.network("10.244.9.0/26")))[1] == []
    assert tick(run(synced(), events.Changed(kinds.IPAMBLOCK, given())))[1] == []
    assert tick(run(synced(), events.Changed(kinds.IPAMBLOCK, given(STRANGER, owner="node2"))))[1] == []
