"""Pods come and go on two nodes while agents and speakers are killed at random: no duplicate, no leak, no lost packet.

The run is seeded, though processes are not: a failure names its seed and repeats more often than not. `make soak` runs
longer and with more seeds.
"""

from __future__ import annotations

import itertools
import os
import random
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest
from agents import Cluster, Machine, Pod, Said, cluster, eventually

from bgpnet import integrity
from bgpnet.lab.probe import listeners, reach

pytestmark = pytest.mark.root

SOAK = bool(os.environ.get("BGPNET_SOAK"))
SECONDS = 120.0 if SOAK else 20.0
SEEDS = range(1, 6) if SOAK else range(1, 2)
ADDS, KILLS = SECONDS / 2, SECONDS / 4
"""What each runtime and the monkey do at least, however busy the machine is: they go on until then."""
MOST = 12
"""Pods on a node at once: more than one block's addresses, fewer than two nodes' shares of the pool."""


class Runtime:
    """A node's container runtime: ADDs pods, and DELs them until that succeeds, as kubelet and containerd do."""

    def __init__(self, machine: Machine, seed: int, given: Given) -> None:
        self.machine = machine
        self.given = given
        self.choice = random.Random(seed)  # noqa: S311 - it has to repeat, not to be secret
        self.numbers = itertools.count(1)
        self.live: list[Pod] = []
        self.left: list[Pod] = []
        """Older sandboxes of pods that were started again; their DEL comes late."""
        self.adds = self.refused = 0

    def run(self, until: float) -> None:
        """Work until then, and for as many pods as it takes; raises AssertionError when an address is given twice."""
        while monotonic() < until or self.adds <= ADDS:
            what = self.choice.random()
            if not self.live or (what < 0.5 and len(self.live) < MOST):
                self.add(f"p{next(self.numbers)}")
            elif what < 0.6:
                self.start_again(self.choice.choice(self.live))
            elif self.left and what < 0.75:
                self.delete(self.left.pop(0))
            else:
                pod = self.choice.choice(self.live)
                self.live.remove(pod)
                self.delete(pod)

    def add(self, pod: str) -> None:
        """A sandbox for the pod; one that fails is deleted, and is no more."""
        name = f"s{next(self.numbers)}"
        container = f"{self.machine.name}-{name}"
        self.machine.netns(name)
        answer = self.machine.cni("ADD", container, name, pod=pod)
        self.adds += 1
        if answer.code == 0:
            made = self.machine.added(pod, container, answer)
            made = Pod(pod, container, self.machine.name, made.address, made.link, {"netns": name})
            self.given.take(made)
            self.live.append(made)
            return
        assert answer.error in (11, 101), answer.raw
        self.refused += 1
        self.delete(Pod(pod, container, self.machine.name, "", "", {"netns": name}))

    def start_again(self, pod: Pod) -> None:
        """A newer sandbox of the same pod, before the older one is deleted.

        The older one has lost its link from now on, even if the newer one fails half-way: it is not alive any more, and
        should the journal be lost, its address is free.
        """
        self.live.remove(pod)
        self.left.append(pod)
        self.given.leave(pod)
        self.add(pod.name)

    def delete(self, pod: Pod) -> None:
        """DEL until it succeeds; the address may be given away again from the first DEL on."""
        self.given.leave(pod)
        netns = pod.result["netns"]

        def deleted() -> bool:
            answer: Said = self.machine.cni("DEL", pod.container, netns, pod=pod.name)
            assert answer.code == 0 or answer.error == 11, answer.raw
            return answer.code == 0

        eventually(deleted, f"{pod} cannot be deleted")
        self.machine.run("ip", "netns", "del", netns)


class Given:
    """Who has which address, as the runtimes were told."""

    def __init__(self) -> None:
        self.holders: dict[str, str] = {}
        self.lock = threading.Lock()

    def take(self, pod: Pod) -> None:
        with self.lock:
            assert pod.address not in self.holders, f"{pod} was given the address of {self.holders[pod.address]}"
            self.holders[pod.address] = pod.container

    def leave(self, pod: Pod) -> None:
        with self.lock:
            if self.holders.get(pod.address) == pod.container:
                del self.holders[pod.address]


