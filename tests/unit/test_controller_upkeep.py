"""What is kept equal: Nodes with Kubernetes', pools' conditions, the condition of the network."""

from __future__ import annotations

from dataclasses import replace

import pytest
from clusters import CLOCK, NOW, RULES, SetNetwork, Write, later, like, node, one, picture, plans, pool, told
from msgspec import structs

from bgpnet.kubenode import KUBE_LABELS
from bgpnet.kubenode import like as as_kubernetes_says
from bgpnet.kubeobjects import ConditionSeen, NodeSeen
from bgpnet.model.instant import stamp
from bgpnet.model.ippool import IPPool
from bgpnet.model.node import Node, NodeAddress, OrchRef
from bgpnet.model.resource import Condition

SEEN = NodeSeen(
    "n1", labels={"zone": "a"}, internal_ips=("192.0.2.1", "fd00::1"), external_ips=("198.51.100.1", "junk")
)


def test_a_node_gets_labels_addresses_and_orchref_of_its_kubernetes_node() -> None:
    got = as_kubernetes_says(node("n1", kubernetes=None, labels={"mine": "x", "zone": "old"}), SEEN)
    assert got.metadata.labels == {"mine": "x", "zone": "a"}
    assert got.metadata.annotations == {KUBE_LABELS: '{"zone":"a"}'}
    assert got.spec.orchRefs == (OrchRef(nodeName="n1", orchestrator="k8s"),)
    assert got.spec.addresses == (
        NodeAddress(address="192.0.2.1", type="InternalIP"),
        NodeAddress(address="fd00::1", type="InternalIP"),
        NodeAddress(address="198.51.100.1", type="ExternalIP"),
    )
    assert as_kubernetes_says(got, SEEN) == got


def test_only_labels_that_came_from_kubernetes_are_taken_away() -> None:
    first = as_kubernetes_says(node("n1", labels={"mine": "x"}), replace(SEEN, labels={"zone": "a", "rack": "r"}))
    labels = {**first.metadata.labels, "rack": "own"}
    changed = structs.replace(first, metadata=structs.replace(first.metadata, labels=labels))
    got = as_kubernetes_says(changed, replace(SEEN, labels={}))
    assert got.metadata.labels == {"mine": "x", "rack": "own"}


@pytest.mark.parametrize("junk", ["", "{", "[1]", '{"a":1}'])
def test_an_annotation_that_says_nothing_takes_nothing_away(junk: str) -> None:
    got = as_kubernetes_says(node("n1", labels={"a": "1"}, annotations={KUBE_LABELS: junk}), SEEN)
    assert got.metadata.labels == {"a": "1", "zone": "a"}


def test_addresses_and_refs_of_others_stay() -> None:
    own = node("n1", kubernetes="k1")
    refs = (OrchRef(nodeName="vm", orchestrator="openstack"), *own.spec.orchRefs)
    addresses = (
        NodeAddress(address="10.0.0.1", type="CalicoNodeIP"),
        NodeAddress(address="10.9.9.9", type="InternalIP"),
    )
    own = structs.replace(own, spec=structs.replace(own.spec, orchRefs=refs, addresses=addresses))
    got = as_kubernetes_says(own, replace(SEEN, name="k1"))
    assert [ref.nodeName for ref in got.spec.orchRefs] == ["vm", "k1"]
    assert [each.address for each in got.spec.addresses] == ["10.0.0.1", "192.0.2.1", "fd00::1", "198.51.100.1"]


def test_a_node_is_written_once_and_only_where_it_differs() -> None:
    bare = node("n1", kubernetes=None)
    seen = {"n1": replace(like("n1")["n1"], labels={"zone": "a"})}
    start = picture(bare, nodes=seen)
    write = one(plans(start)[0])
    assert isinstance(write, Write)
    assert isinstance(write.resource, Node)
    assert (write.object, write.why) == ("Node(n1)", "Kubernetes Node n1 has other labels, orchRefs")
    assert told(plans(replace(start, nodes={"n1": write.resource}))[0]) == []
    assert told(plans(replace(start, cluster=None))[0]) == []


def condition(status: str, reason: str, message: str = "", at: float = NOW) -> Condition:
    return Condition(type="Allocatable", status=status, reason=reason, message=message, lastTransitionTime=stamp(at))


def conditions(*pools: IPPool) -> dict[str, Condition]:
    """What each pool is to say, where that is not what it says."""
    found: dict[str, Condition] = {}
    for action in plans(picture(*pools))[0].actions:
        assert isinstance(action, Write)
        assert isinstance(action.resource, IPPool)
        assert action.resource.status
        found[action.resource.metadata.name] = action.resource.status.conditions[-1]
    return found


def test_a_pool_says_whether_addresses_are_given_of_it() -> None:
    new = structs.replace(pool(), status=None)
    assert conditions(new) == {"pods": condition("True", "OK")}
    assert conditions(pool()) == {}
    assert conditions(pool(disabled=True)) == {"pods": condition("False", "PoolDisabled", "spec.disabled is true")}
    off = condition("False", "PoolDisabled", "spec.disabled is true", NOW - 100)
    assert conditions(pool("pods", "10.244.0.0/16", off, disabled=True)) == {}
    assert conditions(pool("pods", "10.244.0.0/16", off)) == {"pods": condition("True", "OK")}
    assert conditions(pool("six", "fd00::/64"))["six"].reason == "FamilyNotSupported"
    assert conditions(pool("small", "10.0.0.0/28"))["small"].reason == "SmallerThanBlock"


