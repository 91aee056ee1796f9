"""ADD and DEL as runtimes do them: repeated, late, in a crowd, and wrong. Nothing is left half-made."""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from agents import MORE, POOL_TEXT, Cluster, Machine, Pod, Said, cluster, eventually

from bgpnet import integrity
from bgpnet.agent import journal
from bgpnet.errors import AgentAway
from bgpnet.names import pod_link

pytestmark = pytest.mark.root

NUMBERS = itertools.count(1)


@contextmanager
def running(folder: Path, count: int = 1, **more: object) -> Iterator[Cluster]:
    """Nodes with agents, and no speakers."""
    with cluster(folder, count, f"agcni{os.getpid()}x{next(NUMBERS)}", **more) as made:  # type: ignore[arg-type]  # as cluster's
        for machine in made.machines:
            machine.agent.start()
        if more.get("pool") != "":
            for machine in made.machines:
                machine.ready()
        yield made


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Machine]:
    """One node with an agent; addresses rest to the end, however long a busy machine takes."""
    with running(tmp_path, rest=600) as made:
        yield made[0]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One node with an agent, for requests that are refused and have to leave it as it was."""
    with running(tmp_path_factory.mktemp("shared")) as made:
        made[0].delete(made[0].add("first"))  # so that there is a block
        eventually(lambda: made.live() == {}, lambda: made.live())
        yield made[0]


def journalled(machine: Machine) -> set[str]:
    """The containers that the journal knows."""
    contents = journal.decode((machine.state / "journal").read_bytes())
    assert contents is not None
    return {attachment.container for attachment in contents.pods}


def pod_routes(machine: Machine) -> list[str]:
    return [line for line in machine.routes() if "dev cali" in line and "proto bgpnet" in line]


def assert_nothing_left(machine: Machine) -> None:
    """No link, no route, no address in use, no journal entry."""
    eventually(lambda: machine.cali() == [], lambda: machine.cali())
    assert pod_routes(machine) == []
    assert journalled(machine) == set()
    eventually(lambda: machine.cluster.live() == {}, lambda: machine.cluster.live())
    eventually(
        lambda: sum(row["in_use"] for row in machine.status()["blocks"]) == 0, lambda: machine.status()["blocks"]
    )


def resting(cluster: Cluster) -> set[str]:
    return {
        str(block.network[ordinal])
        for block in cluster.blocks().values()
        for ordinal, one in block.spec.allocations.items()
        if one.freedAt is not None
    }


# DEL


def test_del_twice_and_of_nobody(one: Machine) -> None:
    pod = one.add("p")
    for _ in range(2):
        answer = one.cni("DEL", pod.container, pod.name, pod=pod.name)
        assert (answer.code, answer.raw) == (0, "")
    assert one.cni("DEL", "never-added", "p", pod="never").code == 0
    assert one.cni("DEL", "never-added", "", twin=True).code == 0
    eventually(lambda: resting(one.cluster) == {pod.address}, lambda: resting(one.cluster))
    assert_nothing_left(one)


@pytest.mark.parametrize("lost", ["link", "namespace"])
def test_an_add_that_is_repeated_when_the_link_has_just_gone_is_wired_anew(one: Machine, lost: str) -> None:
    pod = one.add("p")
    for _ in range(3):  # the monitor tells of the link a moment later: the ADD must not count on it
        if lost == "link":
            one.run("ip", "link", "del", pod.link)
        else:
            one.run("ip", "netns", "del", pod.name)
            one.netns(pod.name)
        again = one.added(pod.name, pod.container, one.cni("ADD", pod.container, pod.name, pod=pod.name))
        assert again.result == pod.result
        assert f"inet {pod.address}/32 " in one.run("ip", "-n", pod.name, "address", "show", "dev", "eth0")
    eventually(lambda: one.cali() == [pod.link], lambda: one.cali())
    eventually(lambda: [line.split()[0] for line in pod_routes(one)] == [pod.address], lambda: pod_routes(one))
    one.delete(pod)
    assert_nothing_left(one)


def test_new_pods_follow_the_uplinks_mtu(one: Machine) -> None:
    before = one.add("p", cniVersion="1.1.0")
    assert {link["mtu"] for link in before.result["interfaces"]} == {1500}
    one.run("ip", "link", "set", "eth1", "mtu", "1400")
    eventually(lambda: "eth1 has MTU 1400 now, and had 1500" in one.log(), one.log)
    after = one.add("q", cniVersion="1.1.0")
    assert {link["mtu"] for link in after.result["interfaces"]} == {1400}
    check = one.cni("CHECK", before.container, before.name, pod="p", cniVersion="1.1.0", prevResult=before.result)
    assert check.code == 0, check.raw  # it keeps what it was wired with


def test_a_nodes_address_that_goes_is_said_and_that_it_is_back(one: Machine) -> None:
    one.run("ip", "address", "del", f"{one.address}/24", "dev", "eth1")
    said = f"the node's address {one.address} is on no link"
    eventually(lambda: said in str(one.status()["warnings"]), lambda: one.status())
    assert said in one.log()
    one.run("ip", "address", "add", f"{one.address}/24", "dev", "eth1")
    eventually(lambda: one.status()["warnings"] == [], lambda: one.status())
    assert f"over: {said}" in one.log()


def test_del_after_the_namespace_is_gone(one: Machine) -> None:
    pod = one.add("p")
    one.run("ip", "netns", "del", pod.name)
    eventually(lambda: one.cali() == [], lambda: one.cali())
    assert one.cluster.live() in ({}, {pod.address: pod.container})
    assert one.cni("DEL", pod.container, pod.name, pod=pod.name).code == 0
    assert_nothing_left(one)


@pytest.mark.parametrize("twin", [False, True])
def test_a_del_without_an_agent_is_made_good_by_the_next(one: Machine, twin: bool) -> None:
    pod, other = one.add("p"), one.add("q")
    one.agent.end()
    answer = one.cni("DEL", pod.container, pod.name, pod=pod.name, twin=twin)
    assert (answer.code, answer.raw) == (0, "")
    tombstones = one.root / "run/bgpnet/tombstones"
    assert [path.name for path in tombstones.iterdir()] == [f"{pod.container}:eth0"]
    one.agent.start()
    one.ready()
    eventually(lambda: not list(tombstones.iterdir()), "the DEL was not made good")
    eventually(lambda: one.cali() == [other.link], lambda: one.cali())
    assert [line.split()[0] for line in pod_routes(one)] == [other.address]
    eventually(lambda: one.cluster.live() == {other.address: other.container}, lambda: one.cluster.live())
    assert pod.address in resting(one.cluster)


def test_a_del_without_an_agent_counts_although_the_journal_is_lost(one: Machine) -> None:
    pod = one.add("p")
    eventually(lambda: pod.address in one.cluster.live(), lambda: one.cluster.live())
    one.agent.end()
    (one.state / "journal").unlink()
    assert one.cni("DEL", pod.container, pod.name, pod=pod.name).code == 0
    one.agent.start()
    one.ready()
    assert_nothing_left(one)


def test_a_del_that_no_agent_will_ever_carry_out_is_not_tried_for_ever(one: Machine) -> None:
    one.agent.end()
    answer = one.cni("DEL", "c1", "p", config='{"cniVersion": "1.0.0", "name": "no such name!", "type": "bgpnet"}')
    assert answer.code == 0
    one.agent.start()
    one.ready()
    eventually(lambda: not list((one.root / "run/bgpnet/tombstones").iterdir()), "it is still there")


def test_what_is_no_note_among_the_notes_holds_no_agent_up(one: Machine) -> None:
    pod = one.add("p")
    one.agent.end()
    assert one.cni("DEL", pod.container, pod.name, pod=pod.name).code == 0
    tombstones = one.root / "run/bgpnet/tombstones"
    (tombstones / "a.folder").mkdir()
    os.mkfifo(tombstones / "a.pipe")
    (tombstones / "a.symlink").symlink_to("/dev/zero")
    (tombstones / "a.text").write_text("nonsense")
    one.agent.start()
    one.ready()
    assert_nothing_left(one)
    left = ["a.folder", "a.symlink"]
    eventually(lambda: sorted(path.name for path in tombstones.iterdir()) == left, lambda: [*tombstones.iterdir()])
    assert all(f"tombstones/{name} cannot be read as the note of a DEL" in one.log() for name in left)


def test_a_note_of_another_user_is_not_carried_out(one: Machine) -> None:
    """He may have made the folder before anybody else, where the run directory is in one of everybody's."""
    pod = one.add("p")
    one.agent.end()
    assert one.cni("DEL", pod.container, pod.name, pod=pod.name).code == 0
    note = one.root / f"run/bgpnet/tombstones/{pod.container}:eth0"
    os.chown(note, NOBODY, NOBODY)
    one.agent.start()
    one.ready()
    said = f"{note.name} cannot be read as the note of a DEL (it is of the user {NOBODY}, and no plugin's): remove it"
    eventually(lambda: said in one.log(), one.log)
    assert one.cali() == [pod.link]
    assert note.exists()


