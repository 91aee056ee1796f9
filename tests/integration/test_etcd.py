"""etcd as clusters are run: members that die, hang and lose their quorum, TLS, users."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import certificates
import pytest
from etcd_servers import ETCDS, USER, EtcdCluster, lock

from bgpnet.errors import Compacted, StoreError, StoreUnreachable
from bgpnet.store.api import ABSENT, Entry, Revision, Store
from bgpnet.store.etcd import EtcdStore
from bgpnet.store.etcd_cluster import DEADLINE
from bgpnet.store.etcd_options import Options, read
from bgpnet.store.etcd_watch import LOST
from bgpnet.store.factory import open_store

BLUE = "/bgpnet/v1/ippools/blue"
POOLS = "/bgpnet/v1/ippools/"


@pytest.fixture(scope="module", params=ETCDS)
def program(request: pytest.FixtureRequest) -> str:
    """Debian's etcd, and a current one."""
    return ETCDS[request.param]()


@pytest.fixture
def three(tmp_path: Path, program: str) -> Iterator[EtcdCluster]:
    """A cluster of three members."""
    cluster = EtcdCluster(tmp_path, program, 3).start().await_leader()
    yield cluster
    cluster.close()


@pytest.fixture
def one(tmp_path: Path, program: str) -> Iterator[EtcdCluster]:
    """A cluster of one."""
    cluster = EtcdCluster(tmp_path, program).start().await_leader()
    yield cluster
    cluster.close()


class Watcher:
    """A thread that watches the pools; `problem` is what ended it."""

    def __init__(self, store: Store) -> None:
        self.seen: list[bytes] = []
        self.problem: StoreError | None = None
        self._stop = threading.Event()
        self._store = store
        self._after = store.list(POOLS).revision
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            for event in self._store.watch(POOLS, self._after, self._stop.is_set):
                if isinstance(event, Entry):
                    self.seen.append(event.value)
        except StoreError as problem:
            self.problem = problem

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


