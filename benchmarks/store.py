"""The etcd datastore beside plain etcd3 calls, in one run against one real etcd: `python -m benchmarks.store`.

Requests one by one; the agent's start, that is 5,000 blocks with 10 pods each and 1,000 nodes, listed through its own
feeds into its World; and the memory of a process that follows 100,000 changes so. Nothing passes or fails here.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import queue
import random
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from msgspec import structs

from benchmarks.table import Row, add, percentile, render
from bgpnet import codec, ipam
from bgpnet.agent import feeds
from bgpnet.agent.events import Event
from bgpnet.agent.status import NEEDED
from bgpnet.agent.step import step
from bgpnet.agent.world import Me, World
from bgpnet.model import instant, ip, kinds
from bgpnet.model.ipamblock import IPAMBlock, Owner
from bgpnet.model.kinds import Kind, Resource
from bgpnet.model.node import Identity, Node, NodeBGP, NodeSpec, NodeStatus
from bgpnet.model.resource import Metadata
from bgpnet.store.api import ABSENT
from bgpnet.store.etcd import EtcdStore
from bgpnet.store.etcd_options import Options
from bgpnet.store.repo import Repo, key, prefix

NOW = 1_700_000_000.0
NODES, BLOCKS, PODS = 1_000, 5_000, 10
CHANGES, EARLY = 100_000, 20_000
REQUESTS = 1_000
LIST_LIMIT = 2.0  # seconds
BATCH = 100  # operations of one transaction; etcd allows 128
WITHIN = 300.0  # seconds that any part may take


def main() -> None:
    """Measure everything, print it, add to build/bench.json."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--etcd", default=shutil.which("etcd"), help="the program; without it, the one on PATH")
    arguments = options.parse_args()
    if not arguments.etcd:
        options.error("etcd is missing; run `scripts/install test`, or name it with --etcd")
    with server(arguments.etcd) as endpoint:
        rows = [*requests(endpoint), *listing(endpoint), memory(endpoint)]
    print(render(rows))
    add(rows, Path("build/bench.json"))


@contextmanager
def server(program: str) -> Iterator[str]:
    """An etcd of one member with its own settings; its endpoint."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    client, peer = (f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)
    for each in sockets:
        each.close()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", program, "--data-dir", directory),
                *("--listen-client-urls", f"http://{client}", "--advertise-client-urls", f"http://{client}"),
                *("--listen-peer-urls", f"http://{peer}", "--initial-advertise-peer-urls", f"http://{peer}"),
                *("--initial-cluster", f"default=http://{peer}"),
            ],
            stderr=subprocess.DEVNULL,
        )
        try:
            store = EtcdStore(Options((client,)))
            store.get("/ready")
            store.close()
            yield client
        finally:
            process.kill()
            process.wait(10)


def plain(endpoint: str) -> Any:
    """etcd3's own client; only after the door, which makes its import work."""
    import etcd3  # type: ignore[import-untyped,unused-ignore]

    host, _, port = endpoint.rpartition(":")
    return etcd3.client(host=host, port=int(port), timeout=10, grpc_options=[("grpc.max_receive_message_length", -1)])


def requests(endpoint: str) -> Iterator[Row]:
    """Single requests, ours and plain ones in turn."""
    store, client = EtcdStore(Options((endpoint,))), plain(endpoint)
    value = os.urandom(340)
    revision = store.put("/bench/ours", value, ABSENT)
    client.put("/bench/plain", value)

    def swap() -> None:
        nonlocal revision
        revision = store.put("/bench/ours", value, revision)

    ours, theirs = in_turn(swap, lambda: client.put("/bench/plain", value))
    yield Row("compare-and-swap, p50", ours, theirs, "etcd3 put", "ms", 2.0)
    ours, theirs = in_turn(lambda: store.get("/bench/ours"), lambda: client.get("/bench/plain"))
    yield Row("get, p50", ours, theirs, "etcd3 get", "ms", 1.5)
    store.close()
    client.close()


