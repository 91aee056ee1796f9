"""What Kubernetes runs besides Deployments: a Job, and a StatefulSet whose pods keep their addresses."""

from __future__ import annotations

import pytest
from agents import eventually
from kubectl import PATIENCE, Json, Kubectl, condition
from resources import POOL, RELEASED, held
from workloads import PORT, address, deployment, eventually_said, job, name, pod, service, stateful_set, uid

from bgpnet import annotations

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.root,
    pytest.mark.timeout(1200),
    pytest.mark.usefixtures("bgpnet"),
]

PODS = 4
KEPT = {annotations.KEEP: "true"}


def test_a_job_completes_and_its_addresses_come_back(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("counter", 2), service("counter"))
    try:
        counters = kubectl.await_pods(2, "-l", "app=counter")
        cluster_ip = kubectl.get("service", "counter")["spec"]["clusterIP"]
        for one in counters:  # on each node: the job's pods fail where kube-proxy has not heard of the Service yet
            asks = ("exec", name(one), "--", "/pod", "ask", cluster_ip, "80")
            eventually(lambda asks=asks: " to " in kubectl.try_(*asks).stdout, f"{name(one)} is not answered", PATIENCE)
        kubectl.apply(job("count", PODS, "/pod", "ask", cluster_ip, "80"))
        kubectl("wait", "job/count", "--for=condition=Complete", f"--timeout={PATIENCE:g}s", seconds=2 * PATIENCE)
        pods = kubectl.items("pods", "-l", "job-name=count")
        ended = [one for one in pods if one["status"]["phase"] == "Succeeded"]
        assert len(ended) == PODS
        for one in ended:
            assert kubectl("logs", name(one)).endswith(f" to {address(one)}")
        named = {f"default/{name(one)}" for one in pods}
        eventually(lambda: not named & set(held(kubectl)), lambda: held(kubectl), RELEASED)
    finally:
        kubectl("delete", "deployment,service,job", "counter", "count", "--ignore-not-found", "--wait=false")


def test_pods_of_a_stateful_set_keep_their_addresses(kubectl: Kubectl) -> None:
    """Also while other pods take what is free; one that was not asked to be kept gets another."""
    node = min(kubectl.nodes())
    here = {"nodeSelector": {"kubernetes.io/hostname": node}}
    kubectl.apply(stateful_set("kept", 3, KEPT, **here), pod("fleeting", **here))
    try:
        before = kubectl.await_pods(3, "-l", "app=kept")
        (fleeting,) = kubectl.await_pods(1, "-l", "app=fleeting")
        kubectl("delete", "pod", "kept-0", "kept-2", "fleeting", "--wait=true")
        kubectl.apply(pod("fleeting", **here))
        after = kubectl.await_pods(3, "-l", "app=kept")
        assert {name(one): address(one) for one in after} == {name(one): address(one) for one in before}
        old = {uid(one) for one in before}
        assert {name(one) for one in after if uid(one) not in old} == {"kept-0", "kept-2"}
        (again,) = kubectl.await_pods(1, "-l", "app=fleeting")
        assert address(again) != address(fleeting)
        for one in after:
            eventually_said(kubectl, again, [(address(one), PORT)], [f"{name(one)} to {address(again)}"])
    finally:
        kubectl("delete", "statefulset,pod", "kept", "fleeting", "--ignore-not-found", "--wait=false")


def test_a_pod_that_asks_for_what_it_cannot_have_has_an_event(kubectl: Kubectl) -> None:
    """With our sentence, which names the annotation, its value, and what to do; corrected, it runs."""
    kubectl.apply(pod("asking", {annotations.ADDRESSES: '["10.9.8.7"]'}))
    try:
        asking = kubectl.get("pod", "asking")
        eventually(lambda: told(kubectl, asking) != [], lambda: kubectl("describe", "pod", "asking"), PATIENCE)
        said = told(kubectl, asking)[0]
        assert f"annotation {annotations.ADDRESSES} of pod default/asking = 10.9.8.7 is outside every IP pool" in said
        assert f"there is {POOL} (" in said
        assert said in kubectl("describe", "pod", "asking")
        assert not condition(kubectl.get("pod", "asking"), "Ready")
    finally:
        kubectl("delete", "pod", "asking", "--ignore-not-found", "--wait=true")
    kubectl.apply(pod("asking"))
    kubectl.await_pods(1, "-l", "app=asking")
    kubectl("delete", "pod", "asking", "--wait=false")


def told(kubectl: Kubectl, asking: Json) -> list[str]:
    """The messages of our events of a pod, as `kubectl describe` looks for them."""
    chosen = f"reason=NoAddress,involvedObject.kind=Pod,involvedObject.uid={uid(asking)}"
    return [str(one["message"]) for one in kubectl.items("events", "--field-selector", chosen)]
