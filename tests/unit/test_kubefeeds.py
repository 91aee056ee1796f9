"""Feeds from Kubernetes: what is told of what a reflector says, and what is not; Events of refused pods."""

from __future__ import annotations

import base64
import json
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from bgpnet.agent import kubefeeds, kubetold, podevents
from bgpnet.agent.events import Event
from bgpnet.agent.kubeevents import (
    NOT_WIRED,
    EndpointsHeard,
    Grievance,
    KubernetesAway,
    Namespaces,
    OwnNodeHeard,
    SecretHeard,
    ServicesHeard,
)
from bgpnet.agent.orchestrated import Wanted
from bgpnet.annotations import POOLS, Meta
from bgpnet.bgp import services
from bgpnet.bgp.services import Ranges
from bgpnet.kube.client import Api, Json
from bgpnet.kube.errors import Refused
from bgpnet.kube.reflector import Away, Gone, Listed, Put
from bgpnet.model import ip
from bgpnet.model.service import Endpoint, Service, ServiceType, TrafficPolicy


def named(name: str, namespace: str = "", **more: Any) -> dict[str, Any]:
    meta = {"name": name, "resourceVersion": "1", **({"namespace": namespace} if namespace else {})}
    return {"metadata": {**meta, **more.pop("metadata", {})}, **more}


def test_namespaces_are_told_when_something_of_them_matters_and_remembered(tmp_path: Path) -> None:
    said: list[Event] = []
    feed = kubetold.NamespacesFeed(said.append, tmp_path / "namespaces.json")
    shop = named("shop", metadata={"labels": {"a": "b"}, "annotations": {POOLS: '["blue"]', "other/x": "y"}})
    feed.told(Listed((shop,)))
    meta = Meta({"a": "b"}, {POOLS: '["blue"]'})
    assert said == [Namespaces({"shop": meta}, whole=True)]
    feed.told(Put({**shop, "status": {"phase": "Terminating"}}))
    feed.told(Put(named("new")))
    feed.told(Away("gone"))
    feed.told(Gone(named("new")))
    assert said[1:] == [Namespaces({"new": Meta()}), Namespaces({"new": None})]
    assert kubetold.remembered(tmp_path / "namespaces.json") == {"shop": meta}


def test_what_cannot_be_read_is_not_remembered(tmp_path: Path) -> None:
    assert kubetold.remembered(tmp_path / "none") == {}
    for text in ("", "[]", '{"a": 1}', '{"a": {"labels": 3}}', "\0"):
        (tmp_path / "spoilt").write_text(text)
        assert kubetold.remembered(tmp_path / "spoilt") == {}


def test_the_own_node_is_told_without_its_conditions() -> None:
    said: list[Event] = []
    feed = kubetold.OwnNodeFeed(said.append)
    status = {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}], "conditions": [{"type": "Ready"}]}
    feed.told(Listed(()))
    feed.told(Put(named("n1", status=status)))
    feed.told(Put(named("n1", metadata={"resourceVersion": "2"}, status={**status, "conditions": []})))
    feed.told(Gone(named("n1")))
    assert [one.node and one.node.internal_ips for one in said if isinstance(one, OwnNodeHeard)] == [
        None,
        ("10.0.0.1",),
        None,
    ]