NOBODY = 65534


# a newer sandbox of the same pod


def in_order(one: Machine) -> tuple[Pod, Pod]:
    """Two sandboxes of one pod; the older has not been deleted when the newer comes."""
    older = one.add("older", container="sandbox1", pod="web-0")
    newer = one.add("newer", container="sandbox2", pod="web-0")
    return older, newer


def assert_newer_works(one: Machine, older: Pod, newer: Pod) -> None:
    assert (older.link == newer.link, older.address == newer.address) == (True, False)
    assert one.cali() == [newer.link]
    assert pod_routes(one) == [f"{newer.address} dev {newer.link} proto bgpnet scope link"]
    neighbours = one.run("ip", "neigh", "show", "dev", newer.link)
    assert newer.address in neighbours
    assert f"{older.address} " not in neighbours
    one.run("ip", "netns", "exec", newer.name, "ping", "-n", "-c", "1", "-w", "10", one.address)


def test_a_newer_sandbox_takes_the_link_and_the_del_of_the_older_leaves_it_alone(one: Machine) -> None:
    older, newer = in_order(one)
    assert_newer_works(one, older, newer)
    both = {older.address: older.container, newer.address: newer.container}
    eventually(lambda: one.cluster.live() == both, lambda: one.cluster.live())
    with one.ping(newer, one.address) as pings:
        assert one.cni("DEL", older.container, older.name, pod="web-0").code == 0
    assert pings.lost == 0
    eventually(lambda: one.cluster.live() == {newer.address: newer.container}, lambda: one.cluster.live())
    assert_newer_works(one, older, newer)
    assert one.cni("DEL", newer.container, newer.name, pod="web-0").code == 0
    assert_nothing_left(one)


