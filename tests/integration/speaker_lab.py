"""Real ExaBGPs (by our launcher) and BIRDs on loopback addresses, each ExaBGP with the agent's side in a thread."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from etcd_servers import free_ports

import bgpnet
from bgpnet.bgp.conf import Neighbour, SpeakerConf, render
from bgpnet.bgp.export import Advert
from bgpnet.bgp.lines import EndOfRib, PeerDown, PeerUp, Update
from bgpnet.bgp.rib import Table
from bgpnet.bgp.speaker import Speaker, Synced
from bgpnet.bgp.talk import SpeakerEvent
from bgpnet.model import ip
from bgpnet.model.ip import Address, Network

ROOT = str(Path(bgpnet.__file__).parent.parent)
ENVIRONMENT = {**os.environ, "PYTHONPATH": ROOT}
PATIENCE = 60.0
"""Seconds in which everything has to come about; most takes a fraction of one, but not on a busy machine."""


def until(fact: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Wait for a fact; fails, naming it, when it does not come about."""
    end = monotonic() + patience
    pause = threading.Event()
    while not fact():
        assert monotonic() < end, f"not within {patience} s: {what}"
        pause.wait(0.005)


class Agent:
    """What an agent does with the speaker: it applies the events to a table, and keeps what it heard."""

    def __init__(self, path: Path) -> None:
        self.heard: list[SpeakerEvent] = []
        self.table = Table()
        self.up: set[Address] = set()
        self.ended: set[Address] = set()
        self.speaker = Speaker(path, self._hear)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.speaker.run, args=(self._stop,))
        self._thread.start()

    def _hear(self, event: SpeakerEvent) -> None:
        if isinstance(event, Synced):
            self.table = event.table  # before what tests wait for, each time
            self.up = {peer for peer, state in event.peers.items() if state.up}
        elif isinstance(event, PeerUp):
            self.ended.discard(event.peer)
            self.up.add(event.peer)
        elif isinstance(event, PeerDown):
            self.table = self.table.mark_stale(event.peer) if event.lost else self.table.drop(event.peer)
            self.up.discard(event.peer)
        elif isinstance(event, Update):
            self.table = self.table.apply(event)
        elif isinstance(event, EndOfRib):
            self.table = self.table.sweep(event.peer)
            self.ended.add(event.peer)
        self.heard.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of one kind, in order."""
        return [event for event in self.heard if isinstance(event, kind)]

    def prefixes(self, peer: Address) -> set[Network]:
        return {prefix for prefix, _ in self.table.of(peer)}

    def end(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


class Node:
    """One address with an ExaBGP, and agents that come and go."""

    def __init__(self, folder: Path, address: str, port: int, as_number: int = 64512) -> None:
        self.address = ip.address(address)
        self.as_number = as_number
        self.port = port
        self.folder = folder / address
        self.folder.mkdir()
        self.socket = self.folder / "speaker.sock"
        self.process: subprocess.Popen[bytes] | None = None
        self._agent: Agent | None = None

    @property
    def agent(self) -> Agent:
        assert self._agent is not None
        return self._agent

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def neighbour(self, other: Node, **changes: Any) -> Neighbour:
        plain = Neighbour(
            address=other.address,
            local_address=self.address,
            local_as=self.as_number,
            peer_as=other.as_number,
            port=other.port,
            passive=int(self.address) < int(other.address),
        )
        return replace(plain, **changes)

    def configure(self, *neighbours: Neighbour, **changes: Any) -> None:
        """Write the file as the agent does, in one step."""
        conf = replace(SpeakerConf(self.address, self.address, self.port, neighbours), **changes)
        fresh = self.folder / "exabgp.new"
        fresh.write_text(render(conf, (sys.executable, "-m", "bgpnet.bgp.relay", str(self.socket))))
        fresh.chmod(0o600)
        fresh.rename(self.folder / "exabgp.conf")

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bgpnet", "speaker", "--run-dir", str(self.folder)],
                env=ENVIRONMENT,
                stdout=log,
                stderr=log,
            )

    def stop(self, how: int = signal.SIGTERM) -> int:
        assert self.process is not None
        process, self.process = self.process, None
        process.send_signal(how)
        try:
            return process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(PATIENCE)
            raise

    def connect(self) -> Agent:
        self._agent = Agent(self.socket)
        return self._agent

    def disconnect(self) -> None:
        if self._agent is not None:
            self._agent.end()
            self._agent = None

    def tell(self, peers: Sequence[Node], *prefixes: str) -> None:
        adverts = frozenset(Advert(ip.network(prefix)) for prefix in prefixes)
        self.agent.speaker.set({peer.address: adverts for peer in peers})

    def await_up(self, *others: Node) -> None:
        wanted = {other.address for other in others}
        until(lambda: self.agent.up >= wanted, f"{self.address} has sessions with {wanted}")

    def await_routes(self, peer: Node, *prefixes: str) -> None:
        wanted = {ip.network(prefix) for prefix in prefixes}
        until(lambda: self.agent.prefixes(peer.address) == wanted, f"{self.address} has {prefixes} of {peer.address}")

    def await_end(self, peer: Node) -> None:
        until(lambda: peer.address in self.agent.ended, f"{self.address} hears End-of-RIB of {peer.address}")

    def log(self) -> str:
        return (self.folder / "log").read_text()


class Lab:
    """Makes nodes and ends everything it started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (self.port,) = free_ports(1)
        self.nodes: list[Node] = []
        self.birds: list[subprocess.Popen[bytes]] = []

    def node(self, address: str, as_number: int = 64512) -> Node:
        self.nodes.append(Node(self.folder, address, self.port, as_number))
        return self.nodes[-1]

    def mesh(self, *addresses: str, **changes: Any) -> list[Node]:
        """Nodes in full mesh, started, each with an agent, all sessions up."""
        nodes = [self.node(address) for address in addresses]
        for node in nodes:
            node.configure(*(node.neighbour(other, **changes) for other in nodes if other is not node))
            node.start()
        for node in nodes:
            node.connect()
        for node in nodes:
            node.await_up(*(other for other in nodes if other is not node))
        return nodes

    def bird(self, text: str, name: str = "bird") -> Callable[[str], str]:
        """Start a BIRD with this configuration, `<name>.conf`; what comes back asks its birdc."""
        program = shutil.which("bird") or "/usr/sbin/bird"
        assert Path(program).exists(), "bird is missing; run: apt-get install bird2"
        conf, control = self.folder / f"{name}.conf", self.folder / f"{name}.ctl"
        conf.write_text(text)
        self.birds.append(subprocess.Popen([program, "-f", "-c", str(conf), "-s", str(control)]))
        until(control.exists, "BIRD's control socket")

        def ask(question: str) -> str:
            asked = subprocess.run(
                [f"{program}c", "-s", str(control), *question.split()], capture_output=True, text=True, timeout=PATIENCE
            )
            return asked.stdout

        return ask

    def end(self) -> None:
        for node in self.nodes:
            if node.process is not None:
                node.process.terminate()
        for node in self.nodes:
            node.disconnect()
            if node.process is not None:
                node.stop()
        for bird in self.birds:
            bird.terminate()
            bird.wait(PATIENCE)
