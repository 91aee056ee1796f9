"""What is carried out, what is passed over, and what a controller says of itself."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from clusters import NOW, Ask, SetNetwork, block, held, later, like, node, picture, plans, pod, pool
from fake_kubernetes import FakeKubernetes
from msgspec import structs

from bgpnet.controller import listing, metrics, settings
from bgpnet.controller.actions import Action
from bgpnet.controller.hands import Hands, Outcome
from bgpnet.controller.loop import Controller
from bgpnet.controller.picture import Rules
from bgpnet.controller.view import KINDS, View
from bgpnet.errors import BgpnetError, StoreUnreachable, UsageError
from bgpnet.kube.errors import Unauthorised
from bgpnet.kube.reflector import Away, Gone, Listed, Put
from bgpnet.kubeobjects import NodeSeen
from bgpnet.model import instant, kinds
from bgpnet.model.bgppeer import BGPPeer, BGPPeerSpec
from bgpnet.model.ipamblock import IPAMBlock, Use
from bgpnet.model.ipreservation import IPReservation, IPReservationSpec
from bgpnet.model.kinds import Resource
from bgpnet.model.node import Node
from bgpnet.model.releaserequest import Outcome as Answer
from bgpnet.model.releaserequest import ReleaseRequest, ReleaseRequestSpec, ReleaseRequestStatus
from bgpnet.model.resource import Metadata
from bgpnet.store.api import Entry
from bgpnet.store.memory import MemoryStore
from bgpnet.store.repo import Repo

WEB = held(block(), "shop/web")


class Place:
    """A store with these objects in it, and a Kubernetes."""

    def __init__(self, *stored: Resource) -> None:
        self.repo = Repo(MemoryStore())
        self.kubernetes = FakeKubernetes()
        self.stored = [self.repo.write(new(one)) for one in stored]
        self.hands = Hands(self.repo, self.kubernetes, now=lambda: NOW)

    def does(self, action: Action) -> tuple[Outcome, str]:
        """What becomes of it."""
        done = self.hands.carry_out(action)
        return done.outcome, done.why


def new(one: Resource) -> Resource:
    """As it is written first."""
    return structs.replace(one, metadata=structs.replace(one.metadata, resourceVersion=""))


def ask() -> Ask:
    """To release WEB's address."""
    start = picture(node("n1"), WEB)
    (action,) = plans(start, later(start, 900, "n1"))[1].actions
    assert isinstance(action, Ask)
    return action


def test_an_owner_is_asked_once() -> None:
    place = Place(WEB)
    assert place.does(ask()) == (Outcome.DONE, "")
    assert place.does(ask())[0] is Outcome.PASSED
    assert len(place.repo.list(kinds.RELEASEREQUEST)[0]) == 1


def test_the_apis_own_word_is_the_last_one() -> None:
    place = Place(WEB)
    place.kubernetes.put_pod("shop/web", "n1", "10.244.0.0")
    assert place.does(ask()) == (Outcome.PASSED, "pod shop/web is there by the API's own word")
    place.kubernetes.put_pod("shop/web", "n1", "10.244.0.0", "Failed")
    assert place.does(ask())[0] is Outcome.DONE


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (block(), "10.244.0.0 was released, or is another allocation by now"),
        (held(block(), "shop/web", at=NOW - 10), "10.244.0.0 was released, or is another allocation by now"),
        (held(block(owner="n2"), "shop/web"), "block 10.244.0.0/26 is gone, or another node's"),
        (block("10.244.9.0/26"), "block 10.244.0.0/26 is gone, or another node's"),
    ],
)
def test_the_datastores_own_word_too(there: IPAMBlock, why: str) -> None:
    place = Place(there)
    assert place.does(ask()) == (Outcome.PASSED, why)
    assert place.repo.list(kinds.RELEASEREQUEST)[0] == []


@pytest.mark.parametrize("name", ["web", "a/b/c", "shop/../../nodes/n1", "Shop/web", "/web"])
def test_a_name_that_kubernetes_cannot_have_is_not_looked_for(name: str) -> None:
    start = picture(node("n1"), held(block(), name))
    (action,) = plans(start, later(start, 900, "n1"))[1].actions
    outcome, why = Place(held(block(), name)).does(action)
    assert (outcome, why.startswith(repr(name))) == (Outcome.PASSED, True)


