"""Requests to release an address: what the owner answers, and when it writes the answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lost_pods import NET, having, look, request, slot, unwired
from msgspec import structs
from worlds import PEER, effects, found, later, path, run, state

from bgpnet.agent import events
from bgpnet.agent.effects import JournalBlocks, LookAtPods, RemoveRequest, UnwirePod
from bgpnet.agent.plan import plan
from bgpnet.agent.watched import Netns
from bgpnet.agent.world import Phase, Seen, World
from bgpnet.bgp.rib import Table
from bgpnet.cnispec import Attachment
from bgpnet.model import ip, kinds
from bgpnet.model.instant import stamp
from bgpnet.model.ipamblock import IPAMBlock, Use
from bgpnet.model.releaserequest import Outcome, ReleaseRequest, ReleaseRequestStatus

ONE = Attachment("c1", "eth0")


def answers(world: World) -> list[tuple[Outcome, str]]:
    """What is to be written."""
    wish = [one for one in plan(world).records if isinstance(one, ReleaseRequest)]
    assert all(one.metadata.resourceVersion == "7" for one in wish)
    return [(one.status.outcome, one.status.reason) for one in wish if one.status]


def refused(world: World) -> str:
    [(outcome, reason)] = answers(world)
    assert outcome is Outcome.REFUSED
    return reason


def test_a_lost_pod_that_is_gone_is_released_and_the_answer_comes_after_the_journal() -> None:
    world, found_ = effects(having(), request(having()))
    assert found_ == [LookAtPods({ONE: "/run/netns/c1"})]
    world, found_ = effects(world, look())
    [unwire] = found_
    assert isinstance(unwire, UnwirePod)
    assert unwire.number == 0
    assert (answers(world), slot(world).freedAt) == ([], None)
    world = unwired(world)
    assert slot(world).freedAt is not None
    assert ONE not in world.pods
    assert answers(world) == [(Outcome.RELEASED, "")]
    names = [type(one) for one in plan(world).records]
    assert names.index(IPAMBlock) < names.index(ReleaseRequest)


def test_where_the_namespace_cannot_be_seen_the_asker_is_believed() -> None:
    _, found_ = effects(having(), request(having()), look(Netns.UNSEEN))
    assert [type(one) for one in found_] == [LookAtPods, UnwirePod]


def test_a_living_namespace_keeps_its_address() -> None:
    world = run(having(), request(having()), look(Netns.THERE))
    assert "network namespace /run/netns/c1 is there: delete the pod" in refused(world)
    assert world.pods[ONE].phase is Phase.LOST


@pytest.mark.parametrize("address", [None, ip.address("10.244.0.0")])
def test_a_link_in_the_kernel_keeps_its_address(address: ip.Address | None) -> None:
    links = {ONE: Seen("calic1", stamp(0.0), 1500, address)}
    world = run(having(), request(having()), look(links=links))
    assert "by its link calic1 in the kernel" in refused(world)


def test_another_link_with_the_address_keeps_it() -> None:
    links = {Attachment("c2", "eth0"): Seen("calic2", stamp(0.0), 1500, ip.address("10.244.0.0"))}
    assert "container c2 has it by its link calic2" in refused(run(having(), request(having()), look(links=links)))


@pytest.mark.parametrize("phase", [Phase.READY, Phase.WIRING])
def test_a_live_pod_keeps_its_address(phase: Phase) -> None:
    world, found_ = effects(having(phase), request(having()))
    assert (found_, refused(world)) == (
        [],
        f"container c1 (eth0) has it and is {phase} on link calic1: delete the pod",
    )


def test_a_pod_that_leaves_is_waited_for() -> None:
    world = run(having(Phase.LEAVING), request(having()))
    assert answers(world) == []
    assert answers(unwired(world)) == [(Outcome.RELEASED, "")]


def test_a_pod_that_comes_back_while_it_is_looked_at_keeps_its_address() -> None:
    world = run(having(), request(having()))
    again = replace(world.pods[ONE], phase=Phase.WIRING)
    world, found_ = effects(replace(world, pods={ONE: again}), look())
    assert (found_, answers(world)) == ([], [])
    assert "is wiring on link" in refused(later(world, 10))


@pytest.mark.parametrize("use", [Use.WORKLOAD, Use.TUNNEL, Use.RESERVED])
def test_what_no_pod_has_is_journalled_and_answered(use: Use) -> None:
    world = having(use=use, known=False)
    world, found_ = effects(world, request(world), look(Netns.UNSEEN))
    assert found_ == [LookAtPods({ONE: ""}), JournalBlocks((world.blocks[NET],))]
    assert slot(world).freedAt is not None
    assert answers(world) == [(Outcome.RELEASED, "")]


def test_the_tunnels_own_address_stays() -> None:
    world = having(use=Use.TUNNEL, known=False)
    own = structs.replace(slot(world), container="", ifname="tunl0")
    mine = world.blocks[NET]
    spec = structs.replace(mine.spec, allocations={0: own})
    world = replace(world, blocks={NET: structs.replace(mine, spec=spec)})
    assert "own tunnel interface tunl0" in refused(run(world, request(world)))


def test_a_reserved_address_that_a_peer_announces_stays() -> None:
    world = run(having(use=Use.RESERVED, known=False), found(state(), table=Table([path("10.244.0.0/32")])))
    assert f"{PEER} announces it" in refused(run(world, request(world), look(Netns.UNSEEN)))


@pytest.mark.parametrize(
    ("ago", "other", "reason"),
    [
        (601.0, {}, "too old to be carried out: it was made 601 s ago"),
        (1.0, {"requestedAt": "once"}, "too old to be carried out: it was made at 'once'"),
        (1.0, {"sequence": 5}, "by now, not 5: look again"),
        (1.0, {"address": "10.244.0.9"}, "is not allocated to anybody"),
        (1.0, {"address": "10.244.9.0"}, "is in no block of node node1"),
    ],
)
def test_what_is_not_so_any_more_is_refused(ago: float, other: dict[str, object], reason: str) -> None:
    world, found_ = effects(having(), request(having(), ago, **other))
    assert found_ == []
    assert reason in refused(world)


def test_what_rests_already_was_released() -> None:
    world = having(known=False)
    world = run(world, request(world), look(), events.Gone(kinds.RELEASEREQUEST, "r1"))
    assert world.watch.answers or not answers(world)
    assert answers(run(world, request(world))) == [(Outcome.RELEASED, "")]


def test_other_nodes_requests_are_not_ours() -> None:
    world, found_ = effects(having(), request(having(), node="node2"))
    assert (answers(world), found_) == ([], [])


def test_nothing_is_answered_before_the_own_blocks_are_known() -> None:
    world, found_ = effects(replace(having(), adopted=False, synced=frozenset()), request(having(), sequence=5))
    assert (answers(world), found_) == ([], [])


def test_a_kernel_that_cannot_be_read_is_looked_at_again() -> None:
    world = run(having(), request(having()), events.PodsLooked({ONE: Netns.GONE}, None))
    assert answers(world) == []
    _, found_ = effects(world, events.Tick(world.now + 6, world.clock + 6))
    assert LookAtPods({ONE: "/run/netns/c1"}) in found_


def test_a_withdrawn_request_is_forgotten_and_a_new_one_of_its_name_is_judged_anew() -> None:
    world = run(having(), request(having(), sequence=5), events.Gone(kinds.RELEASEREQUEST, "r1"))
    assert (answers(world), dict(world.watch.answers)) == ([], {})
    world = run(having(), request(having(), sequence=5))
    assert "not 5" in refused(world)
    world = run(world, request(having(), sequence=6))
    assert "not 6" in refused(world)


def test_an_answer_that_nobody_fetched_is_deleted_after_ten_minutes() -> None:
    asked = request(having()).resource
    assert isinstance(asked, ReleaseRequest)
    status = ReleaseRequestStatus(outcome=Outcome.REFUSED, reason="no", answeredAt=stamp(having().now))
    old = structs.replace(asked, status=status)
    world = run(having(), events.Changed(kinds.RELEASEREQUEST, old))
    assert answers(world) == []
    _, early = effects(world, events.Tick(world.now + 590, world.clock + 590))
    _, late = effects(world, events.Tick(world.now + 600, world.clock + 600))
    assert [one for one in early if isinstance(one, RemoveRequest)] == []
    assert RemoveRequest(old) in late
