"""What the agents' own writes are worth: few and soon; nothing is lost while the datastore is away, fenced or new."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
from agent_inside import Counting, Inside
from agent_parts import eventually
from msgspec import structs

from bgpnet import integrity, ipam
from bgpnet.agent.records import QUIET
from bgpnet.kernel.fake import FakeKernel
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import Owner
from bgpnet.model.ippool import Encap, IPPool, IPPoolSpec
from bgpnet.model.resource import Metadata
from bgpnet.store.repo import Repo
from bgpnet.store.sqlite import SqliteStore

POOL = IPPool(metadata=Metadata(name="pods"), spec=IPPoolSpec(cidr="10.244.0.0/20", ipipMode=Encap.NEVER, blockSize=24))

BUSY = 20.0
"""Seconds that a record may be late here; it is one where nobody else is at work: see tests/unit/test_records.py."""


def datastore(path: Path) -> Counting:
    return Counting(SqliteStore(str(path)))


def agent(name: str, number: int, folder: Path, store: Counting) -> Inside:
    return Inside(name, folder, store, number)


@pytest.fixture
def size() -> int:
    """Of the pool's blocks."""
    return POOL.block_size


@pytest.fixture
def one(tmp_path: Path, size: int) -> Iterator[Inside]:
    store = datastore(tmp_path / "store.db")
    Repo(store).create(structs.replace(POOL, spec=structs.replace(POOL.spec, blockSize=size)))
    made = agent("node1", 1, tmp_path, store)
    made.start()
    eventually(made.is_in_sync, "it has not heard everything")
    yield made
    made.stop()


def test_a_burst_of_64_adds_is_written_with_at_most_four_writes(one: Inside) -> None:
    first = {"warm": one.add("warm")}
    eventually(lambda: one.live() == {address: name for name, address in first.items()}, one.live)
    for turn in range(3):
        before = len(one.store.writes)
        one.store.flows.clear()  # however long a busy machine takes for the burst: one write is under way meanwhile
        pods = one.burst([f"t{turn}-{number}" for number in range(64)])
        done = monotonic()
        one.store.flows.set()
        first |= pods
        wanted = {address: name for name, address in first.items()}
        assert len(wanted) == len(first)
        eventually(lambda wanted=wanted: one.live() == wanted, one.live)
        written = blocks_written(one, before)
        print(f"burst {turn}: {len(written)} writes, the last {written[-1][0] - done:.3f} s after the last answer")
        assert len(written) <= 4, written


def blocks_written(one: Inside, before: int) -> list[tuple[float, str]]:
    """When which blocks were written, but for so many first writes; a Node's word is no burst's."""
    return [write for write in one.store.writes[before:] if "/nodes/" not in write[1]]


@pytest.mark.parametrize("seconds", [0.5, 1.0])
@pytest.mark.parametrize(("size", "blocks"), [(24, 1), (26, 2)], ids=["one block", "the next is claimed meanwhile"])
def test_a_slow_burst_of_64_adds_is_as_few_writes_and_none_is_late(one: Inside, seconds: float, blocks: int) -> None:
    warm = one.add("warm")
    eventually(lambda: one.live() == {warm: "warm"}, one.live)
    before = len(one.store.writes)
    begun = monotonic()
    wanted = {address: name for name, address in one.burst([f"c{at}" for at in range(64)], seconds).items()}
    done = monotonic()
    wanted[warm] = "warm"
    eventually(lambda: one.live() == wanted, one.live)
    written = blocks_written(one, before)
    print(f"{seconds} s: {[(round(at - done + seconds, 2), key) for at, key in written]}")
    assert len(one.blocks()) == blocks
    # A busy machine's burst is a longer one, or stands still for a while: as many writes more.
    longer = max(0.0, done - begun - seconds)
    assert len(written) <= 4 + blocks * (1 + longer / QUIET), written
    assert written[-1][0] - done <= BUSY


def test_an_add_in_a_burst_without_end_is_written_meanwhile(one: Inside) -> None:
    answered: dict[str, float] = {}
    recorded: dict[str, float] = {}
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.01):
            now = monotonic()
            for name in one.live().values():
                recorded.setdefault(name, now)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    begun = monotonic()
    for at in range(150):
        over.wait(begun + 0.02 * at - monotonic())
        one.add(f"c{at}")
        answered[f"c{at}"] = monotonic()
    eventually(lambda: recorded.keys() == answered.keys(), lambda: answered.keys() - recorded.keys())
    over.set()
    looking.join(60)
    late = max(recorded[name] - at for name, at in answered.items())
    print(f"the latest {late:.3f} s after its answer")
    assert min(recorded.values()) < max(answered.values()), "nothing was written before the last ADD"
    assert late <= BUSY


def test_pods_come_and_go_while_the_datastore_is_away_and_an_agent_restarts_meanwhile(one: Inside) -> None:
    pods = one.burst([f"a{number}" for number in range(10)])
    one.store.away = True
    eventually(lambda: "away" in one.status()["datastore"], one.status)
    pods |= one.burst([f"b{number}" for number in range(20)])
    for name in ("a1", "b1"):
        one.delete(name)
        del pods[name]
    one.stop()
    one.start()
    eventually(lambda: "away" in one.status()["datastore"], one.status)
    pods |= one.burst([f"c{number}" for number in range(20)])
    one.delete("a2")
    del pods["a2"]
    assert len(set(pods.values())) == len(pods)
    one.store.away = False
    wanted = {address: name for name, address in pods.items()}
    eventually(lambda: one.live() == wanted, lambda: f"{one.live()} is not {wanted}")
    assert [problem for block in one.blocks() for problem in integrity.check(block)] == []
    assert sorted(line.split()[0] for line in str(one.kernel).splitlines() if "cali" in line) == sorted(wanted)


