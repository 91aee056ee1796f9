"""Addresses per second, and datastore writes per address, beside a compare-and-swap per address on the same etcd.

Ours: the agent's own steps, its journal with fsync, its claims, and its records written behind; no pod is wired.
The peer is what Calico's IPAM does at least for each address (block read, handle created, block swapped), with the same
client and the same values; its further reads and its claims of blocks are left out. Both in one run, round by round.
"""

from __future__ import annotations

import argparse
import json
import queue
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.store import server
from benchmarks.table import Row, add, render
from bgpnet import codec, ipam
from bgpnet.agent import events
from bgpnet.agent.claimer import Claimer
from bgpnet.agent.effects import Answer, ClaimBlock, Effect, WirePod
from bgpnet.agent.events import Event
from bgpnet.agent.journal import Journal, PodWent, came
from bgpnet.agent.loop import LATEST
from bgpnet.agent.plan import plan
from bgpnet.agent.records import Records
from bgpnet.agent.status import NEEDED
from bgpnet.agent.step import step
from bgpnet.agent.world import Me, World
from bgpnet.errors import Conflict
from bgpnet.model import ip, kinds
from bgpnet.model.instant import stamp
from bgpnet.model.ipamblock import IPAMBlock, Owner
from bgpnet.model.ipamconfiguration import IPAMConfiguration, IPAMConfigurationSpec
from bgpnet.model.ippool import Encap, IPPool, IPPoolSpec
from bgpnet.model.resource import Metadata
from bgpnet.store.api import ABSENT, Entry, Revision
from bgpnet.store.etcd import EtcdStore
from bgpnet.store.etcd_options import Options
from bgpnet.store.repo import Repo
from bgpnet.wire import CniCall

AT_ONCE = 20
BLOCKS = 4
STDIN = json.dumps({"cniVersion": "1.0.0", "name": "net", "type": "bgpnet"}).encode()
POOL = IPPool(metadata=Metadata(name="bench"), spec=IPPoolSpec(cidr="10.0.0.0/12", ipipMode=Encap.NEVER))
LIMIT = IPAMConfiguration(
    metadata=Metadata(name="default"), spec=IPAMConfigurationSpec(strictAffinity=True, maxBlocksPerHost=10_000)
)
PATIENCE = 30.0


def call(command: str, container: str) -> CniCall:
    """What the plugin sends."""
    netns = f"/run/netns/{container}"
    env = {"CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_IFNAME": "eth0", "CNI_NETNS": netns}
    return CniCall({**env, "CNI_ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-{container}"}, STDIN)


class Counted(EtcdStore):
    """Counts the writes that were sent."""

    writes = 0

    def put(self, key: str, value: bytes, expected: Revision | None) -> Revision:
        """See store.api.Store."""
        self.writes += 1
        return super().put(key, value, expected)


class Ours:
    """An agent's path from ADD to answer without the wiring."""

    name = "bgpnet"

    def __init__(self, store: Counted, folder: Path) -> None:
        self.store = store
        self.repo = Repo(store)
        self.repo.apply(POOL)
        self.repo.apply(LIMIT)
        self.journal = Journal(folder / "journal", "boot")
        self.journal.start((), ())
        me = Me("node1", "uid-1", ip.interface("172.16.0.1/16"), "eth0", 1500, "bench", rest=0.0)
        self.world = World(me=me, now=time.time(), clock=time.monotonic())
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.claimer = Claimer(self.repo, self.journal, self.events.put)
        self.records = Records(self.repo, self.events.put)
        self.workers = ThreadPoolExecutor(AT_ONCE)
        self.claims = ThreadPoolExecutor(1)
        self.asked = self.answered = self.number = 0
        self.planned = 0.0
        for kind in NEEDED:
            self.events.put(events.Listed(kind, tuple(self.repo.list(kind)[0])))
        self.drain()

    def round(self, count: int, at_once: int) -> None:
        """So many ADDs, at most so many under way at a time, until all are answered."""
        wanted = self.answered + count
        until = time.monotonic() + PATIENCE
        while self.answered < wanted:
            while self.asked < wanted and self.asked - self.answered < at_once:
                self.ask()
            self.take(self.events.get(timeout=until - time.monotonic()))
            self.drain()

    def ask(self) -> None:
        """One ADD."""
        self.number += 1
        self.asked += 1
        self.take(events.CniAsked(self.number, call("ADD", f"{self.number:064x}")))

    def clear(self) -> None:
        """Every pod is deleted again, and the addresses are free: a node does not grow without end."""
        for pod in list(self.world.pods.values()):
            self.number += 1
            self.take(events.CniAsked(self.number, call("DEL", pod.attachment.container)))
            self.journal.append([PodWent(pod.attachment.container, pod.attachment.ifname, stamp(time.time()))])
            self.take(events.PodUnwired(self.number, pod.attachment))
            self.take(events.Reaped((pod.attachment,)))
        self.settle()

    def settle(self) -> None:
        """Until the datastore has all."""
        until = time.monotonic() + PATIENCE
        while plan(self.world).records or not self.events.empty():
            assert time.monotonic() < until, "the datastore has not followed"
            self.drain()
            self.records.set(plan(self.world).records, time.monotonic())
            try:
                self.take(self.events.get(timeout=0.05))
            except queue.Empty:
                continue

    def drain(self) -> None:
        """All events, and now and then a plan, as the loop does under load."""
        while not self.events.empty():
            self.take(self.events.get())
        if time.monotonic() - self.planned >= LATEST:
            since, self.planned = self.planned, time.monotonic()
            self.records.set(plan(self.world).records, since)

    def take(self, event: Event) -> None:
        """One event, and what follows from it."""
        self.world, effects = step(replace(self.world, now=time.time(), clock=time.monotonic()), event)
        for effect in effects:
            self.carry_out(effect)

    def carry_out(self, effect: Effect) -> None:
        """As agent.pods does, without a kernel."""
        match effect:
            case WirePod():
                self.workers.submit(self.wire, effect)
            case ClaimBlock():
                self.claims.submit(lambda: self.events.put(self.claimer.claim(effect, self.world.now)))
            case Answer(_, status, body):
                assert status == 0, body
                self.answered += bool(body)  # a DEL's is empty

    def wire(self, work: WirePod) -> None:
        """The journal's part of it."""
        self.journal.append([came(work.pod)])
        self.events.put(events.PodWired(work.number, work.pod.attachment, work.version))


