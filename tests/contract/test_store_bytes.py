"""What the datastores that hold bytes promise beside what all do: any key, any value, a history that is theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from stores import first, follow

from bgpnet.errors import Compacted
from bgpnet.store.api import ABSENT, Deleted, Entry, Store

BLUE = "/bgpnet/v1/ippools/blue"
POOLS = "/bgpnet/v1/ippools/"


@pytest.fixture
def store(make_byte_store: Callable[[int], Store]) -> Iterator[Store]:
    """An empty datastore that holds bytes."""
    made = make_byte_store(1000)
    yield made
    made.close()


@pytest.mark.parametrize(
    "value",
    [b"", b"\0", b"a\0b\0", "žluťoučký 🐎".encode(), bytes(range(256)), b"x" * (1 << 20)],
    ids=["empty", "nul", "nul inside", "unicode", "all bytes", "1 MiB"],
)
def test_every_value_comes_back_as_it_was(store: Store, value: bytes) -> None:
    before = store.list(POOLS).revision
    revision = store.put(BLUE, value, None)
    expected = Entry(BLUE, value, revision)
    assert store.get(BLUE) == expected
    assert store.list(POOLS).entries == (expected,)
    assert follow(store, POOLS, before, revision) == [expected]


def test_a_list_is_in_the_order_of_its_keys(store: Store) -> None:
    names = ["b", "a", "a0", "a/b", "B", "ž", "a.b", "10", "9", "🐎", "\uffee"]
    for name in names:
        store.put(f"/t/{name}", name.encode(), ABSENT)
    assert [entry.key for entry in store.list("/t/").entries] == sorted(f"/t/{name}" for name in names)


NEIGHBOURS = ["/a/b", "/a/b.", "/a/b0", "/a/bc", "/a/B/x", "/a/%/x", "/a/_/x", "/a/*/x", "/a/b\\/x", "/a/"]


@pytest.mark.parametrize("prefix", ["/a/b/", "/a/%/", "/a/_/", "/a/*/"])
def test_a_prefix_is_literal_and_has_no_neighbours(store: Store, prefix: str) -> None:
    before = store.list(prefix).revision
    inside = {f"{prefix}{name}" for name in ["", "x", "x/y", "/", "~", "🐎"]}
    for key in sorted({*NEIGHBOURS, *inside}):
        last = store.put(key, b"", ABSENT)
    for key in NEIGHBOURS:
        last = store.put(key, b"again", None)
    last = store.put(f"{prefix}x", b"last", None)
    listed = {entry.key for entry in store.list(prefix).entries}
    expected = inside | {key for key in NEIGHBOURS if key.startswith(prefix)}
    assert listed == expected
    assert {event.key for event in follow(store, prefix, before, last)} == expected


def test_a_watch_from_a_list_sees_exactly_what_came_later_once_and_in_order(store: Store) -> None:
    store.put(f"{POOLS}old", b"old", ABSENT)
    listing = store.list(POOLS)
    first = store.put(BLUE, b"one", ABSENT)
    second = store.put(BLUE, b"two", first)
    store.put("/bgpnet/v1/nodes/n1", b"elsewhere", ABSENT)
    gone = store.delete(BLUE, second)
    again = store.put(BLUE, b"three", ABSENT)
    assert follow(store, POOLS, listing.revision, again) == [
        Entry(BLUE, b"one", first),
        Entry(BLUE, b"two", second),
        Deleted(BLUE, gone),
        Entry(BLUE, b"three", again),
    ]


def test_a_watch_of_thousands_misses_none(store: Store) -> None:
    before = store.list(POOLS).revision
    written = [store.put(f"{POOLS}{n % 7}", str(n).encode(), None) for n in range(990)]
    assert [event.revision for event in follow(store, POOLS, before, written[-1])] == written


def test_compaction_forces_to_list_again(store: Store) -> None:
    before = store.list(POOLS).revision
    store.put(BLUE, b"one", ABSENT)
    store.compact()
    with pytest.raises(Compacted, match="list again"):
        first(store, POOLS, before)
    listing = store.list(POOLS)
    second = store.put(BLUE, b"two", None)
    assert follow(store, POOLS, listing.revision, second) == [Entry(BLUE, b"two", second)]


def test_a_watch_that_kept_up_outlives_compaction(store: Store) -> None:
    watch = store.watch(POOLS, store.list(POOLS).revision, lambda: False)
    assert next(watch) is None
    store.compact()
    assert next(watch) is None
    revision = store.put(BLUE, b"one", ABSENT)
    assert next(event for event in watch if event) == Entry(BLUE, b"one", revision)


def test_history_is_bounded_without_being_told(make_byte_store: Callable[[int], Store]) -> None:
    store = make_byte_store(10)
    before = store.list(POOLS).revision
    written = [store.put(BLUE, str(n).encode(), None) for n in range(40)]
    with pytest.raises(Compacted):
        first(store, POOLS, before)
    with pytest.raises(Compacted):
        first(store, POOLS, written[5])
    assert [event.revision for event in follow(store, POOLS, written[-10], written[-1])] == written[-9:]
    entry = store.get(BLUE)
    assert entry is not None
    assert entry.value == b"39"
    store.close()
