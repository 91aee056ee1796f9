"""The networks that a test's cluster can have, by the name that BGPNET_TEST_NETWORK and `--network` take."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from bgpnet_network import Bgpnet
from kube_network import Network, Ptp

NETWORKS: dict[str, Callable[[], Network]] = {
    "ptp": Ptp,
    "bgpnet": Bgpnet,
    "bgpnet-vxlan": partial(Bgpnet, vxlan="Always"),
}


def default() -> str:
    """The name that the environment has, or that of the network which is ours to test."""
    return os.environ.get("BGPNET_TEST_NETWORK", "bgpnet")


def chosen(name: str = "") -> Network:
    """The network of that name, or the default."""
    name = name or default()
    assert name in NETWORKS, f"BGPNET_TEST_NETWORK={name}: write one of {', '.join(NETWORKS)}"
    return NETWORKS[name]()
