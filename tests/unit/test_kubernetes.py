"""A World with Kubernetes: what an ADD waits for and what not, the own Node, passwords, service addresses."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from asks import POD, asked, given, refusal, working
from msgspec import structs
from worlds import NOW, PEER, block, effects, fresh, later, node, pool, run, synced

from bgpnet.agent import attach, events, orchestrated, policies
from bgpnet.agent.effects import Answer, Warn, WirePod
from bgpnet.agent.kubeevents import (
    NAMESPACES,
    NOT_WIRED,
    DescribePod,
    EndpointsHeard,
    Grievance,
    KubernetesAway,
    Namespaces,
    OwnNodeHeard,
    PodDescribed,
    SecretHeard,
    ServicesHeard,
)
from bgpnet.agent.orchestrated import Wanted
from bgpnet.agent.plan import plan
from bgpnet.agent.status import status
from bgpnet.agent.world import CLAIM_PATIENCE, Kubernetes, World
from bgpnet.annotations import KEEP, POOLS, Meta
from bgpnet.bgp.conf import RESTART_TIME
from bgpnet.bgp.peering import Peerings
from bgpnet.bgp.secret import Secrets, secret
from bgpnet.cnispec import TRY_AGAIN
from bgpnet.kubenode import KUBE_LABELS
from bgpnet.kubeobjects import NodeSeen
from bgpnet.model import ip, kinds
from bgpnet.model.bgpconfiguration import BGPConfiguration, BGPConfigurationSpec, CidrBlock
from bgpnet.model.bgppeer import BGPPeer, BGPPeerSpec
from bgpnet.model.ippool import AssignmentMode
from bgpnet.model.node import Node, NodeAddress, OrchRef
from bgpnet.model.resource import Metadata, Password, SecretKeyRef
from bgpnet.model.service import Endpoint, Service, ServiceType, TrafficPolicy

BLUE = pool("blue", "10.250.0.0/16", assignmentMode=AssignmentMode.MANUAL)
AWAY = "the API server does not answer"
NONE: dict[str, str] = {}


def kubernetes(world: World, **known: Any) -> World:
    """As it is when the agent starts: of Kubernetes nothing is known yet."""
    return replace(world, namespaces={}, kubernetes=Kubernetes("bgpnet-system", **known))


def cluster(**known: Any) -> World:
    """A node with a block of each of two pools."""
    return kubernetes(working(pool(), BLUE, blocks=(block(), block("10.250.0.0/26"))), **known)


SHOP = Namespaces({"shop": Meta()}, whole=True)


# what an ADD waits for


def test_what_the_runtime_and_the_watch_tell_is_waited_for_nowhere() -> None:
    world = run(cluster(), SHOP)
    assert given(effects(world, asked(annotations=NONE))[1]) == "10.244.0.0"
    assert given(effects(world, asked(annotations={POOLS: '["blue"]'}))[1]) == "10.250.0.0"


def test_a_new_namespace_is_asked_about_and_not_the_pod() -> None:
    world, found = effects(cluster(), asked(annotations=NONE))
    assert (found, world.waiting[1].reason) == ([DescribePod(POD, False, True)], "namespace shop is not known yet")
    world, found = effects(world, PodDescribed(POD, None, Meta({}, {POOLS: '["blue"]'})))
    assert given(found) == "10.250.0.0"
    assert not world.waiting
    assert given(effects(world, asked("c2", number=2, pod="shop/b", annotations=NONE))[1]) == "10.250.0.1"


def test_the_watch_may_be_quicker_than_the_answer() -> None:
    world, _ = effects(cluster(), asked(annotations=NONE))
    world, found = effects(world, SHOP)
    assert given(found) == "10.244.0.0"
    assert effects(world, PodDescribed(POD, None, Meta()))[1] == []


def test_an_answer_that_comes_after_the_watch_is_the_older_one() -> None:
    world, _ = effects(cluster(), asked(annotations=NONE))
    world = run(world, Namespaces({"shop": Meta({}, {POOLS: '["blue"]'})}), PodDescribed(POD, None, Meta()))
    assert given(effects(world, asked("c2", number=2, pod="shop/b", annotations=NONE))[1]) == "10.250.0.1"


def test_a_runtime_that_passes_no_annotations_has_the_pod_asked_about_each_time() -> None:
    world, found = effects(run(cluster(), SHOP), asked())
    assert (found, world.waiting[1].reason) == ([DescribePod(POD, True, False)], f"pod {POD} is not known yet")
    assert effects(world, asked("c2", number=2))[1][1:] == []  # nobody asks twice at a time
    world, found = effects(world, PodDescribed(POD, ((POOLS, '["blue"]'),)))
    assert given(found) == "10.250.0.0"
    later_one = run(world, events.PodWired(1, found[0].pod.attachment, "1.0.0"))  # type: ignore[union-attr]  # given() saw it
    assert DescribePod(POD, True, False) in effects(later_one, asked("c2", number=2))[1]


def test_asked_in_vain_it_waits_and_is_asked_about_again() -> None:
    world, _ = effects(run(cluster(), SHOP), asked())
    world, found = effects(world, PodDescribed(POD, problem=AWAY))
    assert (found, world.waiting[1].reason) == ([], f"pod {POD} is not known yet: {AWAY}")
    assert effects(world, events.Tick(NOW + 1, world.clock + 1))[1] == []
    assert effects(world, events.Tick(NOW + 2, world.clock + 2))[1] == [DescribePod(POD, True, False)]
    world, found = effects(world, events.Tick(NOW, world.clock + CLAIM_PATIENCE))
    assert refusal(found)[0] == 11
    assert refusal(found)[1].startswith(f"no address yet: pod {POD} is not known yet")


def test_without_kubernetes_nothing_is_waited_for() -> None:
    assert given(effects(working(), asked())[1]) == "10.244.0.0"


# while Kubernetes does not answer

DOWN = KubernetesAway(NAMESPACES, AWAY)


def test_a_namespace_that_is_not_known_is_waited_for_where_it_could_change_the_address() -> None:
    world, found = effects(run(cluster(), DOWN), asked(annotations=NONE))
    assert (found, world.waiting[1].reason) == ([], f"namespace shop is not known yet: {AWAY}")
    world, found = effects(world, KubernetesAway(NAMESPACES, ""))
    assert found == [DescribePod(POD, False, True)]


@pytest.mark.parametrize(
    ("world", "annotations", "address"),
    [
        (working(), {}, "10.244.0.0"),
        (working(pool(), pool("off", "10.9.0.0/16", disabled=True)), {}, "10.244.0.0"),
        (working(pool(), BLUE, blocks=(block(), block("10.250.0.0/26"))), {POOLS: '["blue"]'}, "10.250.0.0"),
    ],
)
def test_it_is_not_where_it_could_not(world: World, annotations: dict[str, str], address: str) -> None:
    assert given(effects(run(kubernetes(world), DOWN), asked(annotations=annotations))[1]) == address


def test_a_pool_that_selects_by_namespace_could_change_it() -> None:
    world = run(kubernetes(working(pool(namespaceSelector="a == 'b'"))), DOWN)
    assert effects(world, asked(annotations=NONE))[0].waiting


def test_an_address_that_was_kept_for_the_pod_is_kept_though_its_namespace_is_not_known() -> None:
    keeps = Namespaces({"shop": Meta({}, {KEEP: "true"})}, whole=True)
    world, found = effects(run(kubernetes(working()), keeps), asked(annotations=NONE))
    [first] = [one for one in found if isinstance(one, WirePod)]
    world = run(world, events.PodWired(1, first.pod.attachment, "1.0.0"))
    world = attach.released(world, first.pod.attachment)
    away = run(replace(world, namespaces={}), DOWN)
    again, found = effects(away, asked("c2", number=2, annotations=NONE))
    [second] = [one for one in found if isinstance(one, WirePod)]
    assert (second.pod.address, second.pod.keep) == (first.pod.address, first.pod.keep)
    assert first.pod.keep
    world = run(again, events.PodWired(2, second.pod.attachment, "1.0.0"))
    waits, _ = effects(world, asked("c3", number=3, annotations=NONE))
    assert waits.waiting[3].reason.startswith(f"{first.pod.address} is for pod {POD}")
    assert given(effects(away, asked("c2", number=2, pod="shop/cart-1", annotations=NONE))[1]) != str(first.pod.address)
    assert given(effects(away, asked("c2", number=2, annotations={KEEP: "false"}))[1]) != str(first.pod.address)
    known = run(world, Namespaces({"shop": Meta()}, whole=True))
    assert not effects(known, asked("c3", number=3, annotations=NONE))[0].waiting


def test_what_a_former_agent_heard_of_a_namespace_counts_while_nobody_can_be_asked_and_no_longer() -> None:
    world = cluster(remembered={"shop": Meta({}, {POOLS: '["blue"]'})})
    assert given(effects(run(world, DOWN), asked(annotations=NONE))[1]) == "10.250.0.0"
    assert effects(world, asked(annotations=NONE))[1] == [DescribePod(POD, False, True)]
    assert given(effects(run(world, SHOP, DOWN), asked(annotations=NONE))[1]) == "10.244.0.0"


def test_what_cannot_be_followed_is_in_the_status() -> None:
    world = run(cluster(), DOWN, OwnNodeHeard(None))
    said = status(world, plan(world))["warnings"]
    assert isinstance(said, list)
    assert f"Kubernetes' namespaces cannot be followed: {AWAY}" in said
    assert any(one.startswith("Kubernetes has no Node node1: set --node to the node's name there") for one in said)


# what the pod's owner is told


def test_a_refused_pods_owner_is_told_in_the_runtimes_own_words() -> None:
    _, found = effects(run(cluster(), SHOP), asked(annotations={POOLS: "blue"}, uid="u-1"))
    [answer] = [one for one in found if isinstance(one, Answer)]
    assert answer.grievance == Grievance(POD, "u-1", json.loads(answer.body)["msg"])


def test_so_is_the_owner_of_one_that_waited_in_vain_and_nobody_else() -> None:
    world, _ = effects(run(cluster(), DOWN), asked(annotations=NONE, uid="u-1"))
    _, found = effects(world, events.Tick(NOW, world.clock + CLAIM_PATIENCE))
    [answer] = [one for one in found if isinstance(one, Answer)]
    assert answer.grievance is not None
    busy = run(run(cluster(), SHOP), asked(annotations=NONE, uid="u-1"))
    [answer] = [
        one for one in effects(busy, asked(annotations=NONE, uid="u-1", number=2))[1] if isinstance(one, Answer)
    ]
    assert (answer.status, answer.grievance) == (1, None)  # try again, says the agent, and the runtime does
    [answer] = [
        one for one in effects(run(cluster(), SHOP), asked(annotations={POOLS: "x"}))[1] if isinstance(one, Answer)
    ]
    assert answer.grievance is None  # the runtime did not say which pod it is


def test_the_owner_of_one_that_the_kernel_refuses_is_told_too() -> None:
    world, found = effects(run(cluster(), SHOP), asked(annotations=NONE, uid="u-1"))
    [wire] = [one for one in found if isinstance(one, WirePod)]
    assert wire.uid == "u-1"
    refused = events.PodRefused(1, wire.pod.attachment, "1.0.0", "eth0 is there already", uid=wire.uid)
    _, found = effects(world, refused)
    [answer] = [one for one in found if isinstance(one, Answer)]
    assert answer.grievance == Grievance(POD, "u-1", "eth0 is there already", NOT_WIRED)
    for other in (replace(refused, uid=""), replace(refused, code=TRY_AGAIN)):
        _, found = effects(world, other)
        assert [one.grievance for one in found if isinstance(one, Answer)] == [None]


# the own Node


SEEN = NodeSeen("node1", labels={"rack": "a"}, internal_ips=("192.0.2.1", "fd00::1"), external_ips=("203.0.113.1",))


def recorded(world: World) -> Node:
    [found] = [one for one in plan(world).records if isinstance(one, Node)]
    return found


def stored(world: World, one: Node, revision: int = 2) -> World:
    kept = structs.replace(one.metadata, resourceVersion=str(revision))
    written = structs.replace(one, metadata=kept)
    return run(world, events.Changed(kinds.NODE, written, written=True, upon=str(revision - 1)))


def test_the_own_node_says_what_kubernetes_says_of_it() -> None:
    world = run(cluster(), OwnNodeHeard(SEEN))
    written = recorded(world)
    assert written.metadata.labels == {"rack": "a"}
    assert written.metadata.annotations == {KUBE_LABELS: '{"rack":"a"}'}
    assert written.spec.orchRefs == (OrchRef(nodeName="node1", orchestrator="k8s"),)
    assert written.spec.addresses == (
        NodeAddress(address="192.0.2.1", type="InternalIP"),
        NodeAddress(address="fd00::1", type="InternalIP"),
        NodeAddress(address="203.0.113.1", type="ExternalIP"),
    )
    assert not [one for one in plan(stored(world, written)).records if isinstance(one, Node)]


def test_labels_that_people_gave_stay_and_those_that_went_in_kubernetes_go() -> None:
    world = run(cluster(), OwnNodeHeard(SEEN))
    one = recorded(world)
    mine = structs.replace(one.metadata, labels={**one.metadata.labels, "mine": "yes"})
    world = stored(world, structs.replace(one, metadata=mine))
    world = run(world, OwnNodeHeard(replace(SEEN, labels={"zone": "z"})))
    assert recorded(world).metadata.labels == {"mine": "yes", "zone": "z"}


def test_a_note_that_somebody_spoilt_makes_all_labels_those_of_people() -> None:
    world = run(cluster(), OwnNodeHeard(SEEN))
    one = recorded(world)
    spoilt = structs.replace(one.metadata, labels={"mine": "yes"}, annotations={KUBE_LABELS: "[oops"})
    world = stored(world, structs.replace(one, metadata=spoilt))
    assert recorded(world).metadata.labels == {"mine": "yes", "rack": "a"}


def test_a_node_without_kubernetes_is_written_as_before() -> None:
    for world in (synced(), cluster()):
        assert not [one for one in plan(world).records if isinstance(one, Node)]


def test_another_address_than_the_internal_ip_is_warned_of_once() -> None:
    other = OwnNodeHeard(replace(SEEN, internal_ips=("10.0.0.5",)))
    world, found = effects(cluster(), other)
    [warning] = [one.sentence for one in found if isinstance(one, Warn)]
    assert warning.startswith(
        "this node's address 192.0.2.1 on eth1 is not the InternalIP of its Kubernetes Node (10.0.0.5): "
    )
    assert "start this agent again, which looks at its start" in warning  # enough where the InternalIP has changed
    assert effects(world, other)[1] == []
    assert orchestrated.disagreements(world) == [warning]
    assert orchestrated.disagreements(run(world, OwnNodeHeard(SEEN))) == []


# passwords in Secrets


TOR = BGPPeer(
    metadata=Metadata(name="tor"),
    spec=BGPPeerSpec(
        peerIP="192.0.2.9", asNumber=64600, password=Password(secretKeyRef=SecretKeyRef(name="bgp", key="tor"))
    ),
)


def guarded(peer: BGPPeer = TOR) -> World:
    return run(cluster(), events.Changed(kinds.BGPPEER, peer), events.SecretsLooked(Secrets("/run/s")))


def passwords(world: World) -> list[str | None] | None:
    found = plan(world).peerings
    return [one.password for one in found.neighbours] if found else None


def test_a_secret_that_is_referred_to_is_followed_and_nothing_is_said_before_it_is_heard() -> None:
    world = guarded()
    assert orchestrated.wanted(world) == Wanted(secrets=frozenset({"bgp"}))
    assert (passwords(world), plan(world).speaker) == (None, None)
    world = run(world, SecretHeard("bgp", {"tor": secret(b"s3cret"), "other": secret(b"x")}))
    assert passwords(world) == ["s3cret"]
    assert orchestrated.wanted(world) == Wanted(secrets=frozenset({"bgp"}))  # for as long as it is referred to
    assert passwords(run(world, SecretHeard("bgp", {"tor": secret(b"new")}))) == ["new"]
    assert passwords(run(world, SecretHeard("bgp", None))) is None


def test_a_new_peers_secret_that_is_not_heard_of_keeps_no_other_session_waiting() -> None:
    from worlds import found, state

    others = synced(pool(), BLUE, nodes=(node("node2", f"{PEER}/24"),), blocks=(block(),))
    world = run(kubernetes(others), events.Changed(kinds.BGPPEER, TOR), events.SecretsLooked(Secrets("/run/s")))
    assert plan(world).peerings is None  # nobody knows what the speaker has
    world = run(world, found(state()))
    assert [str(one.address) for one in peerings(world).neighbours] == [str(PEER)]
    warned = "Secret bgpnet-system/bgp has not been heard of yet"
    assert any(warned in one for one in status(world, plan(world))["warnings"])  # type: ignore[attr-defined]  # a list
    assert orchestrated.wanted(world).secrets == {"bgp"}
    heard = run(world, SecretHeard("bgp", {"tor": secret(b"s3cret")}))
    assert {one.password for one in peerings(heard).neighbours} == {None, "s3cret"}
    has_it = run(world, found(state(), state(ip.address("192.0.2.9"))))
    assert plan(has_it).peerings is None  # it would lose a session that it may have
    assert plan(has_it).announcements is None


@pytest.mark.parametrize(
    ("heard", "words"),
    [
        (SecretHeard("bgp", {}), "Secret bgpnet-system/bgp has no key tor; create it there"),
        (SecretHeard("bgp", {}, "Secret bgpnet-system/bgp does not exist"), "bgp does not exist; create it there"),
        (SecretHeard("bgp", {"tor": secret(b"")}), "bgp/tor is empty; write the password in it"),
    ],
)
def test_a_secret_without_the_password_leaves_the_session_out_and_says_why(heard: SecretHeard, words: str) -> None:
    world = run(guarded(), heard)
    assert passwords(world) == []
    assert any(words in one for one in status(world, plan(world))["warnings"])  # type: ignore[attr-defined]  # a list


def test_a_file_beats_the_secret_which_is_not_followed_then() -> None:
    world = run(guarded(), events.SecretsLooked(Secrets("/run/s", {"bgp/tor": secret(b"of-file")})))
    assert (passwords(world), orchestrated.wanted(world)) == (["of-file"], Wanted())


def test_secrets_of_other_nodes_sessions_are_none_of_ours() -> None:
    other = structs.replace(TOR, spec=structs.replace(TOR.spec, node="node2"))
    assert orchestrated.wanted(guarded(other)) == Wanted()
    assert passwords(guarded(other)) == []


# service addresses


RANGES = BGPConfigurationSpec(
    serviceClusterIPs=(CidrBlock(cidr="10.96.0.0/16"),), serviceLoadBalancerIPs=(CidrBlock(cidr="203.0.113.0/24"),)
)
LOCAL = Service(
    type=ServiceType.LOAD_BALANCER,
    cluster_ips=("10.96.0.9",),
    load_balancer_ips=("203.0.113.9",),
    policy=TrafficPolicy.LOCAL,
)


def announcing() -> World:
    """With a peer that is up, and ranges to announce."""
    from worlds import ended, found, state, up

    world = run(
        kubernetes(synced(nodes=(node("node2", f"{PEER}/24"),), blocks=(block(),))),
        events.SecretsLooked(Secrets("/run/s")),
        events.Changed(kinds.BGPCONFIGURATION, BGPConfiguration(metadata=Metadata(name="default"), spec=RANGES)),
    )
    return run(world, found(state()), up(), ended())


def told(world: World) -> set[str]:
    return {str(advert.prefix) for advert in (plan(world).announcements or {})[PEER]}


def test_services_are_followed_where_some_are_announced() -> None:
    assert orchestrated.wanted(announcing()) == Wanted(services=True)
    assert orchestrated.wanted(cluster()) == Wanted()


def test_nothing_of_services_is_withdrawn_before_they_and_their_endpoints_are_known() -> None:
    world = announcing()
    wish = plan(world)
    assert told(world) == {"10.96.0.0/16", "203.0.113.0/24", "10.244.0.0/26"}
    assert wish.held == {ip.network("10.96.0.0/16"), ip.network("203.0.113.0/24")}
    assert PEER in wish.unsettled
    late = plan(later(world, RESTART_TIME))
    assert (late.held, late.unsettled) == (wish.held, frozenset())
    world = run(world, ServicesHeard({}, whole=True))
    assert plan(world).held
    world = run(world, EndpointsHeard({}, whole=True))
    assert (plan(world).held, plan(world).unsettled) == (frozenset(), frozenset())
    assert plan(run(world, ServicesHeard(None))).held


def test_an_address_is_announced_while_an_endpoint_is_here() -> None:
    world = run(announcing(), ServicesHeard({"a/web": LOCAL}, whole=True), EndpointsHeard({}, whole=True))
    assert "203.0.113.9/32" not in told(world)
    world = run(world, EndpointsHeard({"a/web": (Endpoint(node="node1"),)}))
    assert {"203.0.113.9/32", "10.96.0.9/32"} <= told(world)
    world = run(world, KubernetesAway("EndpointSlices", AWAY))
    assert "203.0.113.9/32" in told(later(world, 600))
    assert "203.0.113.9/32" not in told(run(world, EndpointsHeard({"a/web": (Endpoint(node=""),)})))
    assert "203.0.113.9/32" not in told(run(world, EndpointsHeard({"a/web": None})))
    assert "203.0.113.9/32" not in told(run(world, ServicesHeard({"a/web": None})))


def test_a_node_that_its_kubernetes_node_excludes_announces_no_services() -> None:
    world = run(announcing(), ServicesHeard({}, whole=True), EndpointsHeard({}, whole=True))
    seen = replace(SEEN, labels={"node.kubernetes.io/exclude-from-external-load-balancers": "true"})
    world = run(world, OwnNodeHeard(seen))
    assert told(world) == {"10.244.0.0/26"}  # at once, though our own Node does not say so yet
    world = stored(world, recorded(world))
    assert told(world) == {"10.244.0.0/26"}
    world = run(world, OwnNodeHeard(SEEN))
    assert "10.96.0.0/16" in told(stored(world, recorded(world), 3))


def test_an_excluded_node_holds_nothing_back_though_it_may_not_hear_of_services() -> None:
    seen = replace(SEEN, labels={"node.kubernetes.io/exclude-from-external-load-balancers": "true"})
    wish = plan(run(announcing(), OwnNodeHeard(seen)))
    assert (wish.held, wish.unsettled) == (frozenset(), frozenset())


def test_services_are_gone_through_once_and_not_for_every_plan() -> None:
    world = run(announcing(), ServicesHeard({"a/web": LOCAL}, whole=True), EndpointsHeard({}, whole=True))
    found = policies.offer(world, peerings(world), None).services
    assert policies.offer(later(world, 1), peerings(world), None).services is found
    here = run(world, EndpointsHeard({"a/web": (Endpoint(node="node1"),)}))
    assert ip.network("203.0.113.9/32") in policies.offer(here, peerings(here), None).services


def peerings(world: World) -> Peerings:
    found = plan(world).peerings
    assert found is not None
    return found


def test_worlds_without_kubernetes_hold_nothing_back() -> None:
    assert plan(replace(announcing(), kubernetes=None, namespaces=None)).held == frozenset()
    assert fresh().kubernetes is None
    assert [one for one in effects(working(), asked())[1] if not isinstance(one, WirePod)] == []
