"""A real Kubernetes in a lab of this machine: a control plane and nodes, each in namespaces of its own.

    with kube_cluster(folder, Ptp()) as cluster:
        cluster.kubectl("get", "nodes")
        cluster["n1"].kubelet.end()              # any of its programs can be killed and started again
        cluster.api.end(); cluster.api.start()

All of it ends with the block, and with whoever runs it: nothing stays on the machine (kube_guard.py).
"""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import kube_images
from agent_parts import Process
from etcd_servers import FAST, current_etcd
from kube_credentials import Credentials
from kube_guard import guarded
from kube_network import Network
from kube_node import KubeNode, Spot
from kube_server import PATIENCE, flags
from kubectl import Kubectl
from programs import built

from bgpnet.lab import nodes
from bgpnet.lab.nodes import Lab
from bgpnet.lab.parse import parse
from bgpnet.lab.wait import until

PLANE = "cp"
ADDRESS = "192.0.2.10"
GATEWAY = "192.0.2.1"
PORT = 6443
SERVICE = "10.96.0.1"
_NUMBERS = itertools.count(1)

TOPOLOGY = """
name: {name}
topology:
  defaults: {{kind: linux}}
  nodes:
    switch:
      exec:
        - ip link add br0 type bridge
        - ip link set br0 up
        - ip address add {gateway}/24 dev br0
        {ports}
    {nodes}
  links:
    {links}
"""
NODE = """
    {node}:
      binds: [{binds}]
      sysctls: {{net.ipv4.ip_forward: 1}}
      exec:
        - mount --make-rshared /
        - ip address add {address}/24 dev eth1
        - ip route add default via {gateway}
"""


class KubeCluster:
    """What `kube_cluster` gives: kubectl, the control plane's processes, and the nodes by their names."""

    def __init__(self, lab: Lab, folder: Path, credentials: Credentials, members: Sequence[KubeNode]) -> None:
        self.lab = lab
        self.folder = folder
        self.credentials = credentials
        self.nodes = {one.name: one for one in members}
        url = f"https://{ADDRESS}:{PORT}"
        self.kubeconfig = credentials.user_kubeconfig(url, "admin", "system:masters")
        self.kubectl = Kubectl(self.kubeconfig, lambda argv, stdin, seconds: self.run(argv, stdin, seconds))
        etcd = "http://127.0.0.1:2379"
        self.etcd = self._process(
            "etcd", current_etcd(), "--data-dir", str(folder / "disk" / "etcd"), "--listen-client-urls", etcd,
            "--advertise-client-urls", etcd, *FAST,
        )  # fmt: skip
        asked = flags(credentials, ADDRESS, PORT, etcd)
        self.api = self._process("kube-apiserver", built("kubernetes", "kube-apiserver"), *asked)
        self.controllers = self._process(
            "kube-controller-manager", built("kubernetes", "kube-controller-manager"),
            self._kubeconfig(url, "kube-controller-manager"),
            f"--service-account-private-key-file={credentials.accounts}", f"--root-ca-file={credentials.ca}",
            "--use-service-account-credentials=true", "--controllers=*,-nodeipam", "--leader-elect=false",
        )  # fmt: skip
        self.scheduler = self._process(
            "kube-scheduler", built("kubernetes", "kube-scheduler"), self._kubeconfig(url, "kube-scheduler"),
            "--leader-elect=false",
        )  # fmt: skip

    def __getitem__(self, name: str) -> KubeNode:
        return self.nodes[name]

    def run(self, argv: Sequence[str], stdin: str = "", seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Execute a command beside the control plane: from outside of all nodes."""
        return self.lab.exec(PLANE, argv, stdin=stdin, timeout=seconds)

    def start(self, network: Network, images: list[Path]) -> None:
        """All of it, until the nodes are Ready and the pods can be reached from the control plane."""
        with ThreadPoolExecutor() as threads:
            members = list(self.nodes.values())
            runtimes = [threads.submit(one.start_runtime, images) for one in members]
            self.etcd.start()
            self.api.start()
            self.await_api()
            self.controllers.start()
            self.scheduler.start()
            for runtime in runtimes:
                runtime.result()
        for one in members:
            one.start()
        until(lambda: "" if len(self.kubectl.nodes()) == len(members) else "nodes are not registered", PATIENCE)
        network.install(self.kubectl, members)
        self.kubectl.await_nodes(len(members))
        for prefix, address in network.routes(self.kubectl, members):
            self.run(["ip", "route", "replace", prefix, "via", address])

    def load(self, images: Sequence[Path]) -> None:
        """Import archives on all nodes."""
        with ThreadPoolExecutor() as threads:
            work = [threads.submit(node.load, image) for node in self.nodes.values() for image in images]
            for one in work:
                one.result()

    def await_api(self) -> None:
        """Wait until the API server is ready."""

        def missing() -> str:
            assert self.api.running, self.log()
            done = self.kubectl.try_("get", "--raw", "/readyz")
            return "" if done.stdout == "ok" else f"API server: {done.stdout}{done.stderr}"

        until(missing, PATIENCE)

    def end(self) -> None:
        """kill -9 of all programs; pods go with their nodes."""
        for node in self.nodes.values():
            node.end()
        for process in (self.scheduler, self.controllers, self.api, self.etcd):
            process.end()

    def log(self) -> str:
        """The end of what everything wrote."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {one.name}\n{one.read_text(errors='replace')[-3000:]}" for one in logs)

    def _process(self, part: str, *argv: str) -> Process:
        return Process(self.lab, PLANE, argv, self.folder / f"{part}.log")

    def _kubeconfig(self, url: str, name: str) -> str:
        return f"--kubeconfig={self.credentials.user_kubeconfig(url, f'system:{name}')}"


