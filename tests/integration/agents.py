"""Nodes with real agents and speakers: a segment of namespaces, one datastore, pods by the CNI programs.

The kernel under the tests need not have ipip: pools here say ipipMode Never unless asked, and what needs tunl0 is
tested elsewhere.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any

from agent_parts import MORE as MORE
from agent_parts import PATIENCE as PATIENCE
from agent_parts import REPLY
from agent_parts import Pings as Pings
from agent_parts import Pod as Pod
from agent_parts import Process as Process
from agent_parts import Said as Said
from agent_parts import eventually as eventually

from bgpnet.client import AgentClient
from bgpnet.cni import home as homes
from bgpnet.cni import install
from bgpnet.cni.frozen import freeze
from bgpnet.errors import AgentAway
from bgpnet.lab import nodes, processes
from bgpnet.lab.nodes import Lab
from bgpnet.lab.parse import parse
from bgpnet.lab.probe import Place
from bgpnet.lab.wait import until
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.store.factory import open_store
from bgpnet.store.repo import Repo

ROOT = Path(__file__).parents[2]
SHARED = "/srv/test"
"""Where the nodes see the test's own folder: the datastore and the CNI programs."""
POOL = "10.244.0.0/16"
FIRST_MARK, LAST_MARK = "203.0.113.1", "203.0.113.2"
"""Destinations of routes by which `ip monitor` shows that it listens, and that it has told of everything."""

POOL_TEXT = """
apiVersion: bgpnet.io/v1
kind: IPPool
metadata: {{name: {name}}}
spec: {{cidr: {cidr}, ipipMode: Never, vxlanMode: Never, blockSize: {size}}}
"""

TOPOLOGY = """
name: {name}
topology:
  defaults: {{kind: linux}}
  nodes:
    switch:
      exec:
        - ip link add br0 type bridge
        - ip link set br0 up
        {ports}
    {nodes}
  links:
    {links}
"""
NODE = """
    {node}:
      env:
        BGPNET_NODE: {node}
        BGPNET_IP: {address}/24
        BGPNET_DATASTORE: sqlite://{shared}/store/store.db
        BGPNET_ADDRESS_REST: "{rest}"
        PYTHONPATH: {root}
        PYTHONDONTWRITEBYTECODE: "1"
      sysctls: {{net.ipv4.conf.all.rp_filter: 1, net.ipv4.conf.default.rp_filter: 1}}
      binds:
        - {folder}:{shared}
        - {root}/bgpnet/kernel/rt_protos.conf:/etc/iproute2/rt_protos.d/bgpnet.conf:ro
      exec:
        - ip address add {address}/24 dev eth1
"""


@cache
def plugin() -> Path:
    """The CNI program in C, built from this tree."""
    out = ROOT / "build" / "cni" / "bgpnet"
    source = ROOT / "bgpnet" / "cni" / "plugin.c"
    newest = max(one.stat().st_mtime for one in source.parent.glob("*.c"))
    if not out.is_file() or out.stat().st_mtime < newest:
        out.parent.mkdir(parents=True, exist_ok=True)
        fresh = out.with_suffix(f".{os.getpid()}")
        subprocess.run(["musl-gcc", "-O2", "-static", "-o", str(fresh), str(source)], check=True, timeout=120)
        fresh.rename(out)
    return out


@cache
def twin_plugin() -> Path:
    """The CNI program in Python, as it is installed."""
    folder = ROOT / "build" / "cni" / "twin"
    home = homes.find(folder)
    return install.install(freeze(link=home.python), folder, home)