@pytest.mark.parametrize("with_journal", [True, False])
def test_a_restart_between_the_two_sandboxes_changes_nothing(one: Machine, with_journal: bool) -> None:
    older, newer = in_order(one)
    eventually(lambda: len(one.cluster.live()) == 2, lambda: one.cluster.live())
    one.agent.end()
    if not with_journal:
        (one.state / "journal").unlink()
    one.agent.start()
    one.ready()
    assert_newer_works(one, older, newer)
    one.run("ip", "route", "del", f"{newer.address}/32")
    eventually(lambda: len(pod_routes(one)) == 1, lambda: one.routes())
    assert one.cni("DEL", older.container, older.name, pod="web-0").code == 0
    eventually(lambda: one.cluster.live() == {newer.address: newer.container}, lambda: one.cluster.live())
    assert_newer_works(one, older, newer)


def test_a_newer_sandbox_that_is_refused_early_leaves_the_older_one_at_work(one: Machine) -> None:
    older = one.add("older", container="sandbox1", pod="web-0")
    with one.ping(older, one.address) as pings:
        answer = one.cni("ADD", "sandbox2", "../../proc/1/ns/net", pod="web-0")  # the node's own namespace
        assert_refused(answer, 4, older.link)
        one.add("other")  # so that the plan is carried out once more
    assert (pings.sent > MORE, pings.lost) == (True, 0)
    assert older.address in str(pod_routes(one))
    assert journalled(one) == {older.container, "n1-other"}


