"""Pods, nodes and the world outside of them: who reaches whom, and under which address it is seen there."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pod_image
import pytest
from agents import eventually
from bgpnet_network import Bgpnet
from kube_cluster import ADDRESS, PLANE, KubeCluster
from kubectl import Json, Kubectl
from resources import POOL
from workloads import PORT, address, deployment, eventually_said, name, on_nodes

pytestmark = [pytest.mark.kubernetes, pytest.mark.root, pytest.mark.timeout(600)]

ON_NODE, OUTSIDE = 8090, 8091


@pytest.fixture(scope="module")
def pods(kubectl: Kubectl) -> Iterator[list[Json]]:
    """Two on each node."""
    kubectl.apply(deployment("path", 2 * len(kubectl.nodes())))
    yield kubectl.await_pods(2 * len(kubectl.nodes()), "-l", "app=path")
    kubectl("delete", "deployment", "path", "--wait=false")


@pytest.fixture(scope="module")
def nodes(kubectl: Kubectl) -> Iterator[list[Json]]:
    """A pod on each node's own network."""
    kubectl.apply(on_nodes("host", ON_NODE))
    yield kubectl.await_pods(len(kubectl.nodes()), "-l", "app=host")
    kubectl("delete", "daemonset", "host", "--wait=false")


@pytest.fixture
def unmasked(kubectl: Kubectl, bgpnet: Bgpnet) -> Iterator[None]:
    """While the pool does not ask for natOutgoing."""
    _mask(kubectl, on=False)
    yield
    _mask(kubectl, on=True)


@pytest.fixture(scope="module")
def outside(lab: KubeCluster) -> Iterator[str]:
    """What answers beside the control plane, which is no node: the address."""
    program = pod_image.program(lab.folder)
    with lab.lab.popen(PLANE, [str(program), "serve", str(OUTSIDE), "outside"]) as process:
        try:
            eventually(lambda: not lab.run(["nc", "-z", ADDRESS, str(OUTSIDE)]).returncode, "it does not answer")
            yield ADDRESS
        finally:
            process.terminate()


def test_every_node_reaches_every_pod(kubectl: Kubectl, bgpnet: Bgpnet, pods: list[Json], nodes: list[Json]) -> None:
    """Under its own address, or that of its tunnel where the pods are behind one."""
    tunnels = {name(one): one["spec"].get("ipv4VXLANTunnelAddr", "") for one in kubectl.items("nodes.bgpnet.io")}
    targets = [(address(one), PORT) for one in pods]
    for node in nodes:
        host, tunnel = node["spec"]["nodeName"], bgpnet.vxlan == "Always"
        seen = [tunnels[host] if tunnel and one["spec"]["nodeName"] != host else address(node) for one in pods]
        expected = [f"{name(one)} to {own}" for one, own in zip(pods, seen, strict=True)]
        eventually_said(kubectl, node, targets, expected)


def test_every_pod_reaches_every_node(kubectl: Kubectl, pods: list[Json], nodes: list[Json], unmasked: None) -> None:
    """Under its own address, where nobody asked for natOutgoing."""
    for pod in pods:
        expected = [f"{node['spec']['nodeName']} to {address(pod)}" for node in nodes]
        eventually_said(kubectl, pod, [(address(node), ON_NODE) for node in nodes], expected)


def test_nat_is_seen_outside_and_only_where_asked(
    kubectl: Kubectl, pods: list[Json], outside: str, bgpnet: Bgpnet, request: pytest.FixtureRequest
) -> None:
    """A pool with natOutgoing: pods have their node's address outside, and their own among themselves."""
    (far,) = {
        one["status"]["hostIP"]: one for one in pods if one["status"]["hostIP"] != pods[0]["status"]["hostIP"]
    }.values()
    for pod in (pods[0], far):
        eventually_said(kubectl, pod, [(outside, OUTSIDE)], [f"outside to {pod['status']['hostIP']}"])
    eventually_said(kubectl, far, [(address(pods[0]), PORT)], [f"{name(pods[0])} to {address(far)}"])
    request.getfixturevalue("unmasked")
    for pod in (pods[0], far):
        eventually_said(kubectl, pod, [(outside, OUTSIDE)], [f"outside to {address(pod)}"])


def _mask(kubectl: Kubectl, on: bool) -> None:
    kubectl("patch", "ippool", POOL, "--type=merge", "-p", json.dumps({"spec": {"natOutgoing": on}}))
