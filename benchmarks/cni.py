"""CNI ADD and DEL of bgpnet beside ptp + host-local, in one run: `make bench`.

Pod by pod, in random order of the methods, each method in a node namespace of its own; all are executed alike
(posix_spawn, see spawn.py). Ratios are what counts: absolute times move with the load. Nothing passes or fails here.
All state is on one file system; ours is made durable by fdatasync before each answer, which ptp's is not. `--quick` is
for a look.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import arrival, hosts, spawn
from benchmarks.table import Row, percentile, render, write
from bgpnet.cni import frozen, install
from bgpnet.cni import home as homes

PTP, C, TWIN = "bench-ptp", "bench-c", "bench-python"
SAY = {PTP: "ptp + host-local", C: "C plugin", TWIN: "Python twin"}
EMPTY = "python3 -ISE -c pass"
AT_ONCE = 20
START_LIMIT_MS = 500.0
MEMORY_LIMIT_MIB = 80.0
GONE_LIMIT_MS = 1000.0
CROWD, CROWD_LIMIT_MS = 1000, 3000.0
Series = dict[str, list[float]]


@dataclass(frozen=True)
class Bench:
    """The nodes, and the pods' namespaces of each."""

    nodes: dict[str, hosts.Host]
    pods: dict[str, list[str]]

    def serial(self, command: str, pods: int) -> Series:
        """So many one after the other, the methods in random order at each pod: ms by method."""
        spent: Series = {name: [] for name in self.nodes}
        for number in range(pods):
            for name in random.sample(list(self.nodes), len(self.nodes)):
                spent[name].append(self.nodes[name].call(command, self.pods[name][number]))
        return spent

    def burst(self, command: str) -> Series:
        """All pods of a method, 20 at a time; the methods one after the other in random order: ms of the whole."""
        return self._at_once(lambda node, pod: node.call(command, pod))

    def churn(self) -> Series:
        """The same with each pod deleted as soon as it was added."""

        def come_and_go(node: hosts.Host, pod: str) -> None:
            node.call("ADD", pod)
            node.call("DEL", pod)

        return self._at_once(come_and_go)

    def _at_once(self, work: Callable[[hosts.Host, str], object]) -> Series:
        total: Series = {}
        for name in random.sample(list(self.nodes), len(self.nodes)):
            total[name] = [at_once(self.nodes[name], self.pods[name], work)]
        return total

    def gone_after(self, name: str) -> float:
        """Milliseconds until no pod's link is left on the node."""
        started = time.perf_counter()
        while self.nodes[name].links() and time.perf_counter() - started < 10 * GONE_LIMIT_MS / 1000:
            time.sleep(0.005)
        return (time.perf_counter() - started) * 1000


def at_once(node: hosts.Host, pods: Sequence[str], work: Callable[[hosts.Host, str], object]) -> float:
    """All the pods of a node, 20 at a time: ms of the whole."""
    started = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as runtime:
        list(runtime.map(partial(work, node), pods))
    return (time.perf_counter() - started) * 1000


def crowd(node: hosts.Host, pods: Sequence[str]) -> list[Row]:
    """As many pods as a large node ever has; the agent's fsyncs and claims of blocks are in the time."""
    total = at_once(node, pods, lambda node, pod: node.call("ADD", pod))
    at_once(node, pods, lambda node, pod: node.call("DEL", pod))
    limit = CROWD_LIMIT_MS * len(pods) / CROWD
    return [Row(f"ADD {len(pods)} pods on one node, {AT_ONCE} at a time", total, limit, "limit", "ms", 1.0)]


def starts(plugins: dict[str, Sequence[str]], times: int) -> list[Row]:
    """What a start of each program costs (VERSION, which asks nobody); the twin's floor is an empty Python program."""
    programs = plugins | {EMPTY: [str(frozen.INTERPRETER), "-ISE", "-c", "pass"]}
    spent: Series = {name: [] for name in programs}
    for _ in range(times):
        for name in random.sample(list(programs), len(programs)):
            done = spawn.execute(programs[name], {"CNI_COMMAND": "VERSION"}, b'{"cniVersion":"1.0.0"}')
            spent[name].append(done.ms)
    c, twin, ptp, empty = (median(spent[name]) for name in (C, TWIN, PTP, EMPTY))
    return [
        Row(f"start, {SAY[C]}", c, ptp, "ptp", "ms", 0.35),
        Row(f"start, {SAY[TWIN]}", twin, empty, EMPTY, "ms", 1.1),
    ]


def median(values: Sequence[float]) -> float:
    """The median."""
    return percentile(values, 0.5)


def p99(values: Sequence[float]) -> float:
    """The 99th percentile."""
    return percentile(values, 0.99)


