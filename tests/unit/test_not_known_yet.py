"""What was not heard yet is not the same as nothing: labels, reservations, the time of rest, the datastore itself."""

from __future__ import annotations

from dataclasses import replace

from asks import asked, given, held, idle, refusal, reservation, working
from msgspec import structs
from worlds import BLOCK, NOW, block, effects, fresh, node, pool, run, synced

from bgpnet import ipam
from bgpnet.agent import contents, events
from bgpnet.agent.contents import Kept
from bgpnet.agent.effects import JournalIdle, JournalReserved, TakeBack
from bgpnet.agent.kubeevents import Namespaces
from bgpnet.agent.world import World
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.ipamconfiguration import IPAMConfiguration, IPAMConfigurationSpec
from bgpnet.model.resource import Metadata

NET = ip.network(BLOCK)
RACK = pool(nodeSelector='rack == "a"')


def labelled(rack: str) -> events.Listed:
    one = node("node1", "192.0.2.1/24", "uuid-1")
    metadata = structs.replace(one.metadata, labels={"rack": rack})
    return events.Listed(kinds.NODE, (structs.replace(one, metadata=metadata),))


def journalled() -> World:
    return replace(fresh(), blocks={NET: block()}, journalled=True)


def test_pools_that_select_by_labels_wait_for_the_nodes() -> None:
    """The two feeds may tell in any order: until both did, own blocks serve."""
    heard = run(journalled(), events.Listed(kinds.IPPOOL, (RACK,)))
    assert given(effects(heard, asked())[1]) == "10.244.0.0"
    assert given(effects(run(heard, labelled("a")), asked())[1]) == "10.244.0.0"
    assert "does not select this node" in refusal(effects(run(heard, labelled("b")), asked())[1])[1]
    world, found = effects(run(fresh(), events.Listed(kinds.IPPOOL, (RACK,))), asked())
    assert (found, [one.reason for one in world.waiting.values()]) == (
        [],
        ["the pools are not known: the datastore is away (it has not answered yet)"],
    )


def test_without_a_journal_nothing_is_given_before_the_reservations_are_heard() -> None:
    world = run(
        fresh(),
        labelled("a"),
        events.Listed(kinds.BGPCONFIGURATION, ()),
        events.Listed(kinds.IPPOOL, (pool(),)),
        events.Listed(kinds.IPAMBLOCK, (block(),)),
        events.Listed(kinds.IPAMCONFIGURATION, ()),
    )
    world, found = effects(world, asked())
    reasons = [one.reason.partition(":")[0] for one in world.waiting.values()]
    assert (found, reasons) == ([], ["what is reserved is not known"])
    assert given(effects(world, events.Listed(kinds.IPRESERVATION, (reservation("10.244.0.0/31"),)))[1]) == "10.244.0.2"


def test_the_clusters_time_of_rest_is_journalled_and_holds_at_the_next_start() -> None:
    default = IPAMConfiguration(metadata=Metadata(name="default"), spec=IPAMConfigurationSpec(ipCooldownSeconds=600))
    told, found = effects(working(), events.Changed(kinds.IPAMCONFIGURATION, default))
    assert [one for one in found if isinstance(one, JournalReserved)] == [JournalReserved((), 600)]
    assert effects(told, events.Changed(kinds.IPAMCONFIGURATION, default))[1] == []
    said = contents.decode(b"".join(map(contents.encode, [contents.Boot("b"), Kept((), 600)])))
    assert said
    assert said.kept.cooldown == 600
    one = ipam.assign(held(BLOCK, 1), ipam.Claimant("old", "eth0"), NOW)
    assert one
    resting = ipam.release(one[0], "old", "eth0", NOW)
    start = replace(journalled(), blocks={NET: resting}, cooldown=said.kept.cooldown, now=NOW + 31)
    assert effects(start, asked())[0].pods == {}  # the built-in 30 s are over
    assert given(effects(replace(start, now=NOW + 601), asked())[1]) == "10.244.0.63"


def rested() -> IPAMBlock:
    one = ipam.assign(held(BLOCK, 1), ipam.Claimant("old", "eth0"), NOW)
    assert one
    return ipam.release(one[0], "old", "eth0", NOW)


def test_an_idle_block_does_not_stand_before_a_resting_address_while_the_datastore_is_away() -> None:
    world = run(synced(blocks=(rested(), idle("10.244.0.64/26"))), events.StoreAway("no answer"))
    assert given(effects(world, asked())[1]) == "10.244.0.63"
    there = run(synced(blocks=(rested(), idle("10.244.0.64/26"))))
    assert [type(one) for one in effects(there, asked())[1]] == [TakeBack]


def test_a_refusal_is_one_line_whatever_was_asked_for() -> None:
    for name in ("a\nERROR forged", "\x1b[31mred", "x" * 200_000):
        said = refusal(effects(working(), asked(ipv4_pools=[name]))[1])[1]
        assert said.isprintable()
        assert len(said) < 500
        assert said.startswith("the pool ")


def test_own_blocks_become_idle_though_somebody_waits_for_something_else() -> None:
    small = pool(blockSize=28)
    blocks = tuple(
        structs.replace(one, metadata=structs.replace(one.metadata, resourceVersion=str(number)))
        for number, one in enumerate(block(f"10.244.0.{16 * number}/28") for number in range(5))
    )
    world = run(synced(small, blocks=blocks), Namespaces({}, whole=True), asked(pod="shop/unheard-of"))
    done = 0
    for second in range(120):
        world, found = effects(world, events.Tick(world.now + 1, world.clock + 1))
        if second % 5 == 0:
            world = run(world, asked(number=second + 2, pod="shop/unheard-of"))
        for one in found:
            if isinstance(one, JournalIdle):
                done += 1
                world = run(world, events.IdleJournalled(one.block, one.sequence))
    assert done == 4  # and the last is kept
