"""An agent inside the test's process: its real parts and threads, on a kernel that is made of dictionaries.

Its threads end with the process, as the agent's own do; `stop` ends the loop, as a kill would, and cleans nothing up.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time
from typing import Any

from bgpnet.agent import feeds
from bgpnet.agent.events import KernelLooked
from bgpnet.agent.facts import seen
from bgpnet.agent.firewall import Guard
from bgpnet.agent.journal import Journal, end_overtaken, recalled
from bgpnet.agent.loop import Loop
from bgpnet.agent.pods import Workers
from bgpnet.agent.records import Records
from bgpnet.agent.server import Server
from bgpnet.agent.speech import Speech
from bgpnet.agent.status import NEEDED
from bgpnet.agent.world import Me
from bgpnet.bgp.speaker import Speaker
from bgpnet.client import AgentClient
from bgpnet.errors import AgentAway, StoreUnreachable
from bgpnet.kernel.fake import FakeKernel
from bgpnet.kernel.fake_firewall import FakeFirewall
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.store.api import Entry as Entry
from bgpnet.store.api import Event, Listing, Revision, Store
from bgpnet.store.repo import Repo
from bgpnet.threads import start


class Counting:
    """A datastore that says when it was written, and that is away when it is told to be."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.writes: list[tuple[float, str]] = []
        self.away = False
        self.flows = threading.Event()
        """Whether writes go through; they wait while it is not set."""
        self.flows.set()

    def _there(self) -> None:
        if self.away:
            raise StoreUnreachable("the datastore does not answer")

    def get(self, key: str) -> Entry | None:
        self._there()
        return self.store.get(key)

    def list(self, prefix: str) -> Listing:
        self._there()
        return self.store.list(prefix)

    def put(self, key: str, value: bytes, expected: Revision | None) -> Revision:
        assert self.flows.wait(60), "nobody lets the writes through"
        self._there()
        self.writes.append((monotonic(), key))
        return self.store.put(key, value, expected)

    def delete(self, key: str, expected: Revision | None) -> Revision:
        assert self.flows.wait(60), "nobody lets the writes through"
        self._there()
        self.writes.append((monotonic(), key))
        return self.store.delete(key, expected)

    def watch(self, prefix: str, after: Revision, stop: Callable[[], bool]) -> Iterator[Event | None]:
        for event in self.store.watch(prefix, after, lambda: stop() or self.away):
            self._there()
            yield event
        self._there()

    def compact(self) -> None:
        self.store.compact()

    def close(self) -> None:
        self.store.close()


@dataclass(slots=True)
class Inside:
    """One node's agent; start it again after `stop` for a restart on the same kernel and state directory."""

    name: str
    folder: Path
    store: Counting
    number: int = 1
    boot: str = "boot"
    rest: float = 1.0
    kernel: FakeKernel = field(default_factory=FakeKernel)
    loop: Loop | None = None
    ended: threading.Thread | None = None
    over: threading.Event = field(default_factory=threading.Event)
    runs: int = 0
    reason: str = ""

    @property
    def journal(self) -> Path:
        """Its file."""
        return self.folder / f"{self.name}-journal"

    def start(self) -> None:
        """As agent/assembly.py does it; waits until somebody answers."""
        if not self.runs:
            self.kernel.strangers.add_link("eth1", f"192.0.2.{self.number}/24")
        self.runs += 1
        journal = Journal(self.journal, self.boot)
        contents, links = journal.load(), seen(self.kernel.read())
        if contents:
            end_overtaken(contents, links, time())
        address = ip.interface(f"192.0.2.{self.number}/24")
        me = Me(self.name, f"uuid-{self.name}", address, "eth1", 1500, "0", rest=self.rest)
        world = recalled(contents, me, self.boot, time(), monotonic())
        journal.start(world.blocks.values(), world.pods.values(), contents.kept if contents else None)
        self.loop = loop = Loop(world, self.kernel)
        loop.emit(KernelLooked(links))
        repo, self.over = Repo(self.store), threading.Event()
        server = Server(self._socket, loop.emit)
        server.listen()
        runs = self.runs
        workers = Workers(self.kernel, journal, repo, loop.emit, lambda number: runs * 100_000 + number, 8)
        speech = Speech(
            Speaker(str(self.folder / "none.sock"), loop.emit), self.folder / f"{self.name}.conf", self._socket
        )
        guard = Guard(FakeFirewall(), loop.emit)
        for kind in NEEDED:
            start(f"feed-{kind.plural}", feeds.datastore, repo, kind, loop.emit, self.over)
        start("clock", feeds.clock, loop.emit, self.over)

        def run() -> None:
            self.reason = loop.run(server, workers, Records(repo, loop.emit), speech, guard)

        self.ended = threading.Thread(target=run, daemon=True)
        self.ended.start()

    @property
    def _socket(self) -> Path:
        return self.folder / f"{self.name}-{self.runs}" / "agent.sock"

    def stop(self) -> None:
        """End the loop; what hangs in the air stays there."""
        assert self.loop is not None
        assert self.ended is not None
        self.over.set()
        self.loop.stop()
        self.ended.join(60)
        assert not self.ended.is_alive()

    def call(self, command: str, container: str) -> tuple[int, dict[str, Any]]:
        """A CNI call: exit code and answer."""
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": f"/run/netns/{container}",
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=test;K8S_POD_NAME={container}",
        }
        text = json.dumps({"cniVersion": "1.0.0", "name": "net", "type": "bgpnet"})
        code, body = AgentClient(self._socket, 30).call_cni(env, text.encode(), None)
        return code, json.loads(body) if body else {}

    def add(self, container: str) -> str:
        """The pod's address; fails with what was said."""
        code, said = self.call("ADD", container)
        assert code == 0, said
        return str(said["ips"][0]["address"]).partition("/")[0]

    def delete(self, container: str) -> None:
        """DEL must go well."""
        assert self.call("DEL", container)[0] == 0

    def burst(self, containers: list[str], seconds: float = 0.0) -> dict[str, str]:
        """All of these at once, or evenly over so many seconds."""
        begun, pause = monotonic(), threading.Event()

        def add(number: int) -> str:
            pause.wait(begun + seconds * number / len(containers) - monotonic())
            return self.add(containers[number])

        with ThreadPoolExecutor(len(containers)) as threads:
            return dict(zip(containers, threads.map(add, range(len(containers))), strict=True))

    def status(self) -> dict[str, Any]:
        """The agent's own word."""
        return AgentClient(self._socket, 30).ask("status")

    def is_in_sync(self) -> bool:
        """Whether it answers and has heard everything."""
        try:
            return bool(self.status()["datastore"] == "in sync")
        except AgentAway:
            return False

    def blocks(self) -> list[IPAMBlock]:
        """All that are recorded."""
        return [one for one in Repo(self.store.store).list(kinds.IPAMBLOCK)[0] if isinstance(one, IPAMBlock)]

    def live(self) -> dict[str, str]:
        """Who has which address by the datastore."""
        return {
            str(block.network[ordinal]): slot.container
            for block in self.blocks()
            for ordinal, slot in block.spec.allocations.items()
            if slot.freedAt is None
        }
