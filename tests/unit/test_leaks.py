"""Addresses that nobody has: released by the node itself after the grace, and only then; and what its Node says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from lost_pods import NET, having, look, slot, unwired
from worlds import NOW, OTHER, PEER, block, effects, found, later, node, pod, run, state, synced, told

from bgpnet import ipam
from bgpnet.agent import events, facts, leaks, sight
from bgpnet.agent.effects import Alarm, Effect, LookAtPods, UnwirePod
from bgpnet.agent.journal import Contents, PodCame, came, restore
from bgpnet.agent.plan import plan
from bgpnet.agent.watched import Netns
from bgpnet.agent.world import Phase, Seen, World
from bgpnet.cnispec import Attachment
from bgpnet.model import kinds
from bgpnet.model.ipamblock import Owner
from bgpnet.model.node import Node, NodeIPAM

ONE = Attachment("c1", "eth0")


def after(world: World, seconds: float) -> tuple[World, list[Effect]]:
    return effects(world, events.Tick(world.now + seconds, world.clock + seconds))


def sort(found_: list[Effect], kind: type) -> list[Effect]:
    return [one for one in found_ if isinstance(one, kind)]


def test_a_lost_pod_that_is_gone_is_released_after_the_grace() -> None:
    world, done = after(having(), 1)
    assert sort(done, LookAtPods) == [LookAtPods({ONE: "/run/netns/c1"})]
    for seconds in (0, 59):
        world, done = effects(later(world, seconds), look())
        assert sort(done, UnwirePod) == []
    world, done = effects(later(world, 1), look())
    assert [one.pod.phase for one in done if isinstance(one, UnwirePod)] == [Phase.LEAVING]
    world = unwired(world)
    assert slot(world).freedAt is not None
    assert leaks.report(world).leaked == ()


@pytest.mark.parametrize("netns", [Netns.THERE, Netns.UNSEEN])
def test_a_namespace_that_lives_or_cannot_be_seen_keeps_the_address_for_ever(netns: Netns) -> None:
    world, done = having(), list[Effect]()
    for _ in range(10):
        world, done = effects(later(world, 600), look(netns))
        assert sort(done, UnwirePod) == []
    leaked = leaks.report(later(world, 60)).leaked
    assert [one.address for one in leaked] == (["10.244.0.0"] if netns is Netns.UNSEEN else [])


def test_the_grace_begins_anew_when_the_namespace_was_there_meanwhile() -> None:
    world = run(later(run(having(), look()), 50), look(Netns.THERE))
    _, done = effects(later(world, 20), look())
    assert sort(done, UnwirePod) == []


def test_a_lost_pod_whose_block_is_not_ours_any_more_keeps_nothing() -> None:
    world = replace(having(), blocks={})
    assert sort(effects(replace(world, adopted=False), look(Netns.UNSEEN))[1], UnwirePod) == []
    world, done = effects(world, look(Netns.UNSEEN))
    assert [one.pod.attachment for one in done if isinstance(one, UnwirePod)] == [ONE]
    assert unwired(world).pods == {}


def test_a_link_that_is_there_is_no_leak() -> None:
    links = {ONE: Seen("calic1", "", 1500, None)}
    world = run(having(), look(links=links))
    _, done = effects(later(world, 100), look(links=links))
    assert sort(done, UnwirePod) == []
    assert leaks.report(world).leaked == ()


def test_the_node_publishes_what_changed_at_most_once_a_minute() -> None:
    def said(world: World) -> NodeIPAM | None:
        [mine] = [one for one in plan(world).records if isinstance(one, Node)] or [None]
        return mine.status.ipam if mine and mine.status else None

    def stored(world: World) -> World:
        return run(world, *(events.Changed(kinds.NODE, one) for one in plan(world).records if isinstance(one, Node)))

    world = later(having(), 1)
    first = said(world)
    assert first is not None
    assert (first.leaked, first.alarms) == ((), ())
    world = later(stored(world), 6)
    assert said(world) is None
    world = later(run(world, look()), 6)
    assert said(world) is None  # changed, and not a minute old
    world = later(run(world, look()), 30)
    again = said(world)
    assert again is not None  # the heartbeat is due: nothing new is said with it
    assert again.leaked == ()
    world = later(run(stored(world), look()), 30)
    assert [one.address for one in leaks.report(world).leaked] == ["10.244.0.0"]
    assert [one.address for one in (world.watch.published or first).leaked] == ["10.244.0.0"]


def test_a_block_of_ours_from_another_node_is_an_alarm_once_and_until_it_is_gone() -> None:
    world = synced(blocks=[block()], nodes=[node("node2", "192.0.2.2/24"), node("node3", "192.0.2.3/24")])
    mine = ["10.244.0.0/26", "10.244.0.7/32"]
    world = run(world, found(state(), state(OTHER)), told(*mine, "10.244.0.64/26"), told("10.244.0.0/16", peer=OTHER))
    world, done = after(world, 1)
    assert sort(done, Alarm) == []
    world, done = after(world, 5)
    raised = [one.sentence for one in done if isinstance(one, Alarm) and not one.over]
    assert [one.split(" and is announced")[0] for one in raised] == [
        "10.244.0.0/26 is a block of this node",
        "10.244.0.7/32 is in a block of this node",
    ]
    assert all(f"by node node2 {PEER} as well" in one for one in raised)
    assert leaks.alarms(world) == tuple(raised)
    world, done = after(world, 5)
    assert sort(done, Alarm) == []
    world = run(world, events.Listed(kinds.NODE, (node("node1", "192.0.2.1/24", "uuid-1"),)), found(state()))
    world, done = after(replace(world, table=None), 5)
    assert sort(done, Alarm) == [Alarm(one, over=True) for one in raised]
    assert leaks.alarms(world) == ()


def fenced() -> World:
    """c1 runs with an address of a block that is node2's now."""
    theirs = ipam.new_block(NET, Owner(name="node2", uid="uuid-2"), NOW)
    return run(having(Phase.READY), events.Changed(kinds.IPAMBLOCK, theirs))