def test_a_newer_sandbox_whose_address_leads_elsewhere_leaves_the_older_one_at_work(one: Machine) -> None:
    older = one.add("older", container="sandbox1", pod="web-0")
    head, _, last = older.address.rpartition(".")
    taken = f"{head}.{int(last) + 1}"
    one.run("ip", "route", "add", f"{taken}/32", "via", "192.0.2.77", "dev", "eth1", "proto", "static")
    one.netns("newer")
    with one.ping(older, one.address) as pings:
        assert_refused(one.cni("ADD", "sandbox2", "newer", pod="web-0"), 102, taken)
        one.add("other")
    assert (pings.sent > MORE, pings.lost) == (True, 0)
    assert one.cali().count(older.link) == 1
    assert journalled(one) == {older.container, "n1-other"}


# what is refused


def assert_refused(answer: Said, code: int, *named: str) -> None:
    """Exit code 1, the error object with that code, one sentence that names all of these."""
    assert (answer.code, answer.error) == (1, code), answer.raw
    assert "\n" not in answer.message
    assert answer.said["cniVersion"] == "1.0.0"
    for word in named:
        assert word in answer.message


def test_an_agent_that_is_not_there(one: Machine) -> None:
    one.agent.end()
    one.netns("p")
    assert_refused(one.cni("ADD", "c1", "p", pod="p"), 11, "/run/bgpnet/agent.sock", "bgpnet agent")
    one.agent.start()
    one.ready()
    assert_nothing_left(one)


def test_a_strangers_link_of_that_name(one: Machine) -> None:
    link = pod_link("test/p", "c1", "eth0")
    one.run("ip", "link", "add", link, "type", "veth", "peer", "name", "strange0")
    before = one.run("ip", "-o", "link", "show", link)
    one.netns("p")
    assert_refused(one.cni("ADD", "c1", "p", pod="p"), 102, link, "ip link del")
    assert one.cni("DEL", "c1", "p", pod="p").code == 0
    assert one.run("ip", "-o", "link", "show", link) == before
    assert journalled(one) == set()
    one.run("ip", "link", "del", link)
    assert_nothing_left(one)
    one.added("p", "c1", one.cni("ADD", "c1", "p", pod="p"))


def test_a_strangers_route_at_the_pods_address(one: Machine) -> None:
    first = one.add("first")
    second = first.address.rpartition(".")[0] + "." + str(int(first.address.rpartition(".")[2]) + 1)
    one.run("ip", "route", "add", f"{second}/32", "via", "192.0.2.77", "dev", "eth1", "proto", "static")
    one.netns("p")
    assert_refused(one.cni("ADD", "c1", "p", pod="p"), 102, second)
    assert one.cali() == [first.link]
    assert journalled(one) == {first.container}
    assert f"{second} via 192.0.2.77 dev eth1 proto static" in one.routes()
    eventually(lambda: one.cluster.live() == {first.address: first.container}, lambda: one.cluster.live())
    again = one.added("p", "c1", one.cni("ADD", "c1", "p", pod="p"))
    assert again.address not in (first.address, second)
    one.delete(again)
    one.delete(first)
    assert f"{second} via 192.0.2.77 dev eth1 proto static" in one.routes()
    assert_nothing_left(one)


