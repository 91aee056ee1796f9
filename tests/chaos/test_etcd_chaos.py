"""Members of an etcd cluster are killed, stopped, frozen, their history is compacted: what was acknowledged is seen.

BGPNET_SOAK=1 runs it for 90 seconds instead of 20.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from etcd_servers import ETCDS, EtcdCluster

from bgpnet.errors import AlreadyExists, Compacted, Conflict, NotFound, StoreUnreachable
from bgpnet.store.api import ABSENT, Deleted, Entry, Event, Revision
from bgpnet.store.etcd import EtcdStore

SECONDS = 90.0 if os.environ.get("BGPNET_SOAK") else 20.0
WRITERS = 3
KEYS = 7
MORE = 60.0
"""Seconds in which a busy machine may make up for what did not happen in those."""
NAP = 3.0
"""Seconds that one of the readers follows, and then looks away while what it has not seen is compacted."""
END = "/t/end"


@dataclass(slots=True)
class Writer:
    """Writes its own keys one after another; the revisions that were acknowledged, by key, in order."""

    number: int
    store: EtcdStore
    acknowledged: list[tuple[str, Revision, bytes | None]] = field(default_factory=list)
    doubts: int = 0
    slowest: float = 0.0

    def run(self, stop: threading.Event, seed: int) -> None:
        chance = random.Random(seed * WRITERS + self.number)  # noqa: S311 - not a secret
        stored: dict[str, Revision] = {}
        count = 0
        deadline = time.monotonic() + SECONDS + MORE + 60
        while not stop.is_set():
            assert time.monotonic() < deadline, "nobody told the writer to stop"
            count += 1
            key = f"/t/{self.number}/{chance.randrange(KEYS)}"
            value = None if stored.get(key) and chance.random() < 0.1 else f"{self.number}.{count}".encode()
            started = time.monotonic()
            try:
                self._write(stored, key, value)
            except (StoreUnreachable, AlreadyExists, Conflict, NotFound):  # after a doubt: look at what is there
                self.doubts += 1
                self._look(stored, key)
            self.slowest = max(self.slowest, time.monotonic() - started)

    def _write(self, stored: dict[str, Revision], key: str, value: bytes | None) -> None:
        known = stored.get(key, ABSENT)
        if value is None:
            revision = self.store.delete(key, known)
            stored.pop(key)
        else:
            revision = stored[key] = self.store.put(key, value, known)
        self.acknowledged.append((key, revision, value))

    def _look(self, stored: dict[str, Revision], key: str) -> None:
        deadline = time.monotonic() + 60
        while True:
            assert time.monotonic() < deadline, "the store never answered a get"
            try:
                entry = self.store.get(key)
            except StoreUnreachable:
                continue
            stored.pop(key, None)
            if entry:
                stored[key] = entry.revision
            return


@dataclass(slots=True)
class Reader:
    """A cache kept by list and watch, as the agent's feed keeps its own."""

    store: EtcdStore
    sleeps: bool = False
    cache: dict[str, Entry] = field(default_factory=dict)
    seen: list[Event] = field(default_factory=list)
    listed: list[Revision] = field(default_factory=list)
    lost: int = 0
    silence: float = 0.0

    def run(self, within: float) -> None:
        """Until it sees the end."""
        deadline = time.monotonic() + within
        after = self.list(deadline)
        while END not in self.cache:
            assert time.monotonic() < deadline, "the watch never saw the end"
            try:
                after = self._follow(after, deadline)
            except Compacted:
                after = self.list(deadline)
            except StoreUnreachable:
                self.lost += 1

    def list(self, deadline: float) -> Revision:
        """List as often as it takes: etcd 3.4 may leave a read unanswered for 5 s after it lost its leader."""
        while True:
            assert time.monotonic() < deadline, "the store never answered a list"
            try:
                listing = self.store.list("/t/")
            except StoreUnreachable:
                self.lost += 1
                continue
            self.cache = {entry.key: entry for entry in listing.entries}
            self.listed.append(listing.revision)
            return listing.revision

    def _follow(self, after: Revision, deadline: float) -> Revision:
        spoken = begun = time.monotonic()
        for event in self.store.watch("/t/", after, lambda: time.monotonic() > deadline):
            if event is None:
                continue
            self.silence = max(self.silence, time.monotonic() - spoken)
            spoken = time.monotonic()
            self.seen.append(event)
            after = event.revision
            if isinstance(event, Deleted):
                self.cache.pop(event.key, None)
            else:
                self.cache[event.key] = event
            if event.key == END:
                break
            if self.sleeps and time.monotonic() - begun > NAP:
                threading.Event().wait(NAP)
                with suppress(StoreUnreachable):
                    self.store.compact()
                break
        return after


