"""Empty blocks: when they become idle, which stay, and how a pool is rid of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from asks import NET, asked, given, held, idle, working
from msgspec import structs
from worlds import BLOCK, NOW, PEER, block, effects, found, later, node, pool, run, state

from bgpnet import integrity, ipam
from bgpnet.agent import events, journal
from bgpnet.agent.claimer import Claimer
from bgpnet.agent.effects import Answer, ClaimBlock, DropBlock, Effect, JournalIdle, TakeBack, WirePod
from bgpnet.agent.journal import BlockIs, Journal, came
from bgpnet.agent.plan import plan
from bgpnet.agent.world import World
from bgpnet.cnispec import Attachment
from bgpnet.errors import AllocationRefused
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import BlockState, IPAMBlock, Owner
from bgpnet.model.ippool import Encap, IPPool
from bgpnet.store.memory import MemoryStore
from bgpnet.store.repo import Repo

SPARE = "10.244.0.64/26"
FULL = held(BLOCK, 30)


def tick(world: World, seconds: float = 1.0) -> tuple[World, list[Effect]]:
    return effects(world, events.Tick(world.now + seconds, world.clock + seconds))


def ebbed(world: World) -> tuple[World, list[Effect]]:
    """After a minute in which nothing happened."""
    world, found = tick(world)
    assert found == []
    world, found = tick(world, 59)
    assert found == []
    return tick(world, 2)


def gone_idle(world: World, found: list[Effect]) -> World:
    """The journal has done what it was asked to."""
    [effect] = found
    assert isinstance(effect, JournalIdle)
    return run(world, events.IdleJournalled(effect.block, effect.sequence))


def disabled(one: IPPool) -> IPPool:
    return structs.replace(one, spec=structs.replace(one.spec, disabled=True))


def written(world: World) -> list[IPAMBlock]:
    return [one for one in plan(world).records if isinstance(one, IPAMBlock)]


def test_a_spare_block_is_idle_after_a_minute_in_the_journal_first_and_then_in_the_datastore() -> None:
    world, found = ebbed(working(blocks=(FULL, block(SPARE))))
    assert [type(one) for one in found] == [JournalIdle]
    assert written(world) == []
    world = gone_idle(world, found)
    [one] = written(world)
    assert (one.spec.cidr, one.spec.state) == (SPARE, BlockState.IDLE)


def test_while_it_is_idle_it_is_announced_and_has_its_blackhole() -> None:
    world = run(working(blocks=(FULL, idle(SPARE))), events.Changed(kinds.NODE, node("node2", "192.0.2.2/24")))
    wish = plan(run(world, found(state(PEER))))
    assert wish.announcements is not None
    assert {str(one.prefix) for one in wish.announcements[PEER]} == {BLOCK, SPARE}
    assert ip.network(SPARE) in {net for routes in wish.kernel.routes.values() for net in routes}


def test_what_happens_to_the_block_before_the_journal_answers_keeps_it_in_use() -> None:
    world, found = ebbed(working(blocks=(held(BLOCK, 30), block(SPARE))))
    [effect] = found
    assert isinstance(effect, JournalIdle)
    world, more = effects(world, asked("c1", address="10.244.0.70"))
    assert given(more) == "10.244.0.70"
    world = run(world, events.IdleJournalled(effect.block, effect.sequence))
    assert world.blocks[ip.network(SPARE)].spec.state is BlockState.IN_USE


def test_a_block_with_an_address_or_with_a_resting_one_stays() -> None:
    one = ipam.take(block(SPARE), ip.address("10.244.0.70"), ipam.Claimant("c1", "eth0"), NOW)
    freed = ipam.release(one, "c1", "eth0", NOW)
    world = working(blocks=(FULL, freed))
    world, found = tick(later(world, 1), 62)
    assert found == []  # counted from the end of the rest
    assert [type(one) for one in tick(world, 60)[1]] == [JournalIdle]
    busy = working(blocks=(FULL,))
    busy = replace(busy, blocks={**busy.blocks, one.network: one})
    assert tick(later(busy, 1), 90)[1] == []


def test_what_a_clock_that_was_ahead_released_rests_from_now_on_when_the_clock_is_right_again() -> None:
    world, _ = effects(working(), asked())
    attachment = Attachment("c1", "eth0")
    world = run(world, events.PodWired(1, attachment, "1.0.0"))
    ahead = NOW + 8 * 3600
    call = asked(number=9).call
    gone = events.CniAsked(9, replace(call, env={**call.env, "CNI_COMMAND": "DEL"}))
    world = run(replace(world, now=ahead), gone, events.PodUnwired(9, attachment), events.Reaped((attachment,)))
    assert world.blocks[NET].spec.resting[0][0] == ahead
    world, _ = tick(replace(world, now=NOW))
    assert world.blocks[NET].spec.resting[0][0] == NOW + 1.0
    assert world.blocks[NET].spec.sequence > ahead * 1_000_000
    assert integrity.check(world.blocks[NET]) == []
    assert tick(world)[0].blocks[NET] is world.blocks[NET]


def test_the_last_block_stays_and_one_that_is_needed_soon_and_the_tunnels() -> None:
    assert ebbed(working(blocks=(block(),)))[1] == []
    assert ebbed(working(blocks=(held(BLOCK, 15), block(SPARE))))[1] == []
    tunnelled = pool(mode=Encap.ALWAYS)
    world = run(working(tunnelled, blocks=(block(), block(SPARE))))
    world = gone_idle(*ebbed(world))
    assert world.blocks[NET].spec.state is BlockState.IN_USE
    assert world.blocks[ip.network(SPARE)].spec.state is BlockState.IDLE
    assert ebbed(world)[1] == []


def test_of_two_empty_blocks_one_stays_and_nothing_goes_to_and_fro() -> None:
    world = gone_idle(*ebbed(working(blocks=(block(), block(SPARE)))))
    for _ in range(5):
        world, found = tick(world, 61)
        assert found == []
    other = pool("spare", "10.250.0.0/16")
    world = working(pool(), other, blocks=(held(BLOCK, 9), block("10.250.0.0/26")))
    world, found = effects(world, asked("c1"))
    assert given(found).startswith("10.244.0.")
    world = run(world, events.PodWired(1, next(iter(world.pods)), "1.0.0"))
    for _ in range(3):
        world, found = tick(world, 61)
        assert found == []  # it would be taken back at once: pods may use it, and the other one is nearly full


def test_nothing_becomes_idle_while_the_datastore_is_away_or_while_a_pod_waits() -> None:
    world = later(working(blocks=(FULL, block(SPARE))), 1)
    away = run(world, events.StoreAway("it is down"))
    assert tick(away, 120)[1] == []
    assert [type(one) for one in tick(run(away, events.Listed(kinds.IPPOOL, (pool(),))), 120)[1]] == [JournalIdle]


def test_a_disabled_pools_blocks_go_the_tunnels_after_it_moved() -> None:
    blue = pool("a-blue", "10.244.0.0/16", Encap.ALWAYS)
    green = pool("b-green", "10.250.0.0/16", Encap.ALWAYS)
    world = working(blue, green)
    assert ipam.find(world.blocks[NET], "", "tunl0") is not None
    world = run(world, events.Changed(kinds.IPPOOL, disabled(blue)), events.Claimed(block("10.250.0.0/26")))
    world, found = tick(later(world, 31))
    assert found == []  # the rest ended just now
    world = gone_idle(*tick(world, 61))
    assert tick(world)[1] == []  # the datastore has not got it as idle yet
    stored = recorded(world)
    world, found = tick(stored)
    assert found == [DropBlock(next(one for one in stored_blocks(stored) if one.network == NET))]
    assert tick(world)[1] == []  # once
    assert written(world) == []
    world, found = effects(world, events.Dropped(NET))
    assert (list(map(str, world.blocks)), found, written(world)) == (["10.250.0.0/26"], [], [])
    assert NET not in {net for routes in plan(world).kernel.routes.values() for net in routes}


def recorded(world: World) -> World:
    """The records wrote what they should."""
    for number, one in enumerate(written(world)):
        meta = structs.replace(one.metadata, resourceVersion=f"w{number}")
        world = run(world, events.Changed(kinds.IPAMBLOCK, structs.replace(one, metadata=meta)))
    return world


def stored_blocks(world: World) -> list[IPAMBlock]:
    return [one for one in world.of_kind(kinds.IPAMBLOCK).values() if isinstance(one, IPAMBlock)]


@pytest.mark.parametrize(
    "change",
    [
        events.Changed(kinds.IPPOOL, pool(nodeSelector="rack == 'r2'")),
        events.Changed(kinds.IPPOOL, disabled(pool())),
        events.Changed(kinds.IPPOOL, pool(blockSize=25)),
        events.Gone(kinds.IPPOOL, "pods"),
    ],
    ids=["not selected", "disabled", "of another size", "gone"],
)
def test_even_the_last_block_goes_when_its_pool_has_no_use_for_it(change: events.Event) -> None:
    world = gone_idle(*ebbed(run(working(), change)))
    assert [type(one) for one in tick(recorded(world))[1]] == [DropBlock]


def test_an_idle_block_that_vanished_from_the_datastore_is_forgotten_if_of_no_use_and_else_written_again() -> None:
    world = run(working(blocks=(FULL, idle(SPARE))), events.Gone(kinds.IPAMBLOCK, idle(SPARE).metadata.name))
    assert [one.spec.cidr for one in written(world)] == [SPARE]
    world = run(world, events.Changed(kinds.IPPOOL, disabled(pool())))
    assert written(world) == []
    [effect] = tick(world)[1]
    assert isinstance(effect, DropBlock)
    assert effect.block.metadata.resourceVersion == ""


def test_a_pod_that_comes_while_a_block_is_being_deleted_waits_and_gets_another() -> None:
    off = disabled(pool())
    world, found = tick(working(off, blocks=(idle(),)))
    assert [type(one) for one in found] == [DropBlock]
    world, found = effects(world, events.Changed(kinds.IPPOOL, pool()), asked())
    assert found == []
    world, found = effects(world, events.Dropped(NET))
    assert [type(one) for one in found] == [ClaimBlock]
    kept, _ = tick(working(off, blocks=(idle(),)))
    kept, found = effects(kept, events.Changed(kinds.IPPOOL, pool()), asked(), events.DropFailed(NET, "it is down"))
    assert [type(one) for one in found] == [TakeBack]
    assert not [one for one in found if isinstance(one, Answer | WirePod)]


def test_a_claim_whose_answer_was_lost_and_that_nobody_needs_is_undone() -> None:
    lost = structs.replace(block(SPARE), metadata=structs.replace(block(SPARE).metadata, resourceVersion="7"))
    world = run(working(), events.Changed(kinds.IPAMBLOCK, lost))
    assert tick(world)[1] == [DropBlock(lost)]
    other = run(working(), events.Changed(kinds.IPAMBLOCK, block(SPARE, "node2", "uuid-2")))
    assert tick(other)[1] == []
    assert tick(replace(world, claiming=True))[1] == []  # it may be the one that is being claimed


def test_records_leave_a_block_alone_that_is_being_taken_back() -> None:
    """An `idle` written after the taker's `in use`, and before the World knows of that, would give it to others."""
    world, found = effects(working(blocks=(idle(),)), asked())
    assert [type(one) for one in found] == [TakeBack]
    back = ipam.take_back(idle(), NOW)
    assert written(run(world, events.Changed(kinds.IPAMBLOCK, back))) == []


