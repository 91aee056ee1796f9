"""A real agent whose state directory is on a small disk of its own: full, read-only, and mended again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import Cluster, Machine, Pod, cluster, eventually

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
        return [line for line in one.log().splitlines() if line.endswith(sentence) and "container" not in line]

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
