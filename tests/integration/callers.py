"""A node for a container runtime: an agent that writes the conflist, the plugin installed as users do, and traces.

The runtime runs in the node's namespaces: network, mounts, processes. With the node's process 1 everything in it ends,
also when a test fails, and its mounts, its network namespaces and its sockets (/run is the node's own) go with it. What
a node does not have to itself are cgroups: those are below a folder of the test's name, and removed with it.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path

from agents import SHARED, Cluster, Machine, cluster, eventually, plugin
from control_groups import cgroups

from bgpnet.errors import AgentAway

BINS = f"{SHARED}/bin"
NETWORKS = f"{SHARED}/net.d"
CONFLIST = "10-bgpnet.conflist"
CHAINED = Path("/usr/lib/cni")
PODS = 20
PASSING = r"nsenter|\[|\S*/nft "
"""Commands that are no trace: how the test looks, threads of the kernel and what just ended, and the agent's own `nft`,
which runs for a moment whenever it writes or reads its packet rules, also while the first look is taken."""
GONE = 150.0
"""Seconds until nothing is left of a runtime's pods: the kernel ends their namespaces one after another."""
_NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Traces:
    """All that pods may leave behind on a node, but the node's blocks."""

    links: frozenset[str]
    addresses: frozenset[str]
    routes: frozenset[str]
    neighbours: frozenset[str]
    namespaces: frozenset[str]
    mounts: frozenset[str]
    processes: frozenset[str]


class Calling:
    """The node, its agent, and the cgroups' folder for its pods."""

    def __init__(self, made: Cluster, name: str) -> None:
        self.made = made
        self.one: Machine = made[0]
        self.cgroups = name

    def traces(self) -> Traces:
        """What is there now."""
        one = self.one

        def lines(*argv: str, pattern: str = r"(.*)", without: str = "blackhole") -> frozenset[str]:
            told = one.run(*argv).splitlines()
            return frozenset(found[1] for line in told if without not in line and (found := re.match(pattern, line)))

        return Traces(
            lines("ip", "-o", "link", pattern=r"\d+: ([^:@]+)"),
            lines("ip", "-o", "-4", "address", pattern=r"\d+: +(\S+ +inet \S+)"),
            lines("ip", "-4", "route", "show", "table", "all"),
            lines("ip", "-4", "neighbour", "show", "nud", "permanent"),
            lines("sh", "-c", "ls /run/netns 2>/dev/null || true"),
            lines("cat", "/proc/self/mounts", pattern=r"\S+ (?!/run/netns )(\S+)"),  # that one is made by ip netns
            lines("ps", "-wweo", "args", without="ps -wweo", pattern=rf"(?!{PASSING})(.*)"),
        )

    def before(self) -> Traces:
        """What is there now, and a moment later still: what a runtime executes when it has just started is not."""
        looks = [self.traces()]

        def is_settled() -> bool:
            looks.append(self.traces())
            return looks[-1] == looks[-2]

        eventually(is_settled, lambda: self._differ(looks[-1]))
        return looks[-1]

    def gone(self, before: Traces) -> None:
        """Wait until nothing is left of any pod: on the node, in the datastore, by the agent's word."""
        eventually(lambda: self.made.live() == {}, lambda: self.made.live())
        eventually(lambda: self.traces() == before, lambda: f"{self._differ(before)}\n{self.one.log()}", GONE)
        assert self.one.leaked() == []

    def _differ(self, before: Traces) -> str:
        """What is there now and was not, or the other way round."""
        both = zip(astuple(before), astuple(self.traces()), strict=True)
        return "\n".join(one for then, now in both for one in sorted(then ^ now))

    def answers(self) -> bool:
        """Whether the agent does."""
        try:
            return bool(self.one.status())
        except AgentAway:
            return False

    def mesh(self, pids: Mapping[str, int]) -> None:
        """Every pod pings every other one. pids: by its address, a process of it, as the node sees it."""
        for pid in pids.values():
            others = " ".join(pids)
            loop = f"for one in {others}; do ping -n -q -c 1 -w 10 $one >/dev/null || echo lost $one; done"
            assert self.one.run("nsenter", "-t", str(pid), "-n", "sh", "-c", loop) == ""


@contextmanager
def cgroups_removed(name: str) -> Iterator[None]:
    """At the end, what is there of a test's cgroups goes, as soon as what was killed in them has ended."""

    def left() -> bool:
        for path in cgroups(name):
            with suppress(OSError):
                path.rmdir()
        return any(cgroups(name))

    try:
        yield
    finally:
        eventually(lambda: not left(), lambda: f"processes of the test are left in {list(cgroups(name))}")


@contextmanager
def calling(folder: Path, plugins: str = "none") -> Iterator[Calling]:
    """The node with a ready agent, its conflist and the installed plugin. plugins: what is chained after ours."""
    name = f"callers{os.getpid()}x{next(_NUMBERS)}"
    plugin()
    (folder / "bin").mkdir()
    for one in ("loopback", "portmap"):
        assert (CHAINED / one).is_file(), "run `scripts/install test`, or `apt-get install containernetworking-plugins`"
        shutil.copy(CHAINED / one, folder / "bin" / one)
    with cgroups_removed(name), cluster(folder, 1, name) as made:
        one = made[0]
        one.agent.env |= {"BGPNET_CNI_CONF_DIR": NETWORKS, "BGPNET_CNI_BIN_DIR": BINS, "BGPNET_CNI_PLUGINS": plugins}
        program = str(plugin())
        one.run(sys.executable, "-m", "bgpnet", "cni", "install", "--from", program, "--bin-dir", BINS)
        one.agent.start()
        one.ready()
        eventually((folder / "net.d" / CONFLIST).exists, one.log)
        yield Calling(made, name)


def conflist(node: Calling) -> dict[str, object]:
    """The network as the agent wrote it."""
    read: dict[str, object] = json.loads((node.made.folder / "net.d" / CONFLIST).read_text())
    return read
