"""Pods of a lab: a network namespace in a node, put on the network by executing the CNI program there."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from bgpnet.errors import UsageError
from bgpnet.lab.nodes import Lab

NETWORK = {"cniVersion": "1.0.0", "name": "bgpnet", "type": "bgpnet"}


@dataclass(frozen=True, slots=True)
class LabPod:
    """A pod and what the CNI result said of it."""

    name: str
    node: str
    container: str
    address: str
    link: str
    mac: str

    @property
    def netns(self) -> str:
        """Its namespace, as a path in the node."""
        return f"/run/netns/{self.name}"


def program(root: Path) -> list[str]:
    """The CNI program: the static one that `make cni` builds, an installed one, or the Python twin."""
    for built in (root / "build/cni/bgpnet", Path("/opt/cni/bin/bgpnet")):
        if built.is_file():
            return [str(built)]
    return [sys.executable, "-m", "bgpnet.cni.plugin"]


def add(lab: Lab, node: str, name: str, cni: list[str]) -> LabPod:
    """Make the namespace and have the CNI program ADD it; raises UsageError with what the program said."""
    made = lab.exec(node, ["ip", "netns", "add", name])
    if made.returncode != 0:
        raise UsageError(f"node {node}: namespace {name} could not be made: {made.stderr.strip()}")
    done = lab.exec(node, ["env", *_variables("ADD", node, name), *cni], stdin=json.dumps(NETWORK))
    if done.returncode != 0:
        raise UsageError(f"node {node}: CNI ADD of {name} was refused: {done.stdout.strip() or done.stderr.strip()}")
    result = json.loads(done.stdout)
    host, inner = result["interfaces"]
    address = result["ips"][0]["address"].partition("/")[0]
    return LabPod(name, node, _container(node, name), address, host["name"], inner["mac"])


def delete(lab: Lab, pod: LabPod, cni: list[str]) -> None:
    """Have the CNI program DEL it and remove the namespace; raises UsageError."""
    done = lab.exec(pod.node, ["env", *_variables("DEL", pod.node, pod.name), *cni], stdin=json.dumps(NETWORK))
    if done.returncode != 0:
        raise UsageError(f"node {pod.node}: CNI DEL of {pod.name} was refused: {done.stdout.strip()}")
    lab.exec(pod.node, ["ip", "netns", "del", pod.name])


def require(programs: dict[str, str]) -> None:
    """Raise UsageError that names the package for the first program that is missing."""
    for name, package in programs.items():
        if shutil.which(name) is None:
            raise UsageError(f"the program {name} is missing: apt-get install {package}")


def _container(node: str, name: str) -> str:
    return f"{node}-{name}"


def _variables(command: str, node: str, name: str) -> list[str]:
    return [
        f"CNI_COMMAND={command}",
        f"CNI_CONTAINERID={_container(node, name)}",
        f"CNI_NETNS=/run/netns/{name}",
        "CNI_IFNAME=eth0",
        f"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME={name}",
        "CNI_PATH=/opt/cni/bin",
    ]
