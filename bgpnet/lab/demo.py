"""The demo: three nodes, two pods each, and the proof that they reach each other as they should.

Each phase does one thing and adds what it saw to the Findings; the report is made from those alone.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event
from time import monotonic

from bgpnet.client import AgentClient
from bgpnet.errors import AgentAway, UsageError
from bgpnet.lab import nodes, pods, processes, uml
from bgpnet.lab.nodes import Lab
from bgpnet.lab.pods import LabPod
from bgpnet.lab.probe import Place, Reached, listeners, reach
from bgpnet.lab.topology import Topology
from bgpnet.lab.wait import until
from bgpnet.lab.watch import watched
from bgpnet.model import ip

Say = Callable[[str], None]

PODS_A_NODE = 2
UP_WITHIN = 120.0
"""Seconds for all agents to be ready and all sessions to be up."""
TABLES = (
    ("get", "ippool", "-o", "wide"),
    ("get", "nodes", "-o", "wide"),
    ("node", "status"),
    ("ipam", "show", "--show-blocks"),
)
PING_EVERY = 0.05
AFTER_KILL = 1.0
"""Seconds that the ping goes on after the agents are back."""
UNDER_WAY = 2
"""Packets that may be under way when the ping is ended: nobody waits for their replies."""
CAPTURED_WITHIN = 30.0
"""Seconds until the packet that is captured has passed."""
NEEDED = {"ip": "iproute2", "ping": "iputils-ping", "tcpdump": "tcpdump"}


@dataclass(slots=True)
class Findings:
    """What the phases saw. `problems` is empty if and only if all of it held."""

    kernel: str = field(default_factory=lambda: os.uname().release)
    uml: bool = field(default_factory=uml.inside)
    pods: list[LabPod] = field(default_factory=list)
    blocks: dict[str, list[str]] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    routes: dict[str, list[str]] = field(default_factory=dict)
    reachability: list[Reached] = field(default_factory=list)
    rp_filter: dict[str, str] = field(default_factory=dict)
    capture: str = ""
    kill: str = ""
    memory: dict[str, dict[str, float]] = field(default_factory=dict)
    phases: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def as_data(self) -> dict[str, object]:
        """The shape of build/demo.json (ARCHITECTURE.md, "Names and places")."""
        return {
            "kernel": self.kernel,
            "uml": self.uml,
            "pods": [
                {
                    "name": pod.name,
                    "node": pod.node,
                    "ip": pod.address,
                    "block": self.block_of(pod),
                    "link": pod.link,
                }
                for pod in self.pods
            ],
            "routes": self.routes,
            "reachability": [
                {"from": one.source, "to": one.target, "ok": one.ok, "seen_as": one.seen_as}
                for one in self.reachability
            ],
            "capture": self.capture,
            "kill": self.kill,
            "phases": self.phases,
            "memory": self.memory,
            "problems": self.problems,
        }

    def block_of(self, pod: LabPod) -> str:
        """The block that the pod's address lies in."""
        inside = [block for block in self.blocks.get(pod.node, []) if _in(pod.address, block)]
        return inside[0] if inside else ""


def run(topology: Topology, say: Say) -> Findings:
    """Deploy, look, take down; raises UsageError where it cannot even begin."""
    pods.require(NEEDED)
    findings = Findings()
    with _phase(findings, "deploy", say):
        lab = nodes.deploy(topology, lambda text: None)
    try:
        Demo(lab, findings, Path(topology.file).resolve().parents[1], say).show()
    finally:
        with _phase(findings, "take down", say):
            lab.destroy()
    return findings


