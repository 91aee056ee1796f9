"""What the speaker says: graceful restart, End-of-RIB, and a speaker that is itself restarted."""

from __future__ import annotations

from dataclasses import replace

import worlds
from worlds import OTHER, PEER, block, ended, found, goodbye, later, lost, node, run, state, synced, told, up

from bgpnet.agent import peers, plan
from bgpnet.agent.learn import AGAIN, SETTLE, UNASKED
from bgpnet.agent.world import World
from bgpnet.bgp import causes
from bgpnet.bgp.conf import RESTART_TIME
from bgpnet.bgp.lines import EndOfRib, Failed, Notification, PeerDown
from bgpnet.bgp.rib import Table
from bgpnet.bgp.talk import Away, Removed

BLOCKS = ("10.244.0.64/26", "10.244.0.128/26")


def start() -> World:
    """A node that has just connected to its speaker, which knows one neighbour that is not up."""
    world = synced(blocks=[block()], nodes=[node("node2", "192.0.2.2/24")])
    return run(world, found(state(up=False)))


def taught() -> World:
    """The neighbour is up and has said all it has to say."""
    return run(start(), up(), told(*BLOCKS), ended())


def learned_is_complete(world: World) -> bool:
    return plan.learned_is_complete(world, peers.of(world))


def learned(world: World) -> list[str]:
    return [line.split()[0] for line in worlds.routes(world) if "bgpnet-bgp" in line]


def test_a_session_comes_up_and_teaches() -> None:
    world = run(start(), up())
    assert world.sessions[PEER].up
    assert not learned_is_complete(world)
    world = run(world, told(*BLOCKS))
    assert learned(world) == [*BLOCKS]
    world = run(world, ended())
    assert learned_is_complete(world)


def test_a_withdrawn_block_goes_at_once() -> None:
    world = run(taught(), worlds.Update(PEER, withdrawn=((worlds.ip.network(BLOCKS[0]), 0),)))
    assert learned(world) == [BLOCKS[1]]


def test_a_lost_peers_routes_wait_as_long_as_it_asked_for() -> None:
    world = run(taught(), lost())
    assert learned(later(world, RESTART_TIME - 1)) == [*BLOCKS]
    assert learned(later(world, RESTART_TIME)) == []


def test_a_peer_that_asked_for_less_is_waited_for_less() -> None:
    world = run(start(), up(restart=30), told(*BLOCKS), ended(), lost())
    assert learned(later(world, 29)) == [*BLOCKS]
    assert learned(later(world, 30)) == []


def test_a_peer_without_graceful_restart_is_not_waited_for() -> None:
    world = run(start(), up(restart=None), told(*BLOCKS), ended(), lost())
    assert learned(world) == []


def test_a_peer_that_comes_back_without_graceful_restart_begins_anew() -> None:
    world = run(later(run(taught(), lost()), 5), up(restart=None))
    assert learned(world) == []
    assert learned(run(world, told(BLOCKS[0]))) == [BLOCKS[0]]


def test_a_session_that_was_found_up_is_waited_for_as_long_as_its_peer_asked() -> None:
    table = Table(worlds.path(prefix) for prefix in BLOCKS)
    world = run(start(), found(replace(state(), restart_time=7), table=table), lost())
    assert learned(later(world, 6)) == [*BLOCKS]
    assert learned(later(world, 7)) == []


def test_a_peer_that_says_goodbye_takes_its_routes_along() -> None:
    world = run(taught(), Notification(PEER, 6, 2, "maintenance"), goodbye())
    assert learned(world) == []
    assert not world.sessions[PEER].up


def test_a_peer_that_came_back_keeps_what_it_says_again_and_loses_the_rest_at_its_end() -> None:
    world = run(taught(), lost())
    world = run(later(world, 5), up(), told(BLOCKS[0]))
    assert learned(world) == [*BLOCKS]
    assert learned(run(world, ended())) == [BLOCKS[0]]


def test_a_peer_that_came_back_and_never_ends_loses_the_rest_with_the_time() -> None:
    world = run(taught(), lost())
    world = run(later(world, 5), up(), told(BLOCKS[0]))
    assert learned(later(world, RESTART_TIME - 1)) == [*BLOCKS]
    assert learned(later(world, RESTART_TIME)) == [BLOCKS[0]]


def test_a_failed_attempt_is_no_loss() -> None:
    world = run(taught(), lost())
    deadline = world.sessions[PEER].deadline
    world = run(later(world, 60), lost())
    assert world.sessions[PEER].deadline == deadline
    assert learned(later(world, RESTART_TIME - 61)) == [*BLOCKS]


def test_an_agent_that_is_restarted_reads_the_table_and_sweeps_when_it_has_settled() -> None:
    world = run(
        synced(blocks=[block()], nodes=[node("node2", "192.0.2.2/24")]),
        found(state(), table=Table(worlds.path(prefix) for prefix in BLOCKS)),
    )
    assert learned(world) == [*BLOCKS]
    assert not learned_is_complete(world)
    assert learned_is_complete(later(world, SETTLE))