class Monkey:
    """Kills agents and speakers, loses journals, holds the datastore, and supervises: who was killed starts again."""

    def __init__(self, made: Cluster, seed: int) -> None:
        self.made = made
        self.choice = random.Random(seed)  # noqa: S311 - it has to repeat, not to be secret
        self.kills = 0

    def run(self, until: float) -> None:
        pause = threading.Event()
        while monotonic() < until or self.kills <= KILLS:
            pause.wait(self.choice.uniform(0.02, 0.5))
            machine = self.choice.choice(self.made.machines)
            what = self.choice.random()
            if what < 0.7:
                machine.agent.end()
                if self.choice.random() < 0.15:
                    (machine.state / "journal").unlink(missing_ok=True)
                pause.wait(self.choice.choice((0, 0, 0.3)))
                machine.agent.start()
                self.kills += 1
            elif what < 0.85:
                machine.kill_speaker()
                pause.wait(self.choice.choice((0, 0.3)))
                machine.speaker.start()
                self.kills += 1
            else:
                with closing(sqlite3.connect(self.made.folder / "store" / "store.db", isolation_level=None)) as db:
                    db.execute("PRAGMA busy_timeout = 60000")
                    db.execute("BEGIN EXCLUSIVE")
                    pause.wait(self.choice.uniform(0.1, 1.5))
                    db.execute("ROLLBACK")


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes; small blocks and short rests, so that addresses are given again within the run."""
    with cluster(tmp_path, 2, f"agchaos{os.getpid()}", pool="10.9.0.0/26", size=29, rest=1) as made:
        made.start()
        yield made


@pytest.mark.timeout(SECONDS * 4 + 240)
@pytest.mark.parametrize("seed", SEEDS)
def test_pods_come_and_go_while_everything_is_killed(two: Cluster, seed: int) -> None:
    given = Given()
    still = (two[0].add("still"), two[1].add("still"))
    for pod in still:
        given.take(pod)
    runtimes = [Runtime(machine, seed * 100 + number, given) for number, machine in enumerate(two.machines)]
    monkey = Monkey(two, seed)
    for machine, far in ((two[0], still[1]), (two[1], still[0])):
        eventually(lambda machine=machine: "bgpnet-bgp" in str(machine.routes()), machine.routes)
        ping = ["ip", "netns", "exec", "still", "ping", "-c", "1", "-W", "5", far.address]
        eventually(  # the other node's route may come later
            lambda machine=machine, ping=ping: machine.lab.exec(machine.name, ping).returncode == 0, machine.routes
        )
    with two[0].ping(still[0], still[1].address) as there, two[1].ping(still[1], still[0].address) as back:
        until = monotonic() + SECONDS
        with ThreadPoolExecutor(3) as threads:
            for done in [threads.submit(one.run, until) for one in (*runtimes, monkey)]:
                done.result()
        for machine in two.machines:
            machine.ready(peers=1)
    adds = sum(one.adds for one in runtimes)
    refused = sum(one.refused for one in runtimes)
    print(f"seed {seed}: {adds} ADDs, {refused} refused, {monkey.kills} kills, {there.sent} pings")
    assert (there.lost, back.lost) == (0, 0)
    for runtime in runtimes:
        while runtime.left:
            runtime.delete(runtime.left.pop())
    assert_all_is_well(two, [*still, *(pod for one in runtimes for pod in one.live)])
    for runtime in runtimes:
        for pod in runtime.live:
            runtime.delete(pod)
    wanted = {pod.address: pod.container for pod in still}
    eventually(lambda: two.live() == wanted, lambda: f"{two.live()} is not {wanted}")
    for machine, pod in zip(two.machines, still, strict=True):
        eventually(lambda machine=machine, pod=pod: machine.cali() == [pod.link], lambda m=machine: f"{m.cali()}")


def assert_all_is_well(two: Cluster, alive: list[Pod]) -> None:
    """The datastore, the kernels and the pods agree on who is there."""
    wanted = {pod.address: pod.container for pod in alive}
    assert len(wanted) == len(alive)
    eventually(lambda: two.live() == wanted, lambda: f"{two.live()} is not {wanted}")
    assert [problem for block in two.blocks().values() for problem in integrity.check(block)] == []
    for machine in two.machines:
        here = sorted(pod.link for pod in alive if pod.node == machine.name)
        eventually(lambda machine=machine, here=here: machine.cali() == here, lambda m=machine: f"{m.cali()}")
        routes = sorted(
            f"{pod.address} dev {pod.link} proto bgpnet scope link" for pod in alive if pod.node == machine.name
        )
        eventually(
            lambda machine=machine, routes=routes: (
                sorted(line for line in machine.routes() if "dev cali" in line) == routes
            ),
            lambda machine=machine, routes=routes: f"{machine.routes()} is not {routes}",
        )
    blocks = set(two.blocks())
    for machine in two.machines:
        eventually(
            lambda machine=machine: (
                {line.split()[line.startswith("blackhole")] for line in machine.routes() if "/29" in line} == blocks
            ),
            lambda machine=machine: f"{machine.routes()} lack some of {blocks}",
        )
    places = []
    for machine in two.machines:
        for pod in alive:
            if pod.node == machine.name:
                netns = pod.result.get("netns", pod.name)
                place = machine.pod_place(Pod(netns, pod.container, pod.node, pod.address, pod.link, {}))
                places.append(place)
    pairs = list(itertools.permutations(range(len(places)), 2))
    named = [type(place)(f"{number}", place.netns, place.address, is_pod=True) for number, place in enumerate(places)]
    with listeners(named) as listening:
        for source, target in pairs:
            eventually(  # a busy machine may be slow once; what was lost meanwhile, the pings have counted
                lambda s=named[source], t=named[target]: reach(s, t, listening).ok,
                lambda s=named[source], t=named[target]: reach(s, t, listening),
            )