def test_the_nodes_own_namespace_is_none_of_a_pod(one: Machine) -> None:
    one.run("ip", "netns", "attach", "own", "1")
    before = one.run("ip", "-o", "link")
    assert_refused(one.cni("ADD", "c1", "own", pod="p"), 4, "the host's own")
    assert one.run("ip", "-o", "link") == before
    assert one.cni("DEL", "c1", "own", pod="p").code == 0
    assert one.run("ip", "-o", "link") == before
    assert_nothing_left(one)


def test_a_namespace_that_has_the_interface_already(one: Machine) -> None:
    one.netns("p")
    one.run("ip", "-n", "p", "link", "add", "eth0", "type", "veth", "peer", "name", "other0")
    assert_refused(one.cni("ADD", "c1", "p", pod="p"), 102, "eth0", "CNI_IFNAME")
    assert_nothing_left(one)
    one.added("p", "c1", one.cni("ADD", "c1", "p", pod="p", ifname="net1"))


def test_no_pool_at_all_until_there_is_one(tmp_path: Path) -> None:
    with running(tmp_path, pool="") as made:
        one = made[0]
        eventually(lambda: "in sync" in str(word(one)), one.log)
        one.netns("p")
        assert_refused(one.cni("ADD", "c1", "p", pod="p"), 101, "bgpnetctl create")
        assert not one.status()["ready"]
        assert made.blocks() == {}
        one.ctl("create", "-f", "-", stdin=POOL_TEXT.format(name="late", cidr="10.8.0.0/16", size=26))
        eventually(lambda: one.status()["ready"], lambda: one.status())
        one.added("p", "c1", one.cni("ADD", "c1", "p", pod="p"))


def word(machine: Machine) -> object:
    try:
        return machine.status()
    except AgentAway:
        return ""


def test_an_exhausted_pool_says_who_has_it_and_resting_addresses_help(tmp_path: Path) -> None:
    with running(tmp_path, 2, pool="10.9.0.0/29", size=30, rest=600) as made:
        first, second = made.machines
        theirs = second.add("theirs")
        eventually(lambda: made.live() == {theirs.address: theirs.container}, lambda: made.live())
        pods = [first.add(f"p{number}") for number in range(4)]
        assert len({pod.address for pod in (*pods, theirs)}) == 5
        first.netns("more")

        def refused_now() -> Said:
            return first.cni("ADD", "more", "more", pod="more")

        eventually(lambda: "n2 3" in refused_now().message, first.log)  # it hears of theirs from the datastore
        refused = refused_now()
        assert_refused(refused, 101, "pods (10.9.0.0/29)", "2 blocks of /30", "n2 3", "create another IPPool")
        assert journalled(first) == {pod.container for pod in pods}
        assert len(first.cali()) == 4
        assert sorted(made.blocks()) == ["10.9.0.0/30", "10.9.0.4/30"]
        first.delete(pods[1])
        eventually(lambda: first.status()["blocks"][0]["resting"] == 1, lambda: first.status())
        again = first.added("more", "more", first.cni("ADD", "more", "more", pod="more"))
        assert again.address == pods[1].address
        # Another pool helps those who may use it.
        first.ctl("create", "-f", "-", stdin=POOL_TEXT.format(name="other", cidr="10.10.0.0/24", size=26))
        first.netns("late")
        eventually(lambda: first.cni("ADD", "late", "late").code == 0, first.log)