def wait_until(true: Callable[[], object], within: float) -> float:
    """Seconds that it took."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < within, f"not within {within} s"
        time.sleep(0.02)
    return time.monotonic() - started


def test_a_write_and_a_watch_go_on_when_any_member_dies(three: EtcdCluster) -> None:
    store = open_store(three.url, {})
    watcher = Watcher(store)
    for number, member in enumerate(three.members):
        member.stop()
        store.put(BLUE, f"{number}a".encode(), None)
        wait_until(lambda: watcher.seen[-1:] == [f"{number}a".encode()], 30)  # noqa: B023 - called within the loop
        member.start()
        store.put(BLUE, f"{number}b".encode(), None)
        three.await_leader(Options(three.endpoints[number : number + 1]))  # or the next one to die leaves no majority
    wait_until(lambda: len(watcher.seen) == 6, 30)
    watcher.stop()
    assert watcher.problem is None
    assert watcher.seen == [b"0a", b"0b", b"1a", b"1b", b"2a", b"2b"]
    store.close()


def test_a_hung_server_is_noticed_within_20_seconds(three: EtcdCluster) -> None:
    """Each member hangs once, so that the one which serves the watch is among them."""
    stores = [EtcdStore(Options((endpoint, *three.endpoints))) for endpoint in three.endpoints]
    watchers = [Watcher(store) for store in stores]
    wait_until(lambda: all(store.get("/x") is None for store in stores), 30)
    three.members[0].send(signal.SIGSTOP)
    started = time.monotonic()
    for number, store in enumerate(stores):
        store.put(f"{POOLS}{number}", b"", ABSENT)
    assert time.monotonic() - started < 16
    took = wait_until(lambda: all(len(watcher.seen) == 3 for watcher in watchers), 20)
    print(f"all watches told {took:.1f} s after a member hung")
    for watcher in watchers:
        watcher.stop()
        assert watcher.problem is None
    three.members[0].send(signal.SIGCONT)
    for store in stores:
        store.close()


def test_without_a_leader_every_call_and_watch_ends_with_a_sentence(three: EtcdCluster) -> None:
    store = open_store(three.url, {})
    watcher = Watcher(store)
    for member in three.members[:2]:
        member.stop()
    started = time.monotonic()
    for call in (lambda: store.get(BLUE), lambda: store.put(BLUE, b"", ABSENT)):
        with pytest.raises(StoreUnreachable, match=f"^etcd at {', '.join(three.endpoints)}: .*; "):
            call()
    assert time.monotonic() - started < 20
    wait_until(lambda: watcher.problem, 20 - (time.monotonic() - started))
    assert isinstance(watcher.problem, StoreUnreachable)
    three.start().await_leader()
    store.put(BLUE, b"again", None)
    store.close()


def test_nothing_spins_while_etcd_is_away(one: EtcdCluster) -> None:
    store = EtcdStore(one.options)
    watch = store.watch(POOLS, store.list(POOLS).revision, lambda: False)
    assert next(watch) is None
    one.members[0].stop()
    before, started = time.process_time(), time.monotonic()
    with pytest.raises(StoreUnreachable):
        for _ in watch:
            pass
    with pytest.raises(StoreUnreachable, match="check that etcd runs there"):
        store.get(BLUE)
    assert time.process_time() - before < 0.1 * (time.monotonic() - started)
    one.start().await_leader()
    assert store.get(BLUE) is None
    store.close()


def restart(cluster: EtcdCluster, store: Store, value: bytes, known: Revision | None) -> float:
    """A restart of the only member, and a write that begins before it is back: seconds from its end to the answer."""
    began = time.monotonic()
    cluster.members[0].stop()
    cluster.start()
    try:
        store.put(BLUE, value, known)
    except StoreUnreachable:
        assert time.monotonic() - began > DEADLINE - 1, "the write was given up too early"
        cluster.await_leader()  # of so slow a start nothing is promised
        store.put(BLUE, value, known)
    return time.monotonic() - began


def rides_out(watcher: Watcher, took: float, *expected: bytes) -> None:
    """It sees everything; only where nobody answered for so long that a watch may be given up it need not."""
    wait_until(lambda: watcher.problem or watcher.seen == [*expected], 30)
    watcher.stop()
    if took < LOST / 2:
        assert watcher.problem is None
    assert watcher.seen == [*expected] or isinstance(watcher.problem, StoreUnreachable)


def test_a_restart_of_the_only_member_is_ridden_out(one: EtcdCluster) -> None:
    store = EtcdStore(one.options)
    watcher = Watcher(store)
    first = store.put(BLUE, b"one", ABSENT)
    rides_out(watcher, restart(one, store, b"two", first), b"one", b"two")
    store.close()


def test_a_datastore_that_was_wiped_is_to_be_listed_again(one: EtcdCluster, tmp_path: Path) -> None:
    """The cluster's id is made of names and addresses: it is the same again."""
    store = EtcdStore(one.options)
    for number in range(20):
        last = store.put(BLUE, str(number).encode(), None)
    one.members[0].stop()
    for file in sorted((tmp_path / "m0").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    one.start().await_leader()
    with pytest.raises(Compacted):
        for _ in store.watch(POOLS, last, lambda: False):
            pass
    assert store.list(POOLS).entries == ()
    store.close()


def test_a_list_of_many_pages_is_as_of_one_revision(one: EtcdCluster) -> None:
    store = EtcdStore(one.options)
    for number in range(1_203):
        store.put(f"{POOLS}{number:04}", b"x", ABSENT)
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            for key in (f"{POOLS}0000", f"{POOLS}1202"):
                store.put(key, str(time.monotonic_ns()).encode(), None)
                store.compact()

    writing = threading.Thread(target=write)
    writing.start()
    try:
        for _ in range(5):
            entries = store.list(POOLS).entries
            assert [entry.key for entry in entries] == [f"{POOLS}{number:04}" for number in range(1_203)]
            first, last = (int(entries[at].revision.partition(".")[2]) for at in (0, -1))
            assert 0 <= last - first <= 1 or first - last == 1 or b"x" in (entries[0].value, entries[-1].value)
    finally:
        done.set()
        writing.join(60)
    store.close()


def test_what_etcd_refuses_is_one_sentence(one: EtcdCluster) -> None:
    store = EtcdStore(one.options)
    with pytest.raises(StoreError, match=r"^etcd at .* refuses: .*too large.*; make the object smaller"):
        store.put(BLUE, b"x" * (1_700_000), None)
    store.close()


def test_a_closed_store_says_so(one: EtcdCluster) -> None:
    store = EtcdStore(one.options)
    watcher = Watcher(store)
    store.close()
    wait_until(lambda: watcher.problem, 30)
    assert isinstance(watcher.problem, StoreUnreachable)
    with pytest.raises(StoreUnreachable, match="the connection was closed"):
        store.get(BLUE)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates."""
    return certificates.collection(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, pki: Path, program: str) -> Iterator[EtcdCluster]:
    """A member that asks for the certificates of its clients."""
    cluster = EtcdCluster(tmp_path_factory.mktemp("tls"), program, tls=certificates.files(pki, "etcd")).start()
    yield cluster.await_leader(read(cluster.url, certificates.environ(pki, "ca", "client")))
    cluster.close()


def test_mutual_tls_also_for_the_watch(guarded: EtcdCluster, pki: Path) -> None:
    store = open_store(guarded.url, certificates.environ(pki, "ca", "client"))
    watcher = Watcher(store)
    store.put(BLUE, b"one", None)
    wait_until(lambda: watcher.seen == [b"one"], 30)
    watcher.stop()
    store.close()


TOKENS = {"etcd-3.4": "simple", "etcd-current": "simple", "etcd-current, signed tokens": "jwt"}


@pytest.fixture(scope="module", params=TOKENS)
def locked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pki: Path
) -> Iterator[EtcdCluster]:
    """Users, the one of USER for /bgpnet/ only; simple tokens live for 1 s without use, signed ones for 1 s."""
    signed = f"jwt,pub-key={pki}/etcd.pem,priv-key={pki}/etcd.key,sign-method=ES256,ttl=1s"
    extra = ["--auth-token", signed] if TOKENS[request.param] == "jwt" else ["--auth-token-ttl", "1"]
    program = ETCDS[request.param.partition(",")[0]]()
    cluster = EtcdCluster(tmp_path_factory.mktemp("auth"), program, extra=extra).start().await_leader()
    yield lock(cluster)
    cluster.close()


def as_user(cluster: EtcdCluster, user: str, password: str) -> Store:
    return open_store(cluster.url, {"ETCD_USERNAME": user, "ETCD_PASSWORD": password})


def test_a_token_that_expired_is_renewed(locked: EtcdCluster) -> None:
    store = as_user(locked, *USER)
    watcher = Watcher(store)
    first = store.put(BLUE, b"one", None)
    assert not threading.Event().wait(3)  # idle for longer than a token lives
    started = time.monotonic()
    second = store.put(BLUE, b"two", first)
    assert time.monotonic() - started < 5  # it takes a fraction of a second, and is given up after 7
    wait_until(lambda: watcher.seen == [b"one", b"two"], 30)
    assert not threading.Event().wait(3)
    assert store.list(POOLS).entries == (Entry(BLUE, b"two", second),)
    watcher.stop()
    store.close()


def test_a_watch_begun_with_an_expired_token(locked: EtcdCluster) -> None:
    store = as_user(locked, *USER)
    before = store.list(POOLS).revision
    store.put(BLUE, b"again", None)
    assert not threading.Event().wait(3)
    deadline = time.monotonic() + 30
    events = list(islice((e for e in store.watch(POOLS, before, lambda: time.monotonic() > deadline) if e), 1))
    assert [event.key for event in events] == [BLUE]
    store.close()


def test_a_restart_forgets_tokens_and_is_ridden_out(locked: EtcdCluster) -> None:
    store = as_user(locked, *USER)
    watcher = Watcher(store)
    store.put(BLUE, b"one", None)
    rides_out(watcher, restart(locked, store, b"two", None), b"one", b"two")
    store.close()


def test_a_place_that_the_user_may_not_see(locked: EtcdCluster) -> None:
    store = as_user(locked, *USER)
    remedy = "grant the user of ETCD_USERNAME a role that reads and writes /bgpnet/"
    with pytest.raises(StoreError, match=f"permission denied.*; {remedy}"):
        store.put("/elsewhere/x", b"", None)
    after = store.list(POOLS).revision
    with pytest.raises(StoreError, match=f"permission denied.*; {remedy}"):
        list(islice(store.watch("/elsewhere/", after, lambda: False), 5))
    store.close()