def in_turn(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """The median milliseconds of both, in random order."""
    spent: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(REQUESTS):
        for mine in random.sample([True, False], 2):
            started = time.perf_counter()
            (ours if mine else theirs)()
            spent[mine].append((time.perf_counter() - started) * 1000)
    return percentile(spent[True], 0.5), percentile(spent[False], 0.5)


def listing(endpoint: str) -> Iterator[Row]:
    """The agent's start on a large network."""
    nodes = [node(number) for number in range(NODES)]
    fill(endpoint, kinds.NODE, nodes)
    fill(endpoint, kinds.IPAMBLOCK, [block(number) for number in range(BLOCKS)])
    client = plain(endpoint)
    ours, theirs = [], []
    for _ in range(5):
        started = time.perf_counter()
        for kind in (kinds.NODE, kinds.IPAMBLOCK):
            assert len(list(client.get_prefix(prefix(kind)))) in (NODES, BLOCKS)
        theirs.append(time.perf_counter() - started)
        ours.append(follow(endpoint, lambda world: world.is_synced(*NEEDED)))
    client.close()
    what = f"{BLOCKS:,} blocks and {NODES:,} nodes into the World"
    yield Row(f"{what}, worst of 5", max(ours), LIST_LIMIT, "limit", "s", 1.0)
    yield Row(f"{what}, p50", percentile(ours, 0.5), percentile(theirs, 0.5), "etcd3 get_prefix", "s", 10.0)


def follow(endpoint: str, enough: Callable[[World], bool], each: Callable[[World], None] = lambda world: None) -> float:
    """Feed a World as the agent does until it has enough; the seconds that took."""
    started = time.perf_counter()
    repo = Repo(EtcdStore(Options((endpoint,))))
    world = World(Me("node-0", "uuid-0", ip.interface("192.0.0.0/8"), "eth0", 1500, "0"), now=NOW, clock=0.0)
    happenings: queue.Queue[Event] = queue.Queue()
    stop = threading.Event()
    threads = [
        threading.Thread(target=feeds.datastore, args=(repo, kind, happenings.put, stop), daemon=True)
        for kind in NEEDED
    ]
    for thread in threads:
        thread.start()
    while not enough(world):
        world, _ = step(world, happenings.get(timeout=WITHIN))
        each(world)
    took = time.perf_counter() - started
    stop.set()
    for thread in threads:
        thread.join(10)
    repo.store.close()
    return took


def memory(endpoint: str) -> Row:
    """A process that follows 100,000 changes of the nodes."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    watcher = multiprocessing.get_context("spawn").Process(target=watch, args=(endpoint, there), daemon=True)
    watcher.start()
    assert here.poll(WITHIN), "the watcher did not list in time"
    here.recv()
    nodes = [node(number) for number in range(NODES)]
    for number in range(0, CHANGES, NODES):
        beat = instant.stamp(NOW + 1 + number)
        fill(endpoint, kinds.NODE, [_beating(each, beat) for each in nodes])
    assert here.poll(WITHIN), "the watcher did not see the end in time"
    early, late, seen = here.recv()
    watcher.join(10)
    print(f"{seen:,} changes followed; resident {early:.1f} MiB after {EARLY:,}, {late:.1f} MiB at the end")
    return Row(f"memory after {CHANGES:,} changes", late, early, f"after {EARLY:,}", "MiB", 1.1)


def watch(endpoint: str, report: Connection) -> None:
    """The child: tells when it is in sync, and at the end its memory early and late, and what it saw."""
    seen, early = 0, 0.0
    last = instant.stamp(NOW + 1 + CHANGES - NODES)
    listed = False

    def look(world: World) -> None:
        nonlocal seen, early, listed
        if listed:
            seen += 1
        elif world.is_synced(*NEEDED):
            listed = True
            report.send(None)
        if seen == EARLY:
            early = resident()

    def enough(world: World) -> bool:
        final = world.of_kind(kinds.NODE).get(f"node-{NODES - 1}")
        return isinstance(final, Node) and final.status is not None and final.status.identity is not None and (
            final.status.identity.heartbeat == last
        )  # fmt: skip

    follow(endpoint, enough, look)
    report.send((early, resident(), seen))


def resident() -> float:
    """This process's resident memory in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def fill(endpoint: str, kind: Kind, resources: list[Any]) -> None:
    """Write them as they are, many in one transaction, by plain etcd3."""
    client = plain(endpoint)
    for start in range(0, len(resources), BATCH):
        batch = resources[start : start + BATCH]
        puts = [client.transactions.put(key(kind, each.metadata.name), codec.encode(each)) for each in batch]
        client.transaction(compare=[], success=puts, failure=[])
    client.close()


def node(number: int) -> Node:
    """One of so many machines."""
    identity = Identity(uuid=f"uuid-{number}", heartbeat=instant.stamp(NOW))
    address = f"192.{number >> 8}.{number & 255}.1/8"
    return Node(
        metadata=_metadata(f"node-{number}", number),
        spec=NodeSpec(bgp=NodeBGP(ipv4Address=address)),
        status=NodeStatus(identity=identity),
    )


def _beating(resource: Node, beat: str) -> Resource:
    assert resource.status is not None
    assert resource.status.identity is not None
    identity = structs.replace(resource.status.identity, heartbeat=beat)
    return structs.replace(resource, status=structs.replace(resource.status, identity=identity))


def block(number: int) -> IPAMBlock:
    """A block with some pods in it."""
    owner = number % NODES
    network = ip.network(f"10.{number >> 10}.{number >> 2 & 255}.{(number & 3) << 6}/26")
    made = ipam.new_block(network, Owner(name=f"node-{owner}", uid=f"uuid-{owner}"), NOW)
    for pod in range(PODS):
        who = ipam.Claimant(f"{number:032x}{pod:032x}", "eth0", f"default/web-{number}-{pod}")
        assigned = ipam.assign(made, who, NOW)
        assert assigned
        made = assigned[0]
    return structs.replace(made, metadata=_metadata(made.metadata.name, BLOCKS + number))


def _metadata(name: str, number: int) -> Metadata:
    uid = f"00000000-0000-4000-8000-{number:012}"
    return Metadata(name=name, uid=uid, creationTimestamp=instant.stamp(NOW))


if __name__ == "__main__":
    main()
