"""The network of a test's cluster is plugged in: what nodes need, and how the control plane reaches the pods."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from kubectl import Kubectl


class Place(Protocol):
    """A node as a network sees it, before pods are on it."""

    @property
    def name(self) -> str:
        """As Kubernetes has it."""

    @property
    def address(self) -> str:
        """Its InternalIP."""

    @property
    def networks(self) -> Path:
        """Its /etc/cni/net.d, seen from outside."""

    @property
    def plugins(self) -> Path:
        """Its /opt/cni/bin, seen from outside; the CNI project's plugins are in it."""

    def run(self, *argv: str, stdin: str = "", check: bool = True, seconds: float = ...) -> str:
        """What a command on the node prints."""


class Network(Protocol):
    """What makes nodes Ready and pods reach each other."""

    @property
    def cidr(self) -> str:
        """Where pods' addresses come from: what kube-proxy takes for the cluster's own."""

    def images(self, folder: Path) -> Sequence[Path]:
        """Archives that every node imports before anything else; they may be made in the folder."""

    def install(self, kubectl: Kubectl, nodes: Sequence[Place]) -> None:
        """Called when the API server is ready and the nodes are registered: their kubelets wait for a network."""

    def routes(self, kubectl: Kubectl, nodes: Sequence[Place]) -> Sequence[tuple[str, str]]:
        """Networks of pods and the nodes' addresses by which the control plane, which is no node, reaches them."""


class Ptp:
    """ptp and host-local, a /24 a node and static routes: the simplest network there is, to compare with."""

    cidr = "10.244.0.0/16"

    def images(self, folder: Path) -> Sequence[Path]:
        """None."""
        return []

    def install(self, kubectl: Kubectl, nodes: Sequence[Place]) -> None:
        """A conflist on every node, and the routes to the others."""
        for node in nodes:
            for network, address in self.routes(kubectl, nodes):
                if address != node.address:
                    node.run("ip", "route", "replace", network, "via", address)
            (node.networks / "10-ptp.conflist").write_text(json.dumps(_conflist(_network(nodes, node))))

    def routes(self, kubectl: Kubectl, nodes: Sequence[Place]) -> Sequence[tuple[str, str]]:
        """A /24 a node."""
        return [(_network(nodes, node), node.address) for node in nodes]


def _network(nodes: Sequence[Place], node: Place) -> str:
    return f"10.244.{nodes.index(node) + 1}.0/24"


def _conflist(network: str) -> dict[str, object]:
    ipam = {"type": "host-local", "ranges": [[{"subnet": network}]], "routes": [{"dst": "0.0.0.0/0"}]}
    plugins = [
        {"type": "ptp", "mtu": 1500, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
    ]
    return {"cniVersion": "1.0.0", "name": "ptp", "plugins": plugins}
