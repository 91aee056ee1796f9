"""One machine has a name, one agent a machine: who comes second is refused, and harms nobody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import SHARED, Cluster, cluster, eventually

from bgpnet.agent import journal

pytestmark = pytest.mark.root


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes with agents, and no speakers."""
    with cluster(tmp_path, 2, f"agalone{os.getpid()}") as two:
        for machine in two.machines:
            machine.agent.start()
        for machine in two.machines:
            machine.ready()
        yield two


def test_a_node_name_that_a_living_machine_holds(made: Cluster) -> None:
    first, second = made.machines
    pod = first.add("p")
    eventually(lambda: pod.address in made.live(), lambda: made.live())
    second.agent.end()
    before = made.blocks()
    uuid = (first.state / "identity").read_text().strip()
    thief = second.process("thief", *second.agent.argv, "--node", "n1", "--state-dir", "/var/lib/thief")
    thief.start()
    assert thief.wait() == 1
    told = thief.log.read_text().strip().splitlines()[-1]
    assert "node name n1" in told
    assert uuid in told
    assert "bgpnetctl node release n1 --yes" in told
    assert made.blocks() == before
    assert second.routes() == ["192.0.2.0/24 dev eth1 proto kernel scope link src 192.0.2.2"]
    assert uuid in first.ctl("get", "node", "n1", "-o", "yaml")
    # The remedy: the first is gone for good, and its name is released.
    first.agent.end()
    assert "released" in second.ctl("node", "release", "n1", "--yes")
    heir = second.process("heir", *second.agent.argv, "--node", "n1", "--state-dir", "/var/lib/thief")
    heir.start()
    mine = (second.root / "var/lib/thief").joinpath
    eventually(
        lambda: mine("identity").read_text().strip() in second.ctl("get", "node", "n1", "-o", "yaml"),
        lambda: heir.log.read_text(),
    )
    eventually(lambda: made.live() == {}, lambda: made.live())  # the pods of the other machine are gone with it
    heir.end()


def test_a_copy_of_a_living_machines_disk(made: Cluster) -> None:
    first, second = made.machines
    second.agent.end()
    copy = second.root / "var/lib/copy"
    copy.mkdir()
    (copy / "identity").write_bytes((first.state / "identity").read_bytes())
    # Here all machines have one kernel, and one boot; a journal of another one is what a copy has.
    lines = (first.state / "journal").read_bytes().split(b"\n", 1)
    (copy / "journal").write_bytes(journal.encode(journal.Boot("another")) + lines[1])
    again = second.process("copy", *second.agent.argv, "--node", "n1", "--state-dir", "/var/lib/copy")
    again.start()
    assert again.wait() == 1
    assert "of a machine with the address 192.0.2.1, alive" in again.log.read_text()


def test_a_second_agent_on_the_same_machine_is_refused_and_harms_nobody(made: Cluster) -> None:
    first, second = made.machines
    pod = first.add("p")
    for words in ((), ("--run-dir", "/run/elsewhere"), ("--run-dir", "/run/elsewhere", "--state-dir", "/srv/own")):
        twin = first.process("second", *first.agent.argv, *words)
        twin.start()
        assert twin.wait() == 1
        assert "another agent runs in this network namespace" in twin.log.read_text()
    # Elsewhere, but with the state or the socket of one that lives.
    second.agent.end()
    first.agent.end()
    first.run("cp", "-a", "/var/lib/bgpnet", f"{SHARED}/state")
    words = ("--state-dir", f"{SHARED}/state", "--run-dir", f"{SHARED}/run")
    first.agent = first.process("agent", *first.agent.argv, *words)
    first.agent.start()
    eventually(lambda: (made.folder / "run" / "agent.sock").exists(), first.log)
    thief = second.process("thief", *second.agent.argv, "--state-dir", f"{SHARED}/state")
    thief.start()
    assert thief.wait() == 1
    assert f"another agent uses the state directory {SHARED}/state" in thief.log.read_text()
    thief = second.process("thief", *second.agent.argv, "--run-dir", f"{SHARED}/run")
    thief.start()
    assert thief.wait() == 1
    assert f"another agent answers on {SHARED}/run/agent.sock" in thief.log.read_text()
    first.netns("q")
    new = first.cni("ADD", "c2", "q", socket=f"{SHARED}/run/agent.sock")
    assert new.code == 0, new.raw
    contents = journal.decode((made.folder / "state" / "journal").read_bytes())
    assert contents is not None
    assert {one.container for one in contents.pods} == {pod.container, "c2"}
