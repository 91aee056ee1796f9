"""kill -9 of agents and speakers, a datastore that is away, journals that are lost: no packet, no address, no pod."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from agents import MORE, Cluster, Machine, Pod, cluster, eventually
from msgspec import structs

from bgpnet.agent import journal
from bgpnet.agent.journal import Boot
from bgpnet.errors import AgentAway

pytestmark = pytest.mark.root

KILLS = 5


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes up."""
    with cluster(tmp_path, 2, f"agtwo{os.getpid()}") as made:
        made.start()
        yield made


@pytest.fixture
def pods(two: Cluster) -> tuple[Pod, Pod, Pod]:
    """Two on the first node, one on the second; all routes are there."""
    made = (two[0].add("a"), two[0].add("b"), two[1].add("c"))
    for machine, count in ((two[0], 4), (two[1], 3)):
        eventually(lambda machine=machine, count=count: len(ours(machine)) == count, machine.routes)
    return made


def ours(machine: Machine) -> list[str]:
    return sorted(line for line in machine.routes() if "proto bgpnet" in line)


@contextmanager
def undisturbed(two: Cluster, pods: tuple[Pod, Pod, Pod]) -> Iterator[None]:
    """Pings within a node and between the nodes lose nothing, and the kernels are not touched."""
    near, neighbour, far = pods
    before = [ours(machine) for machine in two.machines]
    with (
        two[0].monitor() as first,
        two[1].monitor() as second,
        two[0].ping(near, neighbour.address) as inside,
        two[0].ping(near, far.address) as across,
        two[1].ping(far, neighbour.address) as back,
    ):
        yield
    assert [ours(machine) for machine in two.machines] == before
    assert first == []
    assert second == []
    for pings in (inside, across, back):
        assert pings.sent > MORE
        assert pings.lost == 0


def test_agents_killed_again_and_again_are_not_missed(two: Cluster, pods: tuple[Pod, Pod, Pod]) -> None:
    with undisturbed(two, pods):
        for _ in range(KILLS):
            for machine in two.machines:
                assert machine.agent.end(signal.SIGKILL) == -signal.SIGKILL
            for machine in two.machines:
                machine.agent.start()
            for machine in two.machines:
                machine.ready(peers=1)
    assert [machine.status()["pods"] for machine in two.machines] == [2, 1]


def test_an_add_after_a_restart_says_the_same(two: Cluster, pods: tuple[Pod, Pod, Pod]) -> None:
    two[0].restart_agent()
    for pod in pods[:2]:
        again = two[0].cni("ADD", pod.container, pod.name, pod=pod.name)
        assert (again.code, again.said) == (0, pod.result)
    wanted = {pod.address: pod.container for pod in pods}
    eventually(lambda: two.live() == wanted, lambda: f"{two.live()} is not {wanted}")


def test_a_killed_speaker_loses_no_packet_and_its_sessions_come_back(two: Cluster, pods: tuple[Pod, Pod, Pod]) -> None:
    with undisturbed(two, pods):
        for machine in two.machines:
            assert machine.kill_speaker() >= 2
            eventually(lambda machine=machine: machine.status()["speaker"] != "connected", "the speaker is not missed")
            assert [peer["state"] for peer in machine.status()["peers"]] == ["start"]
            machine.speaker.start()
            machine.ready(peers=1)
            eventually(lambda machine=machine: machine.status()["peers"][0]["received"] == 1, lambda: two[0].status())


def test_both_sides_killed_at_once(two: Cluster, pods: tuple[Pod, Pod, Pod]) -> None:
    with undisturbed(two, pods):
        for machine in two.machines:
            machine.agent.end()
            machine.kill_speaker()
        for machine in two.machines:
            machine.start()
        for machine in two.machines:
            machine.ready(peers=1)


@contextmanager
def renamed(two: Cluster) -> Iterator[None]:
    """The datastore's directory is somewhere else."""
    store = two.folder / "store"
    store.rename(two.folder / "away")
    try:
        yield
    finally:
        (two.folder / "away").rename(store)


