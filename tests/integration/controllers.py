"""A real Kubernetes API server, controllers as processes, and nodes' agents as far as a controller sees of them.

The stand-in for an agent is a small honest machine: it writes its heartbeat, owns its block, and answers
ReleaseRequests by what its kernel would have (`alive`). The real one is tests/integration/test_ipam_repair.py's.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents import eventually
from etcd_servers import free_ports
from kube_client import Client, Refused
from msgspec import structs

from bgpnet import ipam, names
from bgpnet.errors import AlreadyExists, Conflict, NotFound, StoreError
from bgpnet.ipam import Claimant
from bgpnet.model import instant, ip, kinds
from bgpnet.model.ipamblock import IPAMBlock, Owner
from bgpnet.model.node import Identity, Node, NodeBGP, NodeSpec, NodeStatus
from bgpnet.model.releaserequest import Outcome, ReleaseRequest, ReleaseRequestStatus
from bgpnet.model.resource import Metadata
from bgpnet.store.repo import Repo

LOOK = ["get", "list", "watch"]
RIGHTS = [
    {"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": LOOK},
    {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]},
    {"apiGroups": ["bgpnet.io"], "resources": ["ipreservations", "ippools"], "verbs": LOOK},
    {"apiGroups": ["bgpnet.io"], "resources": ["bgpconfigurations", "bgppeers"], "verbs": [*LOOK, "delete"]},
    {"apiGroups": ["bgpnet.io"], "resources": ["nodes", "ipamblocks"], "verbs": [*LOOK, "patch", "delete"]},
    {"apiGroups": ["bgpnet.io"], "resources": ["releaserequests"], "verbs": [*LOOK, "create", "delete"]},
    {"apiGroups": ["bgpnet.io"], "resources": ["ippools/status"], "verbs": ["patch"]},
]
"""What a controller may do, and nothing else: the manifest's ClusterRole."""
QUICK = (
    *("--leak-grace-period", "2s", "--node-silence", "3s", "--network-down-after", "4s", "--reconciler-period", "2s"),
)
BEAT = 0.5
"""Seconds between two heartbeats of a stand-in."""


