"""News that a watch tells late: of the time before a claim, which is no reason to leave the block."""

from __future__ import annotations

from asks import asked, working
from msgspec import structs
from worlds import block, effects, run

from bgpnet import names
from bgpnet.agent import events
from bgpnet.agent.effects import LookUp
from bgpnet.agent.plan import plan
from bgpnet.agent.world import World
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.releaserequest import ReleaseRequest, ReleaseRequestSpec
from bgpnet.model.resource import Metadata

CIDR = "10.244.0.64/26"
NET = ip.network(CIDR)


def at(revision: str, owner: str = "node1") -> IPAMBlock:
    one = block(CIDR, owner, f"uuid-{owner[-1]}")
    return structs.replace(one, metadata=structs.replace(one.metadata, resourceVersion=revision))


def claimed() -> World:
    return run(working(), events.Claimed(at("9")), asked("c1", address="10.244.0.70"))


def told(world: World, one: IPAMBlock, *, read: bool = False) -> World:
    return run(world, events.Changed(kinds.IPAMBLOCK, one, read=read))


def test_what_was_before_the_claim_fences_nobody() -> None:
    world = told(told(claimed(), at("7", "node2")), at("8", "node2"))
    assert (NET in world.blocks, world.fenced) == (True, "")
    assert NET in run(world, events.Listed(kinds.IPAMBLOCK, (at("8", "node2"),))).blocks


def test_after_the_claim_was_told_of_another_owner_is_another_owner() -> None:
    world = told(told(claimed(), at("9")), at("10", "node2"))
    assert NET not in world.blocks
    assert f"block {CIDR} of this node belongs to node node2 now" in world.fenced


def test_what_was_looked_up_is_no_old_news_and_confirms_nothing_to_come() -> None:
    assert NET not in told(claimed(), at("10", "node2"), read=True).blocks
    assert NET in told(told(claimed(), at("9"), read=True), at("8", "node2")).blocks


def late(world: World, seconds: float = 6.0) -> tuple[World, list[LookUp]]:
    """After some time without a word of a watch: what is looked up."""
    world, found = effects(world, events.Tick(world.now + seconds, world.clock + seconds))
    return world, [one for one in found if isinstance(one, LookUp)]


def stored(world: World) -> list[IPAMBlock]:
    return [one for one in plan(world).records if isinstance(one, IPAMBlock)]


def test_a_claim_that_a_watch_told_of_first_is_confirmed() -> None:
    world = run(told(working(), at("9")), events.Claimed(at("9")))
    assert late(world)[1] == []
    assert NET not in told(world, at("10", "node2")).blocks


def test_what_no_watch_confirms_is_looked_up_time_and_again() -> None:
    world, found = late(claimed(), 4)
    assert found == []
    world, found = late(world, 2)
    assert found == [LookUp(names.block(NET))]
    world = told(world, at("9"), read=True)  # as it was written: the watch is late
    world, found = late(world, 4)
    assert found == []
    world, found = late(world, 2)
    assert len(found) == 1
    assert late(told(world, at("9")))[1] == []


def test_nothing_is_looked_up_while_the_datastore_is_away() -> None:
    found = late(run(claimed(), events.StoreAway("it is off")))[1]
    assert found == []


def test_a_write_that_is_told_of_after_its_deletion_is_written_again() -> None:
    """The watch told of the claim and of the deletion before the loop heard of the claim by its own worker."""
    world = run(told(working(), at("9")), events.Gone(kinds.IPAMBLOCK, names.block(NET)), events.Claimed(at("9")))
    assert NET not in {one.network for one in stored(world)}
    world, [look] = late(world)
    world = run(world, events.Gone(kinds.IPAMBLOCK, look.name, read=True))
    [again] = [one for one in stored(world) if one.network == NET]
    assert again.metadata.resourceVersion == ""
    assert late(world)[1] == []


def test_a_write_behind_is_no_news_of_before_either() -> None:
    world = told(claimed(), at("9"))
    mine = world.blocks[NET]
    now = structs.replace(mine, metadata=structs.replace(mine.metadata, resourceVersion="11"))
    world = run(world, events.Changed(kinds.IPAMBLOCK, now, written=True))
    assert NET not in {one.network for one in stored(told(world, at("10")))}  # an older write of ours, told late
    assert NET in told(world, at("10", "node2")).blocks
    assert NET not in told(told(world, now), at("12", "node2")).blocks


def test_a_list_confirms_or_leaves_what_we_wrote() -> None:
    world = run(claimed(), events.Listed(kinds.IPAMBLOCK, ()))
    assert NET in world.blocks
    assert len(late(world)[1]) == 1
    assert late(run(claimed(), events.Listed(kinds.IPAMBLOCK, (at("9"),))))[1] == []


def test_a_block_heard_as_anothers_is_never_written_at_the_others_revision() -> None:
    """The watch told of our claim, and of more, before the claim's own answer came: no later news confirms it."""
    world = told(told(working(), at("9")), at("10"))
    world = run(world, events.Claimed(at("9")), asked("c1", address="10.244.0.70"))
    world = told(world, at("11", "node2"))
    [ours] = [one for one in stored(world) if one.network == NET]
    assert ours.metadata.resourceVersion == "9"
    assert NET not in told(world, at("11", "node2"), read=True).blocks


def test_an_answer_that_we_hear_of_after_its_request_was_made_anew_answers_nothing() -> None:
    """The watch tells of our write, the deletion and the new request, before the loop hears of the write."""
    spec = ReleaseRequestSpec(node="node1", address="10.244.0.9", sequence=7, container="c", ifname="eth0")
    asks = ReleaseRequest(metadata=Metadata(name="10-244-0-9-7", resourceVersion="4"), spec=spec)
    anew = structs.replace(asks, metadata=structs.replace(asks.metadata, resourceVersion="7"))
    world = run(working(), events.Changed(kinds.RELEASEREQUEST, asks))
    [answer] = [one for one in plan(world).records if isinstance(one, ReleaseRequest)]
    ours = structs.replace(answer, metadata=structs.replace(answer.metadata, resourceVersion="5"))
    written = events.Changed(kinds.RELEASEREQUEST, ours, written=True, upon="4")
    in_order = run(world, written)
    assert plan(in_order).records == ()
    for read in (written, events.Changed(kinds.RELEASEREQUEST, ours, read=True, upon="4")):
        late = run(world, events.Changed(kinds.RELEASEREQUEST, ours), events.Gone(kinds.RELEASEREQUEST, "10-244-0-9-7"))
        late = run(late, events.Changed(kinds.RELEASEREQUEST, anew), read)
        [again] = [one for one in plan(late).records if isinstance(one, ReleaseRequest)]
        assert again.metadata.resourceVersion == "7"
    missing = events.Gone(kinds.RELEASEREQUEST, "10-244-0-9-7", read=True, upon="4")
    gone = run(world, events.Changed(kinds.RELEASEREQUEST, anew), missing)
    assert "10-244-0-9-7" in gone.of_kind(kinds.RELEASEREQUEST)
