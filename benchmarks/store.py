"""A large cluster's datastore in etcd: heard by an agent's World, and watched for long.

What is listed goes through the agent's own feeds and steps; the watch is followed in a process of its own, whose
memory is what is measured. Beside the listing stands etcd3's bare `get_prefix` of the same keys.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import msgspec

from benchmarks.table import Row, add, render
from bgpnet import codec, ipam
from bgpnet.agent import feeds
from bgpnet.agent.events import Event
from bgpnet.agent.status import NEEDED
from bgpnet.agent.step import step
from bgpnet.agent.world import Me, World
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import Owner
from bgpnet.model.kinds import Resource, kind_of
from bgpnet.store import repo
from bgpnet.store.etcd import EtcdStore
from bgpnet.store.etcd_options import Options
from bgpnet.store.repo import Repo

BLOCKS, NODES, CHANGES = 5_000, 1_000, 100_000
NOW = 1_763_690_823.0
LISTED_LIMIT = 2.0
POOL = """
apiVersion: bgpnet.io/v1
kind: IPPool
metadata: {name: bench}
spec: {cidr: 10.0.0.0/8, ipipMode: Always}
"""
NODE = """
apiVersion: bgpnet.io/v1
kind: Node
metadata: {name: node%d}
spec: {bgp: {ipv4Address: %s/16}}
"""


def cluster() -> Iterator[Resource]:
    """A pool, and nodes with five blocks each, twenty pods in every block."""
    yield from codec.decode(POOL)
    for number in range(NODES):
        yield from codec.decode(NODE % (number, IPv4Address("172.16.0.1") + number))
    for number in range(BLOCKS):
        owner = Owner(name=f"node{number % NODES}", uid=f"uid-{number % NODES}")
        block = ipam.new_block(ip.network(f"{IPv4Address('10.0.0.0') + 64 * number}/26"), owner, NOW)
        for pod in range(20):
            given = ipam.assign(block, ipam.Claimant(f"{number:032x}{pod:032x}", "eth0", f"default/web-{pod}"), NOW)
            block = given[0] if given else block
        yield block


@contextmanager
def etcd(program: str) -> Iterator[str]:
    """One member on loopback; its endpoint."""
    with tempfile.TemporaryDirectory(prefix="bench-etcd-") as folder:
        client, peer = "127.0.0.1:23790", "127.0.0.1:23800"
        options = f"--listen-client-urls http://{client} --advertise-client-urls http://{client} --listen-peer-urls "
        options += f"http://{peer} --initial-advertise-peer-urls http://{peer} --initial-cluster default=http://{peer}"
        with (Path(folder) / "log").open("wb") as log:
            argv = [program, "--data-dir", f"{folder}/data", "--quota-backend-bytes", str(1 << 31), *options.split()]
            process = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            yield client
        finally:
            process.kill()
            process.wait(10)


def hear(store: EtcdStore) -> float:
    """Seconds until a World has heard all that an agent needs, by one feed a kind, as agent.main starts them."""
    world = World(me=Me("node0", "uid-0", ip.interface("172.16.0.1/16"), "eth0", 1500, "bench"), now=NOW, clock=0.0)
    stop, arrived, queue = threading.Event(), threading.Semaphore(0), list[Event]()

    def emit(event: Event) -> None:
        queue.append(event)
        arrived.release()

    started = time.perf_counter()
    threads = [threading.Thread(target=feeds.datastore, args=(Repo(store), kind, emit, stop)) for kind in NEEDED]
    for thread in threads:
        thread.start()
    while not world.is_synced(*NEEDED):
        assert arrived.acquire(timeout=60), "the datastore was not heard within a minute"
        world, _ = step(world, queue.pop(0))
    spent = time.perf_counter() - started
    stop.set()
    for thread in threads:
        thread.join(10)
    heard = len(world.of_kind(kinds.IPAMBLOCK)), len(world.of_kind(kinds.NODE))
    assert heard == (BLOCKS, NODES), heard
    return spent


def bare(endpoint: str) -> float:
    """Seconds in which etcd3 itself reads the same keys and values."""
    import etcd3

    import bgpnet.store.etcd3_door  # noqa: F401 - etcd3 imports with today's protobuf only after it

    host, _, port = endpoint.partition(":")
    client = etcd3.client(host, int(port), grpc_options={"grpc.max_receive_message_length": 1 << 28}.items())
    started = time.perf_counter()
    read = sum(1 for _ in client.get_prefix(repo.ROOT))
    spent = time.perf_counter() - started
    client.close()
    assert read == BLOCKS + NODES + 1, read
    return spent


def follow(endpoint: str) -> None:
    """In a process of its own: watch the Nodes, and print the memory (MiB) after 20 % and after all changes."""
    store = EtcdStore(Options((endpoint,)))
    many = Repo(store)
    _, revision = many.list(kinds.NODE)
    print("watching", flush=True)
    seen = 0
    for item in many.watch(kinds.NODE, revision, lambda: False):
        seen += item is not None
        if item is not None and seen in (CHANGES // 5, CHANGES):
            print(f"{resident():.2f}", flush=True)
        if seen == CHANGES:
            return


def resident() -> float:
    """This process's resident memory in MiB."""
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmRSS")) / 1024


def watched(endpoint: str, store: EtcdStore) -> tuple[float, float, float]:
    """Memory (MiB) after 20 % and after all changes, and the seconds that all took."""
    argv = [sys.executable, "-m", "benchmarks.store", "--follow", endpoint]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        follower.stdout.readline()
        key = repo.key(kinds.NODE, "node1")
        entry = store.get(key)
        assert entry is not None
        started = time.perf_counter()
        writers = [threading.Thread(target=change, args=(store, key, entry.value, CHANGES // 4)) for _ in range(4)]
        for writer in writers:
            writer.start()
        early, late = float(follower.stdout.readline()), float(follower.stdout.readline())
        spent = time.perf_counter() - started
        for writer in writers:
            writer.join(60)
    return early, late, spent


def change(store: EtcdStore, key: str, value: bytes, times: int) -> None:
    """Write it so many times, each time a little different."""
    node = msgspec.json.decode(value)
    for number in range(times):
        node["metadata"]["annotations"] = {"change": str(number)}
        store.put(key, msgspec.json.encode(node), None)


def run(program: str) -> list[Row]:
    """The whole benchmark."""
    with etcd(program) as endpoint:
        store = EtcdStore(Options((endpoint,)))
        for resource in cluster():
            store.put(repo.key(kind_of(resource), resource.metadata.name), codec.encode(resource), None)
        heard = min(hear(store) for _ in range(3))
        plain = min(bare(endpoint) for _ in range(3))
        early, late, spent = watched(endpoint, store)
        store.close()
    print(f"{CHANGES} changes watched in {spent:.0f} s")
    size = f"{BLOCKS} blocks, {NODES} nodes"
    return [
        Row(f"{size} heard by an agent's World", heard, LISTED_LIMIT, "limit", "s", 1.0),
        Row(f"{size} heard by an agent's World", heard, plain, "bare etcd3", "s", 10.0),
        Row(f"memory of a watch, {CHANGES} changes", late, early, f"after {CHANGES // 5}", "MiB", 1.05),
    ]


def main() -> None:
    """Prints the table, and adds to build/bench.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__.splitlines()[0])
    parser.add_argument("--etcd", default="etcd", help="the etcd program (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"), help="figures (%(default)s)")
    parser.add_argument("--follow", metavar="ENDPOINT", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.follow:
        follow(chosen.follow)
        return
    rows = run(chosen.etcd)
    print(render(rows))
    add(rows, chosen.out)


if __name__ == "__main__":
    main()
