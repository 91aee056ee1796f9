"""Blocks that change hands between two real agents on a pool without a free one: idle, taken back, taken over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import Cluster, Machine, Pod, cluster, eventually, in_network

from bgpnet.model.ipamblock import BlockState

pytestmark = pytest.mark.root

SOON = 90.0
"""Seconds in which a block becomes idle, with the settings below."""


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes with agents and no speakers, and a pool of two blocks with four addresses each."""
    with cluster(tmp_path, 2, f"agidle{os.getpid()}", pool="10.244.0.0/29", size=30, rest=1.0) as two:
        for machine in two.machines:
            machine.agent.env["BGPNET_IDLE_AFTER"] = "1"
            machine.agent.start()
        for machine in two.machines:
            machine.ready()
        yield two


def blocks(two: Cluster) -> dict[str, tuple[str, BlockState]]:
    """Owner and state of every recorded block."""
    return {cidr: (one.spec.owner.name, one.spec.state) for cidr, one in two.blocks().items() if one.spec.owner}


def idle(two: Cluster) -> list[str]:
    return [cidr for cidr, (_, state) in blocks(two).items() if state is BlockState.IDLE]


def filled(machine: Machine, name: str, count: int) -> list[Pod]:
    return [machine.add(f"{name}{number}") for number in range(count)]


def emptied(two: Cluster, pods: list[Pod]) -> str:
    """n1's pods go; of its two blocks it keeps one, and the other, which is returned, becomes idle."""
    first = two[0]
    for pod in pods:
        first.delete(pod)
    eventually(lambda: len(idle(two)) == 1, lambda: blocks(two), SOON)
    assert {owner for owner, _ in blocks(two).values()} == {"n1"}
    return idle(two)[0]


def refused(machine: Machine, name: str) -> str:
    """The sentence of an ADD that must fail."""
    machine.netns(name)
    answer = machine.cni("ADD", f"{machine.name}-{name}", name, pod=name)
    assert answer.code != 0, answer.raw
    machine.run("ip", "netns", "del", name)
    return answer.message


def all_of_first(two: Cluster) -> bool:
    return list(blocks(two).values()) == [("n1", BlockState.IN_USE)] * 2


def test_an_idle_block_is_taken_back_by_its_owner_and_over_by_another(made: Cluster) -> None:
    first, second = made.machines
    pods = filled(first, "a", 5)
    eventually(lambda: all_of_first(made), lambda: blocks(made), SOON)
    full = (
        "node n2 gets no further block: pool pods (10.244.0.0/29) has 2 blocks of /30, 0 owned by this node, 2 by oth"
    )
    lie = "in the blocks of others (n1 3)"
    eventually(lambda: {full, lie} == {one for one in (full, lie) if one in refused(second, "none")}, second.log, SOON)

    spare = emptied(made, pods)
    pods = filled(first, "b", 5)  # one more than the other block has
    assert any(in_network(pod.address, spare) for pod in pods)
    eventually(lambda: all_of_first(made), lambda: blocks(made), SOON)

    spare = emptied(made, pods)
    theirs = [second.soon_added("c"), *filled(second, "c", 3)]  # it has yet to hear of the block that is idle
    assert all(in_network(pod.address, spare) for pod in theirs)
    eventually(lambda: blocks(made)[spare] == ("n2", BlockState.IN_USE), lambda: blocks(made), SOON)
    eventually(lambda: spare not in {row["cidr"] for row in first.status()["blocks"]}, first.status, SOON)
    eventually(lambda: f"blackhole {spare} proto bgpnet" not in first.routes(), first.routes, SOON)
    eventually(lambda: first.status()["warnings"] == [], first.status, SOON)

    pods = filled(first, "d", 4)
    assert not any(in_network(pod.address, spare) for pod in pods)
    said = refused(first, "more")
    assert "has 2 blocks of /30, 1 owned by this node, 1 by others; unused addresses: 0 in its own blocks" in said
    assert "unused addresses" in refused(second, "more")
    wanted = {pod.address: pod.container for pod in (*pods, *theirs)}
    assert len(wanted) == 8
    eventually(lambda: made.live() == wanted, made.live, SOON)
    for machine, left in ((first, pods), (second, theirs)):
        for pod in left:
            machine.delete(pod)
    eventually(lambda: made.live() == {}, made.live, SOON)
