"""bgpnet as a cluster's network: the image as `make image` builds it, imported, and manifests/ as users apply them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import container_image
import yaml
from kube_network import Place
from kubectl import Kubectl

from bgpnet.version import VERSION

ROOT = Path(__file__).parents[2]
IMAGE = f"bgpnet:{VERSION}"
CONTROLLER = ("Deployment", "bgpnet-controller")
NAMESPACE = "bgpnet-system"
ROLLOUT = 300.0
"""Seconds in which all agents have to be ready."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bgpnet:
    """With a first pool of these modes: on one segment, neither is the unencapsulated network."""

    ipip: str = "Never"
    vxlan: str = "Never"
    cidr: str = "10.244.0.0/16"

    def images(self, folder: Path) -> Sequence[Path]:
        """The image, built from this tree by an engine of its own."""
        archive = folder / "bgpnet.tar"
        with (
            tempfile.TemporaryDirectory(prefix="building-") as own,
            container_image.alone(),
            container_image.building(Path(own)) as docker,
        ):
            container_image.build(docker)
            docker("save", "--output", str(archive), IMAGE)
        return [archive]

    def install(self, kubectl: Kubectl, nodes: Sequence[Place]) -> None:
        """`kubectl apply -k manifests/` with the first pool's modes; waits for all agents."""
        kubectl.apply(*self.manifests(kubectl))
        self.await_rollout(kubectl)

    def await_rollout(self, kubectl: Kubectl) -> None:
        """Wait until agents and controller are as they were applied, and ready."""
        for one in ("daemonset/bgpnet-node", "deployment/bgpnet-controller"):
            wait = ["-n", NAMESPACE, "rollout", "status", one, f"--timeout={ROLLOUT:g}s"]
            done = kubectl.try_(*wait, seconds=2 * ROLLOUT)
            assert done.returncode == 0, f"{done.stdout}{done.stderr}{self.log(kubectl)}"

    def log(self, kubectl: Kubectl) -> str:
        """What its pods say, and Kubernetes of them."""
        pods = kubectl.try_("-n", NAMESPACE, "get", "pods,events", "-o", "wide").stdout
        told = [
            kubectl.try_("-n", NAMESPACE, "logs", one, "--all-containers", "--prefix", "--tail=50").stdout
            for one in ("--selector=app.kubernetes.io/name=bgpnet-node", "deployment/bgpnet-controller")
        ]
        return "\n".join([pods, *told])

    def manifests(self, kubectl: Kubectl, image: str = IMAGE) -> list[Json]:
        """The objects of manifests/, as kubectl renders them, with that image."""
        text = kubectl("kustomize", str(ROOT / "manifests")).replace(f"image: {IMAGE}", f"image: {image}")
        found: list[Json] = list(yaml.safe_load_all(text))
        wanted = {"BGPNET_IPV4POOL_CIDR": self.cidr, "BGPNET_IPV4POOL_IPIP": self.ipip}
        wanted |= {"BGPNET_IPV4POOL_VXLAN": self.vxlan}
        controller = next(one for one in found if (one["kind"], one["metadata"]["name"]) == CONTROLLER)
        first = controller["spec"]["template"]["spec"]["initContainers"][0]
        first["env"] = [one for one in first["env"] if one["name"] not in wanted]
        first["env"] += [{"name": name, "value": value} for name, value in wanted.items()]
        return found

    def routes(self, kubectl: Kubectl, nodes: Sequence[Place]) -> Sequence[tuple[str, str]]:
        """By the first node, which knows all blocks."""
        return [(self.cidr, nodes[0].address)]
