"""A datastore compared with a dictionary, through whatever sequence of calls Hypothesis finds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from time import monotonic
from typing import ClassVar

import kubernetes_store
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from stores import BYTE_STORES, first, mark, value

from bgpnet.errors import AlreadyExists, Compacted, Conflict, NotFound
from bgpnet.store.api import ABSENT, Deleted, Entry, Event, Listing, Revision, Store

POOLS = "/bgpnet/v1/ippools/"
PATIENCE = 30.0
"""Seconds in which a watch tells everything."""

KEYS = st.sampled_from(["/t/a", "/t/a/b", "/t/b", "/t/%", "/t0", "/u/a"])
VALUES = st.binary(max_size=20)
KNOWN = st.sampled_from(["absent", "any", "right", "stale"])


class Model(RuleBasedStateMachine):
    """`entries` is what should be there, `missed` what a watch of `/t/` from `since` should still say."""

    implementation: str
    directory: tempfile.TemporaryDirectory[str]
    store: Store

    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.store = MAKERS[self.implementation](Path(self.directory.name), 1000)
        self.entries: dict[str, Entry] = {}
        self.used: set[Revision] = set()
        self.missed: list[Event] = []
        self.since = self.store.list("/t/").revision
        self.forgotten = False

    def expected(self, key: str, known: str) -> Revision | None:
        there = self.entries.get(key)
        right = there.revision if there else Revision("stale")
        return {"absent": ABSENT, "any": None, "right": right, "stale": Revision("stale")}[known]

    @rule(key=KEYS, value=VALUES, known=KNOWN)
    def put(self, key: str, value: bytes, known: str) -> None:
        expected, there = self.expected(key, known), self.entries.get(key)
        try:
            revision = self.store.put(key, value, expected)
        except AlreadyExists:
            assert expected == ABSENT
            assert there
        except NotFound:
            assert expected
            assert not there
        except Conflict:
            assert there
            assert expected != there.revision
        else:
            assert expected in (None, there.revision if there else ABSENT)
            self.entries[key] = Entry(key, value, revision)
            self.happened(self.entries[key])

    @rule(key=KEYS, known=KNOWN)
    def delete(self, key: str, known: str) -> None:
        expected, there = self.expected(key, known), self.entries.get(key)
        try:
            revision = self.store.delete(key, expected)
        except NotFound:
            assert not there
        except Conflict:
            assert there
            assert expected != there.revision
        else:
            assert there
            assert expected in (None, there.revision)
            del self.entries[key]
            self.happened(Deleted(key, revision))

    def happened(self, event: Event) -> None:
        assert event.revision not in self.used
        self.used.add(event.revision)
        if event.key.startswith("/t/"):
            self.missed.append(event)

    @rule()
    def compact(self) -> None:
        self.store.compact()
        self.forgotten = self.forgotten or (bool(self.missed) and self.implementation != "kubernetes")

    @rule()
    def catch_up(self) -> None:
        seen: list[Event] = []
        deadline = monotonic() + PATIENCE
        try:
            for event in self.store.watch("/t/", self.since, lambda: monotonic() > deadline):
                if event is not None:
                    seen.append(event)
                elif len(seen) >= len(self.missed) and not self.forgotten:  # else it is a busy machine that is late
                    break
            assert seen == self.missed
        except Compacted:
            assert self.used
        else:
            assert not self.forgotten
        self.missed, self.forgotten = [], False
        self.since = self.store.list("/t/").revision

    @invariant()
    def is_what_it_should_be(self) -> None:
        mine = sorted((entry for key, entry in self.entries.items() if key.startswith("/t/")), key=lambda e: e.key)
        assert list(self.store.list("/t/").entries) == mine
        for key in ("/t/a", "/t0"):
            assert self.store.get(key) == self.entries.get(key)

    def teardown(self) -> None:
        self.store.close()
        self.directory.cleanup()


class AsBytes:
    """A Kubernetes datastore as one of bytes: each key is a resource's, each value its mark, told apart by a count."""

    KEYS: ClassVar = {
        "/t/a": f"{POOLS}a", "/t/a/b": f"{POOLS}a.b", "/t/b": f"{POOLS}b", "/t/%": f"{POOLS}0",
        "/t0": "/bgpnet/v1/bgppeers/t0", "/u/a": "/bgpnet/v1/nodes/a",
    }  # fmt: skip
    BACK: ClassVar = {there: here for here, there in KEYS.items()}

    def __init__(self) -> None:
        self.store = kubernetes_store.empty_store()
        self.count = count()

    def _entry(self, entry: Entry) -> Entry:
        return Entry(self.BACK[entry.key], bytes.fromhex(mark(entry).partition("-")[0]), entry.revision)

    def get(self, key: str) -> Entry | None:
        found = self.store.get(self.KEYS[key])
        return self._entry(found) if found else None

    def list(self, prefix: str) -> Listing:
        found = self.store.list(POOLS)
        entries = sorted((self._entry(entry) for entry in found.entries), key=lambda entry: entry.key)
        return Listing(tuple(entries), found.revision)

    def put(self, key: str, given: bytes, expected: Revision | None) -> Revision:
        there = self.KEYS[key]
        return self.store.put(there, value(there, f"{given.hex()}-{next(self.count)}"), expected)

    def delete(self, key: str, expected: Revision | None) -> Revision:
        """The API server does not tell the deletion's revision, but a watch does."""
        there = self.KEYS[key]
        prefix = f"{there.rpartition('/')[0]}/"
        before = self.store.list(prefix).revision
        self.store.delete(there, expected)
        return first(self.store, prefix, before).revision

    def watch(self, prefix: str, after: Revision, stop: Callable[[], bool]) -> Iterator[Event | None]:
        for event in self.store.watch(POOLS, after, stop):
            if isinstance(event, Deleted):
                yield Deleted(self.BACK[event.key], event.revision)
            else:
                yield self._entry(event) if event else None

    def compact(self) -> None:
        """Forgets nothing: its history is the API server's."""

    def close(self) -> None:
        self.store.close()


MAKERS: dict[str, Callable[[Path, int], Store]] = {**BYTE_STORES, "kubernetes": lambda directory, history: AsBytes()}


@pytest.mark.parametrize("implementation", sorted(MAKERS))
def test_a_store_is_a_dictionary_with_a_memory(implementation: str) -> None:
    machine = type("Machine", (Model,), {"implementation": implementation})
    # Their watches say after 0.2 and 0.5 s that they are idle.
    examples = {"etcd-3.4": 8, "etcd-current": 8, "kubernetes": 2}.get(implementation, 25)
    few = settings(max_examples=examples, stateful_step_count=30, deadline=None, derandomize=True, database=None)
    run_state_machine_as_test(machine, settings=few)
