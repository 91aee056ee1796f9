"""What every datastore promises (bgpnet/store/api.py)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from stores import follow

from bgpnet.errors import AlreadyExists, BgpnetError, Compacted, Conflict, NotFound
from bgpnet.store.api import ABSENT, Deleted, Entry, Revision, Store

BLUE = "/bgpnet/v1/ippools/blue"
POOLS = "/bgpnet/v1/ippools/"


def test_a_new_store_is_empty(store: Store) -> None:
    assert store.get(BLUE) is None
    assert store.list(POOLS).entries == ()


def test_what_was_put_is_got(store: Store) -> None:
    revision = store.put(BLUE, b"one", ABSENT)
    assert store.get(BLUE) == Entry(BLUE, b"one", revision)


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


def test_create_refuses_a_key_that_exists(store: Store) -> None:
    store.put(BLUE, b"one", ABSENT)
    with pytest.raises(AlreadyExists, match=f"^{BLUE}: "):
        store.put(BLUE, b"two", ABSENT)
    assert value(store) == b"one"


def test_a_write_with_the_stored_revision_goes_through(store: Store) -> None:
    first = store.put(BLUE, b"one", ABSENT)
    second = store.put(BLUE, b"two", first)
    assert second != first
    assert store.get(BLUE) == Entry(BLUE, b"two", second)


def test_a_write_with_an_older_revision_is_a_conflict(store: Store) -> None:
    first = store.put(BLUE, b"one", ABSENT)
    second = store.put(BLUE, b"two", first)
    with pytest.raises(Conflict, match=f"^{BLUE}: .*{second}.*{first}"):
        store.put(BLUE, b"three", first)
    assert value(store) == b"two"


def test_a_write_with_the_revision_of_another_datastore_is_a_conflict(store: Store) -> None:
    store.put(BLUE, b"one", ABSENT)
    with pytest.raises(Conflict):
        store.put(BLUE, b"two", Revision("1"))


def test_an_update_of_a_key_that_is_gone_is_not_found(store: Store) -> None:
    first = store.put(BLUE, b"one", ABSENT)
    store.delete(BLUE, None)
    with pytest.raises(NotFound, match=f"^{BLUE}: "):
        store.put(BLUE, b"two", first)


def test_an_unconditional_write_creates_and_replaces(store: Store) -> None:
    store.put(BLUE, b"one", None)
    store.put(BLUE, b"two", None)
    assert value(store) == b"two"


def test_delete_with_its_revision(store: Store) -> None:
    first = store.put(BLUE, b"one", ABSENT)
    gone = store.delete(BLUE, first)
    assert gone != first
    assert store.get(BLUE) is None
    assert store.list(POOLS).entries == ()


def test_delete_with_an_older_revision_is_a_conflict(store: Store) -> None:
    first = store.put(BLUE, b"one", ABSENT)
    store.put(BLUE, b"two", first)
    with pytest.raises(Conflict):
        store.delete(BLUE, first)
    assert value(store) == b"two"


@pytest.mark.parametrize("known", [None, ABSENT, Revision("1")])
def test_delete_of_nothing_is_not_found(store: Store, known: Revision | None) -> None:
    with pytest.raises(NotFound, match=f"^{BLUE}: "):
        store.delete(BLUE, known)


def test_what_is_created_again_has_another_revision(store: Store) -> None:
    first = store.put(BLUE, b"one", ABSENT)
    store.delete(BLUE, first)
    again = store.put(BLUE, b"one", ABSENT)
    assert again != first
    with pytest.raises(Conflict):
        store.delete(BLUE, first)


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


def test_a_prefix_without_its_slash_is_a_mistake(store: Store) -> None:
    with pytest.raises(ValueError, match="must end in '/'"):
        store.list("/a/b")


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


def test_a_watch_goes_on_from_any_event(store: Store) -> None:
    before = store.list(POOLS).revision
    written = [store.put(BLUE, str(n).encode(), None) for n in range(5)]
    seen = follow(store, POOLS, before, written[-1])
    assert [event.revision for event in seen] == written
    assert follow(store, POOLS, seen[2].revision, written[-1]) == seen[3:]


def test_a_watch_of_thousands_misses_none(store: Store) -> None:
    before = store.list(POOLS).revision
    written = [store.put(f"{POOLS}{n % 7}", str(n).encode(), None) for n in range(990)]
    assert [event.revision for event in follow(store, POOLS, before, written[-1])] == written


def test_a_refused_write_is_no_event(store: Store) -> None:
    before = store.list(POOLS).revision
    first = store.put(BLUE, b"one", ABSENT)
    with pytest.raises(AlreadyExists):
        store.put(BLUE, b"two", ABSENT)
    with pytest.raises(NotFound):
        store.delete(f"{POOLS}red", None)
    second = store.put(BLUE, b"two", first)
    assert [event.revision for event in follow(store, POOLS, before, second)] == [first, second]


def test_several_watches_each_see_their_prefix_as_it_happens(store: Store) -> None:
    prefixes = [f"/bgpnet/v1/{kind}/" for kind in ("ippools", "nodes", "bgppeers")]
    befores = {prefix: store.list(prefix).revision for prefix in prefixes}

    def see(prefix: str) -> list[bytes]:
        values: list[bytes] = []
        deadline = time.monotonic() + 60
        for event in store.watch(prefix, befores[prefix], lambda: time.monotonic() > deadline or len(values) == 50):
            if isinstance(event, Entry):
                values.append(event.value)
        return values

    with ThreadPoolExecutor() as pool:
        watches = {prefix: pool.submit(see, prefix) for prefix in prefixes}
        for number in range(50):
            for prefix in prefixes:
                store.put(f"{prefix}x", str(number).encode(), None)
        for prefix in prefixes:
            assert watches[prefix].result(90) == [str(number).encode() for number in range(50)]


def test_news_come_at_once(store: Store) -> None:
    """At least once in five times: a busy machine may be slow, but who looks only now and then is late each time."""
    assert any(delay_of_news(store) < 0.25 for _ in range(5))


def delay_of_news(store: Store) -> float:
    """Seconds from a write, amid a watch's idle wait, to its event."""
    before = store.list(POOLS).revision
    caught_up = threading.Event()
    arrived: list[float] = []

    def see() -> None:
        deadline = time.monotonic() + 60
        for event in store.watch(POOLS, before, lambda: time.monotonic() > deadline):
            if event is not None:
                arrived.append(time.monotonic())
                return
            caught_up.set()

    watching = threading.Thread(target=see)
    watching.start()
    assert caught_up.wait(60)
    time.sleep(0.1)  # well inside the idle wait, not before it
    store.put(BLUE, b"", None)
    written = time.monotonic()
    watching.join(60)
    return arrived[0] - written