def test_a_fenced_block_is_not_announced_and_its_pods_go_on() -> None:
    world = run(fenced(), found(state()))
    wish = plan(world)
    assert not any(wish.announcements.values() if wish.announcements else ())
    assert [str(route) for owner in wish.kernel.routes.values() for route in owner.values()] == [
        "10.244.0.0 dev calic1"
    ]
    assert [type(one) for one in wish.records if not isinstance(one, Node)] == []
    assert [one.address for one in leaks.report(world).unrecorded] == ["10.244.0.0"]
    _, done = after(world, 1)
    assert sort(done, Alarm) == [Alarm(world.fenced)]


def test_a_fence_is_known_after_a_restart_and_over_with_the_last_pod() -> None:
    theirs = ipam.new_block(NET, Owner(name="node2", uid="uuid-2"), NOW)
    one = pod("c1", "10.244.0.0")
    start = replace(synced(), pods={one.attachment: one})
    world = run(start, events.Listed(kinds.IPAMBLOCK, (theirs,)))
    assert "10.244.0.0/26 of this node belongs to node node2 now" in world.fenced
    world = later(unwired(replace(world, pods={ONE: replace(one, phase=Phase.CUT)})), 6)
    assert (world.fenced, leaks.alarms(world)) == ("", ())


def test_whether_a_namespace_is_there(tmp_path: Path) -> None:
    (tmp_path / "here").touch()
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/pid").touch()
    assert sight.netns(str(tmp_path / "here")) is Netns.THERE
    assert sight.netns(str(tmp_path / "gone")) is Netns.GONE
    assert sight.netns(str(tmp_path / "unseen/gone")) is Netns.UNSEEN
    assert sight.netns("") is Netns.UNSEEN
    assert sight.netns("/proc/self/ns/net") is Netns.THERE
    assert sight.netns("/proc/99999999/ns/net", tmp_path) is Netns.UNSEEN  # another PID namespace than the first


def test_a_namespace_that_was_never_seen_is_not_seen_to_be_gone() -> None:
    world = having()
    pods = {key: replace(one, visible=False) for key, one in world.pods.items()}
    world, done = replace(world, pods=pods), list[Effect]()
    for _ in range(10):
        world, done = effects(later(world, 600), look(Netns.GONE))
        assert sort(done, UnwirePod) == []
    [said] = leaks.report(world).leaked
    assert said.reason.endswith(
        "network namespace /run/netns/c1 cannot be seen from here: it is not released without a request"
    )


def test_whether_it_was_seen_is_what_the_wiring_says_and_the_journal_keeps() -> None:
    for visible in (False, True):
        world = run(having(Phase.WIRING), events.PodWired(1, ONE, "1.0.0", visible))
        assert world.pods[ONE].visible is visible
        contents = Contents("boot")
        contents.take(came(world.pods[ONE]))
        assert restore(contents, "boot", NOW)[1] == world.pods
    before = msgspec.to_builtins(came(world.pods[ONE]))
    del before["visible"]  # as it was journalled before that was known
    assert msgspec.convert(before, PodCame).visible is False


def test_whether_a_path_shows_a_namespace(tmp_path: Path) -> None:
    with Path("/proc/self/ns/net").open() as mine, Path("/proc/self/ns/uts").open() as other:
        assert sight.shows("/proc/self/ns/net", mine.fileno())
        assert not sight.shows("/proc/self/ns/net", other.fileno())
        assert not sight.shows(str(tmp_path / "gone"), mine.fileno())
        assert not sight.shows("", mine.fileno())
        assert not sight.shows("/a\0b", mine.fileno())
    assert not sight.shows("/proc/self/ns/net", 1 << 20)


def test_a_link_that_is_lost_once_more_is_told_once_more() -> None:
    """The loop tells of a lost link while the World has its pod as wired, be it that it was lost before."""
    world = having(Phase.READY)
    [one] = world.pods.values()
    gone = frozenset({one.link})
    assert facts.believed(world, gone)
    assert not facts.believed(world, frozenset({"another"}))
    world = run(world, events.KernelApplied((), gone))
    assert not facts.believed(world, gone)
    again = replace(world, pods={one.attachment: one})
    assert facts.believed(again, gone)
