"""What every datastore promises (bgpnet/store/api.py), with keys and values of resources, which all of them hold."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from stores import first, follow, mark, marks, value

from bgpnet.errors import AlreadyExists, BgpnetError, Compacted, Conflict, NotFound
from bgpnet.store.api import ABSENT, Entry, Revision, Store

POOLS = "/bgpnet/v1/ippools/"
BLUE = f"{POOLS}blue"
NODE = "/bgpnet/v1/nodes/n1"
ONE, TWO, THREE = (value(BLUE, each) for each in ("one", "two", "three"))


def test_a_new_store_is_empty(store: Store) -> None:
    assert store.get(BLUE) is None
    assert store.list(POOLS).entries == ()


def test_what_was_put_is_got(store: Store) -> None:
    revision = store.put(BLUE, ONE, ABSENT)
    entry = store.get(BLUE)
    assert entry is not None
    assert (entry.key, mark(entry), entry.revision) == (BLUE, "one", revision)
    assert store.list(POOLS).entries == (entry,)


def test_create_refuses_a_key_that_exists(store: Store) -> None:
    store.put(BLUE, ONE, ABSENT)
    with pytest.raises(AlreadyExists, match=f"^{BLUE}: "):
        store.put(BLUE, TWO, ABSENT)
    assert mark(store.get(BLUE)) == "one"


def test_a_write_with_the_stored_revision_goes_through(store: Store) -> None:
    first = store.put(BLUE, ONE, ABSENT)
    second = store.put(BLUE, TWO, first)
    assert second != first
    entry = store.get(BLUE)
    assert entry is not None
    assert (mark(entry), entry.revision) == ("two", second)


def test_a_write_with_an_older_revision_is_a_conflict(store: Store) -> None:
    first = store.put(BLUE, ONE, ABSENT)
    second = store.put(BLUE, TWO, first)
    with pytest.raises(Conflict, match=f"^{BLUE}: .*{second}.*{first}"):
        store.put(BLUE, THREE, first)
    assert mark(store.get(BLUE)) == "two"


def test_a_write_with_the_revision_of_another_datastore_is_a_conflict(store: Store) -> None:
    store.put(BLUE, ONE, ABSENT)
    with pytest.raises(Conflict):
        store.put(BLUE, TWO, Revision("1"))


def test_an_update_of_a_key_that_is_gone_is_not_found(store: Store) -> None:
    first = store.put(BLUE, ONE, ABSENT)
    store.delete(BLUE, None)
    with pytest.raises(NotFound, match=f"^{BLUE}: "):
        store.put(BLUE, TWO, first)


def test_an_unconditional_write_creates_and_replaces(store: Store) -> None:
    store.put(BLUE, ONE, None)
    store.put(BLUE, TWO, None)
    assert mark(store.get(BLUE)) == "two"


def test_delete_with_its_revision(store: Store) -> None:
    first = store.put(BLUE, ONE, ABSENT)
    gone = store.delete(BLUE, first)
    assert gone != first
    assert store.get(BLUE) is None
    assert store.list(POOLS).entries == ()


def test_delete_with_an_older_revision_is_a_conflict(store: Store) -> None:
    first = store.put(BLUE, ONE, ABSENT)
    store.put(BLUE, TWO, first)
    with pytest.raises(Conflict):
        store.delete(BLUE, first)
    assert mark(store.get(BLUE)) == "two"


@pytest.mark.parametrize("known", [None, ABSENT, Revision("1")])
def test_delete_of_nothing_is_not_found(store: Store, known: Revision | None) -> None:
    with pytest.raises(NotFound, match=f"^{BLUE}: "):
        store.delete(BLUE, known)


def test_what_is_created_again_has_another_revision(store: Store) -> None:
    first = store.put(BLUE, ONE, ABSENT)
    store.delete(BLUE, first)
    again = store.put(BLUE, ONE, ABSENT)
    assert again != first
    with pytest.raises(Conflict):
        store.delete(BLUE, first)


def test_a_prefix_without_its_slash_is_a_mistake(store: Store) -> None:
    with pytest.raises(ValueError, match="must end in '/'"):
        store.list("/a/b")


def test_a_watch_from_a_list_sees_exactly_what_came_later_once_and_in_order(store: Store) -> None:
    store.put(f"{POOLS}old", value(f"{POOLS}old", "old"), ABSENT)
    listing = store.list(POOLS)
    first = store.put(BLUE, ONE, ABSENT)
    second = store.put(BLUE, TWO, first)
    store.put(NODE, value(NODE, "elsewhere"), ABSENT)
    gone = store.delete(BLUE, second)
    again = store.put(BLUE, THREE, ABSENT)
    seen = follow(store, POOLS, listing.revision, again)
    assert marks(seen) == [
        (BLUE, "one", first),
        (BLUE, "two", second),
        (BLUE, None, seen[2].revision),
        (BLUE, "three", again),
    ]
    assert gone in (seen[2].revision, ABSENT)
    assert seen[2].revision not in (first, second, again)


def test_a_watch_of_many_misses_none(store: Store) -> None:
    before = store.list(POOLS).revision
    keys = [f"{POOLS}{n % 7}" for n in range(300)]
    written = [store.put(key, value(key, n), None) for n, key in enumerate(keys)]
    assert [event.revision for event in follow(store, POOLS, before, written[-1])] == written


def test_a_list_is_in_the_order_of_its_keys_and_has_them_all(store: Store) -> None:
    names = ["b", "a", "a0", "a.b", "10", "9", *(f"x{n}" for n in range(600))]
    for name in names:
        store.put(f"{POOLS}{name}", value(f"{POOLS}{name}", name), ABSENT)
    store.put(NODE, value(NODE, "elsewhere"), ABSENT)
    assert [entry.key for entry in store.list(POOLS).entries] == sorted(f"{POOLS}{name}" for name in names)


def test_everything_is_under_the_root(store: Store) -> None:
    for key in (BLUE, NODE):
        store.put(key, value(key, "one"), ABSENT)
    for prefix in ("/", "/bgpnet/", "/bgpnet/v1/"):
        assert [(entry.key, mark(entry)) for entry in store.list(prefix).entries] == [(BLUE, "one"), (NODE, "one")]
    assert store.list("/calico/").entries == ()
    assert store.get("/calico/x") is None


def test_a_watch_goes_on_from_any_event(store: Store) -> None:
    before = store.list(POOLS).revision
    written = [store.put(BLUE, value(BLUE, n), None) for n in range(5)]
    seen = follow(store, POOLS, before, written[-1])
    assert [event.revision for event in seen] == written
    assert follow(store, POOLS, seen[2].revision, written[-1]) == seen[3:]


def test_a_refused_write_is_no_event(store: Store) -> None:
    before = store.list(POOLS).revision
    first = store.put(BLUE, ONE, ABSENT)
    with pytest.raises(AlreadyExists):
        store.put(BLUE, TWO, ABSENT)
    with pytest.raises(NotFound):
        store.delete(f"{POOLS}red", None)
    second = store.put(BLUE, TWO, first)
    assert [event.revision for event in follow(store, POOLS, before, second)] == [first, second]


def test_several_watches_each_see_their_prefix_as_it_happens(store: Store) -> None:
    prefixes = [f"/bgpnet/v1/{kind}/" for kind in ("ippools", "nodes", "bgppeers")]
    befores = {prefix: store.list(prefix).revision for prefix in prefixes}

    def see(prefix: str) -> list[str]:
        values: list[str] = []
        deadline = time.monotonic() + 60
        for event in store.watch(prefix, befores[prefix], lambda: time.monotonic() > deadline or len(values) == 50):
            if isinstance(event, Entry):
                values.append(mark(event))
        return values

    with ThreadPoolExecutor() as pool:
        watches = {prefix: pool.submit(see, prefix) for prefix in prefixes}
        for number in range(50):
            for prefix in prefixes:
                store.put(f"{prefix}x", value(f"{prefix}x", number), None)
        for prefix in prefixes:
            assert watches[prefix].result(90) == [str(number) for number in range(50)]


def test_news_come_at_once(store: Store) -> None:
    """At least once in five times: a busy machine may be slow, but who looks only now and then is late each time."""
    assert any(delay_of_news(store) < 0.25 for _ in range(5))


def delay_of_news(store: Store) -> float:
    """Seconds from a write, amid a watch's idle wait, to its event."""
    before = store.list(POOLS).revision
    caught_up = threading.Event()
    arrived: list[float] = []
    written_before = before

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
    store.put(BLUE, value(BLUE, written_before), None)
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
        if time.monotonic() - started > 2 and nones >= 2 and not stop.is_set():
            stop.set()
            asked = time.monotonic()
    assert 2 <= nones <= 10
    assert time.monotonic() - asked < 5


