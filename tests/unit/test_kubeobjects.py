"""Kubernetes' Pods and Nodes as values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgpnet import kubeobjects
from bgpnet.kubeobjects import ConditionSeen, NodeSeen, PodSeen

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web-0",
        "namespace": "shop",
        "uid": "u1",
        "resourceVersion": "77",
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "labels": {"app": "web"},
        "annotations": {"bgpnet.io/keepAddress": "true"},
    },
    "spec": {"nodeName": "n1"},
    "status": {"phase": "Running", "podIP": "10.0.0.5", "podIPs": [{"ip": "10.0.0.5"}, {"ip": "fd00::5"}]},
}


def test_a_running_pod() -> None:
    assert kubeobjects.pod(POD) == PodSeen(
        namespace="shop",
        name="web-0",
        uid="u1",
        node="n1",
        phase="Running",
        ips=("10.0.0.5", "fd00::5"),
        labels={"app": "web"},
        annotations={"bgpnet.io/keepAddress": "true"},
        created=1767323045.0,
        version="77",
    )
    assert kubeobjects.pod(POD).key == "shop/web-0"
    assert not kubeobjects.pod(POD).ended


@pytest.mark.parametrize(
    ("phase", "ended"),
    [("Pending", False), ("Running", False), ("Unknown", False), ("", False), ("Succeeded", True), ("Failed", True)],
)
def test_whether_a_pod_has_ended(phase: str, ended: bool) -> None:
    assert kubeobjects.pod({**POD, "status": {"phase": phase, "reason": "Evicted"}}).ended is ended


def test_a_pod_that_is_not_scheduled_and_one_of_the_host() -> None:
    bare = kubeobjects.pod({"metadata": {"name": "a", "namespace": "b", "deletionTimestamp": "2026-01-02T03:04:05Z"}})
    assert (bare.node, bare.ips, bare.deleting, bare.created) == ("", (), True, 0.0)
    assert kubeobjects.pod({**POD, "spec": {"hostNetwork": True}}).host_network


def test_a_node() -> None:
    document = {
        "metadata": {"name": "n1", "uid": "u", "labels": {"zone": "a"}, "resourceVersion": "9"},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": "192.0.2.1"},
                {"type": "Hostname", "address": "n1"},
                {"type": "ExternalIP", "address": "198.51.100.1"},
                {"type": "InternalIP", "address": "fd00::1"},
            ],
            "conditions": [
                {"type": "Ready", "status": "False", "reason": "KubeletNotReady"},
                {"type": "NetworkUnavailable", "status": "True", "reason": "NoRouteCreated", "message": "m"},
            ],
        },
    }
    assert kubeobjects.node(document) == NodeSeen(
        name="n1",
        uid="u",
        labels={"zone": "a"},
        internal_ips=("192.0.2.1", "fd00::1"),
        external_ips=("198.51.100.1",),
        conditions={
            "Ready": ConditionSeen("False", "KubeletNotReady"),
            "NetworkUnavailable": ConditionSeen("True", "NoRouteCreated", "m"),
        },
        version="9",
    )


@pytest.mark.parametrize(("status", "says"), [("True", True), ("False", False), ("Unknown", None), (None, None)])
def test_what_a_node_says_of_its_network(status: str | None, says: bool | None) -> None:
    conditions = [{"type": "NetworkUnavailable", "status": status}] if status else []
    assert kubeobjects.node({"metadata": {"name": "n"}, "status": {"conditions": conditions}}).unavailable is says


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_PARTS = st.fixed_dictionaries(
    {},
    optional={
        "metadata": _ANY
        | st.fixed_dictionaries({}, optional={"name": _ANY, "labels": _ANY, "creationTimestamp": _ANY}),
        "spec": _ANY | st.fixed_dictionaries({}, optional={"nodeName": _ANY, "hostNetwork": _ANY}),
        "status": _ANY
        | st.fixed_dictionaries({}, optional={"podIP": _ANY, "podIPs": _ANY, "conditions": _ANY, "addresses": _ANY}),
    },
)


@given(_PARTS)
def test_whatever_the_api_says_is_read(document: dict[str, Any]) -> None:
    pod, node = kubeobjects.pod(document), kubeobjects.node(document)
    assert all(isinstance(one, str) for one in (pod.name, pod.node, *pod.ips, *pod.labels.values(), node.name))
    assert all(isinstance(one, str) for one in (*node.internal_ips, *node.conditions))


BALANCED: dict[str, Any] = {
    "metadata": {"name": "web", "namespace": "a", "annotations": {"long": "x" * 999}, "labels": {"app": "web"}},
    "spec": {
        "type": "LoadBalancer",
        "clusterIP": "10.96.0.9",
        "clusterIPs": ["10.96.0.9", "fd00::9"],
        "externalIPs": ["192.0.2.200"],
        "externalTrafficPolicy": "Local",
        "ports": [{"port": 80}],
    },
    "status": {
        "loadBalancer": {"ingress": [{"ip": "203.0.113.9", "ports": []}, {"ip": "203.0.113.8", "ipMode": "Proxy"}]}
    },
}
SLICE: dict[str, Any] = {
    "metadata": {"name": "web-1", "namespace": "a", "labels": {kubeobjects.SERVICE_NAME: "web", "more": "x"}},
    "endpoints": [{"nodeName": f"n{number}", "conditions": {"ready": number != 2}} for number in (1, 2, 3, 4)],
}


@pytest.mark.parametrize("spoilt", [{}, {"spec": None}, {"spec": {"clusterIPs": "x"}}, {"status": []}, {"metadata": 3}])
def test_what_is_kept_of_a_service_says_the_same(spoilt: dict[str, Any]) -> None:
    whole = {**BALANCED, **spoilt}
    kept = kubeobjects.only_service(whole)
    assert kubeobjects.service(kept) == kubeobjects.service(whole)
    assert kubeobjects.key(kept) == kubeobjects.key(whole)
    assert "x" * 999 not in str(kept)
    assert "ports" not in str(kept)


@pytest.mark.parametrize("node", ["n1", "n2", "n9"])
def test_what_is_kept_of_a_slice_says_the_same_for_this_node(node: str) -> None:
    kept = kubeobjects.only_endpoints(SLICE, node)
    assert kubeobjects.endpoints(kept, node) == kubeobjects.endpoints(SLICE, node)
    assert kubeobjects.key(kept) == "a/web-1"
    assert len(kept["endpoints"]) <= 2
    assert kubeobjects.endpoints(kubeobjects.only_endpoints({}, node), node) == kubeobjects.endpoints({}, node)
