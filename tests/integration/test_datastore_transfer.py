"""Whole datastores from anywhere to anywhere: every pair, killed imports, copies under writes, Calico's etcd."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import etcd_servers
import kubernetes_store
import pytest
from calico_store import keys
from etcd_servers import EtcdCluster, debian_etcd
from full_store import everything, fill, many
from msgspec import structs

from bgpnet import codec
from bgpnet.errors import BgpnetError, StoreUnreachable
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.kinds import Resource, kind_of, subject
from bgpnet.store import factory, repo
from bgpnet.store.api import ABSENT, Revision, Store
from bgpnet.store.memory import MemoryStore
from bgpnet.transfer import contents, stream
from bgpnet_ctl import copies, importing

KINDS = ("memory", "sqlite", "etcd")
PAIRS = [
    *itertools.product(KINDS, KINDS),
    *(pair for kind in KINDS for pair in ((kind, "kubernetes"), ("kubernetes", kind))),
]


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EtcdCluster, EtcdCluster]]:
    """Two etcds that know nothing of each other."""
    both = [EtcdCluster(tmp_path_factory.mktemp(name), debian_etcd()).start() for name in ("from", "to")]
    for cluster in both:
        cluster.await_leader()
    yield both[0], both[1]
    for cluster in both:
        cluster.close()


@pytest.fixture
def urls(clusters: tuple[EtcdCluster, EtcdCluster], tmp_path: Path) -> dict[str, tuple[str, str]]:
    """Of each sort of datastore that has a URL, two empty ones; of Kubernetes, there is one alone."""
    kubernetes_store.empty_store().close()
    kubernetes = f"kubernetes://{kubernetes_store.shared_server().kubeconfig}"
    for cluster in clusters:
        etcdctl(cluster, "del", "--prefix", "/")
    return {
        "sqlite": (f"sqlite://{tmp_path}/from.db", f"sqlite://{tmp_path}/to.db"),
        "etcd": (clusters[0].url, clusters[1].url),
        "kubernetes": (kubernetes, kubernetes),
    }


def etcdctl(cluster: EtcdCluster, *words: str) -> str:
    return etcd_servers.etcdctl(cluster, *words).decode()


def ctl(to: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(to, *words), capture_output=True, text=True, timeout=120)


def command(to: str, *words: str) -> list[str]:
    return [sys.executable, "-m", "bgpnet_ctl", "--datastore", to, "datastore", *words]


def filled(url: str, resources: list[Resource]) -> str:
    """The datastore with these in it; returns the checksum."""
    store = factory.open_store(url)
    fill(store, resources)
    store.close()
    return contents.checksum(resources)


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda name: str(name))
def test_from_every_sort_of_datastore_to_every_other(one: str, other: str, urls: dict[str, tuple[str, str]]) -> None:
    source, target = (
        MemoryStore() if kind == "memory" else factory.open_store(urls[kind][side])
        for side, kind in enumerate((one, other))
    )
    fill(source, everything())
    plan = importing.planned(copies.of_store(source, "FROM"), copies.of_store(target, "TO"))
    result = importing.carry_out(plan, target, iter)
    assert result.checksum == plan.source.checksum == contents.checksum(everything())
    assert exported(source) == exported(target)
    assert values(source) == values(target) or "kubernetes" in (one, other)  # it writes JSON in an order of its own
    written = target.list(repo.ROOT)
    assert {entry.revision for entry in written.entries}.isdisjoint(
        entry.revision for entry in source.list("/").entries
    )
    source.close()
    target.close()


def exported(store: Store) -> str:
    return "".join(stream.write(copies.of_store(store, "").contents.resources))


def values(store: Store) -> dict[str, bytes]:
    return {entry.key: entry.value for entry in store.list("/").entries}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sqlite", "etcd"),
        ("etcd", "sqlite"),
        ("etcd", "etcd"),
        ("etcd", "kubernetes"),
        ("kubernetes", "sqlite"),
    ],
)
def test_the_commands_between_real_datastores(
    one: str, other: str, urls: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    source, target = urls[one][0], urls[other][1]
    expected = filled(source, everything())
    dry = ctl(target, "import", source, "--dry-run")
    assert (dry.returncode, dry.stderr) == (0, "")
    got = ctl(target, "import", source)
    assert (got.returncode, got.stderr) == (0, "")
    assert got.stdout.count(f"sha256 {expected}\n") == 2
    assert ctl(target, "check", source).returncode == 0
    for url, name in ((source, "a.yaml"), (target, "b.yaml")):
        assert ctl(url, "export", "-o", f"{tmp_path}/{name}").returncode == 0
    assert (tmp_path / "a.yaml").read_bytes() == (tmp_path / "b.yaml").read_bytes()
    again = ctl(target, "import", f"{tmp_path}/a.yaml")
    assert "11 of them there already: both sides are equal" in again.stdout


@pytest.mark.parametrize("kind", ["sqlite", "etcd"])
def test_an_import_that_is_killed_at_any_moment_goes_on_and_ends_equal(
    kind: str, urls: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    resources = many(1500)
    (tmp_path / "e.yaml").write_text("".join(stream.write(resources)))
    target = urls[kind][1]
    store = factory.open_store(target)
    halfway = []
    for wanted in (1, 200, 700, 1100):
        importer = subprocess.Popen(command(target, "import", f"{tmp_path}/e.yaml"), stdout=subprocess.PIPE)
        await_that(partial(has_come_so_far, importer, store, wanted))
        importer.kill()
        importer.communicate(timeout=30)
        halfway.append(settled(store))
    assert any(0 < count < len(resources) for count in halfway), halfway
    assert halfway == sorted(halfway)
    assert halfway[-1] >= len(resources) - 2 or not store.list(f"{repo.ROOT}ippools/").entries, "pools come last"
    print(f"killed with {halfway} of {len(resources)} objects there")
    got = ctl(target, "import", f"{tmp_path}/e.yaml", "-o", "json")
    told = json.loads(got.stdout)
    assert (got.returncode, told["alreadyThere"]) == (0, halfway[-1])
    assert told["checksum"] == {"from": contents.checksum(resources), "to": contents.checksum(resources)}
    store.close()


def has_come_so_far(importer: subprocess.Popen[bytes], store: Store, wanted: int) -> bool:
    return importer.poll() is not None or len(store.list("/").entries) >= wanted


def settled(store: Store) -> int:
    """How many objects there are once none is added: etcd may carry out what a client asked for that was killed."""
    counts = [-1]

    def is_still() -> bool:
        counts.append(len(store.list("/").entries))
        return counts[-1] == counts[-2] or threading.Event().wait(0.3)

    await_that(is_still)
    return counts[-1]


def await_that(holds: Callable[[], bool], within: float = 120.0) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"


@pytest.mark.parametrize("kind", ["sqlite", "etcd"])
def test_a_copy_is_of_one_instant_while_others_write(kind: str, urls: dict[str, tuple[str, str]]) -> None:
    """A writer gives the last block a number, then the first the same one: a copy may see the last one ahead by one.

    Between the two stand more blocks than a store reads at once.
    """
    url = urls[kind][0]
    filled(url, many(1200))
    writer, reader, stop = factory.open_store(url), factory.open_store(url), threading.Event()
    blocks = [each for each in many(1200) if isinstance(each, IPAMBlock)]
    ends = [min(blocks, key=lambda each: each.metadata.name), max(blocks, key=lambda each: each.metadata.name)]

    def write() -> None:
        for number in itertools.count(1):
            for end in reversed(ends):
                if stop.is_set():
                    return
                meta = structs.replace(end.metadata, labels={"n": str(number)})
                key = repo.key(kind_of(end), end.metadata.name)
                writer.put(key, codec.encode(structs.replace(end, metadata=meta)), None)

    thread = threading.Thread(target=write)
    thread.start()
    seen = set()
    try:
        for _ in range(8):
            copy = {subject(each): each.metadata.labels for each in copies.of_store(reader, url).contents.resources}
            first, last = (int(copy[subject(end)].get("n", "0")) for end in ends)
            assert last - first in (0, 1)
            seen.add(last)
    finally:
        stop.set()
        thread.join(30)
        writer.close()
        reader.close()
    assert len(seen) > 1


def test_a_calico_clusters_etcd_is_imported_into_another_and_into_itself(
    clusters: tuple[EtcdCluster, EtcdCluster], urls: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    for key, value in keys().items():
        etcdctl(clusters[0], "put", "--", key, value)
    before = etcdctl(clusters[0], "get", "--prefix", "/calico/")
    source = urls["etcd"][0]
    for target in (urls["sqlite"][1], urls["etcd"][1], source):
        got = ctl(target, "import", source, "--report", f"{tmp_path}/report.json")
        assert got.returncode == 0, got.stderr
        assert "Successfully imported 18 resource(s): both sides are equal." in got.stdout
        report = json.loads((tmp_path / "report.json").read_text())
        keyed = {each["key"] for each in report["notes"] if each["outcome"] == "not imported"}
        assert len(keyed) + 18 == len(keys())
        assert ctl(target, "check").returncode == 0
    assert etcdctl(clusters[0], "get", "--prefix", "/calico/") == before
    assert ctl(source, "check", urls["sqlite"][1]).returncode == 0
    held = json.loads(subprocess.check_output([*ctl_words(source), "get", "block", "10-244-0-64-26", "-o", "json"]))
    slots = held["spec"]["allocations"]
    assert {ordinal: slot.get("use", "Workload") for ordinal, slot in slots.items()} == {
        "0": "Tunnel",
        "1": "Reserved",
        "2": "Workload",
        "5": "Reserved",
    }


def ctl_words(url: str) -> list[str]:
    return [sys.executable, "-m", "bgpnet_ctl", "--datastore", url]


def test_an_etcd_of_another_program_one_that_is_both_sides_and_one_that_is_away(
    clusters: tuple[EtcdCluster, EtcdCluster], urls: dict[str, tuple[str, str]]
) -> None:
    etcdctl(clusters[0], "put", "/registry/pods/a", "b")
    source, target = urls["etcd"][0], urls["sqlite"][1]
    foreign = ctl(target, "import", source)
    assert (foreign.returncode, foreign.stdout) == (1, "")
    assert foreign.stderr.startswith(f"{source} holds nothing of bgpnet's or Calico's to import: ")
    filled(source, everything())
    both = ctl(source, "import", f"etcd://127.0.0.1:1,{clusters[0].endpoints[0]}")
    assert (both.returncode, both.stderr.count("\n")) == (2, 1)
    assert "is both FROM and TO" in both.stderr
    away = ctl(target, "import", "etcd://127.0.0.1:1")
    assert (away.returncode, away.stderr.count("\n")) == (1, 1)
    assert ctl("etcd://127.0.0.1:1", "check").returncode == 1


def test_an_import_whose_datastore_goes_away_says_how_to_go_on() -> None:
    class Failing(MemoryStore):
        """Takes three writes, and no more for now."""

        left = 3

        def put(self, key: str, value: bytes, expected: Revision | None) -> Revision:
            if not self.left:
                raise StoreUnreachable("it is away")
            self.left -= 1
            return super().put(key, value, expected)

    target = Failing()
    plan = importing.planned(copies.Copy("FROM", contents.Contents(everything())), copies.of_store(target, "TO"))
    with pytest.raises(BgpnetError, match="after 3 of 11 objects: it is away; run the same command again"):
        importing.carry_out(plan, target, iter)
    left = importing.planned(plan.source, copies.of_store(target, "TO"))
    assert (left.there, len(left.missing)) == (3, 8)


def test_somebody_who_writes_into_the_target_meanwhile_is_noticed() -> None:
    target = MemoryStore()
    plan = importing.planned(copies.Copy("FROM", contents.Contents(everything())), copies.of_store(target, "TO"))
    other = many(1)[-1]
    target.put(repo.key(kind_of(other), other.metadata.name), codec.encode(other), ABSENT)
    with pytest.raises(BgpnetError) as refused:
        importing.carry_out(plan, target, iter)
    assert str(refused.value).startswith(f"FROM has sha256 {plan.source.checksum}, TO has ")
    assert "IPAMBlock(10-0-128-0-28): only in the second" in str(refused.value)