def test_an_idle_watch_says_so_and_stops_soon(store: Store) -> None:
    stop = threading.Event()
    started = time.monotonic()
    nones = 0
    for event in store.watch(POOLS, store.list(POOLS).revision, stop.is_set):
        assert event is None
        nones += 1
        if time.monotonic() - started > 2 and not stop.is_set():
            stop.set()
            asked = time.monotonic()
    assert 2 <= nones <= 10
    assert time.monotonic() - asked < 5


def test_a_watch_beside_foreign_traffic_stops_soon(store: Store) -> None:
    done, stop = threading.Event(), threading.Event()
    asked = 0.0

    def write() -> None:
        while not done.wait(0.01):
            store.put("/elsewhere/x", b"", None)

    writer = threading.Thread(target=write)
    writer.start()
    started = time.monotonic()
    for event in store.watch(POOLS, store.list(POOLS).revision, stop.is_set):
        assert event is None
        if time.monotonic() - started > 1 and not stop.is_set():
            asked = time.monotonic()
            stop.set()
    assert 0 < time.monotonic() - asked < 5
    done.set()
    writer.join(60)


def test_compaction_forces_to_list_again(store: Store) -> None:
    before = store.list(POOLS).revision
    store.put(BLUE, b"one", ABSENT)
    store.compact()
    with pytest.raises(Compacted, match="list again"):
        next(store.watch(POOLS, before, lambda: False))
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


@pytest.mark.parametrize("strange", [ABSENT, Revision("1"), Revision("cafe.7"), Revision("🐎")])
def test_a_watch_from_the_revision_of_another_datastore_has_to_list_again(store: Store, strange: Revision) -> None:
    with pytest.raises(Compacted):
        next(store.watch(POOLS, strange, lambda: False))


def test_history_is_bounded_without_being_told(make_store: Callable[[int], Store]) -> None:
    store = make_store(10)
    before = store.list(POOLS).revision
    written = [store.put(BLUE, str(n).encode(), None) for n in range(40)]
    with pytest.raises(Compacted):
        next(store.watch(POOLS, before, lambda: False))
    with pytest.raises(Compacted):
        next(store.watch(POOLS, written[5], lambda: False))
    assert [event.revision for event in follow(store, POOLS, written[-10], written[-1])] == written[-9:]
    assert value(store) == b"39"
    store.close()


def test_threads_that_compare_and_swap_lose_nothing(store: Store) -> None:
    store.put("/t/counter", b"0", ABSENT)
    before = store.list("/t/").revision
    conflicts = threads_increment(store, threads=8, times=25)
    assert conflicts > 0
    entry = store.get("/t/counter")
    assert entry is not None
    assert entry.value == b"200"
    seen = follow(store, "/t/", before, entry.revision)
    assert [event.value for event in seen if isinstance(event, Entry)] == [str(n).encode() for n in range(1, 201)]


def threads_increment(store: Store, threads: int, times: int) -> int:
    """All begin at once; how many conflicts there were. The first swap of each is made from one same revision."""
    barrier = threading.Barrier(threads)

    def work() -> int:
        conflicts = done = 0
        while done < times:
            entry = store.get("/t/counter")
            assert entry is not None
            if not conflicts and not done:
                barrier.wait(60)
            try:
                store.put("/t/counter", str(int(entry.value) + 1).encode(), entry.revision)
                done += 1
            except Conflict:
                conflicts += 1
        return conflicts

    with ThreadPoolExecutor(threads) as pool:
        return sum(future.result(60) for future in [pool.submit(work) for _ in range(threads)])


def test_of_many_creators_one_succeeds(store: Store) -> None:
    barrier = threading.Barrier(8)

    def create(number: int) -> BgpnetError | Revision:
        barrier.wait(60)
        try:
            return store.put(BLUE, str(number).encode(), ABSENT)
        except AlreadyExists as refused:
            return refused

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(8)))
    winners = [number for number, answer in enumerate(answers) if isinstance(answer, str)]
    assert len(winners) == 1
    assert value(store) == str(winners[0]).encode()


def value(store: Store) -> bytes:
    entry = store.get(BLUE)
    assert entry is not None
    return entry.value
