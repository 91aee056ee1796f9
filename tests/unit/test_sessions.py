"""What a Node says of its sessions, and when it says so anew."""

from __future__ import annotations

from dataclasses import replace

import worlds
from worlds import node, state, synced

from bgpnet.agent import events
from bgpnet.agent.plan import plan
from bgpnet.agent.sessions import LIVELY, NUMBERS
from bgpnet.agent.world import World
from bgpnet.model import kinds
from bgpnet.model.node import Node, NodeSession, NodeSessions

P2, P3 = worlds.PEER, worlds.OTHER
OTHERS = (node("node2", "192.0.2.2/24"), node("node3", "192.0.2.3/24"))


def world() -> World:
    blocks = [worlds.block(), worlds.block("10.244.2.0/26", "node2", "uuid-2")]
    made = synced(blocks=blocks, nodes=OTHERS)
    return worlds.run(made, worlds.found(state(P2), state(P3, up=False)), worlds.told("10.244.2.0/26", "8.8.8.0/24"))


def said(made: World) -> NodeSessions | None:
    """What the plan wants the own Node to say."""
    own = [one for one in plan(made).records if isinstance(one, Node)]
    return own[0].status.bgp if own and own[0].status else None


def test_sessions_with_numbers_and_the_blocks_that_came_by_them() -> None:
    told = said(worlds.later(world(), 1))
    assert told is not None
    first, second = told.sessions
    assert first == NodeSession(
        peer="192.0.2.2", since=first.since, received=2, refused=1, advertised=1, blocks=1, sources=("mesh",)
    )
    assert (second.peer, second.state, second.info, second.received) == ("192.0.2.3", "start", "Passive", 0)
    assert len(told.basis) == 12


def test_a_session_that_goes_is_said_at_the_next_look_and_numbers_wait() -> None:
    made = worlds.later(worlds.later(world(), 1), LIVELY + 1)
    made = worlds.later(worlds.run(made, worlds.told("10.244.8.0/26")), 2)
    before = made.watch.sessions
    made = worlds.later(worlds.run(made, worlds.told("10.244.9.0/26")), 2)
    assert made.watch.sessions is before
    made = worlds.later(made, NUMBERS)
    assert made.watch.sessions is not None
    assert made.watch.sessions.sessions[0].received == 4
    made = worlds.later(worlds.run(made, worlds.lost(P2)), 2)
    assert made.watch.sessions is not None
    assert made.watch.sessions.sessions[0].state == "start"


def test_what_others_sessions_are_made_from_changes_the_word_and_a_heartbeat_does_not() -> None:
    made = worlds.later(world(), 1)
    before = made.watch.sessions
    assert before is not None
    made = worlds.later(worlds.run(made, events.Changed(kinds.NODE, node("node2", "192.0.2.2/24", "another"))), 2)
    assert made.watch.sessions is not None
    assert made.watch.sessions.basis == before.basis
    made = worlds.later(worlds.run(made, events.Changed(kinds.NODE, node("node4", "192.0.2.4/24"))), 2)
    assert made.watch.sessions is not None
    assert made.watch.sessions.basis != before.basis


def test_a_node_that_says_the_same_is_not_written_again() -> None:
    made = worlds.later(world(), 1)
    (own,) = [one for one in plan(made).records if isinstance(one, Node)]
    written = worlds.run(made, events.Changed(kinds.NODE, own, written=True))
    assert said(worlds.later(written, 3)) is None


def test_nothing_is_said_before_anything_is_known() -> None:
    made = worlds.later(replace(world(), table=None), 1)
    assert made.watch.sessions is None
    assert said(made) is None


def test_blocks_are_those_of_other_nodes_that_are_taken_and_not_stale() -> None:
    others = [worlds.block(f"10.244.{at}.0/26", "node2", "uuid-2") for at in range(2, 9)]
    made = synced(blocks=[worlds.block(), *others], nodes=OTHERS)
    made = worlds.run(made, worlds.found(state(P2)), worlds.told("10.244.2.0/26", "10.244.3.0/26", "10.244.99.0/26"))
    told = said(worlds.later(made, 1))
    assert told is not None
    assert (told.sessions[0].received, told.sessions[0].blocks) == (3, 2)
    stale = said(worlds.later(worlds.run(made, worlds.up(P2), worlds.told("10.244.2.0/26"), worlds.lost(P2)), 1))
    assert stale is not None
    assert (stale.sessions[0].received, stale.sessions[0].blocks) == (3, 0)