def test_an_idle_block_has_no_slots_and_its_queue_keeps_the_order() -> None:
    one = block("10.244.0.0/29")
    for name in ("a", "b"):
        assigned = ipam.assign(one, ipam.Claimant(name, "eth0"), NOW)
        assert assigned is not None
        one = assigned[0]
    with pytest.raises(AllocationRefused, match="has addresses in use and cannot become idle: release them first"):
        ipam.idle(one, NOW)
    one = ipam.release(ipam.release(one, "b", "eth0", NOW + 1), "a", "eth0", NOW + 2)
    empty = ipam.idle(one, NOW + 60)
    assert (empty.spec.free, empty.spec.allocations, integrity.check(empty)) == ((2, 3, 4, 5, 6, 7, 1, 0), {}, [])
    assert empty.spec.sequence > one.spec.sequence


def test_a_journal_with_an_idle_block_has_forgotten_whose_end_it_could_not_take(tmp_path: Path) -> None:
    kept = Journal(tmp_path / "journal", "boot")
    kept.start([], [])
    _, found = effects(working(), asked())
    [wire] = [one for one in found if isinstance(one, WirePod)]
    kept.append([BlockIs(block()), came(wire.pod), BlockIs(ipam.idle(block(), NOW))])
    contents = kept.load()
    assert contents is not None
    blocks, pods = journal.restore(contents, "boot", NOW)
    assert (pods, blocks[NET].spec.state) == ({}, BlockState.IDLE)
    kept.append([came(wire.pod)])  # the World did not agree: the block was in use after all
    contents = kept.load()
    assert contents is not None
    blocks, pods = journal.restore(contents, "boot", NOW)
    assert (len(pods), blocks[NET].spec.state) == (1, BlockState.IN_USE)