WEB = named(
    "web",
    "a",
    spec={
        "type": "LoadBalancer",
        "clusterIP": "10.96.0.9",
        "clusterIPs": ["10.96.0.9", "fd00::9"],
        "externalIPs": ["192.0.2.200"],
        "externalTrafficPolicy": "Local",
    },
    status={"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}, {"hostname": "lb.example"}]}},
)


def test_services() -> None:
    said: list[Event] = []
    feed = kubetold.ServicesFeed(said.append)
    feed.told(Listed((WEB,)))
    service = Service(
        type=ServiceType.LOAD_BALANCER,
        cluster_ips=("10.96.0.9", "fd00::9"),
        external_ips=("192.0.2.200",),
        load_balancer_ips=("203.0.113.9",),
        policy=TrafficPolicy.LOCAL,
    )
    assert said == [ServicesHeard({"a/web": service}, whole=True)]
    feed.told(Put({**WEB, "metadata": {**WEB["metadata"], "labels": {"x": "y"}}}))
    assert len(said) == 1
    feed.told(Put(named("old", "a", spec={"clusterIP": "None", "type": "Later"})))
    feed.told(Gone(WEB))
    odd = Service(type=ServiceType.EXTERNAL_NAME)
    assert said[1:] == [ServicesHeard({"a/old": odd}), ServicesHeard({"a/web": None})]


def test_a_service_without_an_address_of_its_own_has_none() -> None:
    """kube-proxy does nothing for a headless one, whatever else it says, nor where the balancer hands packets on."""
    said: list[Event] = []
    feed = kubetold.ServicesFeed(said.append)
    spec = {"clusterIP": "None", "clusterIPs": ["None"], "externalIPs": ["192.0.2.200"]}
    handing = {"ingress": [{"ip": "203.0.113.9", "ipMode": "Proxy"}, {"ip": "203.0.113.8", "ipMode": "VIP"}]}
    feed.told(Put(named("none", "a", spec=spec)))
    feed.told(Put(named("lb", "a", spec={"type": "LoadBalancer"}, status={"loadBalancer": handing})))
    assert said == [
        ServicesHeard({"a/none": Service(external_ips=("192.0.2.200",))}),
        ServicesHeard({"a/lb": Service(type=ServiceType.LOAD_BALANCER, load_balancer_ips=("203.0.113.8",))}),
    ]
    ranges = Ranges(external=(ip.network("192.0.2.200/32"),))
    assert services.announced(ranges, "n1", {"a/none": Service(external_ips=("192.0.2.200",))}, {}) == frozenset()


def part(name: str, *endpoints: tuple[str, bool | None], service: str = "web") -> dict[str, Any]:
    return named(
        name,
        "a",
        metadata={"labels": {"kubernetes.io/service-name": service}},
        endpoints=[
            {"nodeName": node, "conditions": {} if ready is None else {"ready": ready}} for node, ready in endpoints
        ],
    )


HERE, ELSEWHERE = Endpoint(node="n1"), Endpoint(node="")


def test_endpoints_of_all_slices_are_one_and_far_ones_are_no_news() -> None:
    said: list[Event] = []
    feed = kubetold.EndpointsFeed(said.append, "n1")
    feed.told(Listed((part("s1", ("n1", True), ("n2", None)), part("s2", ("n3", False)))))
    assert said == [EndpointsHeard({"a/web": (HERE, ELSEWHERE)}, whole=True)]
    feed.told(Put(part("s2", ("n3", True), ("n4", True))))
    feed.told(Put(part("s1", ("n1", True))))
    assert len(said) == 1
    feed.told(Put(part("s1", ("n1", False))))
    assert said[1:] == [EndpointsHeard({"a/web": (ELSEWHERE,)})]
    feed.told(Gone(part("s2")))
    assert said[2:] == [EndpointsHeard({"a/web": ()})]
    feed.told(Gone(part("s1")))
    assert said[3:] == [EndpointsHeard({"a/web": None})]


def test_a_slice_that_becomes_another_services_leaves_the_first() -> None:
    said: list[Event] = []
    feed = kubetold.EndpointsFeed(said.append, "n1")
    feed.told(Listed((part("s1", ("n1", True)),)))
    feed.told(Put(part("s1", ("n1", True), service="api")))
    assert said[1:] == [EndpointsHeard({"a/web": None}), EndpointsHeard({"a/api": (HERE,)})]


def test_a_secret_is_told_as_passwords() -> None:
    said: list[Event] = []
    feed = kubetold.SecretFeed(said.append, "net", "bgp", lambda name: "")
    data = {"tor": base64.b64encode(b"s3cret\n").decode(), "bad": "*", "odd": 3}
    feed.told(Listed(({"metadata": {"name": "bgp"}, "data": data},)))
    [heard] = [one for one in said if isinstance(one, SecretHeard)]
    assert heard.keys is not None
    assert heard.keys["tor"].value == "s3cret"
    assert (
        heard.keys["bad"].problem == heard.keys["odd"].problem == "is not base64; write it with kubectl create secret"
    )
    feed.told(Gone({}))
    assert said[1:] == [SecretHeard("bgp", {}, "Secret net/bgp does not exist")]
    assert "s3cret" not in repr(said)


class Denying:
    """An API server that lets a Secret be read, and not be listed, which following it begins with."""

    def get(self, path: str) -> Json | None:
        return {"metadata": {"name": "bgp"}, "data": {}}

    def list(self, path: str, *, labels: str = "", fields: str = "") -> tuple[list[Json], str]:
        raise Refused(f"may not list {path} {fields}", 403, "Forbidden", "")


def test_a_secret_that_may_be_read_and_not_be_followed_is_refused_or_all_sessions_would_wait_for_it(
    tmp_path: Path,
) -> None:
    feeds = kubefeeds.Kubernetes(cast("Api", Denying()), "n1", "net", tmp_path, lambda event: None, threading.Event())
    said: list[Event] = []
    feed = kubetold.SecretFeed(said.append, "net", "bgp", feeds.denied)
    feed.doubt()
    reason = "may not list /api/v1/namespaces/net/secrets metadata.name=bgp"
    assert said == [SecretHeard("bgp", {}, reason)]


def test_away_is_said_after_and_back_once() -> None:
    said: list[Event] = []
    there = kubefeeds.Presence("Services", said.append, lambda told: None)
    for told in (Listed(()), Away("x"), Away("y"), Listed(()), Listed(())):
        there.told(told)
    assert said == [KubernetesAway("Services", one) for one in ("x", "y", "")]


class Collections:
    """An API server that has one object in each collection, of which nothing is ever told. paths: what was listed."""

    def __init__(self) -> None:
        self.paths: list[tuple[str, str]] = []

    def list(self, path: str, *, labels: str, fields: str, keep: Any) -> tuple[list[Json], str]:
        self.paths.append((path, fields))
        return [named("x", "a")], "1"

    def watch(self, path: str, after: str, *, labels: str, fields: str, stop: Any) -> Iterator[None]:
        while not stop():
            yield None
            threading.Event().wait(0.01)


def test_only_what_is_wanted_is_followed(tmp_path: Path) -> None:
    said: queue.SimpleQueue[Event] = queue.SimpleQueue()
    stop, there = threading.Event(), Collections()
    feeds = kubefeeds.Kubernetes(cast("Api", there), "n1", "net", tmp_path, said.put, stop)

    def hears(*kinds: type[object]) -> None:
        """All of these, in whatever order."""
        assert {type(said.get(timeout=60)) for _ in kinds} == set(kinds)

    try:
        feeds.start()
        hears(Namespaces, OwnNodeHeard)
        feeds.want(Wanted(services=True, secrets=frozenset({"bgp"})))
        hears(ServicesHeard, EndpointsHeard, SecretHeard)
        feeds.want(Wanted(services=True, secrets=frozenset({"bgp"})))
        feeds.want(Wanted())
        gone = [said.get(timeout=60) for _ in range(6)]
        assert [one for one in gone if not isinstance(one, KubernetesAway)] == [
            ServicesHeard(None),
            EndpointsHeard(None),
            SecretHeard("bgp", None),
        ]
        assert sorted(there.paths) == [
            ("/api/v1/namespaces", ""),
            ("/api/v1/namespaces/net/secrets", "metadata.name=bgp"),
            ("/api/v1/nodes", "metadata.name=n1"),
            ("/api/v1/services", ""),
            ("/apis/discovery.k8s.io/v1/endpointslices", ""),
        ]
    finally:
        stop.set()


REFUSED = Grievance("shop/cart-0", "u-1", "write it so")


def test_an_event_of_a_pod() -> None:
    said = podevents.event(REFUSED, "n1", "cart-0.1", "2026-01-02T03:04:05.678Z")
    assert (said["metadata"], said["message"]) == ({"name": "cart-0.1", "namespace": "shop"}, "write it so")
    assert said["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "namespace": "shop",
        "name": "cart-0",
        "uid": "u-1",
    }
    assert said["lastTimestamp"] == "2026-01-02T03:04:05Z"
    assert len(podevents.event(Grievance("a/b", "u", "x" * 5000), "n", "b.1", "")["message"]) == podevents.LONGEST
    assert json.dumps(said)
    other = podevents.event(Grievance("a/b", "u", "x", NOT_WIRED), "n", "b.1", "")
    assert (said["reason"], other["reason"]) == ("NoAddress", "NotWired")


def test_an_event_of_a_pod_with_a_long_name_has_one_that_the_api_server_takes() -> None:
    assert podevents.name("shop/cart-0", "12") == "cart-0.12"
    assert podevents.name(f"shop/{'a' * 199}--b", "12") == f"{'a' * 199}.12"
    assert podevents.name(f"shop/{'a' * 198}.-{'b' * 50}", "1" * 32) == f"{'a' * 198}.{'1' * 16}"


def test_the_ledger_says_the_same_seldom_and_forgets_what_is_oldest() -> None:
    ledger = podevents.Ledger()
    assert ledger.is_due(REFUSED, 0.0)
    ledger.wrote(REFUSED, "e1", 1, 0.0)
    assert not ledger.is_due(REFUSED, podevents.AGAIN - 1)
    assert ledger.is_due(REFUSED, podevents.AGAIN)
    assert ledger.is_due(Grievance("shop/cart-0", "u-2", "write it so"), 1.0)
    for number in range(podevents.KNOWN):
        ledger.wrote(Grievance("a/b", str(number), "x"), "e", 1, 2.0)
    assert ledger.before(REFUSED) is None