class Demo:
    """One run on a deployed lab."""

    def __init__(self, lab: Lab, findings: Findings, root: Path, say: Say) -> None:
        self.lab = lab
        self.findings = findings
        self.say = say
        self.cni = pods.program(root)
        self.names = [name for name, node in lab.nodes.items() if "BGPNET_NODE" in node.env]

    def show(self) -> None:
        """All phases; one that fails is noted, and the others still tell what they see."""
        phases: list[tuple[str, Callable[[], None]]] = [
            ("agents and sessions up", self.come_up),
            ("pods by CNI", self.make_pods),
            ("routes", self.see_routes),
            ("reachability", self.connect_all),
            ("capture", self.capture),
            ("kill -9 of all agents under ping", self.kill_agents),
            ("tables", self.see_tables),
        ]
        for name, work in phases:
            with _phase(self.findings, name, self.say):
                try:
                    work()
                except (UsageError, AgentAway) as problem:
                    self.findings.problems.append(f"{name}: {problem}")
            if name == "agents and sessions up" and self.findings.problems:
                return

    def come_up(self) -> None:
        """Wait for every agent's word that it is ready and that all its peers are up."""
        for name in self.names:
            until(partial(self._missing, name), UP_WITHIN)
        self.findings.rp_filter = {
            name: self._in_node(name, "cat", "/proc/sys/net/ipv4/conf/all/rp_filter").strip() for name in self.names
        }

    def make_pods(self) -> None:
        """Two pods a node, by executing the CNI program there."""
        for name, number in itertools.product(self.names, range(1, PODS_A_NODE + 1)):
            self.findings.pods.append(pods.add(self.lab, name, f"{name}-pod{number}", self.cni))
        for name in self.names:
            self.findings.blocks[name] = [str(block["cidr"]) for block in self._status(name)["blocks"]]
            self.findings.memory[name] = processes.memory(self.lab.node(name))

    def see_routes(self) -> None:
        """`ip route` of every node, once the others' blocks are there, and whether it says what it should."""
        for name in self.names:
            until(partial(self._wrong_routes, name), UP_WITHIN)
            self.findings.routes[name] = self._routes(name)

    def connect_all(self) -> None:
        """Every pod to every pod, every node to every pod, every pod to every node."""
        pod_places = [self.place(pod) for pod in self.findings.pods]
        node_places = [self._node_place(name) for name in self.names]
        pairs = [
            *itertools.permutations(pod_places, 2),
            *itertools.product(node_places, pod_places),
            *itertools.product(pod_places, node_places),
        ]
        with listeners([*pod_places, *node_places]) as listening:
            self.findings.reachability = [reach(source, target, listening) for source, target in pairs]
        for one in self.findings.reachability:
            if not one.ok:
                why = one.problem or f"seen as {one.seen_as} though it is {one.own}"
                self.findings.problems.append(f"{one.source} -> {one.target}: {why}")

    def capture(self) -> None:
        """One packet between two nodes, with both headers."""
        source, target = self._far_pair()
        watch = ["tcpdump", "-i", "eth1", "-nn", "-v", "-c", "1", "--immediate-mode"]
        # the inner protocol, too: a connection of the phase before may say goodbye once more
        watch.append(f"ip proto 4 and src host {self._address(source.node)} and ip[29] == 1")
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with self.lab.popen(source.node, watch, **options) as tcpdump:
            for line in tcpdump.stderr or ():
                if "listening on" in line:
                    break
            self._ping(source, target, 2)
            try:
                self.findings.capture = tcpdump.communicate(timeout=CAPTURED_WITHIN)[0].strip()
            except subprocess.TimeoutExpired:
                tcpdump.kill()
        if "IPIP (4)" not in self.findings.capture or target.address not in self.findings.capture:
            self.findings.problems.append("capture: no packet with IP protocol 4 and both headers was seen")

    def kill_agents(self) -> None:
        """SIGKILL every agent while a ping runs; their supervisors start them again; nobody may notice."""
        source, target = self._far_pair()
        before = {name: self._routes(name) for name in self.names}
        with watched(self.lab, self.names) as changes:
            quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            with self.lab.popen(
                source.node, self._ping_argv(source, target, "-w", str(int(UP_WITHIN))), **quiet
            ) as ping:
                killed = sum(processes.kill(self.lab.node(name), "agent") for name in self.names)
                for name in self.names:
                    until(partial(self._missing, name), UP_WITHIN)
                Event().wait(AFTER_KILL)
                processes.interrupt(self.lab.node(source.node), "ping")
                told = ping.communicate(timeout=60)[0]
        after = {name: self._routes(name) for name in self.names}
        sent, received = counted(told)
        lost = sent - received
        self.findings.kill = f"{killed} agents killed: {sent} pings sent, {lost} lost; {len(changes)} route changes"
        if killed < len(self.names) or sent == 0 or lost or changes or before != after:
            self.findings.problems.append(f"kill: {self.findings.kill}" + "".join(f"; {line}" for line in changes[:3]))

    def see_tables(self) -> None:
        """The CLI's tables, as the first node's operator sees them."""
        for words in TABLES:
            told = self.lab.exec(self.names[0], ["bgpnetctl", *words])
            self.findings.tables[" ".join(["bgpnetctl", *words])] = told.stdout.rstrip()
            if told.returncode != 0:
                self.findings.problems.append(f"bgpnetctl {' '.join(words)}: {told.stderr.strip()}")

    def operator(self, topology: Topology) -> dict[str, str]:
        """The environment in which bgpnetctl, run outside the nodes, speaks to the first node's agent and datastore."""
        if not self.names:
            return {}
        first = self.names[0]
        here = {"BGPNET_RUN_DIR": f"/proc/{self.lab.node(first).pid}/root/run/bgpnet"}
        url = self.lab.node(first).env.get("BGPNET_DATASTORE", "")
        for bind in topology.nodes[first].binds:
            # SQLite resolves /proc/PID/root to /, so the file is named by where it stands outside.
            if bind.source and url.startswith(f"sqlite://{bind.target}/"):
                here["BGPNET_DATASTORE"] = f"sqlite://{bind.source}{url.removeprefix(f'sqlite://{bind.target}')}"
        return here

    def _status(self, name: str) -> dict[str, list[dict[str, object]]]:
        socket = f"/proc/{self.lab.node(name).pid}/root/run/bgpnet/agent.sock"
        status: dict[str, list[dict[str, object]]] = AgentClient(socket, timeout=10).ask("status")
        return status

    def _missing(self, name: str) -> str:
        """What this node still lacks, or nothing."""
        try:
            status = self._status(name)
        except AgentAway as problem:
            return f"{name}: {problem}"
        if not status["ready"]:
            return f"{name} is not ready: {'; '.join(map(str, status['reasons']))}"
        if not status["tunnel"]:
            return f"{name} has no tunnel address yet"
        up = [peer for peer in status["peers"] if peer["state"] == "up"]
        if len(up) < len(self.names) - 1:
            return f"{name} has {len(up)} of {len(self.names) - 1} sessions up"
        return ""

    def _wrong_routes(self, name: str) -> str:
        """What `ip route` of this node lacks, or nothing."""
        lines = self._routes(name)
        wanted = [rf"blackhole {re.escape(block)} proto bgpnet\b" for block in self.findings.blocks[name]]
        wanted += [
            rf"{re.escape(pod.address)} dev {pod.link} proto bgpnet\b" for pod in self.findings.pods if pod.node == name
        ]
        for other in self.names:
            if other != name:
                gateway = re.escape(self._address(other))
                wanted += [
                    rf"{re.escape(block)} via {gateway} dev tunl0 proto bgpnet-bgp onlink"
                    for block in self.findings.blocks[other]
                ]
        absent = [one for one in wanted if not any(re.match(one, line) for line in lines)]
        return f"{name}: no route like {absent[0]!r}" if absent else ""

    def _routes(self, name: str) -> list[str]:
        return [line.strip() for line in self._in_node(name, "ip", "route").splitlines()]

    def _in_node(self, name: str, *argv: str) -> str:
        done = self.lab.exec(name, argv)
        if done.returncode != 0:
            raise UsageError(f"node {name}: {' '.join(argv)}: {done.stderr.strip()}")
        return done.stdout

    def _address(self, name: str) -> str:
        return self.lab.node(name).env["BGPNET_IP"].partition("/")[0]

    def _far_pair(self) -> tuple[LabPod, LabPod]:
        if not self.findings.pods:
            raise UsageError("there are no pods")
        first = self.findings.pods[0]
        return first, next(pod for pod in self.findings.pods if pod.node != first.node)

    def _ping_argv(self, source: LabPod, target: LabPod, *limit: str) -> list[str]:
        ping = ["ping", "-n", "-i", str(PING_EVERY), *limit, "-W", "2", target.address]
        return ["ip", "netns", "exec", source.name, *ping]

    def _ping(self, source: LabPod, target: LabPod, count: int) -> None:
        self.lab.exec(source.node, self._ping_argv(source, target, "-c", str(count)))

    def place(self, pod: LabPod) -> Place:
        """Where the pod is probed from."""
        root = Path(f"/proc/{self.lab.node(pod.node).pid}/root")
        return Place(pod.name, root / pod.netns.lstrip("/"), pod.address, is_pod=True)

    def _node_place(self, name: str) -> Place:
        return Place(name, Path(f"/proc/{self.lab.node(name).pid}/ns/net"), self._address(name), is_pod=False)


