"""A dozen of Kubernetes' own conformance tests of the network; `make conformance` runs all of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import e2e
import pytest
from kube_cluster import KubeCluster

pytestmark = [pytest.mark.kubernetes, pytest.mark.root, pytest.mark.timeout(1200)]

CHOSEN = (
    "API Server should provide secure master service",
    "DNS should provide DNS for pods for Hostname",
    "DNS should provide DNS for services",
    "HostPort validates that there is no conflict",
    "intra-pod communication: http",
    "intra-pod communication: udp",
    "node-pod communication: http",
    "node-pod communication: udp",
    "Proxy version v1 should proxy through a service and a pod",
    "Services should be able to create a functioning NodePort service",
    "Services should have session affinity work for service with type clusterIP",
    "Services should serve multiport endpoints from pods",
)
WORKERS = 4


def test_a_dozen_conformance_tests_pass(lab: KubeCluster, tmp_path: Path) -> None:
    lab.load(e2e.images(tmp_path))
    chosen = e2e.matching(CHOSEN)
    assert len(chosen) == len(CHOSEN)
    lab.kubectl.await_pods(1, "-n", "kube-system", "-l", "k8s-app=kube-dns")
    with ThreadPoolExecutor(WORKERS) as threads:
        results = list(threads.map(lambda name: e2e.run(lab, name, tmp_path), chosen))
    failed = [one for one in results if not one.passed]
    assert not failed, "\n".join(f"{one.name}\n{one.log.read_text()[-5000:]}" for one in failed)
