"""Pods, Services and names on a real cluster: everybody reaches everybody, under the address that Kubernetes tells."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import pytest
from agents import eventually
from kube_cluster import KubeCluster
from kubectl import Json, Kubectl
from workloads import PORT, address, ask, deployment, eventually_said, name, service

pytestmark = [pytest.mark.kubernetes, pytest.mark.root, pytest.mark.timeout(1200)]

PODS = 10


@pytest.fixture(scope="module")
def pods(kubectl: Kubectl) -> Iterator[list[Json]]:
    """Ten of a Deployment, and the Service `web` before them."""
    kubectl.apply(deployment("web", PODS), service("web"))
    yield kubectl.await_pods(PODS, "-l", "app=web")
    kubectl("delete", "deployment,service", "web", "--wait=false")


def test_pods_run_on_all_nodes(kubectl: Kubectl, pods: list[Json]) -> None:
    kubectl.await_nodes(len(kubectl.nodes()))
    nodes = kubectl.nodes()
    counts = Counter(one["spec"]["nodeName"] for one in pods)
    assert set(counts) == set(nodes)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len({address(one) for one in pods}) == PODS


def test_every_pod_reaches_every_pod_without_nat(kubectl: Kubectl, pods: list[Json]) -> None:
    targets = [(address(one), PORT) for one in pods]
    for pod in pods:
        eventually_said(kubectl, pod, targets, [f"{name(one)} to {address(pod)}" for one in pods])


def test_a_service_leads_to_its_pods(kubectl: Kubectl, pods: list[Json]) -> None:
    cluster_ip = kubectl.get("service", "web")["spec"]["clusterIP"]
    caller = pods[0]
    others = {f"{name(one)} to {address(caller)}" for one in pods[1:]}

    def reached() -> bool:
        return len(others & set(ask(kubectl, name(caller), [(cluster_ip, 80)] * 20))) > 1

    eventually(reached, "the Service does not lead to several pods, as the pod that asks")


def test_names_are_found(kubectl: Kubectl, pods: list[Json]) -> None:
    cluster_ip = kubectl.get("service", "web")["spec"]["clusterIP"]
    names = ("web", "web.default", "web.default.svc.cluster.local")

    def found() -> bool:
        told = [kubectl.try_("exec", name(one), "--", "getent", "hosts", *names).stdout for one in (pods[0], pods[-1])]
        return all(one.count(cluster_ip) == len(names) for one in told)

    kubectl.await_pods(1, "-n", "kube-system", "-l", "k8s-app=kube-dns")
    eventually(found, "a name of a Service is not found")


def test_the_control_plane_reaches_pods_and_their_words(kubectl: Kubectl, pods: list[Json], lab: KubeCluster) -> None:
    """exec, logs and the API server's proxy go by the kubelet; what is outside of all nodes reaches pods by routes."""
    for pod in (pods[0], pods[-1]):
        assert kubectl.exec(name(pod), "hostname").strip() == name(pod)
        target = ["nc", "-w", "10", address(pod), str(PORT)]
        expected = f"{name(pod)} to 192.0.2.10"
        eventually(lambda target=target, expected=expected: lab.run(target).stdout == expected, f"not {expected}")


def test_its_programs_can_be_killed(kubectl: Kubectl, pods: list[Json], lab: KubeCluster) -> None:
    uids = {one["metadata"]["uid"] for one in pods}
    for process in (lab.etcd, lab.api):
        process.end()
        process.start()
    lab.await_api()
    node = lab["n1"]
    node.end()
    node.start_runtime([])
    node.start()
    kubectl("scale", "deployment", "web", "--replicas", str(PODS + 2))
    more = kubectl.await_pods(PODS + 2, "-l", "app=web")
    assert uids <= {one["metadata"]["uid"] for one in more}
    for one, other in itertools.pairwise(more):
        eventually_said(kubectl, one, [(address(other), PORT)], [f"{name(other)} to {address(one)}"])
    kubectl.await_nodes(len(lab.nodes))  # a kubelet that begins says for a moment that its node is not ready
