"""A node of a test's cluster: containerd, kubelet and kube-proxy in a node of the lab, where they are in life."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from agent_parts import Process, eventually
from kube_credentials import Credentials
from kube_images import PAUSE, program
from kubectl import PATIENCE
from programs import built

from bgpnet.lab.nodes import Lab

DNS = "10.96.0.10"
DOMAIN = "cluster.local"
PLUGINS = ("loopback", "portmap", "ptp", "host-local")
KERNELS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
"""What a kubelet sets for the whole machine: in our nodes it writes these into files of theirs."""

CONTAINERD_1_6 = """
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""
CONTAINERD_2 = """
version = 3
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{pause}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""
BINDS = {
    "containerd": "/var/lib/containerd",
    "kubelet": "/var/lib/kubelet",
    "pods": "/var/log/pods",
    "logs": "/var/log/containers",
    "net.d": "/etc/cni/net.d",
    "bin": "/opt/cni/bin",
}
"""Folders of the disk of a node, and where the node sees them."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a node is: its name, address, the cluster's folder (logs, credentials), and a folder that is its disk."""

    name: str
    address: str
    folder: Path
    disk: Path

    def binds(self) -> list[str]:
        """Make its folders, and say where the node sees them, as a topology does."""
        for name in BINDS:
            (self.disk / name).mkdir(parents=True)
        for name in PLUGINS:
            found = Path("/usr/lib/cni", name)
            assert found.is_file(), f"{found} is missing; run `scripts/install kubernetes`"
            shutil.copy(found, self.disk / "bin" / name)  # a link would lead nowhere in a container
        binds = [f"{self.disk / name}:{target}" for name, target in BINDS.items()]
        for name in KERNELS:
            copy = self.disk / name.replace("/", "-")
            copy.write_bytes(Path("/proc/sys", name).read_bytes())
            binds.append(f"{copy}:/proc/sys/{name}")
        return binds


@dataclass(slots=True)
class KubeNode:
    """The node, once its lab is there. containerd: "1.6" (Debian's) or "2"; mode: kube-proxy's; cidr: the pods'."""

    lab: Lab
    spot: Spot
    credentials: Credentials
    server: str
    containerd_version: str
    mode: str
    cidr: str
    containerd: Process = field(init=False)
    kubelet: Process = field(init=False)
    proxy: Process = field(init=False)

    def __post_init__(self) -> None:
        self.containerd = self._process("containerd", self._containerd())
        self.kubelet = self._process("kubelet", self._kubelet())
        self.proxy = self._process("kube-proxy", self._proxy())

    @property
    def name(self) -> str:
        """As Kubernetes has it."""
        return self.spot.name

    @property
    def address(self) -> str:
        """Its InternalIP."""
        return self.spot.address

    @property
    def networks(self) -> Path:
        """Its /etc/cni/net.d, seen from outside."""
        return self.spot.disk / "net.d"

    @property
    def plugins(self) -> Path:
        """Its /opt/cni/bin, seen from outside."""
        return self.spot.disk / "bin"

    @property
    def bin(self) -> Path:
        """Where containerd, its shim and ctr are."""
        if self.containerd_version == "2":
            return Path(built("containerd", "containerd")).parent
        return program("containerd").parent

    def run(self, *argv: str, stdin: str = "", check: bool = True, seconds: float = 60) -> str:
        """What a command on the node prints."""
        done = self.lab.exec(self.name, argv, stdin=stdin, timeout=seconds)
        assert not check or done.returncode == 0, f"{self.name}: {argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def start_runtime(self, images: list[Path]) -> None:
        """containerd, with these images."""
        self.containerd.start()
        ctr = str(self.bin / "ctr")
        asks = [ctr, "--connect-timeout", "10s", "version"]
        eventually(lambda: self.lab.exec(self.name, asks).returncode == 0, self.log, PATIENCE)
        for image in images:
            self.load(image)

    def load(self, image: Path) -> None:
        """Import an archive of `docker save`, as nothing is ever pulled."""
        self.run(str(self.bin / "ctr"), "-n", "k8s.io", "images", "import", str(image), seconds=300)

    def start(self) -> None:
        """kubelet and kube-proxy; does not wait."""
        self.kubelet.start()
        self.proxy.start()

    def end(self) -> None:
        """kill -9 of all three; pods go on."""
        for process in (self.kubelet, self.proxy, self.containerd):
            process.end()

    def log(self) -> str:
        """The end of what each wrote."""
        logs = [one.log for one in (self.containerd, self.kubelet, self.proxy) if one.log.exists()]
        return "\n".join(f"--- {one.name}\n{one.read_text(errors='replace')[-3000:]}" for one in logs)

    def _process(self, part: str, argv: list[str]) -> Process:
        path = f"{self.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return Process(self.lab, self.name, argv, self.spot.folder / f"{self.name}-{part}.log", {"PATH": path})

    def _write(self, name: str, text: str) -> str:
        path = self.spot.folder / f"{self.name}-{name}"
        path.write_text(text)
        return str(path)

    def _containerd(self) -> list[str]:
        text = CONTAINERD_2 if self.containerd_version == "2" else CONTAINERD_1_6
        return [str(self.bin / "containerd"), "--config", self._write("containerd.toml", text.format(pause=PAUSE))]

    def _kubelet(self) -> list[str]:
        kubeconfig = self.credentials.user_kubeconfig(self.server, f"system:node:{self.name}", "system:nodes")
        config = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self.credentials.ca)},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.lab.name}/{self.name}",
            "cgroupsPerQOS": False,
            "clusterDNS": [DNS],
            "clusterDomain": DOMAIN,
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "enforceNodeAllocatable": [],
            "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "50Mi"},
            "failCgroupV1": False,
            "failSwapOn": False,
            "imageGCHighThresholdPercent": 100,  # never, be the disk as full as it may: no image is pulled again
            "makeIPTablesUtilChains": False,
            "oomScoreAdj": 0,
            "resolvConf": "",
        }
        return [
            *(built("kubernetes", "kubelet"), f"--config={self._write('kubelet.json', json.dumps(config))}"),
            *(f"--kubeconfig={kubeconfig}", f"--hostname-override={self.name}", f"--node-ip={self.address}"),
            "--cert-dir=/var/lib/kubelet/pki",
        ]

    def _proxy(self) -> list[str]:
        kubeconfig = self.credentials.user_kubeconfig(self.server, "system:kube-proxy")
        config = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(kubeconfig)},
            "clusterCIDR": self.cidr,
            # The control plane reaches all pods through one node, which sees one direction of the others' connections:
            # without this, kube-proxy's iptables mode drops that as INVALID.
            "conntrack": {"maxPerCore": 0, "tcpBeLiberal": True},
            "hostnameOverride": self.name,
            "mode": self.mode,
            "oomScoreAdj": 0,
        }
        return [built("kubernetes", "kube-proxy"), f"--config={self._write('kube-proxy.json', json.dumps(config))}"]