def torment(cluster: EtcdCluster, seconds: float, seed: int, enough: Callable[[], bool]) -> Counter[str]:
    """One member at a time: kill, stop or freeze it; now and then history goes. For so long, and until it is enough.

    Only for the main thread: members die with the thread that started them (PR_SET_PDEATHSIG, prctl(2)).
    """
    chance = random.Random(seed)  # noqa: S311 - not a secret
    deeds: Counter[str] = Counter()
    store = EtcdStore(cluster.options)
    pause = threading.Event()
    until = time.monotonic() + seconds
    while time.monotonic() < until or (not enough() and time.monotonic() < until + MORE):
        pause.wait(chance.uniform(0.2, 1.0))
        member = chance.choice(cluster.members)
        deed = chance.choice(["SIGKILL", "SIGTERM", "SIGSTOP", "compaction"])
        deeds[deed] += 1
        if deed == "compaction":
            try:
                store.compact()
            except StoreUnreachable:
                deeds["compaction failed"] += 1
        elif deed == "SIGSTOP":
            member.send(signal.SIGSTOP)
            pause.wait(chance.uniform(1, 6))
            member.send(signal.SIGCONT)
        else:
            member.stop(signal.Signals[deed])
            pause.wait(chance.uniform(0, 1.5))
            member.start()
        pause.wait(1)  # a majority has to be well before the next one suffers
    store.close()
    return deeds


def number(revision: Revision) -> int:
    return int(revision.partition(".")[2])


@pytest.mark.timeout(SECONDS + 600)
@pytest.mark.parametrize("program", ETCDS)
def test_what_was_acknowledged_is_seen_once_and_in_order(tmp_path: Path, program: str) -> None:
    cluster = EtcdCluster(tmp_path, ETCDS[program](), 3).start().await_leader()
    seed = random.randrange(1 << 30)  # noqa: S311 - not a secret
    print(f"seed {seed}")
    stores = [EtcdStore(cluster.options) for _ in range(WRITERS + 2)]
    writers = [Writer(each, stores[each]) for each in range(WRITERS)]
    reader, sleeper = Reader(stores[-1]), Reader(stores[-2], sleeps=True)
    stop = threading.Event()
    try:
        with ThreadPoolExecutor(WRITERS + 2) as pool:
            reading = [pool.submit(one.run, SECONDS + MORE + 180) for one in (reader, sleeper)]
            working = [pool.submit(writer.run, stop, seed) for writer in writers]
            try:
                deeds = torment(cluster, SECONDS, seed, lambda: len(sleeper.listed) > 1 and len(reader.seen) > 100)
            finally:
                stop.set()
            for each in working:
                each.result(90)
            cluster.start().await_leader()
            tell_the_end(stores[0])
            for one in reading:
                one.result(90)
        print(f"{sum(len(writer.acknowledged) for writer in writers)} writes acknowledged; {dict(deeds)}")
        final = Reader(stores[0])
        final.list(time.monotonic() + 30)
        for one in (reader, sleeper):
            report(writers, one)
            check(writers, one)
            assert one.cache == final.cache
        assert len(reader.seen) > 100
        assert len(sleeper.listed) > 1, "the reader that sleeps was never behind a compaction"
    finally:
        stop.set()
        for store in stores:
            store.close()
        cluster.close()


def tell_the_end(store: EtcdStore) -> None:
    """As soon as the cluster takes it: it may look for another leader once more."""
    deadline = time.monotonic() + 60
    while True:
        try:
            store.put(END, b"", ABSENT)
        except StoreUnreachable:
            assert time.monotonic() < deadline, "the store never took the end"
        except AlreadyExists:  # the attempt before this one was carried out
            return
        else:
            return


def report(writers: list[Writer], reader: Reader) -> None:
    print(
        f"{len(reader.seen)} events seen by the reader that {'sleeps' if reader.sleeps else 'follows'}, "
        f"{sum(writer.doubts for writer in writers)} writes left in doubt, {len(reader.listed) - 1} lists after "
        f"compaction, {reader.lost} watches and lists given up, slowest write {max(w.slowest for w in writers):.1f} s, "
        f"longest silence {reader.silence:.1f} s"
    )


def check(writers: list[Writer], reader: Reader) -> None:
    """Each acknowledged write is seen, or was passed over by a list after compaction; none twice, all in order."""
    revisions = [number(event.revision) for event in reader.seen]
    assert revisions == sorted(set(revisions)), "an event came twice, or late"
    seen = {number(event.revision): event for event in reader.seen}
    passed = gaps(revisions, [number(revision) for revision in reader.listed])
    missing = 0
    for key, revision, value in (each for writer in writers for each in writer.acknowledged):
        if revision == ABSENT:  # a deletion in doubt whose history was compacted: whoever follows sees the key gone
            continue
        event = seen.get(number(revision))
        if event is None:
            missing += 1
            at = number(revision)
            assert any(low < at <= high for low, high in passed), f"{key} at {revision} was never seen"
        else:
            assert event == (Deleted(key, revision) if value is None else Entry(key, value, revision))
    print(f"{missing} of them superseded before a list after compaction; all others seen once and in order")


def gaps(revisions: list[int], listed: list[int]) -> list[tuple[int, int]]:
    """What each list may stand for: all from the last event before it to the list itself."""
    return [(max((each for each in revisions if each <= high), default=0), high) for high in listed]