def test_nobody_there_means_later_and_a_refusal_is_told() -> None:
    place = Place(WEB)
    place.kubernetes.away = True
    assert place.does(ask()) == (Outcome.AWAY, "the API server is away: wait for it")
    assert Hands(place.repo, None).carry_out(ask()).outcome is Outcome.PASSED

    class Forbidden(FakeKubernetes):
        def get(self, path: str) -> dict[str, Any] | None:
            raise Unauthorised("pods is forbidden: give it", 403, "Forbidden", "")

    assert Hands(place.repo, Forbidden()).carry_out(ask()).outcome is Outcome.FAILED


def departed(place: Place) -> list[Action]:
    """What is to be done for n1, which the place's Kubernetes does not have."""
    there = [one for kind in (kinds.NODE, kinds.IPAMBLOCK, kinds.BGPPEER) for one in place.repo.list(kind)[0]]
    start = picture(*there, node("n2"), nodes=like("n2"))
    return list(plans(start, later(start, 60, "n2"))[1].actions)


def test_a_node_that_is_gone_is_taken_apart_and_goes_last() -> None:
    peer = BGPPeer(metadata=Metadata(name="tor"), spec=BGPPeerSpec(node="n1", peerIP="192.0.2.250"))
    place = Place(node("n1"), WEB, peer)
    own_block, own_peer, own_node = departed(place)
    for one in (own_peer, own_node):
        assert place.does(one) == (Outcome.PASSED, "it owns 10.244.0.0/26 still")
    place.kubernetes.put_pod("shop/web", "n1", "10.244.0.0")
    assert place.does(own_block) == (Outcome.PASSED, "pod shop/web has an address of it")
    place.kubernetes.pods.clear()
    assert place.does(own_block)[0] is Outcome.DONE
    assert place.does(own_block)[0] is Outcome.PASSED
    assert place.does(own_peer)[0] is Outcome.DONE
    assert place.does(own_node)[0] is Outcome.DONE
    assert place.repo.list(kinds.NODE)[0] == []


def test_a_block_of_an_unknown_owner_stays_with_a_pod_that_the_api_knows_on_any_node() -> None:
    place = Place(WEB)
    stored = place.repo.list(kinds.IPAMBLOCK)[0]
    start = picture(*stored, node("n2"), nodes=like("n2"))
    (action,) = plans(start, later(start, 900, "n2"))[1].actions
    place.kubernetes.put_pod("shop/web", "called-otherwise", "10.244.0.0")
    assert place.does(action) == (Outcome.PASSED, "pod shop/web has an address of it")
    place.kubernetes.pods.clear()
    assert place.does(action)[0] is Outcome.DONE


def test_a_node_that_is_back_by_either_word_stays() -> None:
    place = Place(node("n1"), WEB)
    actions = departed(place)
    place.kubernetes.put_node("n1")
    assert {place.does(one) for one in actions} == {(Outcome.PASSED, "Kubernetes has Node n1 by the API's own word")}
    place.kubernetes.nodes.clear()
    there = place.repo.get(kinds.NODE, "n1")
    assert isinstance(there, Node)
    place.repo.write(structs.replace(there, status=node("n1", at=NOW + 1).status))
    assert {place.does(one) for one in actions} == {
        (Outcome.PASSED, "Node(n1) was written meanwhile: its agent may live")
    }


def test_a_condition_is_set_where_the_node_is_as_it_was_seen() -> None:
    place = Place()
    place.kubernetes.put_node("n1")
    seen = NodeSeen("n1", "u-n1", version=place.kubernetes.nodes["n1"]["metadata"]["resourceVersion"])
    action = SetNetwork(seen, False, "BgpnetIsUp", "the node's agent works", node("n1"))
    assert place.does(action)[0] is Outcome.DONE
    assert place.kubernetes.network("n1") == "False"
    assert place.does(action) == (Outcome.PASSED, "Kubernetes Node n1 was written meanwhile, or is gone")
    assert place.does(replace(action, seen=NodeSeen("n9")))[0] is Outcome.PASSED