@dataclass
class Peer:
    """A compare-and-swap per address."""

    store: Counted
    name: str = "CAS per address"
    number: int = 0
    blocks: list[str] = field(default_factory=list)
    workers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(AT_ONCE))
    owner: Owner = field(default_factory=lambda: Owner(name="node2", uid="uid-2"))

    def round(self, count: int, at_once: int) -> None:
        """So many addresses."""
        numbers = range(self.number, self.number + count)
        self.number += count
        if at_once == 1:
            for number in numbers:
                self.allocate(number)
        else:
            list(self.workers.map(self.allocate, numbers))

    def settle(self) -> None:
        """It is all there."""

    def clear(self) -> None:
        """The same blocks, empty again."""
        self.blocks = []
        for number in range(BLOCKS):
            net = ip.network(f"10.64.{number}.0/26")
            block = ipam.new_block(net, self.owner, time.time())
            self.blocks.append(f"/peer/block/{block.metadata.name}")
            self.store.put(self.blocks[-1], codec.encode(block), None)

    def allocate(self, number: int) -> None:
        """Read the block, create the handle, swap the block; once more after every conflict."""
        container = f"{number:064x}"
        self.store.put(f"/peer/handle/{container}", b'{"block":{"10.0.0.0/26":1},"deleted":false}', ABSENT)
        while True:
            for name in self.blocks:
                entry = self.store.get(name)
                assert entry is not None
                if (changed := self.assigned(entry, container)) is not None:
                    break
            else:
                raise AssertionError("no block has room")
            try:
                self.store.put(name, codec.encode(changed), entry.revision)
            except Conflict:
                continue
            return

    def assigned(self, entry: Entry, container: str) -> IPAMBlock | None:
        """The block with the address given away."""
        block = codec.decode_stored(kinds.IPAMBLOCK, entry.value, entry.revision, entry.key)
        assert isinstance(block, IPAMBlock)
        given = ipam.assign(block, ipam.Claimant(container, "eth0", "default/web"), time.time())
        return given[0] if given else None


def measure(one: Ours | Peer, count: int, at_once: int) -> tuple[float, float]:
    """Milliseconds and datastore writes per address; the time until all are answered."""
    one.clear()
    before, started = one.store.writes, time.perf_counter()
    one.round(count, at_once)
    spent = time.perf_counter() - started
    one.settle()
    return spent * 1000 / count, (one.store.writes - before) / count


def compare(ours: Ours, peer: Peer, rounds: int, count: int, at_once: int) -> list[Row]:
    """The rows of one way of asking, from the medians of the rounds."""
    both: list[Ours | Peer] = [ours, peer]
    for one in both:
        measure(one, count, at_once)  # blocks are claimed, connections are warm
    found: dict[str, list[tuple[float, float]]] = {ours.name: [], peer.name: []}
    for _ in range(rounds):
        for one in random.sample(both, 2):
            found[one.name].append(measure(one, count, at_once))
    what = "one at a time" if at_once == 1 else f"{at_once} at a time"
    (mine, my_writes), (theirs, their_writes) = (
        tuple(statistics.median(column) for column in zip(*found[one.name], strict=True)) for one in both
    )
    print(f"{what}: {1000 / mine:.0f} addresses a second, {peer.name} {1000 / theirs:.0f}")
    return [
        Row(f"address, {what}", mine, theirs, peer.name, "ms", 0.5),
        Row(f"datastore writes per address, {what}", my_writes, their_writes, peer.name, "writes", 0.25),
    ]


def main(arguments: Sequence[str] | None = None, found: Callable[[str], str | None] = shutil.which) -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(prog="python -m benchmarks.ipam", description=__doc__)
    asked.add_argument("--rounds", type=int, default=7)
    asked.add_argument("--count", type=int, default=BLOCKS * 64 - 8, help="addresses a round")
    asked.add_argument("--folder", default="build", help="where the journal and bench.json are written")
    options = asked.parse_args(arguments)
    program = found("etcd")
    if program is None:
        raise SystemExit("etcd is missing; run `scripts/install test`, or `apt-get install etcd-server`")
    Path(options.folder).mkdir(parents=True, exist_ok=True)
    with server(program) as endpoint, tempfile.TemporaryDirectory(dir=options.folder) as folder:
        place = Options((endpoint,))
        ours, peer = Ours(Counted(place), Path(folder)), Peer(Counted(place))
        rows = [row for at_once in (1, AT_ONCE) for row in compare(ours, peer, options.rounds, options.count, at_once)]
    add(rows, Path(options.folder) / "bench.json")
    print(render(rows))


if __name__ == "__main__":
    main()