class Machine:
    """One node."""

    def __init__(self, cluster: Cluster, name: str, address: str) -> None:
        self.cluster = cluster
        self.name = name
        self.address = address
        self.agent = self.process("agent", sys.executable, "-m", "bgpnet", "agent")
        self.speaker = self.process("speaker", sys.executable, "-m", "bgpnet", "speaker")

    @property
    def lab(self) -> Lab:
        """The lab that it is a node of."""
        return self.cluster.lab

    @property
    def root(self) -> Path:
        """Its root directory, seen from outside."""
        return Path(f"/proc/{self.lab.node(self.name).pid}/root")

    @property
    def state(self) -> Path:
        """Its state directory, seen from outside."""
        return self.root / "var/lib/bgpnet"

    @property
    def place(self) -> Place:
        """The node as an end of a connection."""
        return Place(self.name, Path(f"/proc/{self.lab.node(self.name).pid}/ns/net"), self.address, is_pod=False)

    def process(self, part: str, *argv: str, **env: str) -> Process:
        """A program that is not started yet; its log is in the test's folder."""
        return Process(self.lab, self.name, argv, self.cluster.folder / f"{self.name}-{part}.log", env)

    def run(self, *argv: str, stdin: str = "", check: bool = True) -> str:
        """What a command inside the node prints."""
        done = self.lab.exec(self.name, argv, stdin=stdin)
        assert not check or done.returncode == 0, f"{self.name}: {argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def ctl(self, *argv: str, stdin: str = "", code: int = 0) -> str:
        """bgpnetctl: what it prints, standard error included; once more where a disk stood still for too long."""
        deadline = monotonic() + PATIENCE
        while True:
            done = self.lab.exec(self.name, [sys.executable, "-m", "bgpnet_ctl", *argv], stdin=stdin)
            if " was locked for " not in done.stderr or monotonic() > deadline:
                break
        assert done.returncode == code, f"{argv}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def status(self) -> dict[str, Any]:
        """The agent's own word; raises AgentAway."""
        return AgentClient(self.root / "run/bgpnet/agent.sock", timeout=30).ask("status")

    def leaked(self) -> list[str]:
        """The addresses that the agent itself calls leaked; raises AgentAway."""
        said: dict[str, Any] = AgentClient(self.root / "run/bgpnet/agent.sock", timeout=30).ask("ipam")
        return [one["address"] for one in said["ipam"]["leaked"]]

    def start(self) -> None:
        """Agent and speaker; does not wait."""
        self.speaker.start()
        self.agent.start()

    def restart_agent(self) -> None:
        """kill -9, a new one, and its first word."""
        self.agent.end()
        self.agent.start()
        self.ready()

    def kill_speaker(self) -> int:
        """kill -9 of ExaBGP and its relay; how many processes that were."""
        killed = processes.kill(self.lab.node(self.name), "speaker")
        self.speaker.end()
        return killed

    def ready(self, peers: int = 0) -> None:
        """Wait until the agent is ready, in sync, and has so many sessions up."""

        def missing() -> str:
            assert self.agent.running, self.log()
            try:
                status = self.status()
            except AgentAway as problem:
                return str(problem)
            up = sum(peer["state"] == "up" for peer in status["peers"])
            if not status["ready"] or status["datastore"] != "in sync" or up < peers:
                return f"{self.name}: {status}"
            return ""

        until(missing, PATIENCE)

    def log(self) -> str:
        """The agent's log."""
        return self.agent.log.read_text()

    def routes(self) -> list[str]:
        """`ip route`, stripped."""
        return [line.strip() for line in self.run("ip", "route").splitlines()]

    def cali(self) -> list[str]:
        """The names of all cali… links."""
        return sorted(re.findall(r"^\d+: (cali[0-9a-z]+)", self.run("ip", "-o", "link"), re.MULTILINE))

    # pods

    def netns(self, name: str) -> None:
        """A namespace for a pod."""
        self.run("ip", "netns", "add", name)

    def cni(
        self,
        command: str,
        container: str,
        name: str,
        *,
        pod: str | None = None,
        twin: bool = False,
        config: str | None = None,
        **more: Any,
    ) -> Said:
        """Execute the CNI program. `name` is the namespace, `pod` (if not None) the K8S_POD_NAME, `address` the IP; or
        `args` all of CNI_ARGS."""
        args = ["IgnoreUnknown=1", "K8S_POD_NAMESPACE=test", f"K8S_POD_NAME={pod}"] if pod else []
        args += [f"IP={address}"] if (address := more.pop("address", "")) else []
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": f"/run/netns/{name}" if name else "",
            "CNI_IFNAME": more.pop("ifname", "eth0"),
            "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": more.pop("args", ";".join(args)),
        }
        text = json.dumps({"cniVersion": "1.0.0", "name": "bgpnet", "type": "bgpnet", **more})
        program = twin_plugin() if twin else plugin()
        argv = ["env", *(f"{key}={value}" for key, value in env.items() if value), str(program)]
        done = self.lab.exec(self.name, argv, stdin=config if config is not None else text)
        said = json.loads(done.stdout) if done.stdout.strip() else {}
        return Said(done.returncode, said, done.stdout + done.stderr)

    def add(self, name: str, container: str = "", *, pod: str | None = "", **more: Any) -> Pod:
        """A namespace and an ADD that has to succeed."""
        container = container or f"{self.name}-{name}"
        self.netns(name)
        return self.added(name, container, self.cni("ADD", container, name, pod=name if pod == "" else pod, **more))

    def added(self, name: str, container: str, answer: Said) -> Pod:
        """The pod that an ADD tells of."""
        assert answer.code == 0, answer.raw
        address = answer.said["ips"][0]["address"].partition("/")[0]
        return Pod(name, container, self.name, address, answer.said["interfaces"][0]["name"], answer.said)

    def soon_added(self, name: str) -> Pod:
        """A pod of a node that has yet to hear of the block that it is to have; a runtime tries again, too."""
        self.netns(name)
        container, answers = f"{self.name}-{name}", list[Said]()

        def added() -> bool:
            answers.append(self.cni("ADD", container, name, pod=name))
            return answers[-1].code == 0

        eventually(added, lambda: answers[-1].raw)
        return self.added(name, container, answers[-1])

    def delete(self, pod: Pod, **more: Any) -> None:
        """A DEL that has to succeed, and its namespace away."""
        answer = self.cni("DEL", pod.container, pod.name, pod=pod.name, **more)
        assert answer.code == 0, answer.raw
        self.run("ip", "netns", "del", pod.name)

    def pod_place(self, pod: Pod) -> Place:
        """The pod as an end of a connection."""
        return Place(pod.name, self.root / "run/netns" / pod.name, pod.address, is_pod=True)

    @contextmanager
    def ping(self, source: Pod, address: str, every: float = 0.01) -> Iterator[Pings]:
        """A ping from a pod while the block runs and for some replies more; what came of it is in the value then.

        The block begins with the first reply: by then both ends have their routes.
        """
        argv = ["ip", "netns", "exec", source.name, "ping", "-n", "-i", str(every), "-W", "3", address]
        pings = Pings()
        process = self.process(f"ping-{source.name}", *argv)
        process.log = self.cluster.folder / f"{self.name}-ping-{source.name}-{address}.log"
        process.log.write_text("")
        process.start()
        try:
            self._replies(process, 1)
            yield pings
            self._replies(process, MORE)
        finally:
            process.end(signal.SIGINT)
        pings.count(process.log.read_text())

    def _replies(self, ping: Process, more: int) -> None:
        """Wait for so many replies more."""

        def replies() -> int:
            return len(REPLY.findall(ping.log.read_text()))

        before = replies()
        eventually(lambda: replies() >= before + more, ping.log.read_text)

    @contextmanager
    def monitor(self) -> Iterator[list[str]]:
        """`ip monitor` of routes, links and neighbours while the block runs; its lines are in the list afterwards.

        Neighbours of the segment come and go by ARP, which is nobody's doing: they are left out.

        The monitor is listening once it tells of something, and has told of all that was before once it tells of what
        comes after it: a route that nobody minds comes and goes.
        """
        lines: list[str] = []
        process = self.process("monitor", "ip", "-4", "monitor", "route", "link", "neigh")
        process.log.write_text("")
        process.start()

        def heard(mark: str) -> str:
            self.run("ip", "route", "add", mark, "dev", "eth1")
            self.run("ip", "route", "del", mark)
            return "" if f"{mark} " in process.log.read_text() else "ip monitor does not listen"

        until(lambda: heard(FIRST_MARK), PATIENCE)
        yield lines
        until(lambda: heard(LAST_MARK), PATIENCE)
        process.end(signal.SIGTERM)
        lines += [
            line
            for line in process.log.read_text().splitlines()
            if line.strip()
            and not re.search(rf"\b({FIRST_MARK}|{LAST_MARK}) ", line)
            and not re.search(r"dev eth1 lladdr|dev eth1 .*(FAILED|INCOMPLETE|PROBE)", line)
        ]


