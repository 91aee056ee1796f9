"""Everything that can be restarted is, while numbered packets flow between pods: none is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from agents import eventually
from bgpnet_network import IMAGE, Bgpnet
from kube_cluster import KubeCluster
from kube_node import KubeNode
from kubectl import Json, Kubectl
from resources import POOL, agents, container, ready, restarts
from traffic import unharmed
from workloads import PORT, address, deployment, eventually_said, name, pod, uid

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.root,
    pytest.mark.timeout(1200),
    pytest.mark.usefixtures("bgpnet"),
]

PODS = 4
PATIENCE = 180.0
LIBRARY = "docker.io/library/"
"""What a container runtime puts before a name without a registry."""
NEXT = "bgpnet:next"


@pytest.fixture(scope="module")
def pods(kubectl: Kubectl) -> Iterator[list[Json]]:
    """Those that packets flow between: two on each node."""
    kubectl.apply(deployment("flow", PODS))
    yield kubectl.await_pods(PODS, "-l", "app=flow")
    kubectl("delete", "deployment", "flow", "--wait=false")


@pytest.mark.parametrize("part", ["agent", "speaker"])
def test_a_container_is_killed(lab: KubeCluster, kubectl: Kubectl, pods: list[Json], part: str) -> None:
    """On one node after the other, by the runtime; the kubelet starts it again in the same pod."""
    count = len(lab.nodes)
    eventually(lambda: ready(kubectl, count), "agents are not ready", PATIENCE)
    with unharmed(lab, pods):
        for node in lab.nodes.values():
            before = agents(kubectl)[node.name]
            _kill(node, container(before, part))
            eventually(
                lambda node=node, before=before: _again(kubectl, node.name, before, part), "it does not start", PATIENCE
            )
            eventually(lambda: ready(kubectl, count), "agents are not ready again", PATIENCE)
    _a_new_pod_is_reached(kubectl, pods)


def test_the_control_plane_is_killed(lab: KubeCluster, kubectl: Kubectl, pods: list[Json]) -> None:
    """API server, then etcd, which has all resources of ours."""
    with unharmed(lab, pods):
        for process in (lab.api, lab.etcd):
            process.end()
            process.start()
            lab.await_api()
    eventually(lambda: ready(kubectl, len(lab.nodes)), "agents are not ready", PATIENCE)
    _a_new_pod_is_reached(kubectl, pods)


def test_an_upgrade_loses_no_packet_and_changes_no_pool(
    lab: KubeCluster, kubectl: Kubectl, pods: list[Json], bgpnet: Bgpnet
) -> None:
    """The manifests with another image: one node after the other gets a new pod, once the old one has ended."""
    for node in lab.nodes.values():
        node.run(_ctr(node), "-n", "k8s.io", "images", "tag", "--force", f"{LIBRARY}{IMAGE}", f"{LIBRARY}{NEXT}")
    before = {uid(one) for one in agents(kubectl).values()}
    with changed_pool(kubectl) as pool:
        with unharmed(lab, pods):
            kubectl.apply(*bgpnet.manifests(kubectl, image=NEXT))
            bgpnet.await_rollout(kubectl)
        now = kubectl.get("ippool", POOL)
        assert (uid(now), now["spec"]) == (uid(pool), pool["spec"])
    after = agents(kubectl)
    assert set(after) == set(lab.nodes)
    assert not before & {uid(one) for one in after.values()}
    assert {each["image"] for one in after.values() for each in one["spec"]["containers"]} == {NEXT}
    _a_new_pod_is_reached(kubectl, pods)


@contextmanager
def changed_pool(kubectl: Kubectl) -> Iterator[Json]:
    """The first pool, which somebody has changed since it was made."""
    patch = ("patch", "ippool", POOL, "--type=merge", "-p")
    kubectl(*patch, '{"spec": {"natOutgoing": false}}')
    try:
        yield kubectl.get("ippool", POOL)
    finally:
        kubectl(*patch, '{"spec": {"natOutgoing": true}}')


def _ctr(node: KubeNode) -> str:
    return str(node.bin / "ctr")


def _kill(node: KubeNode, identity: str) -> None:
    """kill -9 of all that is in a container."""
    node.run(_ctr(node), "-n", "k8s.io", "tasks", "kill", "--all", "--signal", "SIGKILL", identity)


def _again(kubectl: Kubectl, node: str, before: Json, part: str) -> bool:
    now = agents(kubectl).get(node)
    return now is not None and uid(now) == uid(before) and restarts(now)[part] == restarts(before)[part] + 1


def _a_new_pod_is_reached(kubectl: Kubectl, pods: list[Json]) -> None:
    """What has been restarted works: a pod that starts now reaches the others."""
    kubectl.apply(pod("late"))
    try:
        (late,) = kubectl.await_pods(1, "-l", "app=late")
        expected = [f"{name(one)} to {address(late)}" for one in pods]
        eventually_said(kubectl, late, [(address(one), PORT) for one in pods], expected)
    finally:
        kubectl("delete", "pod", "late", "--wait=true")
