"""Nodes that Kubernetes has deleted, and blocks whose owner nobody knows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from clusters import CLOCK, NOW, RULES, Remove, Write, block, held, later, like, node, picture, plans, pod, pool, told
from msgspec import structs

from bgpnet.controller.main import is_one_api
from bgpnet.controller.picture import Cluster
from bgpnet.model.bgpconfiguration import BGPConfiguration
from bgpnet.model.bgppeer import BGPPeer, BGPPeerSpec
from bgpnet.model.instant import stamp
from bgpnet.model.ipamblock import IPAMBlock, Use
from bgpnet.model.node import NodeStatus
from bgpnet.model.releaserequest import ReleaseRequest, ReleaseRequestSpec
from bgpnet.model.resource import Metadata

OWN = held(held(block(), "shop/web"), "", ifname="tunl0", use=Use.TUNNEL)
PEER = BGPPeer(metadata=Metadata(name="tor1", resourceVersion="5"), spec=BGPPeerSpec(node="n1", peerIP="192.0.2.250"))
OTHERS = BGPPeer(metadata=Metadata(name="all", resourceVersion="5"), spec=BGPPeerSpec(peerIP="192.0.2.251"))
MINE = BGPConfiguration(metadata=Metadata(name="node.n1", resourceVersion="6"))
DEFAULT = BGPConfiguration(metadata=Metadata(name="default", resourceVersion="6"))
ASKED = ReleaseRequest(
    metadata=Metadata(name="r", resourceVersion="9"),
    spec=ReleaseRequestSpec(node="n1", address="10.244.0.0", sequence=1, requestedBy="x", requestedAt=stamp(NOW)),
)


def test_all_that_hangs_on_a_node_goes_and_the_node_last() -> None:
    two = block("10.244.0.64/26")
    start = picture(
        node("n1"),
        node("n2"),
        OWN,
        two,
        block("10.244.1.0/26", "n2"),
        PEER,
        OTHERS,
        MINE,
        DEFAULT,
        ASKED,
        pool(),
        nodes=like("n2"),
    )
    first, second = plans(start, later(start, 60, "n2"))
    assert told(first) == []
    assert [one for one in first.waiting if one.object == "Node(n1)"] == [
        ("delete", "Node(n1)", "n1", "Kubernetes has no Node n1, but the node's agent was alive 0 s ago", CLOCK + 60)
    ]
    assert told(second) == [
        "delete IPAMBlock(10-244-0-0-26)",
        "delete IPAMBlock(10-244-0-64-26)",
        "delete BGPPeer(tor1)",
        "delete BGPConfiguration(node.n1)",
        "delete ReleaseRequest(r)",
        "delete Node(n1)",
    ]
    for one in second.actions:
        assert isinstance(one, Remove)
        assert (one.departure and one.departure.version, one.why) == ("7", "Kubernetes has no Node n1")


def test_a_node_whose_agent_lives_stays_however_often_its_clock_says_otherwise() -> None:
    start = picture(node("n1", at=NOW - 100_000), node("n2"), OWN, nodes=like("n2"))
    behind = [{"n1": node("n1", at=NOW - 100_000 + step), "n2": node("n2", at=NOW + 50 * step)} for step in range(9)]
    beating = [
        later(start, 50.0 * step, nodes=nodes, cluster=Cluster({}, like("n3"))) for step, nodes in enumerate(behind)
    ]
    assert [told(one) for one in plans(*beating)] == [[]] * 9


def test_silence_counts_only_while_the_datastore_was_heard() -> None:
    start = picture(node("n1"), node("n2"), nodes=like("n2"))
    assert told(plans(start, later(start, 100, "n2", heard=CLOCK + 50))[1]) == []
    assert told(plans(start, later(start, 110, "n2", heard=CLOCK + 50))[1]) == ["delete Node(n1)"]


def test_a_node_that_no_machine_holds_needs_no_silence() -> None:
    bare = structs.replace(node("n1"), status=NodeStatus())
    assert told(plans(picture(bare, node("n2"), nodes=like("n2")))[0]) == ["delete Node(n1)"]


def test_a_node_that_never_was_kubernetes_is_left_to_its_operator() -> None:
    start = picture(node("n1", kubernetes=None), node("n2"), OWN, nodes=like("n2"))
    end = later(start, 100_000, "n2")
    assert told(plans(start, end)[1]) == []


def test_a_kubernetes_that_has_none_of_our_nodes_is_another_one() -> None:
    start = picture(node("n1"), node("n2", kubernetes=None), OWN, block("10.244.9.0/26", "n9"), nodes=like("k1", "k2"))
    for plan in plans(start, later(start, 100_000)):
        assert (told(plan), plan.suspects) == ([], {})
        assert [(one.what, one.why) for one in plan.waiting] == [
            (
                "clean up",
                "Kubernetes has no Node at all that the datastore knows (n1), so that nothing of nodes and pods is "
                "cleaned up: see that datastore and kubeconfig are of one cluster",
            )
        ]
    assert told(plans(replace(start, cluster=Cluster({}, like("n2"))))[0])[-1] == "write Node(n2)"


def test_a_kubernetes_that_keeps_the_datastore_is_no_other_one() -> None:
    """All of its nodes may have been replaced at once."""
    start = picture(node("n1"), OWN, nodes=like("k1"))
    cluster = Cluster({}, like("k1"), keeps=True)
    late = plans(*(replace(one, cluster=cluster) for one in (start, later(start, 900))))[-1]
    assert told(late) == ["delete IPAMBlock(10-244-0-0-26)", "delete Node(n1)"]


@pytest.mark.parametrize("nodes", [None, {}])
def test_nothing_goes_while_kubernetes_is_not_known_or_is_empty(nodes: dict[str, object] | None) -> None:
    start = picture(node("n1"), OWN, nodes={})
    if nodes is None:
        start = replace(start, cluster=None)
    assert told(plans(start, later(start, 100_000))[1]) == []


def test_a_block_stays_while_a_pod_of_the_node_has_an_address_of_it() -> None:
    pods = (pod("shop/web", "10.244.0.0"), pod("shop/job", "10.244.0.9", phase="Failed"), pod("a/b", "192.0.2.1"))
    stored = (node("n1"), node("n2"), OWN, block("10.244.0.64/26"), PEER, MINE)
    start = picture(*stored, pods=pods, nodes=like("n2"))
    plan = plans(start, later(start, 60, "n2"))[1]
    assert told(plan) == ["delete IPAMBlock(10-244-0-64-26)"]
    assert [(one.object, one.why) for one in plan.waiting if one.what == "delete"] == [
        ("IPAMBlock(10-244-0-0-26)", "Kubernetes has no Node n1, and still pod shop/web on it"),
        ("Node(n1)", "Kubernetes has no Node n1; pods of it are there still: IPAMBlock(10-244-0-0-26)"),
    ]


def test_what_an_import_reserved_stays_in_a_block_without_owner() -> None:
    mixed = held(OWN, "shop/borrower", use=Use.RESERVED)
    start = picture(node("n1"), node("n2"), mixed, nodes=like("n2"))
    write, last = plans(start, later(start, 60, "n2"))[1].actions
    assert isinstance(write, Write)
    assert isinstance(write.resource, IPAMBlock)
    spec = write.resource.spec
    assert (spec.owner, [spec.allocations[at].freedAt is None for at in range(3)]) == (None, [False, False, True])
    assert last.object == "Node(n1)"


def test_blocks_of_an_owner_that_nobody_knows_are_given_back_after_the_grace() -> None:
    start = picture(node("n2"), OWN, nodes=like("n2"))
    first, early, late = plans(start, later(start, 899, "n2"), later(start, 900, "n2"))
    assert (told(first), told(early), told(late)) == ([], [], ["delete IPAMBlock(10-244-0-0-26)"])
    assert [one.at for one in first.waiting if one.what == "delete"] == [CLOCK + 900]
    back = later(start, 500, "n2", nodes={**start.nodes, "n1": node("n1")})
    assert told(plans(start, back, later(start, 900, "n2"))[2]) == []
    unread = later(start, 900, "n2", broken=frozenset({"n1"}))
    assert told(plans(start, unread)[1]) == []
    there = replace(later(start, 900, "n2"), cluster=Cluster({}, like("n1", "n2")))
    assert told(plans(start, there)[1]) == []


def test_with_once_ages_are_told_by_what_is_written() -> None:
    rules = replace(RULES, at_once=True)
    start = picture(node("n1", at=NOW - 61), node("n2"), OWN, nodes=like("n2"))
    assert told(plans(start, rules=rules)[0])[-1] == "delete Node(n1)"
    young = picture(node("n1", at=NOW - 59), node("n2"), OWN, nodes=like("n2"))
    assert told(plans(young, rules=rules)[0]) == []
    orphan = picture(node("n2"), OWN, nodes=like("n2"))
    assert told(plans(orphan, later(orphan, 100_000, "n2"), rules=rules)[1]) == []


def test_blocks_of_an_unknown_owner_stay_while_a_pod_of_any_node_has_an_address_of_them() -> None:
    there = pod("shop/web", "10.244.0.0", on="called-otherwise")
    start = picture(node("n2"), OWN, pods=(there,), nodes=like("n2"))
    late = plans(start, later(start, 900, "n2"))[1]
    assert told(late) == []
    assert "neither the datastore nor Kubernetes has a Node n1, and still pod shop/web on it" in [
        one.why for one in late.waiting
    ]
    lent = held(block(), "shop/web", use=Use.RESERVED)
    start = picture(node("n2"), lent, pods=(there,), nodes=like("n2"))
    assert told(plans(start, later(start, 900, "n2"))[1]) == ["take the owner off IPAMBlock(10-244-0-0-26)"]


@pytest.mark.parametrize(
    ("url", "kubeconfig", "same"),
    [
        ("kubernetes:", "", True),
        ("kubernetes:///etc/admin.conf", "/etc/admin.conf", True),
        ("kubernetes:///etc/admin.conf", "/etc/other.conf", False),
        ("kubernetes:", "/etc/other.conf", False),
        ("kubernetes:", None, False),
        ("etcd://10.0.0.1:2379", "", False),
    ],
)
def test_datastore_and_kubernetes_are_one_api(url: str, kubeconfig: str | None, same: bool) -> None:
    assert is_one_api(url, kubeconfig) == same
