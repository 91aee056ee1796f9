"""Addresses that no pod has: which, since when, and who is asked to release them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from clusters import CLOCK, NOW, RULES, Ask, Remove, Write, block, held, later, like, node, picture, plans, pod, told
from msgspec import structs

from bgpnet.controller.picture import Picture
from bgpnet.ipam import end_reservation
from bgpnet.kubeobjects import PodSeen
from bgpnet.model import instant, ip
from bgpnet.model.ipamblock import IPAMBlock, Use
from bgpnet.model.releaserequest import Outcome, ReleaseRequest, ReleaseRequestStatus

WEB = held(block(), "shop/web")
A = "10.244.0.0"


def grown(start: Picture, seconds: float = 900.0) -> tuple[Picture, Picture]:
    """The picture, and the same so much later; n1 lives."""
    return start, later(start, seconds, "n1")


def test_an_address_whose_pod_is_there_is_left_alone() -> None:
    first, second = plans(*grown(picture(node("n1"), WEB, pods=(pod("shop/web", A),))))
    assert (told(first), told(second), second.waiting) == ([], [], ())


@pytest.mark.parametrize(
    ("pods", "why"),
    [
        ((), "pod shop/web does not exist"),
        ((pod("shop/web", A, phase="Failed"),), "pod shop/web has ended (Failed)"),
        ((pod("shop/web", A, phase="Succeeded"),), "pod shop/web has ended (Succeeded)"),
        ((pod("shop/web", A, on="n2"),), "pod shop/web is on node n2"),
        ((pod("shop/web", "10.244.0.9"),), "pod shop/web has 10.244.0.9"),
        (
            (pod("shop/web", created=NOW - 1_000),),
            f"pod shop/web is a later one of that name, created at {instant.stamp(NOW - 1_000)}",
        ),
    ],
)
def test_what_is_a_leak(pods: tuple[PodSeen, ...], why: str) -> None:
    first, second = plans(*grown(picture(node("n1"), WEB, pods=pods)))
    (waiting,) = first.waiting
    assert (waiting.what, waiting.why, waiting.at) == ("ask to release", why, CLOCK + 900)
    (ask,) = second.actions
    assert isinstance(ask, Ask)
    spec = ask.request.spec
    assert (spec.node, spec.address, spec.reason, spec.container) == ("n1", A, why, "c-shop/web")
    assert (spec.requestedBy, spec.requestedAt) == ("bgpnet controller", instant.stamp(NOW + 900))
    assert ask.request.metadata.name == f"10-244-0-0-{WEB.spec.allocations[0].sequence}"


@pytest.mark.parametrize(
    "pods",
    [
        (pod("shop/web", A),),
        (pod("shop/web"),),  # no address yet: this may be about to be its
        (pod("shop/web", "10.244.0.9", A),),
        (pod("shop/web", on=""),),
        (pod("shop/web", created=NOW - 4_990),),  # younger than the allocation by what clocks may differ
        (pod("shop/web", phase="Unknown"),),
        (pod("shop/web", A, created=NOW - 1_000),),  # by its node's clock, which is an hour behind
    ],
)
def test_what_is_none(pods: tuple[PodSeen, ...]) -> None:
    for plan in plans(*grown(picture(node("n1"), WEB, pods=pods))):
        assert (told(plan), plan.waiting) == ([], ())


def test_not_before_the_grace_is_over_and_not_at_first_sight() -> None:
    start = picture(node("n1"), WEB)
    early = plans(start, later(start, 899, "n1"))
    assert told(early[1]) == []
    first = plans(later(start, 100_000, "n1"))
    assert told(first[0]) == []


def test_the_grace_begins_anew_with_another_allocation_and_with_a_pod_that_came_back() -> None:
    start = picture(node("n1"), WEB)
    other = structs.replace(WEB, spec=held(block(), "shop/web", at=NOW - 4_000).spec)
    assert told(plans(start, later(start, 900, "n1", blocks={"b": other}))[1]) == []
    there = replace(picture(node("n1"), WEB, pods=(pod("shop/web", A),)), clock=CLOCK + 500)
    assert told(plans(start, there, later(start, 900, "n1"))[2]) == []


def test_a_cluster_that_is_not_known_for_a_while_is_no_reason_and_no_obstacle() -> None:
    start = picture(node("n1"), WEB)
    unknown = replace(later(start, 950, "n1"), cluster=None)
    plan, _, after = plans(start, unknown, later(start, 1000, "n1"))
    assert told(plan) == []
    assert told(plans(start, unknown)[1]) == []
    assert told(after) == [f"ask to release {A} of pod shop/web (container c-shop/web, eth0)"]


def test_on_a_node_that_is_none_of_kubernetes_pods_are_not_kubernetes_to_say() -> None:
    alone = picture(node("n1", kubernetes=None), node("n2"), WEB, nodes=like("n2"))
    assert [(told(one), one.waiting) for one in plans(alone, later(alone, 900, "n1", "n2"))] == [([], ())] * 2
    named = picture(node("n1", kubernetes=None), WEB, nodes=like("n1"))
    assert [one.why for one in plans(named)[0].waiting] == ["pod shop/web does not exist"]
    gone = picture(node("n1"), node("n2"), WEB, nodes=like("n2"))
    assert "pod shop/web does not exist" in [one.why for one in plans(gone)[0].waiting]


def test_without_leak_grace_nothing_is_looked_for() -> None:
    rules = replace(RULES, leak_grace=0.0)
    for plan in plans(*grown(picture(node("n1"), WEB)), rules=rules):
        assert (told(plan), plan.waiting) == ([], ())


@pytest.mark.parametrize("use", [Use.TUNNEL, Use.WORKLOAD])
def test_what_is_no_pods_is_not_a_leak(use: Use) -> None:
    made = held(block(), "", "x" if use is Use.WORKLOAD else "", ifname="tunl0", use=use)
    assert told(plans(*grown(picture(node("n1"), made)))[1]) == []


def test_a_second_interface_is_in_no_pods_status() -> None:
    both = held(held(block(), "shop/web"), "shop/web", "c-shop/web", ifname="net1")
    assert told(plans(*grown(picture(node("n1"), both, pods=(pod("shop/web", A),))))[1]) == []
    only = held(block(), "shop/web", ifname="net1")
    assert told(plans(*grown(picture(node("n1"), only, pods=(pod("shop/web", "172.16.0.1"),))))[1]) == []
    gone = plans(*grown(picture(node("n1"), both)))[1]
    assert [one.object.split(" ")[0] for one in gone.actions] == ["10.244.0.0", "10.244.0.1"]


def test_all_addresses_of_a_container_are_ripe_before_any_is_asked_for() -> None:
    start = picture(node("n1"), WEB)
    both = held(WEB, "shop/web", "c-shop/web", ifname="net1")
    more = later(start, 600, "n1", blocks={"b": both})
    plan = plans(start, more, later(more, 300, "n1"))[2]
    assert told(plan) == []
    assert len(told(plans(start, more, later(more, 900, "n1"))[2])) == 2


def test_a_new_sandbox_of_the_same_pod_leaves_the_old_one_to_be_released() -> None:
    both = held(held(block(), "shop/web", "old"), "shop/web", "new")
    plan = plans(*grown(picture(node("n1"), both, pods=(pod("shop/web", "10.244.0.1"),))))[1]
    assert told(plan) == [f"ask to release {A} of pod shop/web (container old, eth0)"]


def test_a_silent_owner_is_not_asked_and_one_that_is_called_otherwise_in_kubernetes_is() -> None:
    start = picture(node("n1"), node("n2"), WEB)
    silent = plans(start, later(start, 900, "n2"))[1]
    assert [one.why for one in silent.waiting if one.what == "ask to release"] == [
        "pod shop/web does not exist; its node's agent is silent for 900 s and cannot be asked"
    ]
    assert told(silent) == ["set NetworkUnavailable True Kubernetes Node(n1)"]
    renamed = picture(node("n1", kubernetes="k1"), WEB, pods=(pod("shop/web", A, on="k1"),))
    assert told(plans(*grown(renamed))[1]) == []


def request(
    status: ReleaseRequestStatus | None = None, by: str = "bgpnet controller", at: float = NOW
) -> ReleaseRequest:
    """The one that the second plan of these tests writes."""
    (ask,) = plans(*grown(picture(node("n1"), WEB)))[1].actions
    assert isinstance(ask, Ask)
    spec = structs.replace(ask.request.spec, requestedBy=by, requestedAt=instant.stamp(at))
    return structs.replace(ask.request, spec=spec, status=status)


def with_request(one: ReleaseRequest) -> tuple[Picture, Picture]:
    """The request appears after the grace."""
    start, end = grown(picture(node("n1"), WEB))
    return start, replace(end, requests={one.metadata.name: one})


def test_one_that_is_asked_for_is_not_asked_for_again() -> None:
    for by in ("bgpnet controller", "bgpnetctl on x"):
        assert told(plans(*with_request(request(by=by, at=NOW + 890)))[1]) == []


def test_the_answer_is_taken_away_and_anothers_is_left() -> None:
    released = ReleaseRequestStatus(outcome=Outcome.RELEASED)
    (remove,) = plans(*with_request(request(released)))[1].actions
    assert isinstance(remove, Remove)
    assert (remove.object, remove.why) == (f"ReleaseRequest({request().metadata.name})", f"node n1 released {A}")
    assert told(plans(*with_request(request(released, by="bgpnetctl on x")))[1]) == []


def test_who_refuses_is_asked_again_later_and_later() -> None:
    refused = ReleaseRequestStatus(outcome=Outcome.REFUSED, reason="pod web has it", answeredAt="1")
    start, end = with_request(request(refused))
    still = later(end, 899, "n1")
    over = later(end, 900, "n1")
    again = later(over, 1, "n1", requests={})
    one = request(structs.replace(refused, answeredAt="2"))
    second = later(again, 1, "n1", requests={one.metadata.name: one})
    plan = plans(start, end, still, over, again, second, later(second, 1799, "n1"), later(second, 1800, "n1"))
    assert [one.split(" ")[0] for each in plan for one in told(each) or [""]] == (
        ["", "", "", "delete", "ask", "", "", "delete"]
    )
    assert plan[1].waiting[0].why == "pod shop/web does not exist; node n1 refuses: pod web has it"
    assert plan[3].actions[0].why == "node n1 is to be asked again: it said that pod web has it"
    without = later(second, 10, "n1", requests={})
    assert "did not release it 2 times" in plans(start, end, over, again, second, without)[5].waiting[0].why


def test_a_request_that_is_not_answered_or_not_meant_any_more_is_withdrawn() -> None:
    overdue = plans(*with_request(request(at=NOW + 840)))[1]
    assert [one.why for one in overdue.actions] == ["node n1 did not answer within 60 s"]
    start, end = with_request(request(at=NOW + 890))
    back = later(picture(node("n1"), WEB, pods=(pod("shop/web", A),), requests=end.requests), 900, "n1")
    assert [one.why for one in plans(start, back)[1].actions] == [f"{A} has a pod, or another allocation"]
    assert plans(start, replace(back, cluster=None))[1].actions == ()


def test_in_a_block_without_owner_the_address_is_released_at_once() -> None:
    made = held(held(block(owner=""), "shop/web", use=Use.RESERVED), "shop/db")
    first, second = plans(*grown(picture(node("n1"), made, pods=(pod("shop/db", "10.244.0.1"),))))
    assert told(first) == []
    (write,) = second.actions
    assert isinstance(write, Write)
    assert isinstance(write.resource, IPAMBlock)
    slots = write.resource.spec.allocations
    assert (slots[0].freedAt, slots[1].freedAt) == (instant.stamp(NOW + 900), None)
    assert write.resource.metadata.resourceVersion == "3"
    assert write.resource.spec.sequence > made.spec.sequence
    assert end_reservation(made, ip.address(A), slots[0].sequence, NOW + 900).spec.allocations[0] == slots[0]


def test_no_more_than_a_batch_is_asked_at_once() -> None:
    made = block("10.244.0.0/25")
    for number in range(60):
        made = held(made, f"shop/web-{number}")
    plan = plans(*grown(picture(node("n1"), made)))[1]
    assert (len(plan.actions), len(plan.waiting)) == (50, 10)
    assert plan.wake == CLOCK + 900