def counted(told: str) -> tuple[int, int]:
    """How many packets ping has sent and how many were answered, by what it printed; nothing where it printed no sum.

    What it sent last may have been under way when it was ended, and does not count; more than UNDER_WAY do.
    """
    found = re.search(r"(\d+) packets transmitted, (\d+) received", told)
    if found is None:
        return 0, 0
    sent, received = int(found[1]), int(found[2])
    last = max(map(int, re.findall(r"bytes from \S+ icmp_seq=(\d+) ", told)), default=0)
    return last if sent - last <= UNDER_WAY else sent, received


def write(findings: Findings, out: Path) -> Path:
    """build/demo.json."""
    path = out / "demo.json"
    path.write_text(json.dumps(findings.as_data(), indent=1) + "\n")
    return path


@contextmanager
def _phase(findings: Findings, name: str, say: Say) -> Iterator[None]:
    begun = monotonic()
    before = len(findings.problems)
    say(f"{name:<34} ")
    try:
        yield
    finally:
        findings.phases[name] = round(monotonic() - begun, 2)
        mark = "ok" if len(findings.problems) == before else "FAILED"
        say(f"{findings.phases[name]:6.2f} s  {mark}\n")


def _in(address: str, block: str) -> bool:
    return ip.contains(ip.network(block), ip.address(address))
