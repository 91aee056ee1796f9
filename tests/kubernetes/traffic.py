"""Numbered packets between pods of our own cluster, and between its nodes, while something is done to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from kube_cluster import KubeCluster
from kubectl import Json
from packets import End, Report, build, flowing, told_apart
from workloads import address

from bgpnet.agent.learn import SETTLE

RATE = 200
"""Packets a second and pair of pods: what a route is away for at least 5 ms is seen."""
MOST_LOST = 0.01
"""Of the packets between the nodes themselves: a machine that loses more can tell nothing."""

NAMESPACES = """
for one in /run/netns/*; do
  echo ${one##*/} $(ip -n ${one##*/} -4 -o address show dev eth0 2>/dev/null)
done
"""


@contextmanager
def unharmed(cluster: KubeCluster, pods: Sequence[Json]) -> Iterator[Report]:
    """No packet between these pods is lost while the block runs, nor until what nobody speaks of would be swept."""
    program, nodes = build(cluster.folder), _node_ends(cluster)
    with flowing(program, RATE, _pod_ends(cluster, pods), nodes) as report:
        yield report
        Event().wait(SETTLE + 2.0)
    lost, by_machine = told_apart(report, {address(one): one["status"]["hostIP"] for one in pods})
    assert not lost, f"lost to route changes: {lost}; to the machine: {by_machine}"
    assert not report.unreachable, report.unreachable
    control = {pair: count for pair, count in report.sent.items() if pair[0] in {one.address for one in nodes}}
    assert len(report.sent) - len(control) == len(pods) * (len(pods) - 1)
    missing = sum(count - report.received[pair] for pair, count in control.items())
    assert missing <= MOST_LOST * sum(control.values()), (
        f"the machine lost {missing} of {control}: run it on an idle one"
    )


def _node_ends(cluster: KubeCluster) -> list[End]:
    names = ((node.address, cluster.lab.node(name).pid) for name, node in cluster.nodes.items())
    return [End(own, Path(f"/proc/{pid}/ns/net")) for own, pid in names]


def _pod_ends(cluster: KubeCluster, pods: Sequence[Json]) -> list[End]:
    """By the network namespaces that the nodes' runtimes have made."""
    found: dict[str, Path] = {}
    for name, node in cluster.nodes.items():
        for line in node.run("sh", "-c", NAMESPACES).splitlines():
            words = line.split()
            if "inet" in words:
                own = words[words.index("inet") + 1].partition("/")[0]
                found[own] = Path(f"/proc/{cluster.lab.node(name).pid}/root/run/netns/{words[0]}")
    return [End(address(one), found[address(one)]) for one in pods]