def test_a_damaged_journal_is_unknown_and_all_is_recovered_from_block_and_kernel(one: Inside) -> None:
    pods = one.burst(["a", "b", "c"])
    wanted = {address: name for name, address in pods.items()}
    eventually(lambda: one.live() == wanted, one.live)
    one.store.away = True
    late = one.add("late")  # neither block nor, in a moment, journal have it
    one.stop()
    data = bytearray(one.journal.read_bytes())
    data[len(data) // 2] ^= 1
    one.journal.write_bytes(data)
    one.store.away = False
    one.start()
    eventually(lambda: one.live() == wanted | {late: "late"}, one.live)
    assert one.call("ADD", "late")[1]["ips"][0]["address"] == f"{late}/32"
    assert one.add("new") not in {*wanted, late}


def test_after_a_reboot_what_no_longer_runs_is_freed(one: Inside) -> None:
    pods = one.burst(["a", "b"])
    wanted = {address: name for name, address in pods.items()}
    eventually(lambda: one.live() == wanted, one.live)
    one.stop()
    one.boot, one.kernel, one.runs = "another", FakeKernel(), one.runs + 1
    one.kernel.strangers.add_link("eth1", "192.0.2.1/24")
    one.start()
    eventually(lambda: one.live() == {}, one.live)
    assert one.add("c") not in pods.values()


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Inside, Inside]]:
    Repo(SqliteStore(str(tmp_path / "store.db"))).create(POOL)
    made = [agent(f"node{number}", number, tmp_path, datastore(tmp_path / "store.db")) for number in (1, 2)]
    for each in made:
        each.start()
    for each in made:
        eventually(each.is_in_sync, "it has not heard everything")
    yield made[0], made[1]
    for each in made:
        each.stop()


def test_a_node_that_was_released_while_it_was_partitioned_finds_out_and_leaves_the_block(
    two: tuple[Inside, Inside],
) -> None:
    first, second = two
    address = second.add("old")
    eventually(lambda: first.live() == {address: "old"}, first.live)
    [block] = first.blocks()
    repo = Repo(first.store.store)
    eventually(lambda: repo.find(kinds.NODE, "node2") is not None, "its Node is not recorded")
    second.store.away = True
    eventually(lambda: "away" in second.status()["datastore"], second.status)
    repo.remove(repo.get(kinds.NODE, "node2"))
    [block] = first.blocks()
    repo.remove(block)  # as `bgpnetctl node release` does
    taken = ipam.new_block(block.network, Owner(name="node3", uid="uuid-node3"), 1.0)
    repo.write(taken)
    same = second.add("meanwhile")  # it cannot know
    assert ip.contains(block.network, ip.address(same))
    second.store.away = False
    warned = [
        f"block {block.spec.cidr} of this node belongs to node node3 now; "
        "delete the pods that still have addresses from it, so that they start again"
    ]
    eventually(lambda: second.status()["warnings"] == warned, second.status)
    assert block.spec.cidr not in {row["cidr"] for row in second.status()["blocks"]}
    eventually(lambda: f"blackhole {block.spec.cidr}" not in str(second.kernel), lambda: str(second.kernel))
    new = second.add("new")
    assert not ip.contains(block.network, ip.address(new))
    second.delete("old")
    eventually(lambda: second.live() == {new: "new"}, second.live)
    kept = next(one for one in second.blocks() if one.spec.cidr == block.spec.cidr)
    assert (kept.spec.owner, kept.spec.allocations) == (taken.spec.owner, {})


@pytest.mark.parametrize("restarted", [True, False], ids=["between two runs", "under its hands"])
def test_a_datastore_replaced_by_an_empty_one_costs_no_pod(one: Inside, tmp_path: Path, *, restarted: bool) -> None:
    pods = one.burst(["a", "b", "c"])
    wanted = {address: name for name, address in pods.items()}
    eventually(lambda: one.live() == wanted, one.live)
    routes = sorted(line for line in str(one.kernel).splitlines() if "bgpnet" in line)
    if restarted:
        one.stop()
    for entry in one.store.store.list("/bgpnet/v1/").entries:
        one.store.store.delete(entry.key, None)  # at whatever revision: a running agent may just have written it
    if restarted:
        one.start()
    eventually(lambda: any("backup.yaml" in said for said in one.status()["warnings"]), one.status)
    eventually(lambda: one.live() == wanted, one.live)
    eventually(lambda: Repo(one.store.store).find(kinds.NODE, "node1") is not None, one.status)
    pods["d"] = one.add("d")  # from the own block
    wanted[pods["d"]] = "d"
    eventually(lambda: one.live() == wanted, one.live)
    assert set(routes) <= set(str(one.kernel).splitlines())
    Repo(one.store.store).create(POOL)
    eventually(lambda: one.status()["warnings"] == [] and one.is_in_sync(), one.status)
    assert one.add("e") not in wanted
    assert set(routes) <= set(str(one.kernel).splitlines())
