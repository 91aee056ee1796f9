"""A real agent whose state directory is on a small disk of its own: full, read-only, frozen, removed; mended again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest
from agents import SHARED, Cluster, Machine, Pod, cluster, eventually

from bgpnet.agent.journal import decode
from bgpnet.errors import AgentAway

pytestmark = pytest.mark.root

STATE = "/var/lib/bgpnet"
SIZE = "128k"
FULL = (
    f"journal {STATE}/journal cannot be written: No space left on device; free space on the disk of the state directory"
)
LOCKED = (
    f"journal {STATE}/journal cannot be written: Read-only file system; "
    "make the disk of the state directory writable again"
)
STANDS = (
    f"journal {STATE}/journal cannot be written: the disk has not answered for 5 s; "
    "see to the disk of the state directory"
)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path, 1, f"disk{os.getpid()}", size=28, rest=1.0) as made:
        made[0].run("mkdir", "-p", STATE)
        made[0].run("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "disk", STATE)
        made[0].agent.env["BGPNET_LEAK_GRACE"] = "2"
        made.start()
        yield made


def fill(one: Machine) -> None:
    """Take every page; the one that the journal ends in has room left."""
    one.run("sh", "-c", f"cat /dev/zero > {STATE}/filler 2>/dev/null || true")


def clear(one: Machine) -> None:
    one.run("rm", f"{STATE}/filler")


def lock(one: Machine) -> None:
    """Read-only, while nobody has a file open there to write it."""
    one.run("mount", "-o", "remount,ro", STATE)


def reasons(one: Machine) -> list[str]:
    """Why it is not ready, as soon as it says anything."""
    try:
        return list(one.status()["reasons"])
    except AgentAway as problem:
        return [str(problem)]


def refused(one: Machine, sentence: str) -> None:
    """An ADD is refused with this, sooner or later: what is left of the last page takes some lines."""
    one.netns("refused")
    for number in range(60):
        answer = one.cni("ADD", f"refused{number}", "refused", pod="refused")
        if answer.code:
            break
        assert one.cni("DEL", f"refused{number}", "refused", pod="refused").code == 0
    assert (answer.error, answer.message) == (11, sentence)
    assert one.cni("DEL", f"refused{number}", "refused", pod="refused").code == 0
    assert one.agent.running
    eventually(lambda: f"pods cannot be added: {sentence}" in reasons(one), one.log)
    assert one.cni("ADD", "again", "refused", pod="refused").message == sentence
    one.run("ip", "netns", "del", "refused")


def mended(one: Machine, sentence: str) -> None:
    eventually(lambda: reasons(one) == [], one.log)

    def told() -> list[str]:
        return [line for line in one.log().splitlines() if line.endswith(sentence) and " WARNING " not in line]

    eventually(lambda: [("over: " in line) for line in told()] == [False, True], told)


def live(nodes: Cluster) -> dict[str, str]:
    """Of pods."""
    return {address: container for address, container in nodes.live().items() if container}


def journalled(one: Machine) -> dict[str, str]:
    contents = decode((one.state / "journal").read_bytes())
    assert contents is not None
    return {pod.address: pod.container for pod in contents.pods.values()}


def of(*pods: Pod) -> dict[str, str]:
    return {pod.address: pod.container for pod in pods}


def test_full_pods_go_and_none_comes_until_there_is_room(nodes: Cluster) -> None:
    one = nodes[0]
    stays, goes = one.add("stays"), one.add("goes")
    fill(one)
    refused(one, FULL)
    one.delete(goes)
    eventually(lambda: live(nodes) == of(stays), lambda: live(nodes))
    assert goes.address in journalled(one)
    clear(one)
    mended(one, FULL)
    eventually(lambda: journalled(one) == of(stays), lambda: journalled(one))
    comes = one.add("comes")
    eventually(lambda: live(nodes) == of(stays, comes) == journalled(one), lambda: live(nodes))


def test_killed_in_debt_a_deleted_pod_is_a_leak_that_goes_and_no_address_is_doubled(nodes: Cluster) -> None:
    one = nodes[0]
    stays, goes = one.add("stays"), one.add("goes")
    eventually(lambda: live(nodes) == of(stays, goes), lambda: live(nodes))
    fill(one)
    refused(one, FULL)
    one.delete(goes)
    one.agent.end()
    one.agent.start()  # on a disk that is still full
    eventually(lambda: f"pods cannot be added: {FULL}" in reasons(one), one.log)
    assert one.cni("ADD", stays.container, "stays", pod="stays").code == 0  # as it was
    one.agent.end()
    clear(one)
    one.agent.start()
    one.ready()
    more = [one.add(f"more{number}") for number in range(3)]
    assert len(of(stays, goes, *more)) == 5
    eventually(lambda: live(nodes) == of(stays, *more) == journalled(one), lambda: f"{live(nodes)}, {one.log()}")
    comes = one.add("comes")
    assert comes.address not in of(stays, *more)


def test_read_only_pods_go_and_an_agent_starts(nodes: Cluster) -> None:
    one = nodes[0]
    stays, goes, last = one.add("stays"), one.add("goes"), one.add("last")
    one.agent.end()
    lock(one)
    one.agent.start()
    eventually(lambda: f"pods cannot be added: {LOCKED}" in reasons(one), one.log)
    refused(one, LOCKED)
    one.delete(goes)
    eventually(lambda: live(nodes) == of(stays, last), lambda: live(nodes))
    one.run("mount", "-o", "remount,rw", STATE)
    mended(one, LOCKED)
    one.delete(last)
    comes = one.add("comes")
    eventually(lambda: live(nodes) == of(stays, comes) == journalled(one), lambda: live(nodes))


@pytest.fixture
def frail(tmp_path: Path) -> Iterator[Machine]:
    """A node whose state directory is an ext4 of its own, which can be frozen."""
    image = tmp_path / "image"
    with cluster(tmp_path, 1, f"still{os.getpid()}", size=28, rest=1.0) as made:
        with image.open("wb") as file:
            file.truncate(16 << 20)
        made[0].run("mkdir", "-p", STATE)
        made[0].run("mkfs.ext4", "-q", "-F", f"{SHARED}/image")
        made[0].run("mount", "-o", "loop", f"{SHARED}/image", STATE)
        made.start()
        yield made[0]


@contextmanager
def frozen(one: Machine) -> Iterator[None]:
    """Meanwhile the disk stands still: whoever writes waits, and cannot even be killed."""
    one.run("fsfreeze", "--freeze", STATE)
    try:
        yield
    finally:
        one.run("fsfreeze", "--unfreeze", STATE)


def test_a_disk_that_stands_still_keeps_nobody_waiting_and_nothing_is_lost_or_doubled(frail: Machine) -> None:
    one = frail
    stays, goes, late = one.add("stays"), one.add("goes"), one.add("late")
    names = [f"waits{number}" for number in range(20)]
    for name in names:
        one.netns(name)
    with frozen(one), ThreadPoolExecutor(len(names) + 1) as runtime:
        began = monotonic()
        answers = [runtime.submit(one.cni, "ADD", name, name, pod=name) for name in names]
        deleted = runtime.submit(one.cni, "DEL", goes.container, "goes", pod="goes")
        assert one.status()["ready"]
        told = [answer.result() for answer in answers]
        assert {(answer.error, answer.message) for answer in told} == {(11, STANDS)}
        assert deleted.result().code == 0
        assert monotonic() - began < 10
        assert f"pods cannot be added: {STANDS}" in reasons(one)
        assert (answer := one.cni("STATUS", "", "", cniVersion="1.1.0")).error == 50, answer.raw
        began = monotonic()
        assert one.cni("ADD", "again", "waits0", pod="waits0").message == STANDS
        one.delete(late)
        assert one.cni("CHECK", stays.container, "stays", pod="stays", prevResult=stays.result).code == 0
        for name in names:
            assert one.cni("DEL", name, name, pod=name).code == 0
        assert monotonic() - began < 5
        assert one.cali() == [stays.link]
    mended(one, STANDS)
    assert journalled(one) == of(stays)
    again = [one.added(name, name, one.cni("ADD", name, name, pod=name)) for name in names[:10]]
    assert journalled(one) == of(stays, *again)
    assert len(of(stays, *again)) == 11
    eventually(lambda: live(one.cluster) == of(stays, *again), lambda: live(one.cluster))
    one.restart_agent()
    assert journalled(one) == of(stays, *again)


HARMS = {
    "removed": f"rm {STATE}/journal",
    "cut": f"truncate -s 0 {STATE}/journal",
    "all gone": f"rm {STATE}/*",
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_a_journal_that_is_lost_under_a_running_agent_is_written_anew(nodes: Cluster, harm: str) -> None:
    one = nodes[0]
    stays = one.add("stays")
    one.run("sh", "-c", harm)
    comes = one.add("comes")
    assert journalled(one) == of(stays, comes)
    assert ": it is written anew" in one.log()
    one.restart_agent()
    assert journalled(one) == of(stays, comes)


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"stays", b"strays"))


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def test_at_a_start_a_damaged_journal_is_kept_and_one_that_is_no_file_is_refused(nodes: Cluster) -> None:
    one = nodes[0]
    stays = one.add("stays")
    eventually(lambda: live(nodes) == of(stays), lambda: live(nodes))
    one.agent.end()
    damage(one.state / "journal")
    one.agent.start()
    one.ready()
    assert b"strays" in (one.state / "journal.damaged").read_bytes()
    assert f"and the kernel; it is kept as {STATE}/journal.damaged" in one.log()
    assert one.cni("ADD", stays.container, "stays", pod="stays").said["ips"] == stays.result["ips"]
    one.agent.end()
    fifo(one.state / "journal")
    one.agent.start()
    eventually(lambda: not one.agent.running, one.log)
    assert f"journal {STATE}/journal is no regular file: remove it, and start the agent again" in one.log()