def test_a_session_that_was_found_up_is_waited_for_when_it_is_lost() -> None:
    world = run(
        synced(blocks=[block()], nodes=[node("node2", "192.0.2.2/24")]),
        found(state(), table=Table(worlds.path(prefix) for prefix in BLOCKS)),
        lost(),
    )
    assert learned(later(world, RESTART_TIME - 1)) == [*BLOCKS]


def test_a_speaker_that_is_restarted_knows_nothing_and_we_still_do() -> None:
    world = run(taught(), Away("it was killed"))
    assert learned(world) == [*BLOCKS]
    world = run(world, found(state(up=False)))
    assert world.speaker_away == ""
    assert learned(world) == [*BLOCKS]
    world = run(world, up(), told(BLOCKS[1]))
    assert learned(world) == [*BLOCKS]
    assert learned(run(world, ended())) == [BLOCKS[1]]


def test_a_connection_that_broke_off_loses_nothing_and_what_went_meanwhile_goes_later() -> None:
    """The speaker lived on, and its peer withdrew a block while nobody listened."""
    world = run(taught(), Away("the relay"), found(state(), table=Table([worlds.path(BLOCKS[0])])))
    assert learned(world) == [*BLOCKS]
    assert learned(later(world, SETTLE)) == [BLOCKS[0]]


def test_what_the_speaker_has_of_strangers_is_dropped() -> None:
    world = run(start(), found(state(), table=Table([worlds.path(BLOCKS[0], OTHER)])))
    assert learned(world) == []


def test_a_neighbour_that_never_comes_is_waited_for_once() -> None:
    world = start()
    assert not learned_is_complete(world)
    assert learned_is_complete(later(world, RESTART_TIME))


def test_while_one_peer_is_waited_for_another_may_withdraw() -> None:
    world = synced(blocks=[block()], nodes=[node("node2", "192.0.2.2/24"), node("node3", "192.0.2.3/24")])
    world = run(
        world, found(state(), state(OTHER)), told(BLOCKS[0]), told(BLOCKS[1], peer=OTHER), ended(), ended(OTHER)
    )
    kernel = worlds.machine()
    worlds.applied(world, kernel)
    world = run(world, lost(OTHER), worlds.Update(PEER, withdrawn=((worlds.ip.network(BLOCKS[0]), 0),)))
    worlds.applied(world, kernel)
    assert [line.split()[0] for line in str(kernel).splitlines() if "bgpnet-bgp" in line] == [BLOCKS[1]]


def test_why_a_session_is_down_is_kept_with_it() -> None:
    world = run(taught(), Notification(PEER, 6, 2, 'Shutdown Communication: "night"'), goodbye())
    assert world.sessions[PEER].info == 'the peer says: administrative shutdown (Shutdown Communication: "night")'
    refused = run(world, Failed(PEER, "closing connection (ECONNREFUSED)"))
    assert refused.sessions[PEER].info == causes.REFUSED
    assert refused.sessions[PEER].since == world.sessions[PEER].since
    assert run(refused, Failed(PEER, "closing connection (ECONNREFUSED)")) is refused
    assert run(refused, up()).sessions[PEER].info == "Established"
    assert run(taught(), lost()).sessions[PEER].info == "connection lost: closed without a word"


def test_a_session_that_ends_with_our_own_word_has_it_as_its_cause() -> None:
    expired = PeerDown(PEER, "notification sent (4,0)", lost=True)
    assert run(taught(), expired).sessions[PEER].info == "hold time expired: nothing was heard from the peer"
    assert run(taught(), goodbye()).sessions[PEER].info == "the peer says: administrative shutdown"


def test_what_a_removed_neighbour_taught_goes_though_it_was_waited_for() -> None:
    waiting = run(taught(), lost())
    assert learned(waiting) == learned(taught())
    gone = run(waiting, Removed(PEER))
    assert learned(gone) == []
    assert PEER not in gone.sessions
    assert learned(run(taught(), Removed(OTHER))) == learned(taught())


def test_a_peer_without_graceful_restart_is_not_waited_for_as_long() -> None:
    world = run(start(), up(restart=None), told(*BLOCKS))
    assert not learned_is_complete(world)
    assert learned_is_complete(later(world, UNASKED))


def test_the_end_of_another_family_says_nothing_of_this_one() -> None:
    world = run(taught(), lost(), up(), EndOfRib(PEER, "ipv6 unicast"))
    assert learned(world) == [*BLOCKS]
    assert learned(run(world, ended())) == []


def test_a_peer_that_is_lost_again_and_again_does_not_keep_what_it_never_says_again() -> None:
    world = run(taught(), lost())
    for _ in range(int(AGAIN / 60)):
        world = run(later(world, 10), up(), told(BLOCKS[1]))
        assert learned(world) == [*BLOCKS]
        world = run(later(world, 50), lost())
    assert learned(world) == [BLOCKS[1]]
    assert learned(run(later(world, 10), up(), told(BLOCKS[1]))) == [BLOCKS[1]]


def test_a_peer_that_ended_its_table_between_two_losses_is_waited_for_anew() -> None:
    world = run(taught(), lost())
    world = run(later(world, 10), up(), told(*BLOCKS), ended())
    world = run(later(world, AGAIN), lost(), up(), lost())
    assert learned(world) == [*BLOCKS]
