"""Ports of the nodes that lead to pods: NodePort by kube-proxy, hostPort by portmap, chained after bgpnet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from agents import eventually
from kube_cluster import ADDRESS, KubeCluster
from kubectl import Json, Kubectl
from workloads import PORT, name, pod, service

pytestmark = [pytest.mark.kubernetes, pytest.mark.root, pytest.mark.timeout(600)]

HOST_PORT = 8092


@pytest.fixture(scope="module")
def server(kubectl: Kubectl) -> Iterator[Json]:
    """A pod with a hostPort on the first node, behind a Service that has a NodePort."""
    made = pod("door", nodeSelector={"kubernetes.io/hostname": min(kubectl.nodes())})
    made["spec"]["containers"][0]["ports"] = [{"containerPort": PORT, "hostPort": HOST_PORT}]
    kubectl.apply(made, service("door", type="NodePort", externalTrafficPolicy="Local"))
    yield kubectl.await_pods(1, "-l", "app=door")[0]
    kubectl("delete", "pod,service", "door", "--wait=false")


@pytest.fixture(scope="module")
def callers(kubectl: Kubectl) -> Iterator[list[Json]]:
    """A pod on each node."""
    for node in sorted(kubectl.nodes()):
        kubectl.apply(pod(f"caller-{node}", nodeSelector={"kubernetes.io/hostname": node}))
    yield [kubectl.await_pods(1, "-l", f"app=caller-{node}")[0] for node in sorted(kubectl.nodes())]
    kubectl("delete", "pod", *(f"caller-{node}" for node in sorted(kubectl.nodes())), "--wait=false")


def node_port(kubectl: Kubectl) -> int:
    """Of the Service."""
    return int(kubectl.get("service", "door")["spec"]["ports"][0]["nodePort"])


def test_a_node_port_leads_to_the_pod(kubectl: Kubectl, server: Json, callers: list[Json]) -> None:
    port = node_port(kubectl)
    for caller in callers:
        _eventually_answers(kubectl, caller, server["status"]["hostIP"], port)


def test_a_host_port_leads_to_the_pod(kubectl: Kubectl, server: Json, callers: list[Json]) -> None:
    for caller in callers:
        _eventually_answers(kubectl, caller, server["status"]["hostIP"], HOST_PORT)


def test_who_comes_from_outside_is_seen_under_its_own_address(kubectl: Kubectl, server: Json, lab: KubeCluster) -> None:
    """externalTrafficPolicy Local, and hostPort, change the target alone."""
    for port in (node_port(kubectl), HOST_PORT):
        target = ["nc", "-w", "10", server["status"]["hostIP"], str(port)]
        eventually(lambda target=target: lab.run(target).stdout == f"door to {ADDRESS}", f"port {port} is not reached")


def test_the_node_itself_reaches_them(kubectl: Kubectl, server: Json, lab: KubeCluster) -> None:
    for port in (node_port(kubectl), HOST_PORT):
        for node in lab.nodes.values():
            target = ("nc", "-w", "10", server["status"]["hostIP"], str(port))
            eventually(
                lambda node=node, target=target: node.run(*target, check=False).startswith("door to "),
                f"{node.name} does not reach port {port}",
            )


def test_the_pod_reaches_itself_by_its_ports(kubectl: Kubectl, server: Json) -> None:
    """There and back through the node: the packet leaves by the link that it came from."""
    _eventually_answers(kubectl, server, server["status"]["hostIP"], node_port(kubectl))
    _eventually_answers(kubectl, server, server["status"]["hostIP"], HOST_PORT)


def _eventually_answers(kubectl: Kubectl, caller: Json, host: str, port: int) -> None:
    def answers() -> bool:
        done = kubectl.try_("exec", name(caller), "--", "/pod", "ask", host, str(port))
        return done.stdout.startswith("door to ")

    eventually(answers, f"{name(caller)} does not reach {host}:{port}")
