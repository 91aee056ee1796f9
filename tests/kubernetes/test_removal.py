"""bgpnet taken off a cluster by the commands of docs/kubernetes.md, and installed again: nothing stays in between."""

from __future__ import annotations

from pathlib import Path

import pytest
from agents import eventually
from bgpnet_network import Bgpnet
from kube_cluster import KubeCluster
from kube_node import KubeNode
from kubectl import Kubectl
from resources import owners
from workloads import PORT, address, deployment, eventually_said, name

pytestmark = [pytest.mark.kubernetes, pytest.mark.root, pytest.mark.timeout(1200)]

MANIFESTS = Path(__file__).parents[2] / "manifests"
PODS = 4
PATIENCE = 300.0
"""Seconds for each of the commands: a namespace takes its time to go."""


def test_nothing_stays_and_it_may_come_again(lab: KubeCluster, kubectl: Kubectl, bgpnet: Bgpnet) -> None:
    kubectl.apply(deployment("before", PODS))
    kubectl.await_pods(PODS, "-l", "app=before")
    kubectl("delete", "-k", str(MANIFESTS / "base"), seconds=PATIENCE)
    kubectl("apply", "-k", str(MANIFESTS / "remove"))
    wait = ["-n", "bgpnet-remove", "rollout", "status", "daemonset/bgpnet-remove", "--timeout=240s"]
    done = kubectl.try_(*wait, seconds=PATIENCE)
    log = kubectl("-n", "bgpnet-remove", "logs", "ds/bgpnet-remove", "-c", "remove")
    assert done.returncode == 0, done.stdout + done.stderr + log
    assert log.splitlines()[-1] == "bgpnet is off this node"
    for node in lab.nodes.values():
        assert left(node) == [], log
    kubectl("delete", "-k", str(MANIFESTS / "remove"), seconds=PATIENCE)
    kubectl("delete", "-k", str(MANIFESTS / "kubernetes"), "--ignore-not-found", seconds=PATIENCE)
    assert "bgpnet" not in kubectl("get", "crd,clusterrole,clusterrolebinding,namespace", "-o", "name")

    bgpnet.install(kubectl, [])
    kubectl.await_nodes(len(lab.nodes))
    kubectl("delete", "pod", "-l", "app=before", "--wait=false")
    eventually(lambda: len(set(owners(kubectl).values())) == len(lab.nodes), lambda: owners(kubectl), PATIENCE)
    kubectl.await_pods(PODS, "-l", "app=before")
    pods = kubectl.await_pods(PODS, "-l", "app=before")
    asked = pods[0]
    targets = [(address(one), PORT) for one in pods]
    expected = [f"{name(one)} to {address(asked)}" for one in pods]
    eventually_said(kubectl, asked, targets, expected)
    kubectl("delete", "deployment", "before", "--wait=false")


def left(node: KubeNode) -> list[str]:
    """What is there of bgpnet on a node."""
    return node.run(
        "sh",
        "-c",
        "ip -4 route show table all proto 144; ip -4 route show table all proto 145; ip -o link show | grep cali;"
        " ip -o link show vxlan.bgpnet 2>/dev/null; nft list tables | grep bgpnet; iptables-save | grep -i bgpnet;"
        " find /run/bgpnet /var/lib/bgpnet -mindepth 1; ls -A /etc/cni/net.d /opt/cni/bin | grep bgpnet; true",
    ).splitlines()
