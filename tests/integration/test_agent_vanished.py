"""The datastore vanishes for good under running agents: nothing is swept, it is said, and a restore converges."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from agents import SHARED, Cluster, Machine, Pod, cluster, eventually
from msgspec import structs

from bgpnet.errors import Conflict
from bgpnet.model import kinds

pytestmark = pytest.mark.root

SOON = 90.0
BACKUP = f"{SHARED}/backup.yaml"


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes up."""
    with cluster(tmp_path, 2, f"agvanish{os.getpid()}") as made:
        made.start()
        yield made


def ours(machine: Machine) -> list[str]:
    return sorted(line for line in machine.routes() if "proto bgpnet" in line)


def recorded(two: Cluster, *pods: Pod) -> None:
    wanted = {pod.address: pod.container for pod in pods}
    assert len(wanted) == len(pods), f"an address twice: {pods}"
    eventually(lambda: two.live() == wanted, lambda: f"{two.live()} is not {wanted}", SOON)


def test_a_deleted_file_is_missed_and_one_restored_from_an_export_is_caught_up_with(two: Cluster) -> None:
    first, second = two.machines
    near, gone, far = first.add("near"), first.add("gone"), second.add("far")
    recorded(two, near, gone, far)
    for machine, count in ((first, 4), (second, 3)):
        eventually(lambda machine=machine, count=count: len(ours(machine)) == count, machine.routes, SOON)
    first.ctl("datastore", "export", "-o", BACKUP)
    late = first.add("late")  # the export has not heard of it
    recorded(two, near, gone, far, late)
    before = [ours(machine) for machine in two.machines]
    store = two.folder / "store"
    with first.ping(near, far.address) as pings:
        for file in list(store.iterdir()):
            file.unlink(missing_ok=True)  # -wal and -shm go with an agent that misses the database and lets go of it
        for machine in two.machines:
            eventually(
                lambda machine=machine: " is gone: put it back" in machine.status()["datastore"], first.log, SOON
            )
            eventually(
                lambda machine=machine: "the datastore is away: datastore sqlite://" in machine.log(), machine.log, SOON
            )
        new = second.add("new")
        first.delete(gone)
        assert not list(store.glob("store.db")), "an agent made a datastore of its own"
        kept = [sorted(line for line in routes if not line.startswith(f"{gone.address} ")) for routes in before]
        kept[1] = sorted([*kept[1], f"{new.address} dev {new.link} proto bgpnet scope link"])
        assert [ours(machine) for machine in two.machines] == kept
        # Restored beside, and put in place whole: what is there for an instant is not an empty datastore.
        first.ctl("--datastore", f"sqlite://{SHARED}/restored/store.db", "datastore", "import", BACKUP)
        (two.folder / "restored" / "store.db").rename(store / "store.db")
        recorded(two, near, far, late, new)
        for machine in two.machines:
            machine.ready(peers=1)
            eventually(lambda machine=machine: machine.status()["warnings"] == [], machine.status, SOON)
            eventually(lambda machine=machine: "the datastore is back" in machine.log(), machine.log, SOON)
        assert [ours(machine) for machine in two.machines] == kept
    assert (pings.sent > 0, pings.lost) == (True, 0)
    more = [first.add("more1"), second.add("more2")]
    recorded(two, near, far, late, new, *more)


def labelled(two: Cluster, name: str) -> bool:
    """Whether the Node has its label now; its agent may have written it at the same moment."""
    repo = two.repo()
    node = repo.get(kinds.NODE, name)
    with suppress(Conflict):
        repo.write(structs.replace(node, metadata=structs.replace(node.metadata, labels={"rack": "r1"})))
        return True
    return False


def test_all_is_deleted_under_running_agents_and_an_import_brings_it_back(two: Cluster) -> None:
    first, second = two.machines
    near, far = first.add("near"), second.add("far")
    recorded(two, near, far)
    for machine, count in ((first, 3), (second, 3)):
        eventually(lambda machine=machine, count=count: len(ours(machine)) == count, machine.routes, SOON)
    eventually(lambda: labelled(two, "n2"), "the Node is written all the time", SOON)
    first.ctl("datastore", "export", "-o", BACKUP)
    before = [ours(machine) for machine in two.machines]
    with first.ping(near, far.address) as pings:
        repo = two.repo()
        for entry in repo.store.list("/bgpnet/").entries:
            repo.store.delete(entry.key, None)
        repo.store.close()
        said = "the datastore has no IPPool, although pods of this node live in"
        for machine in two.machines:
            eventually(
                lambda machine=machine: any(said in one for one in machine.status()["warnings"]), machine.log, SOON
            )
        late = second.add("late")
        recorded(two, near, far, late)  # the agents write what is theirs
        first.ctl("datastore", "import", BACKUP)
        for machine in two.machines:
            eventually(lambda machine=machine: machine.status()["warnings"] == [], machine.status, SOON)
            machine.ready(peers=1)
        recorded(two, near, far, late)
        before[1] = sorted([*before[1], f"{late.address} dev {late.link} proto bgpnet scope link"])
        assert [ours(machine) for machine in two.machines] == before
    assert (pings.sent > 0, pings.lost) == (True, 0)
    assert "rack=r1" in first.ctl("get", "nodes", "-o", "yaml").replace(": ", "=")
    recorded(two, near, far, late, first.add("more1"), second.add("more2"))
