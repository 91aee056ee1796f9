"""The agent's word about its addresses, and that `ipam check` reads it as it is meant."""

from __future__ import annotations

import json
from dataclasses import replace

from worlds import NOW, block, pod, pool, run, synced

from bgpnet import ipam
from bgpnet.agent.events import PodsLooked
from bgpnet.agent.plan import plan
from bgpnet.agent.status import answer
from bgpnet.agent.watched import Netns
from bgpnet.agent.world import Phase, World
from bgpnet.cnispec import Attachment
from bgpnet.ipamcheck import words
from bgpnet.ipamcheck.picture import Holder, Source, Word
from bgpnet.model import ip
from bgpnet.model.ipamblock import Use

NET = ip.network("10.244.0.0/26")


def word(world: World) -> Word:
    code, body = answer(world, plan(world), {"ask": "ipam"})
    assert code == 0
    return words.of_agent(json.loads(body), NOW)


def working(*phases: Phase) -> World:
    """A tunnel address, and a pod in each of the phases; then one allocation that no pod has, and a released one."""
    held = block()
    claims = [ipam.Claimant("", "tunl0", use=Use.TUNNEL)]
    claims += [ipam.Claimant(f"c{at}", "eth0", f"test/p{at}") for at in range(1, len(phases) + 3)]
    for claim in claims:
        assigned = ipam.assign(held, claim, NOW)
        assert assigned is not None
        held = assigned[0]
    held = ipam.release(held, f"c{len(phases) + 2}", "eth0", NOW)
    pods = [pod(f"c{at}", f"10.244.0.{at}", phase) for at, phase in enumerate(phases, 1)]
    world = synced(pool(), blocks=[block()])
    return replace(world, blocks={NET: held}, pods={one.attachment: one for one in pods})


def test_what_nobody_knows_is_not_said() -> None:
    world = replace(working(Phase.READY), adopted=False)
    said = word(world)
    assert (said.source, said.blocks, said.leaked) == (Source.AGENT, None, ())


def test_only_what_has_no_pod_or_lost_it_is_leaked() -> None:
    world = working(Phase.READY, Phase.WIRING, Phase.LEAVING, Phase.CUT, Phase.LOST)
    assert [one.container for one in word(world).leaked] == ["c6"]  # nobody has looked for the lost one yet
    said = word(run(world, PodsLooked({Attachment("c5", "eth0"): Netns.GONE}, {})))
    assert [(one.address, one.container) for one in said.leaked] == [("10.244.0.5", "c5"), ("10.244.0.6", "c6")]
    assert said.leaked[0].reason == (
        "its link calic5 and its network namespace /run/netns/c5 are gone; it is released in 60 s"
    )
    assert said.leaked[1].reason == "no pod of this node has it"
    assert [one.address for one in said.pods] == ["10.244.0.1"]


def test_blocks_have_their_live_allocations_with_sequences() -> None:
    world = working(Phase.READY)
    said = word(world)
    assert said.blocks is not None
    assert list(said.blocks) == [str(NET)]
    held = said.blocks[str(NET)]
    assert {at: (one.container, one.sequence) for at, one in held.items()} == {
        at: (one.container, one.sequence)
        for at, one in world.blocks[NET].spec.allocations.items()
        if one.freedAt is None
    }
    assert held[0] == Holder("10.244.0.0", held[0].sequence, "", "tunl0", "", held[0].since)


def test_a_fence_is_an_alarm_and_a_datastore_that_is_away_is_said() -> None:
    said = word(replace(working(), fenced="block x belongs to node n2 now", store_away="no route"))
    assert said.alarms == ("block x belongs to node n2 now",)
    assert said.away == "no route"


def test_other_questions_are_refused() -> None:
    world = working()
    code, body = answer(world, plan(world), {"ask": "weather"})
    assert code == 1
    assert b"'status', 'ipam' and 'explain'" in body
