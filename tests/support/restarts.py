"""Agents and speakers are restarted in every way while numbered packets flow; what was lost, and what the kernels saw.

What is lost to route changes is told from what an overloaded machine loses by a second set of flows, of the same rate
between the nodes' own addresses. They cross the same links at the same time, sent and received by the same thread, but
by routes of the kernel's own that nobody changes. A packet of a pod counts as lost to the machine only if the control
flow between the same two nodes lost some within NEAR of it; every other one counts as lost to a route change. So does
whatever an ICMP message came back for: that is a router without a route.
"""

from __future__ import annotations

import random
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from pathlib import Path
from time import monotonic

from agents import Cluster, Machine, Pod, eventually
from packets import End, Lost, Report, build, flowing, told_apart

from bgpnet.agent.learn import SETTLE
from bgpnet.errors import AgentAway

GAPS = (0.3, 5.0)
"""Seconds between a restart and the next one, where there are two within ten: from, to."""
MOST_LOST = 0.01
"""Of the control flow's packets: a machine that loses more can tell nothing."""


MODES = """
apiVersion: bgpnet.io/v1
kind: IPPool
metadata: {{name: pods}}
spec: {{cidr: 10.244.0.0/16, {mode}}}
"""
OVER_VXLAN, OVER_TUNNEL, DIRECT = (
    ("vxlanMode: Always", "vxlan.bgpnet"),
    ("ipipMode: Always", "tunl0"),
    ("ipipMode: Never", "eth1"),
)


class Kind(StrEnum):
    """What is restarted: on one node after the other, or on all at once."""

    AGENT = "agent"
    SPEAKER = "speaker"
    BOTH = "both"
    ALL = "all nodes"


@dataclass(slots=True)
class Outcome:
    """What the restarts did. deleted: routes of ours that went, changed: that were written, from `ip monitor`;
    nothing of either is due, because nothing but processes changed."""

    kinds: str
    restarts: int = 0
    seconds: float = 0.0
    sent: int = 0
    lost: list[Lost] = field(default_factory=list)
    lost_by_machine: list[Lost] = field(default_factory=list)
    unreachable: dict[tuple[str, str], int] = field(default_factory=dict)
    control_sent: int = 0
    control_lost: int = 0
    deleted: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    late: float = 0.0
    slowest: float = 0.0
    happened: list[str] = field(default_factory=list)

    def figures(self) -> str:
        """One line for people."""
        lost, by_machine = (sum(one.count for one in some) for some in (self.lost, self.lost_by_machine))
        return (
            f"{self.kinds}: {self.restarts} restarts in {self.seconds:.0f} s; {self.sent} packets between pods, "
            f"{lost} lost to route changes, {by_machine} to the machine (control: {self.control_lost} of "
            f"{self.control_sent}); {len(self.deleted)} routes deleted, {len(self.changed)} rewritten; "
            f"slowest packet {self.slowest * 1000:.1f} ms, sender late by {self.late * 1000:.1f} ms"
        )

    def problems(self) -> list[str]:
        """What must not be: empty when the gate holds."""
        found = [f"lost to a route change: {one}" for one in self.lost]
        found += [f"{count} unreachable from {pair[0]} to {pair[1]}" for pair, count in self.unreachable.items()]
        found += [f"deleted: {line}" for line in self.deleted]
        if self.control_lost > MOST_LOST * self.control_sent:
            found.append(f"the machine itself lost {self.control_lost} of {self.control_sent}: run it on an idle one")
        return [*found, *self.happened] if found else []


