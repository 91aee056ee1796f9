"""A datastore without pools while pods live: not believed; a pool's lawful end is."""

from __future__ import annotations

from asks import asked, given, working
from worlds import PEER, block, effects, ended, found, later, node, pool, run, state, synced, told

from bgpnet.agent import events, status
from bgpnet.agent.effects import ClaimBlock
from bgpnet.agent.plan import plan
from bgpnet.agent.world import World
from bgpnet.kernel.state import Owner
from bgpnet.model import kinds
from bgpnet.model.bgpconfiguration import BGPConfiguration, BGPConfigurationSpec
from bgpnet.model.resource import Metadata

NODES = (node("node2", "192.0.2.2/24"),)


def at_work() -> World:
    """A node with a pod and a peer."""
    world = run(synced(blocks=[block()], nodes=NODES), asked(), found(state(PEER)), told("10.244.0.64/26"))
    return run(world, ended(PEER))


EMPTIED = [events.Listed(kinds.IPPOOL, ()), events.Listed(kinds.NODE, ()), events.Listed(kinds.IPAMBLOCK, ())]


def test_nothing_is_swept_and_own_blocks_serve_on() -> None:
    before = at_work()
    assert Owner.LEARNED in plan(before).kernel.sweep
    world = run(before, *EMPTIED)
    wish = plan(world)
    assert (Owner.LEARNED in wish.kernel.sweep, wish.announcements, wish.speaker) == (False, None, None)
    assert {type(one).__name__ for one in wish.records} == {"Node", "IPAMBlock"}
    said = status.status(world, wish)["warnings"]
    assert isinstance(said, list)
    assert said[0] == (
        "the datastore has no IPPool, although pods of this node live in 10.244.0.0/26: it was emptied or replaced; "
        "this node's own objects are written again, and the others come back with: "
        "bgpnetctl datastore import backup.yaml"
    )
    world, found_ = effects(world, asked("c2", number=2, pod="shop/two"))
    assert given(found_) == "10.244.0.1"
    assert not [one for one in found_ if isinstance(one, ClaimBlock)]


def test_it_is_over_when_the_pools_of_all_pods_are_there_again() -> None:
    world = run(at_work(), *EMPTIED, events.Changed(kinds.IPPOOL, pool("other", "10.250.0.0/16")))
    assert world.replaced
    assert plan(world).announcements is None
    world = run(world, events.Changed(kinds.IPPOOL, pool()), events.Changed(kinds.NODE, NODES[0]))
    assert not world.replaced
    assert plan(world).announcements is not None


def test_a_pool_that_goes_while_nobody_has_an_address_of_it_is_gone() -> None:
    world = run(working(), events.Gone(kinds.IPPOOL, "pods"))
    assert not world.replaced
    assert world.is_synced(kinds.IPPOOL)
    broken = run(at_work(), events.Listed(kinds.IPPOOL, (), ("pods",)))
    assert not broken.replaced  # it is there, and cannot be read


def configured(world: World) -> World:
    spec = BGPConfigurationSpec(asNumber=65001)
    return run(
        world, events.Changed(kinds.BGPCONFIGURATION, BGPConfiguration(metadata=Metadata(name="default"), spec=spec))
    )


def test_the_pools_may_be_heard_to_go_last() -> None:
    world = configured(at_work())
    before = plan(world)
    going = [
        events.Gone(kinds.BGPCONFIGURATION, "default"),
        events.Gone(kinds.NODE, "node2"),
        events.Tick(world.now + 2, world.clock + 2),
        events.Gone(kinds.IPPOOL, "pods"),
        events.Tick(world.now + 60, world.clock + 60),
    ]
    for event in going:
        world = run(world, event)
        wish = plan(world)
        if world.replaced:
            assert (wish.announcements, wish.speaker, Owner.LEARNED in wish.kernel.sweep) == (None, None, False)
        else:
            assert (wish.announcements, wish.speaker) == (before.announcements, before.speaker)
            assert wish.kernel.routes == before.kernel.routes
    assert world.replaced


def test_a_node_that_was_deleted_is_gone_three_seconds_later() -> None:
    world = run(at_work(), events.Gone(kinds.NODE, "node2"))
    before = plan(world).speaker
    assert before is not None
    assert len(before.neighbours) == 1
    world = later(world, 2)
    assert plan(world).speaker == before
    after = plan(later(world, 1)).speaker
    assert after is not None
    assert after.neighbours == ()
    back = run(world, events.Changed(kinds.NODE, NODES[0]))
    assert plan(later(back, 5)).speaker == before


def test_another_node_that_has_its_address_replaces_it_at_once() -> None:
    world = run(at_work(), events.Gone(kinds.NODE, "node2"), events.Changed(kinds.NODE, node("node3", "192.0.2.2/24")))
    conf = plan(world).speaker
    assert conf is not None
    assert len(conf.neighbours) == 1