def test_a_watch_beside_foreign_traffic_stops_soon(store: Store) -> None:
    done, stop = threading.Event(), threading.Event()
    asked = 0.0

    def write() -> None:
        for number in itertools.count():
            if done.wait(0.01):
                return
            store.put(NODE, value(NODE, number), None)

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


@pytest.mark.parametrize("strange", [ABSENT, Revision("1"), Revision("cafe.7"), Revision("🐎")])
def test_a_watch_from_the_revision_of_another_datastore_has_to_list_again(store: Store, strange: Revision) -> None:
    with pytest.raises(Compacted):
        first(store, POOLS, strange)


@pytest.mark.timeout(600)
def test_threads_that_compare_and_swap_lose_nothing(store: Store) -> None:
    store.put(BLUE, value(BLUE, 0), ABSENT)
    before = store.list(POOLS).revision
    conflicts = threads_increment(store, threads=8, times=25)
    assert conflicts > 0
    entry = store.get(BLUE)
    assert entry is not None
    assert mark(entry) == "200"
    seen = follow(store, POOLS, before, entry.revision)
    assert [mark(event) for event in seen if isinstance(event, Entry)] == [str(n) for n in range(1, 201)]


def threads_increment(store: Store, threads: int, times: int) -> int:
    """All begin at once; how many conflicts there were. The first swap of each is made from one same revision."""
    barrier = threading.Barrier(threads)

    def work() -> int:
        conflicts = done = 0
        while done < times:
            entry = store.get(BLUE)
            assert entry is not None
            if not conflicts and not done:
                barrier.wait(60)
            try:
                store.put(BLUE, value(BLUE, int(mark(entry)) + 1), entry.revision)
                done += 1
            except Conflict:
                conflicts += 1
        return conflicts

    with ThreadPoolExecutor(threads) as pool:
        return sum(future.result(240) for future in [pool.submit(work) for _ in range(threads)])


def test_of_many_creators_one_succeeds(store: Store) -> None:
    barrier = threading.Barrier(8)

    def create(number: int) -> BgpnetError | Revision:
        barrier.wait(60)
        try:
            return store.put(BLUE, value(BLUE, number), ABSENT)
        except AlreadyExists as refused:
            return refused

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(8)))
    winners = [number for number, answer in enumerate(answers) if isinstance(answer, str)]
    assert len(winners) == 1
    assert mark(store.get(BLUE)) == str(winners[0])