class Site:
    """A datastore with an idle block of node1."""

    def __init__(self, folder: Path) -> None:
        self.repo = Repo(MemoryStore())
        self.journal = Journal(folder / "journal", "boot")
        self.journal.start([idle()], [])
        self.heard: list[events.Event] = []
        self.claimer = Claimer(self.repo, self.journal, self.heard.append)
        stored = self.repo.write(idle())
        assert isinstance(stored, IPAMBlock)
        self.block = stored

    def journalled(self) -> list[str]:
        contents = self.journal.load()
        assert contents is not None
        return list(contents.blocks)


def test_a_block_is_deleted_once_and_its_journal_line_follows(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert site.claimer.drop(DropBlock(site.block)) == events.Dropped(NET)
    assert (site.repo.list(kinds.IPAMBLOCK)[0], site.journalled()) == ([], [])
    assert site.claimer.drop(DropBlock(site.block)) == events.Dropped(NET)


def test_a_block_that_another_node_took_meanwhile_is_not_deleted_but_heard_of(tmp_path: Path) -> None:
    site = Site(tmp_path)
    theirs = site.repo.write(ipam.take_over(site.block, Owner(name="node2", uid="uuid-2"), NOW))
    outcome = site.claimer.drop(DropBlock(site.block))
    assert outcome == events.DropFailed(NET, f"block {BLOCK} of this node was written by somebody else")
    assert (site.heard, site.journalled()) == ([events.Changed(kinds.IPAMBLOCK, theirs)], [BLOCK])