class Cluster:
    """Nodes n1, n2, … on one segment."""

    def __init__(self, lab: Lab, folder: Path, addresses: dict[str, str]) -> None:
        self.lab = lab
        self.folder = folder
        self.machines = [Machine(self, name, address) for name, address in addresses.items()]

    def __getitem__(self, number: int) -> Machine:
        return self.machines[number]

    def repo(self) -> Repo:
        """The datastore, opened by the test itself."""
        return Repo(open_store(f"sqlite://{self.folder}/store/store.db"))

    def blocks(self) -> dict[str, IPAMBlock]:
        """All blocks of the datastore by CIDR."""
        repo = self.repo()
        found, _ = repo.list(kinds.IPAMBLOCK)
        repo.store.close()
        return {one.spec.cidr: one for one in found if isinstance(one, IPAMBlock)}

    @contextmanager
    def unwritten(self) -> Iterator[None]:
        """Nobody else can write to the datastore meanwhile."""
        with closing(sqlite3.connect(self.folder / "store" / "store.db", isolation_level=None)) as db:
            db.execute("PRAGMA busy_timeout = 30000")
            db.execute("BEGIN IMMEDIATE")
            yield
            db.execute("ROLLBACK")

    def live(self) -> dict[str, str]:
        """The live allocations of the datastore: address to container."""
        return {
            str(block.network[ordinal]): one.container
            for block in self.blocks().values()
            for ordinal, one in block.spec.allocations.items()
            if one.freedAt is None
        }

    def start(self) -> None:
        """All agents and speakers; waits until all sessions are up."""
        for machine in self.machines:
            machine.start()
        for machine in self.machines:
            machine.ready(peers=len(self.machines) - 1)

    def end(self) -> None:
        """All programs of the test."""
        for machine in self.machines:
            machine.agent.end()
            machine.kill_speaker()


