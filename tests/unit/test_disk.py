"""A disk that refuses the journal: pods may go, none comes, everybody hears why, and the log hears it once."""

from __future__ import annotations

from dataclasses import replace

from asks import asked, refusal
from lost_pods import having, look, request, slot, unwired
from worlds import block, effects, later, run, synced

from bgpnet import cnispec
from bgpnet.agent import events, status
from bgpnet.agent.effects import Alarm, Answer, CheckPod, JournalIdle, LookAtPods, PayJournal, UnwirePod, WirePod
from bgpnet.agent.events import JournalTold
from bgpnet.agent.plan import plan
from bgpnet.agent.world import Phase, World
from bgpnet.cnispec import Attachment
from bgpnet.model.releaserequest import ReleaseRequest
from bgpnet.wire import CniCall

ONE = Attachment("c1", "eth0")
FULL = "journal /state/journal cannot be written: No space left on device; free space on the disk"


def verb(command: str, container: str = "c1") -> events.CniAsked:
    add = asked(container).call
    return events.CniAsked(9, CniCall({**add.env, "CNI_COMMAND": command}, add.stdin))


def full(world: World) -> World:
    return run(world, JournalTold(FULL))


def test_the_log_hears_when_it_begins_and_when_it_is_over() -> None:
    world, done = effects(synced(blocks=[block()]), JournalTold(FULL))
    assert done == [Alarm(FULL)]
    _, done = effects(world, JournalTold(""))
    assert done == [Alarm(FULL, over=True)]
    _, done = effects(synced(), JournalTold(""))
    assert done == []


def test_an_add_is_refused_before_it_takes_an_address() -> None:
    world = full(synced(blocks=[block()]))
    after, done = effects(world, asked("c2"))
    assert refusal(done) == (cnispec.TRY_AGAIN, FULL)
    assert after.blocks == world.blocks
    _, done = effects(run(world, JournalTold("")), asked("c2"))
    assert [type(one) for one in done] == [WirePod]


def test_a_pod_that_has_its_address_is_answered_once_more_and_a_lost_one_keeps_it() -> None:
    world, [check] = effects(full(having(Phase.READY)), verb("ADD"))
    assert isinstance(check, CheckPod)
    _, done = effects(world, events.PodChecked(9, ONE, check.version, (), check.repeated))
    assert [one.status for one in done if isinstance(one, Answer)] == [0]
    world, done = effects(full(having(Phase.LOST)), verb("ADD"))
    assert refusal(done) == (cnispec.TRY_AGAIN, FULL)
    assert slot(world).freedAt is None


def test_a_del_ends() -> None:
    world, done = effects(full(having(Phase.READY)), verb("DEL"))
    assert [type(one) for one in done] == [UnwirePod]
    world, done = effects(world, events.PodUnwired(9, ONE))
    assert [one.status for one in done if isinstance(one, Answer)] == [0]
    assert slot(run(world, events.Reaped((ONE,)))).freedAt is not None


def test_status_and_the_verb_of_that_name_say_why() -> None:
    world = full(synced(blocks=[block()]))
    assert f"pods cannot be added: {FULL}" in status.not_ready(world)
    assert refusal(effects(world, verb("STATUS"))[1]) == (cnispec.UNAVAILABLE, FULL)
    assert not any(FULL in reason for reason in status.not_ready(run(world, JournalTold(""))))


def test_it_is_tried_every_second_and_no_block_becomes_idle_meanwhile() -> None:
    two = block("10.244.0.64/26")
    world = later(synced(blocks=[block(), two]), 1)
    world = run(replace(world, blocks={one.network: one for one in (block(), two)}))
    _, done = effects(later(world, 100), events.Tick(world.now + 101, world.clock + 101))
    assert [type(one) for one in done if isinstance(one, JournalIdle)] == [JournalIdle]
    _, done = effects(full(later(world, 100)), events.Tick(world.now + 101, world.clock + 101))
    assert [type(one) for one in done if isinstance(one, JournalIdle | PayJournal)] == [PayJournal]


def test_a_request_is_answered_when_its_release_is_in_the_journal() -> None:
    def answered(world: World) -> bool:
        return any(isinstance(one, ReleaseRequest) for one in plan(world).records)

    world = run(having(), request(having()))
    world = unwired(full(run(world, look())))  # refused while it was released
    assert slot(world).freedAt is not None
    assert not answered(later(world, 10))
    assert answered(run(world, JournalTold("")))


def test_a_request_that_comes_while_it_refuses_waits() -> None:
    world, done = effects(full(having()), request(having()))
    assert done == []
    _, done = effects(world, JournalTold(""))
    assert [type(one) for one in done] == [Alarm, LookAtPods]