@contextmanager
def kube_cluster(
    folder: Path,
    network: Network,
    *,
    count: int = 2,
    containerd: str = "2",
    mode: str = "nftables",
    images: Sequence[Path] = (),
) -> Iterator[KubeCluster]:
    """A cluster of so many nodes n1, n2, …, whose nodes are Ready.

    folder: is the test's; logs and credentials stay in it. images: archives that the nodes get besides the usual ones
    (kube_images.make) and the network's. mode: kube-proxy's, nftables or iptables.
    """
    name = f"kube{os.getpid()}x{next(_NUMBERS)}"
    disk = folder / "disk"
    spots = [Spot(f"n{one}", f"192.0.2.{10 + one}", folder, disk / f"n{one}") for one in range(1, count + 1)]
    with guarded(name, disk):
        credentials = Credentials(folder / "credentials", (ADDRESS, SERVICE, "127.0.0.1"))
        text = _topology(name, folder, spots)
        made = disk / "images"
        made.mkdir()
        archives = [*kube_images.make(made), *network.images(made), *images]
        lab = nodes.deploy(parse(text, str(folder / f"{name}.clab.yml"), {}), lambda line: None)
        url = f"https://{ADDRESS}:{PORT}"
        members = [KubeNode(lab, spot, credentials, url, containerd, mode, network.cidr) for spot in spots]
        cluster = KubeCluster(lab, folder, credentials, members)
        try:
            cluster.start(network, archives)
            yield cluster
        except BaseException:
            print(cluster.log())
            raise
        finally:
            cluster.end()


def _topology(name: str, folder: Path, spots: Sequence[Spot]) -> str:
    seen = [f"{folder}:{folder}"]  # credentials, configuration and images are at the same place outside and inside
    places = {PLANE: (ADDRESS, seen)} | {spot.name: (spot.address, [*seen, *spot.binds()]) for spot in spots}
    return TOPOLOGY.format(
        name=name,
        gateway=GATEWAY,
        ports="\n        ".join(f"- ip link set eth{number} master br0" for number in range(1, len(places) + 1)),
        nodes="".join(
            NODE.format(node=node, address=address, gateway=GATEWAY, binds=", ".join(f'"{one}"' for one in binds))
            for node, (address, binds) in places.items()
        ),
        links="\n    ".join(
            f'- {{endpoints: ["{node}:eth1", "switch:eth{number}"], mtu: 1500}}'
            for number, node in enumerate(places, 1)
        ),
    )