@dataclass(slots=True)
class Gate:
    """A cluster with a pod on each node, all of whose routes are there."""

    made: Cluster
    rate: int
    program: Path
    patience: float
    pods: list[Pod] = field(default_factory=list)

    @classmethod
    def of(cls, made: Cluster, rate: int, patience: float = 100.0) -> Gate:
        """Started, with pods, and settled."""
        gate = cls(made, rate, build(made.folder), patience)
        made.start()
        gate.pods = [machine.add("p") for machine in made.machines]
        gate.settled()
        for machine in made.machines:
            eventually(
                lambda machine=machine: len(learned(machine)) == len(made.machines) - 1,
                lambda machine=machine: [machine.routes(), machine.status(), machine.log()],
                patience,
            )
        return gate

    def settled(self) -> None:
        """Wait until every node has heard every other one's block, and says that all is well."""
        others = len(self.made.machines) - 1
        for machine in self.made.machines:
            eventually(lambda machine=machine: _is_well(machine, others), machine.log, self.patience)

    def restarted(self, kinds: Sequence[Kind], singles: int, doubles: int, seed: int = 1) -> Outcome:
        """So many restarts of each kind, and so many pairs of them within ten seconds; each settles before the next."""
        outcome = Outcome(", ".join(kinds))
        choice = random.Random(f"{seed} {outcome.kinds}")  # noqa: S311 - it has to repeat, not to be secret
        begun, pause = monotonic(), threading.Event()
        with ExitStack() as stack:
            told = [stack.enter_context(machine.monitor()) for machine in self.made.machines]
            report = stack.enter_context(self.flows())
            for kind, turn in product(kinds, range(singles + doubles)):
                self._restart(kind, turn, signal.SIGTERM if turn % 2 else signal.SIGKILL, outcome)
                if turn >= singles:
                    pause.wait(choice.uniform(*GAPS))
                    self._restart(kind, turn, choice.choice((signal.SIGKILL, signal.SIGTERM)), outcome)
                self.settled()
            pause.wait(SETTLE + 2.0)  # what nobody speaks of any more would be swept by then
            self.settled()
        outcome.seconds = monotonic() - begun
        self._count(outcome, report, [line for lines in told for line in lines])
        return outcome

    def switched(self, modes: Sequence[tuple[str, str]]) -> Outcome:
        """The pool gets one encapsulation after the other, each with the link that all learned routes lead over then.

        changed and deleted tell of routes alone: neighbours of a tunnel come and go with it.
        """
        outcome = Outcome("modes " + ", ".join(mode for mode, _ in modes))
        with ExitStack() as stack:
            told = [stack.enter_context(machine.monitor()) for machine in self.made.machines]
            report = stack.enter_context(self.flows())
            for mode, dev in modes:
                self.made[0].ctl("apply", "-f", "-", stdin=MODES.format(mode=mode))
                for machine in self.made.machines:
                    eventually(
                        lambda machine=machine, dev=dev: _leads_over(machine, dev, len(self.made.machines) - 1),
                        lambda machine=machine: [machine.routes(), machine.status()],
                        self.patience,
                    )
        self._count(outcome, report, [line for lines in told for line in lines if not _is_neighbour(line)])
        return outcome

    def _restart(self, kind: Kind, turn: int, how: int, outcome: Outcome) -> None:
        machines = self.made.machines
        chosen = machines if kind is Kind.ALL else [machines[turn % len(machines)]]
        began = monotonic()
        for machine in chosen:
            if kind is not Kind.SPEAKER:
                machine.agent.end(how)
            if kind is not Kind.AGENT:
                end_speaker(machine, how)
        for machine in chosen:
            if kind is not Kind.AGENT:
                machine.speaker.start()
            if kind is not Kind.SPEAKER:
                machine.agent.start()
        outcome.restarts += 1
        names = " ".join(machine.name for machine in chosen)
        what = f"{began:.3f} to {monotonic():.3f}: {kind} of {names}, {signal.Signals(how).name}"
        outcome.happened.append(what)

    @contextmanager
    def flows(self) -> Iterator[Report]:
        """Packets between all pods, and between all nodes, while the block runs."""
        with flowing(self.program, self.rate, self._pod_ends(), self._node_ends()) as report:
            yield report

    def _pod_ends(self) -> Sequence[End]:
        machines = {machine.name: machine for machine in self.made.machines}
        return [End(pod.address, machines[pod.node].pod_place(pod).netns) for pod in self.pods]

    def _node_ends(self) -> Sequence[End]:
        return [End(machine.address, machine.place.netns) for machine in self.made.machines]

    def _count(self, outcome: Outcome, report: Report, told: Sequence[str]) -> None:
        nodes = {machine.name: machine.address for machine in self.made.machines}
        node_of = {pod.address: nodes[pod.node] for pod in self.pods}
        outcome.lost, outcome.lost_by_machine = told_apart(report, node_of)
        outcome.sent = sum(count for pair, count in report.sent.items() if pair[0] in node_of)
        outcome.control_sent = sum(report.sent.values()) - outcome.sent
        outcome.control_lost = sum(lost.count for lost in report.lost if lost.source not in node_of)
        outcome.unreachable = {pair: count for pair, count in report.unreachable.items() if pair[0] in node_of}
        routes = [line for line in told if re.search(r"\bproto bgpnet", line)]
        outcome.deleted = [line for line in routes if line.startswith("Deleted")]
        outcome.changed = [line for line in routes if not line.startswith("Deleted")]
        outcome.late, outcome.slowest = report.late, report.slowest


def learned(machine: Machine) -> list[str]:
    """The routes that its kernel has of others."""
    return [line for line in machine.routes() if re.search(r"\bproto bgpnet-bgp", line)]


def _is_neighbour(line: str) -> bool:
    return re.search(r" (lladdr|FAILED) ", line) is not None


def _leads_over(machine: Machine, dev: str, count: int) -> bool:
    found = learned(machine)
    return len(found) == count and all(f" dev {dev} " in line for line in found)


def end_speaker(machine: Machine, how: int) -> None:
    """ExaBGP and its relay: killed both, or ExaBGP told to end, which ends the relay."""
    if how == signal.SIGKILL:
        machine.kill_speaker()
    else:
        machine.speaker.end(how)


def _is_well(machine: Machine, others: int) -> bool:
    try:
        status = machine.status()
    except AgentAway:
        return False
    peers = [peer for peer in status["peers"] if peer["state"] == "up" and peer["received"]]
    return bool(status["ready"] and status["datastore"] == "in sync" and len(peers) == others)