def beside(
    metric: str, series: Series, figure: Callable[[Sequence[float]], float], goals: dict[str, float]
) -> list[Row]:
    """A row for each method of ours that has a goal."""
    peer = figure(series[PTP])
    return [
        Row(f"{metric}, {SAY[name]}", figure(series[name]), peer, SAY[PTP], "ms", goal)
        for name, goal in goals.items()
        if name in series
    ]


def measure(bench: Bench, rounds: int, serial: int) -> list[Row]:
    """The rows of all phases; every pod that is added is deleted again."""
    adds: Series = {name: [] for name in bench.nodes}
    dels: Series = {name: [] for name in bench.nodes}
    gone: list[float] = []
    for _ in range(rounds):
        for name, spent in bench.serial("ADD", serial).items():
            adds[name] += spent
        for name, spent in bench.serial("DEL", serial).items():
            dels[name] += spent
        gone.append(bench.gone_after(C))
    many: Series = {name: [] for name in bench.nodes}
    fewer: Series = {name: [] for name in bench.nodes}
    churn: Series = {name: [] for name in bench.nodes}
    for _ in range(rounds):
        for series, figures in ((many, bench.burst("ADD")), (fewer, bench.burst("DEL"))):
            for name, spent in figures.items():
                series[name] += spent
        gone.append(bench.gone_after(C))
        for name, spent in bench.churn().items():
            churn[name] += spent
        gone.append(bench.gone_after(C))
    count = f"{len(bench.pods[PTP])} pods, {AT_ONCE} at a time"
    return [
        *beside("ADD p50", adds, median, {C: 0.25, TWIN: 1.0}),
        *beside("ADD p99", adds, p99, {C: 0.5}),
        *beside("DEL p50", dels, median, {C: 0.10, TWIN: 1.0}),
        *beside(f"ADD {count}, total", many, median, {C: 0.30, TWIN: 0.9}),
        *beside(f"DEL {count}, total", fewer, median, {C: 1.0, TWIN: 1.0}),
        *beside(f"ADD and DEL at once, {count}, total", churn, median, {C: 0.25}),
        Row("all links gone after the last DEL", max(gone), GONE_LIMIT_MS, "limit", "ms", 1.0),
    ]


def run(pods: int, rounds: int, serial: int, many: int, program: Path) -> list[Row]:
    """The whole benchmark. many: pods on one node at the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bgpnet-bench-")))
        home = homes.find(folder / "bin")
        twin = str(install.install(frozen.freeze(link=home.python), folder / "bin", home))
        plugins: dict[str, Sequence[str]] = {PTP: [str(hosts.PEER_PLUGINS / "ptp")], C: [str(program)], TWIN: [twin]}
        nodes = {PTP: hosts.ptp(PTP, folder)} | {name: hosts.bgpnet(name, plugins[name], folder) for name in (C, TWIN)}
        names = {name: [f"{name}-{number}" for number in range(pods)] for name in nodes}
        names[C] += [f"{C}-{number}" for number in range(pods, many)]
        rows = starts(plugins, 100)
        stack.enter_context(spawn.namespaces([*nodes, *(pod for each in names.values() for pod in each)]))
        agents = {
            name: stack.enter_context(hosts.agent(nodes[name], names[name][0], folder, "192.0.2.1/24"))
            for name in (C, TWIN)
        }
        rows += measure(Bench(nodes, {name: each[:pods] for name, each in names.items()}), rounds, min(serial, pods))
        rows += crowd(nodes[C], names[C])
        first = max(agent.first_add_ms for agent in agents.values())
        rows.append(Row("agent start -> first ADD", first, START_LIMIT_MS, "limit", "ms", 1.0))
        memory = max(agent.pss_mib() for agent in agents.values())
        rows.append(Row("agent PSS", memory, MEMORY_LIMIT_MIB, "limit, with the speaker", "MiB", 1.0))
        rows += arrival.run(plugins[C], folder, pods, rounds)
    return rows


def main() -> None:
    """Prints the table, and writes build/bench.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cni", description=__doc__.splitlines()[0])
    parser.add_argument("--pods", type=int, default=200, help="pods a node, in the bursts (%(default)s)")
    parser.add_argument("--many", type=int, default=CROWD, help="pods on one node, at the end (%(default)s)")
    parser.add_argument("--serial", type=int, default=50, help="pods a node in a round of one by one (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of everything (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="one round, 40 pods: for a look, not for a claim")
    parser.add_argument("--program", type=Path, default=install.PROGRAM, help="the compiled plugin (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"), help="figures (%(default)s)")
    chosen = parser.parse_args()
    install.try_version(chosen.program.absolute())
    if chosen.quick:
        chosen.pods, chosen.rounds, chosen.serial, chosen.many = 40, 1, 40, 200
    rows = run(chosen.pods, chosen.rounds, chosen.serial, chosen.many, chosen.program.absolute())
    print(render(rows))
    write(rows, chosen.out)


if __name__ == "__main__":
    main()