@contextmanager
def cluster(
    folder: Path,
    count: int,
    name: str,
    *,
    pool: str = POOL,
    size: int = 26,
    rest: float = 30.0,
    mode: str = "Never",
    vxlan: str = "Never",
) -> Iterator[Cluster]:
    """So many nodes on one segment and a pool in their datastore; nothing runs on them yet. `pool` may be empty."""
    (folder / "store").mkdir()
    addresses = {f"n{number}": f"192.0.2.{number}" for number in range(1, count + 1)}
    text = TOPOLOGY.format(
        name=name,
        ports="\n        ".join(f"- ip link set eth{number} master br0" for number in range(1, count + 1)),
        nodes="".join(
            NODE.format(node=node, address=address, shared=SHARED, root=ROOT, folder=folder, rest=rest)
            for node, address in addresses.items()
        ),
        links="\n    ".join(
            f'- {{endpoints: ["{node}:eth1", "switch:eth{number}"], mtu: 1500}}'
            for number, node in enumerate(addresses, 1)
        ),
    )
    plugin()
    with ExitStack() as stack:
        lab = nodes.deploy(parse(text, str(folder / f"{name}.clab.yml"), {}), lambda line: None)
        stack.callback(lab.destroy)
        made = Cluster(lab, folder, addresses)
        stack.callback(made.end)
        if pool:
            text = POOL_TEXT.format(name="pods", cidr=pool, size=size)
            text = text.replace("ipipMode: Never", f"ipipMode: {mode}").replace(
                "vxlanMode: Never", f"vxlanMode: {vxlan}"
            )
            made[0].ctl("create", "-f", "-", stdin=text)
        yield made


def in_network(address: str, network: str) -> bool:
    """Whether the address lies in the network."""
    return ip.contains(ip.network(network), ip.address(address))