@contextmanager
def locked(two: Cluster) -> Iterator[None]:
    """Somebody writes to the datastore and does not come to an end."""
    with closing(sqlite3.connect(two.folder / "store" / "store.db", timeout=60, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        yield
        db.execute("ROLLBACK")


@pytest.mark.parametrize("away", [renamed, locked])
def test_pods_come_and_go_while_the_datastore_is_away(two: Cluster, pods: tuple[Pod, Pod, Pod], away: object) -> None:
    first = two[0]
    assert callable(away)
    gone = first.add("gone")
    with first.ping(pods[0], pods[2].address) as pings, away(two):
        before = ours(first)
        new = first.add("new")
        first.delete(gone)
        if away is renamed:
            eventually(lambda: first.status()["datastore"].startswith("away"), lambda: first.status())
        assert new.address != gone.address
        kept = [line for line in before if not line.startswith(f"{gone.address} ")]
        assert ours(first) == sorted([*kept, f"{new.address} dev {new.link} proto bgpnet scope link"])
    assert (pings.sent > MORE, pings.lost) == (True, 0)
    wanted = {pod.address: pod.container for pod in (*pods, new)}
    eventually(lambda: two.live() == wanted, lambda: f"{two.live()} is not {wanted}")
    first.ready(peers=1)
    first.delete(new)


def test_an_agent_that_starts_while_the_datastore_cannot_be_written(two: Cluster, pods: tuple[Pod, Pod, Pod]) -> None:
    first = two[0]
    with locked(two):
        new = first.add("new")
        first.agent.end()
        first.agent.start()
        eventually(lambda: answers(first), first.log)
        again = first.cni("ADD", new.container, new.name, pod=new.name)
        assert (again.code, again.said) == (0, new.result)
        second = first.add("second")
        assert second.address not in {pod.address for pod in (*pods, new)}
    wanted = {pod.address: pod.container for pod in (*pods, new, second)}
    eventually(lambda: two.live() == wanted, lambda: f"{two.live()} is not {wanted}")
    first.delete(new)
    first.delete(second)


def answers(machine: Machine) -> bool:
    try:
        return bool(machine.status())
    except AgentAway:
        return False


def lose(path: Path) -> None:
    path.unlink()


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def contradict(path: Path) -> None:
    contents = journal.decode(path.read_bytes())
    assert contents is not None
    with path.open("ab") as file:
        file.writelines(journal.encode(structs.replace(pod, container="another")) for pod in contents.pods.values())


@pytest.mark.parametrize("harm", [lose, damage, contradict])
def test_without_its_journal_an_agent_recovers_the_living_and_releases_the_dead(
    two: Cluster, pods: tuple[Pod, Pod, Pod], harm: object
) -> None:
    first = two[0]
    assert callable(harm)
    dead = first.add("dead")
    eventually(lambda: dead.address in two.live(), lambda: two.live())
    with undisturbed_but(two, pods, dead):
        first.agent.end()
        harm(first.state / "journal")
        first.run("ip", "netns", "del", dead.name)
        eventually(lambda: dead.link not in first.cali(), lambda: first.cali())
        first.agent.start()
        first.ready(peers=1)
        wanted = {pod.address: pod.container for pod in pods}
        eventually(lambda: two.live() == wanted, lambda: f"{two.live()} is not {wanted}")
        # What was recovered is journalled anew: the next start knows it all, without a datastore if need be.
        first.restart_agent()
        assert first.status()["pods"] == 2
        assert two.live() == wanted
    again = first.cni("ADD", pods[0].container, pods[0].name, pod=pods[0].name)
    assert again.code == 0
    assert again.said["ips"] == pods[0].result["ips"]


@contextmanager
def undisturbed_but(two: Cluster, pods: tuple[Pod, Pod, Pod], dead: Pod) -> Iterator[None]:
    """Nobody notices, but that the dead pod's route goes with its link."""
    others = [line for line in ours(two[0]) if not line.startswith(f"{dead.address} ")]
    with two[0].ping(pods[0], pods[1].address) as inside, two[1].ping(pods[2], pods[0].address) as across:
        yield
    assert ours(two[0]) == others
    for pings in (inside, across):
        assert pings.sent > MORE
        assert pings.lost == 0


def test_a_pod_that_only_the_kernel_knows_is_recovered(two: Cluster, pods: tuple[Pod, Pod, Pod]) -> None:
    """Its ADD was answered, the datastore had not followed yet, and then the journal was lost."""
    first = two[0]
    with locked(two):
        new = first.add("new")
        first.agent.end()
        (first.state / "journal").unlink()
    assert new.address not in two.live()
    with first.ping(new, pods[2].address) as pings:
        first.agent.start()
        first.ready(peers=1)
        wanted = {pod.address: pod.container for pod in (*pods, new)}
        eventually(lambda: two.live() == wanted, lambda: f"{two.live()} is not {wanted}")
    assert (pings.sent > MORE, pings.lost) == (True, 0)
    first.delete(new)
    eventually(lambda: new.address not in two.live(), lambda: two.live())


def test_of_an_old_journal_and_a_later_link_the_link_is_right(two: Cluster, pods: tuple[Pod, Pod, Pod]) -> None:
    """A copy was put back, or lines were lost: a container came again, and another has a former one's address."""
    first, (again, gone, far) = two[0], pods
    old = (first.state / "journal").read_bytes()
    for pod in (again, gone):
        first.delete(pod)
    first.netns("heir")
    heir = first.added("heir", "heir", first.cni("ADD", "heir", "heir", pod=gone.name, address=gone.address))
    again = first.add(again.name)
    assert again.address != pods[0].address
    with first.ping(again, far.address) as pings, first.ping(heir, far.address) as others:
        first.agent.end()
        (first.state / "journal").write_bytes(old)
        first.agent.start()
        first.ready(peers=1)
        first.restart_agent()  # what was recovered is journalled, and the journal whole
        wanted = {pod.address: pod.container for pod in (again, heir, far)}
        eventually(lambda: two.live() == wanted, lambda: f"{two.live()} is not {wanted}")
    assert (pings.lost, others.lost) == (0, 0)
    for pod in (again, heir):
        first.delete(pod)


def test_pods_of_another_boot_are_released(two: Cluster, pods: tuple[Pod, Pod, Pod]) -> None:
    first = two[0]
    path = first.state / "journal"
    first.agent.end()
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([journal.encode(Boot("another")).rstrip(b"\n"), *lines[1:]]))
    for link in first.cali():  # no link outlives its kernel
        first.run("ip", "link", "del", link)
    first.agent.start()
    first.ready(peers=1)
    eventually(lambda: two.live() == {pods[2].address: pods[2].container}, lambda: two.live())
    assert [line for line in ours(first) if "dev cali" in line] == []
    for pod in pods[:2]:
        again = first.cni("ADD", pod.container, pod.name, pod=pod.name)
        assert again.code == 0, again.raw
