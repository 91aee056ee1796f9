"""A node that is cordoned, drained, switched off and deleted: what it had is free again. It may come back, too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from agents import eventually
from kube_cluster import KubeCluster
from kube_node import KubeNode
from kubectl import Json, Kubectl
from resources import RELEASED, agents, ctl, held, owners, ready
from workloads import PORT, address, deployment, eventually_said, name, pod

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.root,
    pytest.mark.timeout(1200),
    pytest.mark.usefixtures("bgpnet"),
]

LEAVING = "n2"
PODS = 4
PATIENCE = 240.0
"""Seconds for what the controller does: a node's agent has to be silent for a minute first."""


@pytest.fixture
def pods(kubectl: Kubectl) -> Iterator[list[Json]]:
    """On all nodes, and on those that are left when one has gone."""
    kubectl.apply(_anywhere(deployment("guest", PODS)))
    yield kubectl.await_pods(PODS, "-l", "app=guest")
    kubectl("delete", "deployment", "guest", "--wait=false")


def test_what_a_deleted_node_had_is_freed(lab: KubeCluster, kubectl: Kubectl, pods: list[Json]) -> None:
    leaving = lab[LEAVING]
    there = {f"default/{name(one)}" for one in pods if one["spec"]["nodeName"] == LEAVING}
    assert there
    eventually(
        lambda: {one for one, node in held(kubectl).items() if node == LEAVING} >= there,
        lambda: held(kubectl),
        PATIENCE,
    )
    kubectl("cordon", LEAVING)
    drain = ("drain", LEAVING, "--ignore-daemonsets", "--delete-emptydir-data", "--force", f"--timeout={PATIENCE:g}s")
    kubectl(*drain, seconds=2 * PATIENCE)
    moved = kubectl.await_pods(PODS, "-l", "app=guest")
    assert LEAVING not in {one["spec"]["nodeName"] for one in moved}
    eventually(lambda: LEAVING not in held(kubectl).values(), lambda: held(kubectl), RELEASED)
    _switch_off(leaving)
    kubectl("delete", "node", LEAVING)
    eventually(lambda: LEAVING not in owners(kubectl).values(), lambda: owners(kubectl), PATIENCE)
    eventually(lambda: _nodes(kubectl) == set(lab.nodes) - {LEAVING}, lambda: _nodes(kubectl), PATIENCE)
    # a moment only: the agents release what is lost in the end, and it is not to be lost
    eventually(lambda: "found 0 problems" in _checked(kubectl), lambda: _checked(kubectl), 30)
    _comes_back(lab, kubectl, leaving)


def _comes_back(lab: KubeCluster, kubectl: Kubectl, node: KubeNode) -> None:
    """With the disk that it had, under the same name: pods run on it, and reach the others."""
    node.start_runtime([])
    node.start()
    kubectl.await_nodes(len(lab.nodes), PATIENCE)
    eventually(lambda: set(agents(kubectl)) == set(lab.nodes), lambda: agents(kubectl).keys(), PATIENCE)
    eventually(lambda: ready(kubectl, len(lab.nodes)), "agents are not ready", PATIENCE)
    kubectl.apply(pod("back", nodeSelector={"kubernetes.io/hostname": node.name}))
    try:
        (back,) = kubectl.await_pods(1, "-l", "app=back")
        others = kubectl.await_pods(PODS, "-l", "app=guest")
        assert node.name in owners(kubectl).values()
        targets = [(address(one), PORT) for one in others]
        expected = [f"{name(one)} to {address(back)}" for one in others]
        eventually_said(kubectl, back, targets, expected)
    finally:
        kubectl("delete", "pod", "back", "--wait=false")


def _switch_off(node: KubeNode) -> None:
    """All of its programs, containers included, end at once; kill -1 spares only process 1 and who calls it."""
    node.run("sh", "-c", "kill -9 -1", check=False)
    node.end()


def _checked(kubectl: Kubectl) -> str:
    """What `ipam check` says, problems or none."""
    try:
        return ctl(kubectl, "ipam", "check")
    except AssertionError as found:
        return str(found)


def _nodes(kubectl: Kubectl) -> set[str]:
    return {name(one) for one in kubectl.items("nodes.bgpnet.io")}


def _anywhere(made: Json) -> Json:
    """Spread where that is possible."""
    for one in made["spec"]["template"]["spec"]["topologySpreadConstraints"]:
        one["whenUnsatisfiable"] = "ScheduleAnyway"
    return made
