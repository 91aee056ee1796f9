"""Writers of a datastore are killed with -9 at any moment: what they acknowledged is there, nothing is half there."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bgpnet.store.api import ABSENT, Deleted, Entry, Event, Revision
from bgpnet.store.sqlite import SqliteStore

WRITER = Path(__file__).with_name("store_writer.py")
SLOTS = 4
KILLS = 1_000 if os.environ.get("BGPNET_SOAK") else 60


@dataclass(slots=True)
class Tally:
    """What the killed writers said: `revision key value` of each acknowledged write."""

    kills: int = 0
    acknowledged: list[tuple[str, str, str]] = field(default_factory=list)


def kill_writers(path: Path, slot: int, kills: int, seed: int) -> Tally:
    """Start a writer, kill it after some acknowledgements and at most two writes' time more; so many times."""
    chance = random.Random(seed * SLOTS + slot)  # noqa: S311 - not a secret
    tally = Tally()
    for life in range(kills):
        name = f"{slot}.{life}"
        writer = subprocess.Popen([sys.executable, WRITER, path, name], stdout=subprocess.PIPE, bufsize=0)
        assert writer.stdout
        said = b""
        wanted = chance.randrange(2, 200)
        while said.count(b"\n") < wanted:
            more = os.read(writer.stdout.fileno(), 65536)
            assert more, f"the writer ended by itself: {said[-200:]!r}"
            said += more
        time.sleep(chance.uniform(0, 0.002))
        writer.kill()
        said += writer.communicate(timeout=120)[0]
        tally.kills += 1
        tally.acknowledged += [parse(line) for line in said.decode().splitlines()[1:]]
    return tally


def parse(line: str) -> tuple[str, str, str]:
    revision, key, value = line.split()
    return revision, key, value


def watch_all(store: SqliteStore, after: Revision, seen: list[Event], failed: threading.Event) -> None:
    for event in store.watch("/t/", after, failed.is_set):
        if event is not None:
            seen.append(event)
            if event.key == "/t/end":
                return


@pytest.mark.timeout(1800)
def test_nothing_that_was_acknowledged_is_lost_when_writers_are_killed(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(str(path))
    seen: list[Event] = []
    failed = threading.Event()
    seed = random.randrange(1 << 30)  # noqa: S311 - not a secret
    print(f"seed {seed}")
    with ThreadPoolExecutor(SLOTS + 1) as pool:
        watching = pool.submit(watch_all, store, store.list("/t/").revision, seen, failed)
        try:
            slots = [pool.submit(kill_writers, path, n, KILLS // SLOTS, seed) for n in range(SLOTS)]
            tallies = [slot.result() for slot in slots]
            store.put("/t/end", b"", ABSENT)
            watching.result(60)
        finally:
            failed.set()
    acknowledged = [line for tally in tallies for line in tally.acknowledged]
    kills = sum(tally.kills for tally in tallies)
    unsaid = len(seen) - 1 - len(acknowledged)
    print(f"{kills} kills, {len(acknowledged)} acknowledged writes, {unsaid} committed but not acknowledged")
    assert kills >= 50
    assert len(acknowledged) > 10 * kills
    check_history(seen, acknowledged)
    assert 0 <= unsaid <= kills
    check_contents(path, store, seen)
    store.close()


def check_history(seen: list[Event], acknowledged: list[tuple[str, str, str]]) -> None:
    """The watch said each acknowledged write once, in order, and counted without a gap."""
    said = [(event.revision, event.key, event.value.decode() if isinstance(event, Entry) else "-") for event in seen]
    assert Counter(acknowledged) - Counter(said) == Counter()
    numbers = [int(revision.partition(".")[2]) for revision, _, _ in said]
    assert numbers == list(range(1, len(said) + 1))
    counted = [int(value) for _, key, value in said if key == "/t/counter"]
    assert counted == list(range(1, len(counted) + 1))


def check_contents(path: Path, store: SqliteStore, seen: list[Event]) -> None:
    """What is stored is what all events together come to, for us and for a newcomer, and the file is whole."""
    sum_of_all: dict[str, Event] = {event.key: event for event in seen}
    expected = sorted((e for e in sum_of_all.values() if not isinstance(e, Deleted)), key=lambda entry: entry.key)
    newcomer = SqliteStore(str(path))
    assert list(store.list("/t/").entries) == expected
    assert newcomer.list("/t/").entries == store.list("/t/").entries
    newcomer.close()
    raw = sqlite3.connect(path)
    assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    raw.close()


def test_a_datastore_whose_makers_are_killed_can_be_opened(tmp_path: Path) -> None:
    half_made = 0
    attempts = 300 if os.environ.get("BGPNET_SOAK") else 30
    for attempt in range(attempts):
        path = tmp_path / str(attempt) / "store.db"
        maker = subprocess.Popen([sys.executable, WRITER, path, "w"], stdout=subprocess.PIPE, bufsize=0)
        assert maker.stdout
        assert os.read(maker.stdout.fileno(), 6) == b"ready\n"
        time.sleep(0.015 * attempt / attempts)
        maker.kill()
        said = maker.communicate(timeout=120)[0].decode()
        half_made += not said
        store = SqliteStore(str(path))
        acknowledged = dict(line.split()[1:] for line in said.splitlines())
        listed = {entry.key: entry.value.decode() for entry in store.list("/t/").entries}
        unsaid = {key for key in acknowledged | listed if listed.get(key, "-") != acknowledged.get(key, "-")}
        assert len(unsaid) <= 1
        store.put("/t/after", b"", ABSENT)
        store.close()
    print(f"{half_made} of {attempts} killed before their first acknowledgement")
    assert half_made > 0
