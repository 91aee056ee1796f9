"""The networks that a test's cluster can have, by the name that BGPNET_TEST_NETWORK and `--network` take."""

from __future__ import annotations

import os
from collections.abc import Callable

from kube_network import Network, Ptp

NETWORKS: dict[str, Callable[[], Network]] = {"ptp": Ptp}
DEFAULT = "ptp"


def chosen(name: str = "") -> Network:
    """The network of that name, or the environment's, or the default."""
    name = name or os.environ.get("BGPNET_TEST_NETWORK", DEFAULT)
    assert name in NETWORKS, f"BGPNET_TEST_NETWORK={name}: write one of {', '.join(NETWORKS)}"
    return NETWORKS[name]()
