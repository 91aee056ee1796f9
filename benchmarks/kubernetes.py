"""100 pods scheduled on one node until they run, beside ptp + host-local, and what our programs take on that node.

Two clusters of two nodes each (tests/support/kube_cluster.py), so that ours have a BGP session, both there all the
time; round by round, in random order, each is given a Deployment of pods that only wait, all on its first node, and rid
of it. `make bench-kubernetes` runs it; nothing passes or fails here.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT / "tests" / one) for one in ("support", "integration", "kubernetes")]

from bgpnet_network import Bgpnet  # noqa: E402 - the path is set above
from kube_cluster import KubeCluster, kube_cluster  # noqa: E402
from kube_images import PAUSE  # noqa: E402
from kube_network import Network, Ptp  # noqa: E402
from kube_node import KubeNode  # noqa: E402

from benchmarks.table import Row, add, percentile, render  # noqa: E402
from bgpnet.lab.wait import until  # noqa: E402

PTP, OURS = "ptp + host-local", "bgpnet"
PEERS: Mapping[str, Network] = {PTP: Ptp(), OURS: Bgpnet()}
NODE = "n1"
CROWD = "crowd"
DEADLINE = 600.0
TICKS = 100
"""Clock ticks a second in proc(5), on every architecture that Linux still runs on."""
PROGRAMS = "/opt/bgpnet/bin/"
MEMORY_LIMIT_MIB = 80.0
IDLE_LIMIT_PERCENT = 1.0


class Site:
    """A cluster whose pods come and go."""

    def __init__(self, cluster: KubeCluster) -> None:
        self._kubectl = cluster.kubectl
        self.nodes = list(cluster.nodes.values())
        self.node = cluster[NODE]
        self._usual = self._sandboxes()

    def come(self, pods: int) -> float:
        """Seconds from the Deployment's creation until all of its pods are Running and Ready."""
        labels = {"app": CROWD}
        container = {"name": "pause", "image": PAUSE, "imagePullPolicy": "Never"}
        template = {
            "metadata": {"labels": labels},
            "spec": {"containers": [container], "nodeName": NODE, "terminationGracePeriodSeconds": 1},
        }
        begun = time.perf_counter()
        self._kubectl.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": CROWD},
                "spec": {"replicas": pods, "selector": {"matchLabels": labels}, "template": template},
            }
        )
        self._kubectl("rollout", "status", f"deployment/{CROWD}", f"--timeout={DEADLINE:g}s", seconds=DEADLINE)
        return time.perf_counter() - begun

    def go(self) -> None:
        """Delete them; returns when nothing of them runs on the node."""
        self._kubectl("delete", "deployment", CROWD, "--cascade=foreground", seconds=DEADLINE)
        until(lambda: "" if self._sandboxes() <= self._usual else "pods are still on the node", DEADLINE)

    def _sandboxes(self) -> int:
        return int(self.node.run("pgrep", "--count", "-f", "containerd-shim-runc-v2", check=False))


def processes(node: KubeNode) -> dict[str, list[int]]:
    """Our programs' numbers on the node, by the word of the command: agent, speaker, relay, controller."""
    found: dict[str, list[int]] = {}
    for line in node.run("pgrep", "--full", "--list-full", PROGRAMS).splitlines():
        number, _, command = line.partition(" ")
        words = ("controller", "relay", "speaker", "agent")
        word = next((one for one in words if f" {one}" in command or f".{one}" in command), command)
        found.setdefault(word, []).append(int(number))
    return found


def pss_mib(node: KubeNode, number: int) -> float:
    """A process's share of memory (proc(5), smaps_rollup)."""
    text = node.run("cat", f"/proc/{number}/smaps_rollup")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


def spent(node: KubeNode, number: int) -> float:
    """Seconds of CPU that a process took so far."""
    fields = node.run("cat", f"/proc/{number}/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def appetite(site: Site, pods: int, seconds: float) -> list[Row]:
    """Memory of the agent and the speaker on the node that has so many pods, and the idle CPU of all."""
    ours = processes(site.node)
    memory = {word: sum(pss_mib(site.node, one) for one in ours[word]) for word in ("agent", "speaker", "relay")}
    everywhere = [(node, processes(node)) for node in site.nodes]
    controllers = [(node, one) for node, found in everywhere for one in found.get("controller", [])]
    watched = {"controller": controllers} | {word: [(site.node, one) for one in ours[word]] for word in memory}
    before = {word: sum(spent(*one) for one in each) for word, each in watched.items()}
    time.sleep(seconds)  # what is measured is this time
    idle = {word: (sum(spent(*one) for one in each) - before[word]) / seconds * 100 for word, each in watched.items()}
    print("PSS: " + ", ".join(f"{word} {one:.1f} MiB" for word, one in memory.items()))
    print(f"CPU in {seconds:g} s: " + ", ".join(f"{word} {one:.2f} %" for word, one in idle.items()))
    metric = f"agent and speaker PSS, {pods} pods on the node"
    return [
        Row(metric, sum(memory.values()), MEMORY_LIMIT_MIB, "limit", "MiB", 1.0),
        Row(f"controller idle CPU, {pods} pods", idle["controller"], IDLE_LIMIT_PERCENT, "limit", "%", 1.0),
    ]


def run(pods: int, rounds: int, idle: float) -> list[Row]:
    """The whole of it. idle: seconds in which the idle CPU is measured."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        sites = {}
        for number, (name, network) in enumerate(PEERS.items()):
            own = folder / str(number)
            own.mkdir()
            sites[name] = Site(stack.enter_context(kube_cluster(own, network)))
        took: dict[str, list[float]] = {name: [] for name in sites}
        for number in range(rounds):
            for name in random.sample(list(sites), len(sites)):
                took[name].append(sites[name].come(pods))
                print(f"{number + 1}/{rounds} {name}: {pods} pods Running after {took[name][-1]:.2f} s", flush=True)
                sites[name].go()
        sites[OURS].come(pods)
        mine, peer = (percentile(took[name], 0.5) for name in (OURS, PTP))
        first = Row(f"{pods} pods on one node, until all are Running", mine, peer, PTP, "s", 1.05)
        return [first, *appetite(sites[OURS], pods, idle)]


def main() -> None:
    """Prints the table, and adds the figures to build/bench.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kubernetes", description=str(__doc__).splitlines()[0])
    parser.add_argument("--pods", type=int, default=100, help="pods on the node; a kubelet takes 110 (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the median counts (%(default)s)")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds to measure idle CPU in (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"), help="figures (%(default)s)")
    chosen = parser.parse_args()
    rows = run(chosen.pods, chosen.rounds, chosen.idle)
    print(render(rows))
    add(rows, chosen.out)


if __name__ == "__main__":
    main()
