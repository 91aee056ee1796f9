"""A datastore compared with a dictionary, through whatever sequence of calls Hypothesis finds."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from stores import BYTE_STORES

from bgpnet.errors import AlreadyExists, Compacted, Conflict, NotFound
from bgpnet.store.api import ABSENT, Deleted, Entry, Event, Revision, Store

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
        self.store = BYTE_STORES[self.implementation](Path(self.directory.name), 1000)
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
        self.forgotten = self.forgotten or bool(self.missed)

    @rule()
    def catch_up(self) -> None:
        seen: list[Event] = []
        try:
            for event in self.store.watch("/t/", self.since, lambda: False):
                if event is None:
                    break
                seen.append(event)
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


@pytest.mark.parametrize("implementation", sorted(BYTE_STORES))
def test_a_store_is_a_dictionary_with_a_memory(implementation: str) -> None:
    machine = type("Machine", (Model,), {"implementation": implementation})
    examples = 8 if implementation.startswith("etcd") else 25  # its watches say after 0.2 s that they are idle
    few = settings(max_examples=examples, stateful_step_count=30, deadline=None, derandomize=True, database=None)
    run_state_machine_as_test(machine, settings=few)