def test_an_add_waits_for_a_datastore_that_comes_back(tmp_path: Path) -> None:
    with running(tmp_path, 1, pool="10.9.0.0/28", size=30) as made:
        one = made[0]
        pods = [one.add(f"p{number}") for number in range(4)]
        eventually(lambda: len(made.live()) == 4, lambda: made.live())
        one.netns("more")
        with ThreadPoolExecutor(1) as runtime:
            with closing(sqlite3.connect(tmp_path / "store" / "store.db", timeout=60, isolation_level=None)) as db:
                db.execute("BEGIN EXCLUSIVE")
                answer = runtime.submit(one.cni, "ADD", "more", "more", pod="more")
                eventually(lambda: one.status()["blocks"][0]["free"] == 0, lambda: one.status())
                assert not answer.done()
                db.execute("ROLLBACK")
            more = one.added("more", "more", answer.result(timeout=60))
        assert more.address not in {pod.address for pod in pods}


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("{cidr: 10.244.128.0/17}", "overlaps"),
        ("{cidr: 10.7.0.1/16}", "spec.cidr"),
        ("{cidr: 10.7.0.0/16, blockSize: 33}", "spec.blockSize"),
        ("{cidr: 10.7.0.0/16, blockSize: 8}", "spec.blockSize"),
        ("{cidr: 10.7.0.0/28, blockSize: 26}", "blockSize 26"),
        ("{cidr: 10.7.0.0/16, colour: blue}", "spec.colour"),
        ("{cidr: nonsense}", "spec.cidr"),
    ],
)
def test_a_wrong_pool_is_refused_by_field(shared: Machine, spec: str, named: str) -> None:
    text = f"{{apiVersion: bgpnet.io/v1, kind: IPPool, metadata: {{name: wrong}}, spec: {spec}}}"
    told = shared.ctl("create", "-f", "-", stdin=text, code=1)
    assert named in told
    assert "Traceback" not in told
    assert "wrong" not in shared.ctl("get", "ippool")
    assert shared.status()["ready"]


# a crowd


def test_forty_pods_ten_at_a_time(tmp_path: Path) -> None:
    """However long a busy machine takes: their records wait for the datastore together, and nobody rests to the end."""
    with running(tmp_path, rest=600) as made:
        forty_pods(made[0])


def forty_pods(one: Machine) -> None:
    one.delete(one.add("first"))  # so that there is a block
    eventually(lambda: len(resting(one.cluster)) == 1, lambda: resting(one.cluster))
    rested = resting(one.cluster)
    names = [f"p{number}" for number in range(40)]
    one.run("sh", "-c", "for n in $(seq 0 39); do ip netns add p$n; done")
    start = writes(one.cluster)
    with ThreadPoolExecutor(10) as runtime:
        with one.cluster.unwritten():
            pods = list(
                runtime.map(
                    lambda name: one.added(name, f"c-{name}", one.cni("ADD", f"c-{name}", name, pod=name)), names
                )
            )
        assert len({pod.address for pod in pods}) == 40
        assert len({pod.link for pod in pods}) == 40
        wanted = {pod.address: pod.container for pod in pods}
        eventually(lambda: one.cluster.live() == wanted, lambda: one.cluster.live())
        assert sorted(line.split()[0] for line in pod_routes(one)) == sorted(wanted)
        added = writes(one.cluster)
        with one.cluster.unwritten():
            codes = list(runtime.map(lambda pod: one.cni("DEL", pod.container, pod.name, pod=pod.name).code, pods))
    assert codes == [0] * 40
    assert_nothing_left(one)
    deleted = writes(one.cluster)
    assert [problem for block in one.cluster.blocks().values() for problem in integrity.check(block)] == []
    assert resting(one.cluster) == rested | set(wanted)
    assert added - start <= FEW
    assert deleted - added <= FEW


FEW = 20
"""Writes of blocks for 40 pods: far fewer than one each."""


def writes(cluster: Cluster) -> int:
    """How often a block was written."""
    with closing(sqlite3.connect(cluster.folder / "store" / "store.db")) as db:
        found: int = db.execute("SELECT count(*) FROM log WHERE key LIKE '/bgpnet/v1/ipamblocks/%'").fetchone()[0]
    return found
