"""What the agents' own writes are worth: few and soon; nothing is lost while the datastore is away, fenced or new."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
from agent_inside import Counting, Inside
from agent_parts import eventually
from msgspec import structs

from bgpnet import ipam
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import Owner
from bgpnet.model.ippool import Encap, IPPool, IPPoolSpec
from bgpnet.model.resource import Metadata
from bgpnet.store.api import Revision
from bgpnet.store.repo import Repo
from bgpnet.store.sqlite import SqliteStore

POOL = IPPool(metadata=Metadata(name="pods"), spec=IPPoolSpec(cidr="10.244.0.0/20", ipipMode=Encap.NEVER, blockSize=24))


def datastore(path: Path) -> Counting:
    return Counting(SqliteStore(str(path)))


def agent(name: str, number: int, folder: Path, store: Counting) -> Inside:
    return Inside(name, folder, store, number)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Inside]:
    store = datastore(tmp_path / "store.db")
    Repo(store).create(POOL)
    made = agent("node1", 1, tmp_path, store)
    made.start()
    eventually(made.is_in_sync, "it has not heard everything")
    yield made
    made.stop()


def test_a_burst_of_64_adds_is_written_with_at_most_four_writes_within_a_second(one: Inside) -> None:
    first = {"warm": one.add("warm")}
    eventually(lambda: one.live() == {address: name for name, address in first.items()}, one.live)
    for turn in range(3):
        before = len(one.store.writes)
        pods = one.burst([f"t{turn}-{number}" for number in range(64)])
        done = monotonic()
        first |= pods
        wanted = {address: name for name, address in first.items()}
        assert len(wanted) == len(first)
        eventually(lambda wanted=wanted: one.live() == wanted, one.live, 3.0)
        written = one.store.writes[before:]
        print(f"burst {turn}: {len(written)} writes, the last {written[-1][0] - done:.3f} s after the last answer")
        assert len(written) <= 4, written
        assert written[-1][0] - done <= 1.0
