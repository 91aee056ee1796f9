"""Three nodes in one process, driven step by step to wherever Hypothesis likes: no address is ever given away twice.

The agents are real (pure core, hands, journal, records, feeds); kernels, datastore, time and threads are simulated
(tests/support). After every operation `Cluster.check` holds; at the end of every example all is healed, and datastore,
agents, kernels and runtimes must say the same. `make soak` runs 10,000 operations and more.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from cluster import GRACE, Cluster
from hypothesis import HealthCheck, Phase, note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from machines import Machine, State

from bgpnet.model.ipamblock import BlockState

SOAK = bool(os.environ.get("BGPNET_SOAK"))
OPERATIONS = 10_000 if SOAK else 1_000
EXAMPLES, STEPS = (170, 100) if SOAK else (20, 80)

NODES = st.integers(0, 2)
PODS = st.integers(0, 9)
PICK = st.integers(0, 99)
TURNS = st.sampled_from([0, 1, 2, 3, 5, 8, 13, 25, 60, 200])
SEEDS = st.integers(0, 2**16)
SECONDS = st.sampled_from([1, 2, 5, 11, 20, 31, 61, 120])
RARELY = st.integers(0, 9)

counts: Counter[str] = Counter()


class Ipam(RuleBasedStateMachine):
    """Every rule is an operation and then some turns for whoever has something to do."""

    @initialize(ahead=st.booleans())
    def begin(self, ahead: bool) -> None:
        self.story: list[str] = []
        self.cluster = Cluster(say=self.story.append, counts=counts)
        for machine in self.cluster.machines:
            machine.start()
        if ahead:
            self.cluster.settle()

    def node(self, number: int) -> Machine:
        return self.cluster.machines[number]

    def then(self, turns: int, seed: int) -> None:
        counts["operations"] += 1
        try:
            self.cluster.run(turns, seed)
            self.cluster.check()
        finally:
            self.tell()

    def tell(self) -> None:
        """What happened since the last operation, for the story of a failing example."""
        for line in self.story:
            note(f"  {line}")
        self.story.clear()

    @rule(node=NODES, pod=PODS, turns=TURNS, seed=SEEDS)
    def add(self, node: int, pod: int, turns: int, seed: int) -> None:
        self.node(node).add(f"p{node}{pod}")
        self.then(turns, seed)

    @rule(node=NODES, pods=st.integers(2, 12), turns=TURNS, seed=SEEDS)
    def burst(self, node: int, pods: int, turns: int, seed: int) -> None:
        for pod in range(pods):
            self.node(node).add(f"b{node}{pod}")
        self.then(turns, seed)

    @rule(node=NODES, pod=PODS, last=st.integers(0, 63), turns=TURNS, seed=SEEDS)
    def add_by_address(self, node: int, pod: int, last: int, turns: int, seed: int) -> None:
        self.node(node).add(f"p{node}{pod}", f"10.9.0.{last}")
        self.then(turns, seed)

    @rule(node=NODES, pick=PICK, turns=TURNS, seed=SEEDS)
    def add_again(self, node: int, pick: int, turns: int, seed: int) -> None:
        machine = self.node(node)
        newest = {one.pod: one for one in machine.containers}  # no runtime asks for an older sandbox again
        again = [one for one in newest.values() if one.state in (State.UP, State.FAILED)]
        if again:
            machine.ask_add(again[pick % len(again)])
        self.then(turns, seed)

    @rule(node=NODES, pick=PICK, turns=TURNS, seed=SEEDS)
    def delete(self, node: int, pick: int, turns: int, seed: int) -> None:
        machine = self.node(node)
        there = [one for one in machine.containers if one.state is not State.GONE]
        if there:
            machine.delete(there[pick % len(there)])
        self.then(turns, seed)

    @rule(node=NODES, pick=PICK, turns=TURNS, seed=SEEDS)
    def delete_once_more(self, node: int, pick: int, turns: int, seed: int) -> None:
        machine = self.node(node)
        gone = [one for one in machine.containers if one.state is State.GONE]
        if gone:
            machine.delete(gone[pick % len(gone)])
        self.then(turns, seed)

    @rule(node=NODES, pick=PICK, turns=TURNS, seed=SEEDS)
    def sandbox_dies(self, node: int, pick: int, turns: int, seed: int) -> None:
        machine = self.node(node)
        if live := machine.live():
            machine.die(live[pick % len(live)])
        self.then(turns, seed)

    @rule(node=NODES, turns=TURNS, seed=SEEDS)
    def runtime_collects_garbage(self, node: int, turns: int, seed: int) -> None:
        self.node(node).collect()
        self.then(turns, seed)

    @rule(node=NODES, pick=PICK, turns=TURNS, seed=SEEDS)
    def stranger_deletes_a_link(self, node: int, pick: int, turns: int, seed: int) -> None:
        machine = self.node(node)
        if live := machine.live():
            machine.unlink(live[pick % len(live)])
        self.then(turns, seed)

    @rule(turns=TURNS, seed=SEEDS)
    def go_on(self, turns: int, seed: int) -> None:
        self.then(turns, seed)

    @rule(seed=SEEDS)
    def settle(self, seed: int) -> None:
        self.cluster.settle(seed)
        self.then(0, seed)

    @rule(node=NODES, journal=RARELY, restart=st.booleans(), turns=TURNS, seed=SEEDS)
    def kill(self, node: int, journal: int, restart: bool, turns: int, seed: int) -> None:
        machine = self.node(node)
        counts["kills"] += machine.life is not None
        machine.kill()
        if journal == 9:
            machine.lose_journal()
        if restart:
            machine.start()
        self.then(turns, seed)

    @rule(node=NODES, turns=TURNS, seed=SEEDS)
    def start(self, node: int, turns: int, seed: int) -> None:
        if self.node(node).life is None:
            self.node(node).start()
        self.then(turns, seed)

    @rule(node=NODES, rarely=RARELY, turns=TURNS, seed=SEEDS)
    def reboot(self, node: int, rarely: int, turns: int, seed: int) -> None:
        if rarely >= 7:
            counts["reboots"] += 1
            self.node(node).reboot(imaged=rarely == 9)
            self.node(node).start()
        self.then(turns, seed)

    @rule(node=NODES, turns=TURNS, seed=SEEDS)
    def partition(self, node: int, turns: int, seed: int) -> None:
        machine = self.node(node)
        counts["partitions"] += not machine.way.cut
        self.cluster.cut(machine, cut=True)
        self.then(turns, seed)

    @rule(node=NODES, turns=TURNS, seed=SEEDS)
    def heal(self, node: int, turns: int, seed: int) -> None:
        self.cluster.cut(self.node(node), cut=False)
        self.then(turns, seed)

    @rule(node=NODES, turns=TURNS, seed=SEEDS)
    def lose_an_answer(self, node: int, turns: int, seed: int) -> None:
        self.node(node).way.lose = 1
        self.then(turns, seed)

    @rule(node=NODES, full=st.booleans(), turns=TURNS, seed=SEEDS)
    def disk_is_full_or_cleared(self, node: int, full: bool, turns: int, seed: int) -> None:
        machine = self.node(node)
        counts["full disks"] += full and not machine.disk_is_full
        machine.disk_is_full = full
        self.then(turns, seed)

    @rule(node=NODES, still=st.booleans(), turns=TURNS, seed=SEEDS)
    def disk_stands_still_or_moves(self, node: int, still: bool, turns: int, seed: int) -> None:
        machine = self.node(node)
        counts["still disks"] += still and not machine.disk_is_still
        machine.disk_is_still = still
        self.then(turns, seed)

    @rule(compact=st.booleans(), turns=TURNS, seed=SEEDS)
    def restart_datastore(self, compact: bool, turns: int, seed: int) -> None:
        counts["datastore restarts"] += 1
        self.cluster.restart_store(compact=compact)
        self.then(turns, seed)

    @rule(node=NODES, turns=TURNS, seed=SEEDS)
    def operator_releases_node(self, node: int, turns: int, seed: int) -> None:
        machine = self.node(node)
        if machine.way.cut or machine.life is None:
            self.cluster.release_node(machine)
        self.then(turns, seed)

    @rule(turns=TURNS, seed=SEEDS)
    def empty_blocks_become_idle(self, turns: int, seed: int) -> None:
        for _ in range(4):  # the pods' addresses rest, and the blocks have been empty for a minute, quietly
            self.cluster.wait(35)
            self.cluster.run(40, seed)
        counts["idle blocks"] += sum(block.spec.state is BlockState.IDLE for block in self.cluster.blocks().values())
        self.then(turns, seed)

    @rule(pick=PICK, guess=RARELY, turns=TURNS, seed=SEEDS)
    def somebody_asks_to_release(self, pick: int, guess: int, turns: int, seed: int) -> None:
        self.cluster.ask_to_release(pick, guess=int(guess == 9))
        self.then(turns, seed)

    @rule(disabled=st.booleans(), turns=TURNS, seed=SEEDS)
    def pool_comes_or_is_disabled(self, disabled: bool, turns: int, seed: int) -> None:
        self.cluster.put_pool("more", "10.9.1.0/28", self.cluster.size_of("more", 30), disabled=disabled)
        self.then(turns, seed)

    @rule(size=st.sampled_from([29, 30, 31]), turns=TURNS, seed=SEEDS)
    def pool_gets_other_blocks(self, size: int, turns: int, seed: int) -> None:
        """As a script does it, in one go: claims may be under way, and who is cut off hears of it late."""
        before = self.cluster.size_of("more", size)
        for blocks, disabled in ((before, True), (size, True), (size, False)):
            self.cluster.put_pool("more", "10.9.1.0/28", blocks, disabled=disabled)
        self.then(turns, seed)

    @rule(seconds=SECONDS, turns=TURNS, seed=SEEDS)
    def time_passes(self, seconds: float, turns: int, seed: int) -> None:
        self.cluster.wait(seconds)
        self.then(turns, seed)

    def teardown(self) -> None:
        cluster = getattr(self, "cluster", None)
        if cluster is None:
            return
        try:
            note("the end: all is healed and every agent runs")
            cluster.calm()
            cluster.rest(int(2 * GRACE / 10))
            cluster.repair()
            cluster.rest(2)
            cluster.settled()
            counts["answers lost"] += sum(machine.way.lost for machine in cluster.machines)
            counts["examples"] += 1
        finally:
            self.tell()
            cluster.close()


@pytest.mark.timeout(3600 if SOAK else 900)
def test_no_address_is_doubled_lost_or_leaked() -> None:
    chosen = int(os.environ.get("BGPNET_SEED", "1"))
    print(f"BGPNET_SEED={chosen}")
    wanted = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=(Phase.generate,) if os.environ.get("BGPNET_NO_SHRINK") else (Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    counts.clear()
    machine = seed(chosen)(Ipam)
    run_state_machine_as_test(machine, settings=wanted)
    print(", ".join(f"{what}: {number}" for what, number in sorted(counts.items())))
    assert counts["operations"] >= OPERATIONS
