"""News that a watch tells late: of the time before a claim, which is no reason to leave the block."""

from __future__ import annotations

from asks import asked, working
from msgspec import structs
from worlds import block, run

from bgpnet.agent import events
from bgpnet.agent.plan import plan
from bgpnet.agent.world import World
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import IPAMBlock

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


def test_a_block_heard_as_anothers_is_never_written_at_the_others_revision() -> None:
    """The watch told of our claim before the claim's own answer came: no later news confirms it."""
    world = told(run(told(working(), at("9")), events.Claimed(at("9")), asked("c1", address="10.244.0.70")), at("10"))
    world = told(world, at("11", "node2"))
    [ours] = [one for one in plan(world).records if isinstance(one, IPAMBlock) and one.network == NET]
    assert ours.metadata.resourceVersion == "9"
    assert NET not in told(world, at("11", "node2"), read=True).blocks
