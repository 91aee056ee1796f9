"""STATUS of a node that has no block of its own left, because others have them, while its pods live in them: code 51.

test_agent_fencing.py has the one block that is handed over; here a node loses one after the other, and is restarted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import Cluster, Machine, Pod, cluster, eventually
from msgspec import structs

from bgpnet.model import kinds
from bgpnet.model.ipamblock import IPAMBlock, Owner
from bgpnet.model.node import Node

pytestmark = pytest.mark.root

SOON = 90.0
"""Seconds in which a node finds out: rounds are every five."""
READY, LIMITED = (0, ""), 51


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes with agents, and a pool of two blocks with four addresses each."""
    with cluster(tmp_path, 2, f"aglimit{os.getpid()}", pool="10.244.0.0/29", size=30) as made:
        for machine in made.machines:
            machine.agent.start()
        for machine in made.machines:
            machine.ready()
        eventually(lambda: all(has_identity(made, machine.name) for machine in made.machines), made.blocks, SOON)
        yield made


def has_identity(made: Cluster, name: str) -> bool:
    """Whether the node's agent has written its Node."""
    repo = made.repo()
    node = repo.find(kinds.NODE, name)
    repo.store.close()
    return isinstance(node, Node) and node.status is not None and node.status.identity is not None


def status(machine: Machine, twin: bool = False) -> tuple[int, str]:
    answer = machine.cni("STATUS", "", "", cniVersion="1.1.0", twin=twin)
    return answer.error, answer.message


def give(two: Cluster, cidr: str, name: str) -> None:
    """An operator's word: the block is that node's now."""
    repo = two.repo()
    node = repo.get(kinds.NODE, name)
    assert isinstance(node, Node)
    assert node.status is not None
    assert node.status.identity is not None
    [block] = [one for one in repo.list(kinds.IPAMBLOCK)[0] if isinstance(one, IPAMBlock) and one.spec.cidr == cidr]
    owner = Owner(name=name, uid=node.status.identity.uuid)
    repo.write(structs.replace(block, spec=structs.replace(block.spec, owner=owner)))
    repo.store.close()


def owners(two: Cluster) -> dict[str, str]:
    return {cidr: one.spec.owner.name for cidr, one in two.blocks().items() if one.spec.owner is not None}


def fence(cidr: str) -> str:
    return f"block {cidr} of this node belongs to node n2 now"


def assert_limited(machine: Machine, *cidrs: str) -> None:
    """51 by both programs, with every block that was lost and what to do; and no ADD can be served."""

    def says() -> bool:
        told = [status(machine, twin) for twin in (False, True)]
        return all(code == LIMITED and all(fence(cidr) in said for cidr in cidrs) for code, said in told)

    eventually(says, lambda: status(machine), SOON)
    assert "delete the pods that still have addresses from it, so that they start again" in status(machine)[1]
    machine.netns("more")
    answer = machine.cni("ADD", "more", "more", pod="more")
    assert (answer.code, answer.said["code"]) == (1, 101)
    assert machine.cni("DEL", "more", "more", pod="more").code == 0
    machine.run("ip", "netns", "del", "more")


def wired(machine: Machine) -> set[str]:
    """The addresses that routes lead to."""
    return {line.split()[0] for line in machine.routes() if "dev cali" in line}


def test_a_node_that_lost_every_block_it_lives_in(two: Cluster) -> None:
    first = two[0]
    pods: list[Pod] = [first.add(f"p{number}") for number in range(5)]  # one more than a block has
    eventually(lambda: owners(two) == {"10.244.0.0/30": "n1", "10.244.0.4/30": "n1"}, lambda: owners(two), SOON)
    eventually(lambda: len(two.live()) == 5, two.live, SOON)
    lost, kept = sorted(two.blocks(), key=lambda cidr: cidr != "10.244.0.0/30")
    give(two, lost, "n2")
    eventually(lambda: any(fence(lost) in one for one in first.status()["warnings"]), first.status, SOON)
    assert status(first) == READY  # it has a block still, and only the pods of the other are cut off
    first.agent.end()
    assert status(first)[0] == 50
    give(two, kept, "n2")
    first.agent.start()  # what it finds in its journal went while it was away
    first.ready()
    assert_limited(first, lost, kept)
    assert wired(first) == {pod.address for pod in pods}  # on this node they reach each other still
    first.agent.end()
    (first.state / "journal").unlink()
    first.agent.start()  # and now the kernel alone remembers
    first.ready()
    assert_limited(first, lost, kept)
    assert wired(first) == {pod.address for pod in pods}
    for pod in pods:
        first.delete(pod)
    eventually(lambda: status(first) == READY, lambda: status(first), SOON)
    assert (first.status()["warnings"], wired(first)) == ([], set())
    assert owners(two) == {lost: "n2", kept: "n2"}
