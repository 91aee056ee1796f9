"""The cluster that these tests share: one of this machine, or the one that BGPNET_KUBECONFIG names.

KUBECONFIG itself is not looked at: nobody's cluster is tested by accident. What kills parts of a cluster needs ours.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import networks
import pytest
from bgpnet_network import Bgpnet
from kube_cluster import KubeCluster, kube_cluster
from kubectl import Kubectl, outside
from workloads import COREDNS

GIVEN = os.environ.get("BGPNET_KUBECONFIG", "")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Somebody's cluster is not taken apart; another network has no tests of bgpnet; its removal comes last."""
    unwanted = {"lab"} if GIVEN else set()
    unwanted |= set() if isinstance(networks.chosen(), Bgpnet) else {"bgpnet"}
    out = [one for one in items if unwanted & set(getattr(one, "fixturenames", ()))]
    config.hook.pytest_deselected(items=out)
    items[:] = [one for one in items if one not in out]
    items.sort(key=lambda one: one.path.name == "test_removal.py")  # what all others stand on goes last


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeCluster]:
    """Our own cluster: two nodes that are Ready, CoreDNS among their pods."""
    with kube_cluster(tmp_path_factory.mktemp("kubernetes"), networks.chosen()) as made:
        made.kubectl.apply(COREDNS)
        yield made


@pytest.fixture(scope="session")
def bgpnet() -> Bgpnet:
    """The cluster's network, for tests of no other one."""
    network = networks.chosen()
    assert isinstance(network, Bgpnet)
    return network


@pytest.fixture(scope="session")
def kubectl(request: pytest.FixtureRequest) -> Kubectl:
    """Of our cluster, or of the one that BGPNET_KUBECONFIG names: the images have to be on its nodes then."""
    if GIVEN:
        return Kubectl(Path(GIVEN), outside)
    made: KubeCluster = request.getfixturevalue("lab")
    return made.kubectl