def test_somebody_elses_word_and_conditions_stay() -> None:
    ending = condition("False", "Terminating")
    assert conditions(pool("pods", "10.244.0.0/16", ending)) == {}
    other = Condition(type="Other", status="True")
    (action,) = plans(picture(pool("pods", "10.244.0.0/16", other)))[0].actions
    assert isinstance(action, Write)
    assert isinstance(action.resource, IPPool)
    assert action.resource.status
    assert action.resource.status.conditions == (other, condition("True", "OK"))


def aged(made: IPPool, at: str) -> IPPool:
    return structs.replace(made, metadata=structs.replace(made.metadata, creationTimestamp=at))


def test_of_two_pools_that_overlap_the_younger_gives_way() -> None:
    old = aged(pool("zebra", "10.0.0.0/8"), "2023-01-01T00:00:00Z")
    young = aged(pool("ant", "10.1.0.0/16", blockSize=28), "2023-01-02T00:00:00Z")
    said = "10.1.0.0/16 overlaps the older IPPool(zebra), 10.0.0.0/8 with blocks of /26: delete one of them"
    assert conditions(old, young) == {"ant": condition("False", "CIDROverlap", said)}


def test_the_pools_of_a_split_share_their_blocks_and_serve() -> None:
    old = aged(pool("big", "10.0.0.0/8"), "2023-01-01T00:00:00Z")
    cidrs = enumerate(("10.0.0.0/9", "10.128.0.0/9"))
    halves = [aged(pool(f"split-big-{at}", cidr), "2023-01-02T00:00:00Z") for at, cidr in cidrs]
    assert conditions(old, *halves) == {}


def test_the_network_is_there_while_the_agent_lives() -> None:
    start = picture(node("n1"), node("n2"), nodes=like("n1", "n2", n1="True", n2="Unknown"))
    first, second = plans(start)[0].actions
    assert isinstance(first, SetNetwork)
    assert (first.object, first.unavailable, first.reason) == ("Kubernetes Node(n1)", False, "BgpnetIsUp")
    assert second.node == "n2"
    assert told(plans(replace(start, cluster=None))[0]) == []


def test_an_agent_that_is_silent_takes_it_down_after_a_while_and_back_at_once() -> None:
    start = picture(node("n1"), node("n2"))
    up, quiet, down = plans(start, later(start, 119, "n2"), later(start, 120, "n2"))
    assert (told(up), up.wake) == ([], CLOCK + 120)
    assert [(waits.what, waits.at) for waits in quiet.waiting] == [("set NetworkUnavailable True", CLOCK + 120)]
    set_down = one(down)
    assert isinstance(set_down, SetNetwork)
    assert (set_down.unavailable, set_down.reason) == (True, "BgpnetIsDown")
    assert set_down.why == "the node's agent is silent for 120 s"
    back = later(start, 300, "n1", "n2", cluster=picture(nodes=like("n1", "n2", n1="True")).cluster)
    assert told(plans(start, back)[1]) == ["set NetworkUnavailable False Kubernetes Node(n1)"]


def test_an_agent_with_a_wrong_clock_lives_when_its_heartbeat_moves() -> None:
    far = NOW - 100_000
    start = picture(node("n1", at=far), nodes=like("n1", n1="True"))
    moved = later(start, 20, nodes={"n1": structs.replace(start.nodes["n1"], status=node("n1", at=far + 20).status)})
    first, second = plans(start, moved)
    assert (told(first), told(second)) == ([], ["set NetworkUnavailable False Kubernetes Node(n1)"])


def test_what_others_called_available_is_theirs_and_zero_means_never() -> None:
    start = picture(node("n1"), node("n2"))
    assert told(plans(start, later(start, 900, "n2"), rules=replace(RULES, down=0.0))[1]) == []
    others = replace(like("n1")["n1"], conditions={"NetworkUnavailable": ConditionSeen("False", "RouteCreated")})
    start = picture(node("n1"), node("n2"), nodes={**like("n2"), "n1": others})
    assert told(plans(start, later(start, 900, "n2"))[1]) == []


def test_a_look_of_once_calls_no_network_down_as_its_clock_may_be_wrong() -> None:
    rules = replace(RULES, at_once=True)
    start = picture(node("n1", at=NOW - 200))
    plan = plans(start, rules=rules)[0]
    assert told(plan) == []
    assert [(one.what, one.at) for one in plan.waiting] == [("set NetworkUnavailable True", None)]
    up = picture(node("n1"), nodes=like("n1", n1="True"))
    assert told(plans(up, rules=rules)[0]) == ["set NetworkUnavailable False Kubernetes Node(n1)"]


def test_a_node_under_its_former_name_does_not_speak_for_the_one_that_lives() -> None:
    for former in ("a1", "z1"):
        old, living = node(former, kubernetes="n1", at=NOW - 5_000), node("n1")
        start = picture(old, living, node("n2"), nodes=like("n1", "n2"))
        assert [told(one) for one in plans(start, later(start, 900, "n1", "n2"))] == [[], []]
        down = picture(old, living, nodes=like("n1", n1="True"))
        assert told(plans(down)[0]) == ["set NetworkUnavailable False Kubernetes Node(n1)"]
        late = plans(start, later(start, 900, "n2"))[1]
        assert told(late) == ["set NetworkUnavailable True Kubernetes Node(n1)"]


def test_where_no_agent_is_heard_it_is_not_the_nodes_that_are_down() -> None:
    start = picture(node("n1"), node("n2"))
    plan = plans(start, later(start, 900))[1]
    assert told(plan) == []
    assert {(one.object, one.at, one.why) for one in plan.waiting} == {
        (
            f"Kubernetes Node({name})",
            None,
            f"{SILENT}, as all others are: see that the datastore takes what agents write",
        )
        for name in ("n1", "n2")
    }


SILENT = "the node's agent is silent for 900 s"