class Cluster:
    """Kubernetes objects, written as their controllers and kubelets would."""

    def __init__(self, client: Client) -> None:
        self.client = client
        account = {"metadata": {"name": "default"}, "automountServiceAccountToken": False}
        client.ensure("/api/v1/namespaces/default/serviceaccounts", account)

    def node(self, name: str, address: str = "192.0.2.1", **labels: str) -> None:
        """A Node with that InternalIP."""
        self.client.ensure("/api/v1/nodes", {"metadata": {"name": name, "labels": labels}})
        status = {"addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}]}
        self.client.request("PATCH", f"/api/v1/nodes/{name}/status", {"status": status})

    def seen(self, name: str) -> dict[str, Any]:
        """The Node as it is."""
        return self.client.request("GET", f"/api/v1/nodes/{name}")

    def network(self, name: str) -> tuple[str, str]:
        """Status and reason of the Node's condition NetworkUnavailable."""
        for one in self.seen(name)["status"].get("conditions", []):
            if one["type"] == "NetworkUnavailable":
                return one["status"], one["reason"]
        return "", ""

    def pod(self, name: str, node: str, address: str = "", phase: str = "Running") -> None:
        """A pod in `default` that a kubelet has started, with that address."""
        container = {"name": "c", "image": "none"}
        body = {"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [container]}}
        self.client.request("POST", PODS, body)
        self.status(name, address, phase)

    def status(self, name: str, address: str, phase: str = "Running") -> None:
        """What the kubelet says of a pod."""
        ips = {"podIP": address, "podIPs": [{"ip": address}]} if address else {}
        self.client.request("PATCH", f"{PODS}/{name}/status", {"status": {"phase": phase, **ips}})

    def gone(self, path: str) -> None:
        """Delete it at once, as when its kubelet has confirmed it."""
        with suppress(Refused):
            self.client.request("DELETE", path, {"gracePeriodSeconds": 0})

    def clear(self) -> None:
        """No Node and no pod."""
        for path in (PODS, "/api/v1/nodes"):
            for one in self.client.request("GET", path)["items"]:
                self.gone(f"{path}/{one['metadata']['name']}")


PODS = "/api/v1/namespaces/default/pods"


@dataclass(slots=True)
class Agent:
    """A node's agent, as far as a controller sees of it. alive: addresses that its kernel has a link for."""

    repo: Repo
    name: str
    cidr: str
    alive: set[str] = field(default_factory=set)
    answered: list[tuple[str, str]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    def start(self) -> Agent:
        """It lives."""
        self.beat()
        block = ipam.new_block(ip.network(self.cidr), Owner(name=self.name, uid=f"uuid-{self.name}"), time.time())
        with suppress(AlreadyExists):
            self.repo.write(block)
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """It is silent."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(30)

    def given(self, pod: str, container: str = "", age: float = 0.0) -> str:
        """An address of its block for a pod of `default`, since so many seconds ago."""
        with self._lock:
            block = self.block()
            who = Claimant(container or f"c-{pod}", "eth0", f"default/{pod}")
            found = ipam.assign(block, who, time.time() - age)
            assert found is not None
            self.repo.write(found[0])
            return str(found[1])

    def block(self) -> IPAMBlock:
        """As it is stored."""
        found = self.repo.get(kinds.IPAMBLOCK, names.block(ip.network(self.cidr)))
        assert isinstance(found, IPAMBlock)
        return found

    def live(self) -> set[str]:
        """The addresses that are in use."""
        block = self.block()
        return {str(block.network[at]) for at, slot in block.spec.allocations.items() if slot.freedAt is None}

    def beat(self) -> None:
        """Its Node, with a heartbeat of now; people's and the controller's fields stay."""
        number = self.name.lstrip("node")
        identity = Identity(uuid=f"uuid-{self.name}", heartbeat=instant.stamp(time.time()))
        there = self.repo.find(kinds.NODE, self.name)
        bgp = NodeBGP(ipv4Address=f"192.0.2.{number}/24")
        node = there if isinstance(there, Node) else Node(metadata=Metadata(name=self.name), spec=NodeSpec(bgp=bgp))
        with suppress(Conflict, AlreadyExists, NotFound):
            self.repo.write(structs.replace(node, status=NodeStatus(identity=identity)))

    def _run(self) -> None:
        due = 0.0
        while not self._stop.wait(0.1):
            with suppress(StoreError):
                if time.monotonic() >= due:
                    self.beat()
                    due = time.monotonic() + BEAT
                self._answer()

    def _answer(self) -> None:
        for one in self.repo.list(kinds.RELEASEREQUEST)[0]:
            if isinstance(one, ReleaseRequest) and one.spec.node == self.name and one.status is None:
                with self._lock, suppress(Conflict, NotFound):
                    outcome = Outcome.REFUSED if one.spec.address in self.alive else Outcome.RELEASED
                    if outcome is Outcome.RELEASED:
                        at = ip.address(one.spec.address)
                        self.repo.write(ipam.release_at(self.block(), at, one.spec.sequence, time.time()))
                    status = ReleaseRequestStatus(outcome=outcome, answeredAt=instant.stamp(time.time()))
                    self.repo.write(structs.replace(one, status=status))
                    self.answered.append((one.spec.address, outcome))


class Controller:
    """`bgpnet controller` as a process."""

    def __init__(self, folder: Path, name: str, url: str, kubeconfig: Path) -> None:
        self.port = free_ports(1)[0]
        self.log = folder / f"{name}.log"
        self.environ = {**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONWARNINGS": "error"}
        self._command = [sys.executable, "-m", "bgpnet", "controller", "--datastore", url]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *flags: str) -> Controller:
        """Start it; see `QUICK`."""
        with self.log.open("ab") as log:
            command = [*self._command, "--metrics-port", str(self.port), "--log-level", "debug", *QUICK, *flags]
            self._process = subprocess.Popen(command, env=self.environ, stderr=log, stdout=log)
        return self

    def once(self, *flags: str) -> tuple[int, str, str]:
        """Exit code, words, complaints of `--once` with these flags."""
        command = [*self._command, "--once", "--settle", "0.5", *QUICK, *flags]
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr

    def rows(self, *flags: str) -> list[dict[str, Any]]:
        """What `--once -o json` says, which must succeed."""
        code, said, complaint = self.once("-o", "json", *flags)
        assert code == 0, complaint
        found: list[dict[str, Any]] = json.loads(said)
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it; its exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(30)

    def cpu(self) -> float:
        """Seconds of processor time that it has used."""
        assert self._process is not None
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def page(self, path: str) -> tuple[int, str]:
        """Status and words of a page of its port; 0 while nothing listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()
        except OSError:
            return 0, ""

    def ready(self) -> Controller:
        """Wait until it hears everything."""
        eventually(lambda: self.page("/readyz")[0] == 200, lambda: (self.page("/readyz"), self.said()), 60.0)
        return self

    def said(self) -> str:
        """Its log."""
        return self.log.read_text()


@contextmanager
def running(*controllers: Controller) -> Iterator[tuple[Controller, ...]]:
    """Started and ready, and ended without a complaint."""
    try:
        yield tuple(one.start() for one in controllers)
    finally:
        for one in controllers:
            assert one.stop() == 0, one.said()
            assert "Traceback" not in one.said(), one.said()