def test_a_silence_that_only_a_watch_has_heard_is_none() -> None:
    place = Place(node("n1", at=NOW - 500))
    place.kubernetes.put_node("n1")
    seen = NodeSeen("n1", "u-n1", version=place.kubernetes.nodes["n1"]["metadata"]["resourceVersion"])
    action = SetNetwork(seen, True, "BgpnetIsDown", "the node's agent is silent for 500 s", node("n1", at=NOW - 500))
    late = replace(action, ours=node("n1", at=NOW - 600))
    assert place.does(late) == (Outcome.PASSED, "the agent of node n1 has given a sign of life")
    assert place.kubernetes.network("n1") == ""
    assert place.does(action)[0] is Outcome.DONE
    assert place.kubernetes.network("n1") == "True"


class Silent(MemoryStore):
    """A datastore that lists and then answers nothing, as an etcd without a majority does."""

    def get(self, key: str) -> Entry | None:
        raise StoreUnreachable("no answer: see to it")


def test_silence_counts_anew_after_a_datastore_that_did_not_answer() -> None:
    clock, kubernetes = [1_000.0], FakeKubernetes()
    kubernetes.put_node("n1")
    repo = Repo(Silent())
    repo.write(new(node("n1", at=NOW - 5_000)))
    repo.write(new(node("n2", at=time.time(), kubernetes=None)))
    repo.write(new(pool()))
    view, hands = View(True, lambda: clock[0]), Hands(repo, kubernetes, now=lambda: NOW)
    for kind in KINDS:
        view.listed(kind, repo.list(kind)[0])
    view.pods(Listed(()))
    condition = {"type": "NetworkUnavailable", "status": "False", "reason": "BgpnetIsUp"}
    kubernetes.nodes["n1"]["status"] = {"conditions": [condition]}
    view.nodes(Listed(tuple(kubernetes.nodes.values())))
    controller = Controller(view, hands, Rules(), 300.0)
    outcomes = []
    for step in (0, 119, 1, 1, 118, 2):
        clock[0] += step
        before = controller.counts.actions["set", "away"]
        controller.turn()
        outcomes.append(controller.counts.actions["set", "away"] - before)
    assert outcomes == [0, 0, 1, 0, 0, 1]


# what is told


def squeezed(table: str) -> list[str]:
    """Its lines, with three spaces between any two cells."""
    return [re.sub(" {3,}", "   ", line) for line in table.splitlines()]


def test_a_plan_as_a_table_and_as_rows() -> None:
    start = picture(node("n1"), WEB, pool(disabled=True))
    plan = plans(start)[0]
    rows = listing.rows(plan, start.clock)
    assert [line.split("   ") for line in squeezed(listing.table(rows))] == [
        ["ACTION", "OBJECT", "NODE", "WHEN", "WHY"],
        ["set Allocatable in", "IPPool(pods)", "now", "False: PoolDisabled (spec.disabled is true)"],
        [
            "ask to release",
            "10.244.0.0 of pod shop/web (container c-shop/web, eth0)",
            "n1",
            "in 15m",
            "pod shop/web does not exist",
        ],
    ]
    assert json.loads(json.dumps(rows))[1]["inSeconds"] == 900
    assert listing.table([]) == "Nothing is to be done.\n"
    done = listing.rows(plan, start.clock, {0: "done"})
    assert (done[0]["outcome"], listing.table(done).splitlines()[1].split()[4]) == ("done", "done")


