"""The nodes that are compared: each a network namespace of its own with a plugin, and for ours an agent."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.spawn import PluginFailed, call, inside

PEER_PLUGINS = Path("/usr/lib/cni")
START_DEADLINE = 30.0
POOL = """\
apiVersion: bgpnet.io/v1
kind: IPPool
metadata: {name: bench}
spec: {cidr: 10.244.0.0/16, ipipMode: Never, natOutgoing: false}
"""


@dataclass(frozen=True)
class Host:
    """A node: its namespace, the plugin it executes, and the network configuration it gives it."""

    name: str
    plugin: Sequence[str]
    config: dict[str, object]
    link_prefix: str
    """What the pods' links on the node's side are called."""

    def call(self, command: str, pod: str) -> float:
        """One ADD or DEL, in ms."""
        with inside(self.name):
            return call(self.plugin, command, pod, self.config)

    def links(self) -> int:
        """How many pods' links there are on the node's side."""
        shown = subprocess.run(["ip", "-n", self.name, "-br", "link"], capture_output=True, check=True, timeout=30)
        return sum(line.startswith(self.link_prefix.encode()) for line in shown.stdout.splitlines())


def ptp(name: str, folder: Path) -> Host:
    """containernetworking-plugins' ptp with host-local: the same job, a veth and routes."""
    if not (PEER_PLUGINS / "ptp").exists():
        raise SystemExit("make bench compares with ptp and host-local: apt-get install containernetworking-plugins")
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.250.0.0/16"}]], "dataDir": str(folder / "host-local")}
    config: dict[str, object] = {"cniVersion": "1.0.0", "name": name, "type": "ptp", "ipMasq": False, "ipam": ipam}
    return Host(name, [str(PEER_PLUGINS / "ptp")], config, "veth")


@dataclass(frozen=True)
class Agent:
    """A running agent, and how long it took from its start to its first answered ADD (which is undone again)."""

    process: subprocess.Popen[bytes]
    first_add_ms: float

    def pss_mib(self) -> float:
        """Its share of memory, in MiB (proc(5), smaps_rollup)."""
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


def bgpnet(name: str, plugin: Sequence[str], folder: Path) -> Host:
    """A node of ours; its agent is started by `agent()`."""
    config: dict[str, object] = {
        "cniVersion": "1.0.0",
        "name": name,
        "type": "bgpnet",
        "socket": str(folder / name / "run" / "agent.sock"),
    }
    return Host(name, plugin, config, "cali")


@contextmanager
def agent(host: Host, pod: str, folder: Path, address: str, objects: str = "", neighbour: str = "") -> Iterator[Agent]:
    """An agent in the host's namespace, with a pool without tunnels and everything of its own; killed afterwards.

    objects: what else the datastore has. neighbour: the namespace that the host's uplink leads to, as its `up1`.
    """
    home = folder / host.name
    home.mkdir()
    env = os.environ | {
        "BGPNET_NODE": host.name,
        "BGPNET_DATASTORE": f"sqlite://{home}/store.db",
        "BGPNET_RUN_DIR": str(home / "run"),
        "BGPNET_STATE_DIR": str(home / "state"),
        "BGPNET_CNI_CONF_DIR": str(home / "net.d"),
        "BGPNET_IP": address,
    }
    _uplink(host.name, address, neighbour or host.name)
    _run([sys.executable, "-m", "bgpnet_ctl", "create", "-f", "-"], env, f"{POOL}---\n{objects}" if objects else POOL)
    with inside(host.name), (home / "agent.log").open("wb") as log:
        started = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "bgpnet", "agent"], env=env, stdout=log, stderr=log)
    try:
        _first_add(host, pod, process, home / "agent.log")
        running = Agent(process, (time.perf_counter() - started) * 1000)
        host.call("DEL", pod)
        yield running
    finally:
        process.kill()
        process.wait(10)


def _first_add(host: Host, pod: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Asks until the agent answers, as a runtime does."""
    deadline = time.monotonic() + START_DEADLINE
    while True:
        try:
            host.call("ADD", pod)
            return
        except PluginFailed as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the agent does not answer: {error}\n{log.read_text()}") from error
        try:
            process.wait(0.005)
        except subprocess.TimeoutExpired:
            continue


def _uplink(netns: str, address: str, neighbour: str) -> None:
    """The node's own address, on an interface that leads to a neighbour, or nowhere."""
    ip(
        netns,
        f"link add up0 type veth peer name up1 netns {neighbour}",
        f"addr add {address} dev up0",
        "link set up0 up",
    )
    ip(neighbour, "link set up1 up")


def ip(netns: str, *steps: str) -> None:
    """Commands of iproute2 in a namespace."""
    _run(["ip", "-n", netns, "-batch", "-"], dict(os.environ), "\n".join(steps) + "\n")


def _run(command: Sequence[str], env: dict[str, str], stdin: str) -> None:
    ran = subprocess.run(command, env=env, input=stdin, text=True, capture_output=True, timeout=60)
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