def test_the_metrics() -> None:
    mixed = held(held(WEB, "", ifname="tunl0", use=Use.TUNNEL), "shop/old", use=Use.RESERVED)
    kept = IPReservation(metadata=Metadata(name="r"), spec=IPReservationSpec(reservedCIDRs=("10.244.9.0/28",)))
    empty = block("10.9.0.0/26", "")
    look = picture(node("n1"), mixed, empty, pool(), kept, pods=(pod("shop/old", "10.244.0.2"),))
    counts = metrics.Counts()
    counts.reclaimed["pods", "n1"] += 2
    counts.actions["delete", "done"] += 1
    suspects = plans(look)[0].suspects
    assert suspects is not None
    said = metrics.text(look, suspects, counts, ("", "away"))
    assert [line for line in said.splitlines() if not line.startswith("#")][1:] == [
        'bgpnet_controller_in_sync{source="datastore"} 1',
        'bgpnet_controller_in_sync{source="kubernetes"} 0',
        'bgpnet_ipam_blocks{ippool="no_ippool",node="no_affinity"} 1',
        'bgpnet_ipam_blocks{ippool="pods",node="n1"} 1',
        'bgpnet_ipam_allocations_in_use{ippool="no_ippool",node="no_affinity"} 0',
        'bgpnet_ipam_allocations_in_use{ippool="pods",node="n1"} 3',
        'bgpnet_ipam_allocations_borrowed{ippool="no_ippool",node="no_affinity"} 0',
        'bgpnet_ipam_allocations_borrowed{ippool="pods",node="n1"} 1',
        'bgpnet_ipam_allocations_gc_candidates{ippool="no_ippool",node="no_affinity"} 0',
        'bgpnet_ipam_allocations_gc_candidates{ippool="pods",node="n1"} 1',
        'bgpnet_ipam_ippool_size{ippool="pods"} 65536',
        'bgpnet_ipam_ippool_reserved{ippool="pods"} 16',
        'bgpnet_ipam_allocations_gc_reclamations{ippool="pods",node="n1"} 2',
        'bgpnet_controller_actions_total{action="delete",outcome="done"} 1',
    ]
    assert "# TYPE bgpnet_ipam_allocations_gc_reclamations counter" in said
    assert "bgpnet_ipam_blocks" not in metrics.text(None, {}, counts, ("away", ""))


# settings


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15m", 900), ("90s", 90), ("1h30m", 5400), ("0", 0), ("2.5", 2.5), ("0s", 0), ("500ms", 0.5), ("15m0s", 900)],
)
def test_times(text: str, seconds: float) -> None:
    assert settings.load({"BGPNET_LEAK_GRACE_PERIOD": text}, {}).leak_grace_period == seconds


@pytest.mark.parametrize("text", ["-1", "m", "15x", "1 m", "5 5", "8d", "200h", "1m30", "nan", "15m "])
def test_no_times(text: str) -> None:
    with pytest.raises(UsageError, match=r"the flag --leak-grace-period is '.*': it must be seconds"):
        settings.load({}, {"leak_grace_period": text})


def test_settings_of_environment_and_flags() -> None:
    environ = {
        "BGPNET_METRICS_PORT": "9999",
        "BGPNET_NODE": "the agent's",
        "BGPNET_SECRET_X": "y",
        "BGPNET_IPV4POOL_CIDR": "init's",
        "BGPNET_KUBECONFIG": "",
    }
    got = settings.load(environ, {"metrics_port": "0", "log_level": None, "kubernetes": "off"})
    assert got == settings.Settings(metrics_port=0, kubernetes="off")
    for environ, problem in (
        ({"BGPNET_LEAK_GRACE_PERIODS": "1"}, "write the closest that is one, BGPNET_LEAK_GRACE_PERIOD"),
        ({"BGPNET_KUBERNETES": "maybe", "BGPNET_DATASTORE": "x"}, "it must be auto or off"),
    ):
        with pytest.raises(UsageError, match=problem):
            settings.load(environ, {})


# the view and the loop


def filled(place: Place, view: View, *kubernetes: str) -> None:
    """It has heard everything."""
    for kind in KINDS:
        view.listed(kind, place.repo.list(kind)[0])
    view.pods(Listed(()))
    view.nodes(Listed(tuple({"metadata": {"name": name}} for name in kubernetes)))


def test_a_picture_is_made_only_of_what_was_heard_in_full() -> None:
    place, clock = Place(node("n1")), [5.0]
    view = View(True, lambda: clock[0])
    view.listed(kinds.NODE, [])
    assert view.picture(NOW) is None
    assert view.missing()[0].startswith("the datastore has not said yet what there is of ipamblocks, ippools")
    filled(place, view, "n1")
    look = view.picture(NOW)
    assert look is not None
    assert look.cluster is not None
    assert (look.heard, list(look.nodes), list(look.cluster.nodes)) == (5.0, ["n1"], ["n1"])
    view.pods(Away("gone fishing"))
    unknown = view.picture(NOW)
    assert unknown is not None
    assert (unknown.cluster, view.missing()) == (None, ("", "gone fishing"))
    view.pods(Listed(()))
    view.store_away(kinds.IPPOOL, "no answer")
    assert (view.picture(NOW), view.missing()) == (None, ("no answer", ""))
    clock[0] = 9.0
    view.listed(kinds.IPPOOL, [])
    again = view.picture(NOW)
    assert again is not None
    assert again.heard == 9.0


def pod_document(name: str, **status: Any) -> Mapping[str, Any]:
    return {"metadata": {"namespace": "a", "name": name}, "spec": {"nodeName": "n1"}, "status": status}


def test_what_is_news_and_what_is_none() -> None:
    place = Place(node("n1"), WEB)
    view = View(True, lambda: 0.0)
    filled(place, view, "n1")
    view.news.clear()
    there = place.stored[0]
    assert isinstance(there, Node)
    view.changed(kinds.NODE, structs.replace(there, status=node("n1", at=NOW + 20).status))
    view.nodes(Put({"metadata": {"name": "n1", "annotations": {"x": "y"}, "resourceVersion": "9"}}))
    assert not view.news.is_set()
    late = structs.replace(there, status=node("n1", at=NOW + 90).status)
    for tell in (
        lambda: view.changed(kinds.NODE, late),
        lambda: view.changed(
            kinds.NODE, structs.replace(late, metadata=structs.replace(late.metadata, labels={"a": "b"}))
        ),
        lambda: view.pods(Put(dict(pod_document("x", phase="Running")))),
        lambda: view.pods(Put(dict(pod_document("x", phase="Failed")))),
        lambda: view.pods(Gone(dict(pod_document("x")))),
        lambda: view.nodes(Put({"metadata": {"name": "n1", "labels": {"a": "b"}}})),
        lambda: view.nodes(Gone({"metadata": {"name": "n1"}})),
        lambda: view.deleted(kinds.NODE, "n1"),
    ):
        view.news.clear()
        tell()
        assert view.news.is_set()
    view.pods(Put(dict(pod_document("y", phase="Running"))))
    view.news.clear()
    view.pods(Put(dict(pod_document("y", phase="Running", message="well"))))
    assert not view.news.is_set()


def test_a_turn_counts_and_stops_where_nobody_answers() -> None:
    released = ReleaseRequest(
        metadata=Metadata(name="r"),
        spec=ReleaseRequestSpec(node="n1", address="10.244.0.9", sequence=1, requestedBy="bgpnet controller"),
        status=ReleaseRequestStatus(outcome=Answer.RELEASED, answeredAt=instant.stamp(NOW)),
    )
    place = Place(node("n1"), pool(), released)
    view = View(True, lambda: 0.0)
    controller = Controller(view, place.hands, Rules(), 300.0)
    with pytest.raises(BgpnetError, match="nothing is done for now: the datastore has not said yet"):
        controller.readyz()
    place.kubernetes.put_node("n1")
    filled(place, view)
    view.nodes(Listed(tuple(place.kubernetes.nodes.values())))
    controller.turn()
    assert controller.readyz() == controller.livez() == "ok\n"
    assert controller.counts.reclaimed == {("pods", "n1"): 1}
    assert place.repo.list(kinds.RELEASEREQUEST)[0] == []
    assert 'gc_reclamations{ippool="pods",node="n1"} 1' in controller.text()


def test_the_first_that_nobody_answers_ends_a_turn() -> None:
    place = Place(WEB)
    place.kubernetes.away = True
    controller = Controller(View(True, lambda: 0.0), place.hands, Rules(), 300.0)
    start = picture(node("n1"), WEB)
    wished = replace(plans(start)[0], actions=(ask(), ask()))
    assert [one.outcome for one in controller.carry_out(wished, start)] == [Outcome.AWAY]
