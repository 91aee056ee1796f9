"""A block that went to another node, and one that another speaker announces: what real agents do, and their peers see.

The peer is a BIRD; n1 is cut off from the datastore alone, by an empty file system over its directory.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import Any

import pytest
from agents import SHARED, Cluster, Machine, Pod, cluster, eventually
from bird_peer import ADDRESS, Bird
from msgspec import structs

from bgpnet.model import kinds
from bgpnet.model.instant import stamp
from bgpnet.model.ipamblock import IPAMBlock, Owner
from bgpnet.model.node import Node
from bgpnet.store.repo import Repo

pytestmark = pytest.mark.root

SOON = 90.0
"""Seconds in which a node finds out and says so: rounds are every five."""
STORE = f"{SHARED}/store"
READY, LIMITED = 0, 51
"""CNI's codes of STATUS; 51: no ADD can be served, and what runs has limited connectivity (CNI 1.1.0)."""


@pytest.fixture
def made(tmp_path: Path) -> Iterator[tuple[Cluster, Bird]]:
    """Two nodes and a BIRD in full mesh, and a pool of two blocks with four addresses each."""
    with cluster(tmp_path, 2, f"agfence{os.getpid()}", pool="10.244.0.0/29", size=30) as two:
        bird = Bird(two)
        bird.start()
        try:
            for machine in two.machines:
                machine.start()
            for machine in two.machines:
                machine.ready(peers=2)
            yield two, bird
        finally:
            bird.end()


@contextmanager
def cut_off(machine: Machine) -> Iterator[None]:
    """This node cannot reach the datastore, the others can."""
    machine.run("mount", "-t", "tmpfs", "none", STORE)
    eventually(lambda: machine.status()["datastore"].startswith("away"), machine.status, SOON)
    try:
        yield
    finally:
        machine.run("umount", "-l", STORE)


def block_of(two: Cluster, machine: Machine) -> str:
    """The node's one block, once the datastore has it."""

    def owned() -> list[str]:
        return [
            cidr
            for cidr, one in two.blocks().items()
            if one.spec.owner is not None and one.spec.owner.name == machine.name
        ]

    eventually(lambda: len(owned()) == 1, owned, SOON)
    return owned()[0]


def fence(cidr: str, node: str = "n2") -> str:
    return f"block {cidr} of this node belongs to node {node} now; delete the pods that still have addresses from it"


def problems(machine: Machine) -> dict[str, list[str]]:
    """What `ipam check` finds wrong, with the exit code that tells so: sentences by code."""
    done = machine.ctl("ipam", "check", "-o", "json", "--settle", "5", code=3)
    report: dict[str, Any] = json.loads(done)
    found: dict[str, list[str]] = {}
    for one in report["problems"]:
        found.setdefault(one["code"], []).append(one["sentence"])
    return found


def ours(machine: Machine) -> list[str]:
    return sorted(line for line in machine.routes() if re.search(r"proto bgpnet\b(?!-)", line))


def refused(machine: Machine, name: str) -> str:
    """The sentence of an ADD that must fail."""
    machine.netns(name)
    answer = machine.cni("ADD", f"{machine.name}-{name}", name, pod=name)
    assert answer.code != 0, answer.raw
    machine.run("ip", "netns", "del", name)
    return answer.message


def status_of(machine: Machine) -> tuple[int, str]:
    """CNI's STATUS: its code (0: ready), and the sentence."""
    answer = machine.cni("STATUS", "", "", cniVersion="1.1.0")
    return answer.error, answer.message


def fenced(two: Cluster, bird: Bird, pod: Pod, cidr: str, expected: int) -> None:
    """n1 knows that the block is n2's, says so everywhere, and leaves everything but its pods alone.

    expected: what its STATUS says: whether another pod can have an address.
    """
    first = two[0]
    eventually(lambda: any(fence(cidr) in said for said in first.status()["warnings"]), first.status, SOON)
    bird.hears(cidr, "n2")
    assert cidr not in {row["cidr"] for row in first.status()["blocks"]}
    eventually(
        lambda: ours(first) == [f"{pod.address} dev {pod.link} proto bgpnet scope link"], lambda: ours(first), SOON
    )
    assert fence(cidr) in first.ctl("node", "status")
    eventually(lambda: f"ERROR   {fence(cidr)}" in first.log(), first.log, SOON)
    code, said = status_of(first)
    assert (code, fence(cidr) in said) == (expected, expected == LIMITED)
    asked = first.cni("CHECK", pod.container, pod.name, pod=pod.name, cniVersion="1.0.0", prevResult=pod.result)
    assert (asked.error, fence(cidr).partition(";")[0] in asked.message) == (103, True)
    assert any(fence(cidr) in one for one in problems(first)["alarm"])


def unfenced(two: Cluster, bird: Bird, pod: Pod, cidr: str) -> None:
    """With the fenced pod's DEL it is over, and n2 has the block still."""
    first = two[0]
    first.delete(pod)
    eventually(lambda: first.status()["warnings"] == [], first.status, SOON)
    assert status_of(first) == (0, "")
    assert ours(first) == []
    bird.hears(cidr, "n2")
    owner = two.blocks()[cidr].spec.owner
    assert owner is not None
    assert owner.name == "n2"


def long_silent(two: Cluster, name: str) -> None:
    """The Node as it is when its machine was last heard of an hour ago: a living one cannot be deleted."""
    repo = two.repo()
    node = repo.get(kinds.NODE, name)
    assert isinstance(node, Node)
    assert node.status is not None
    assert node.status.identity is not None
    since = structs.replace(node.status.identity, heartbeat=stamp(time() - 3600))
    repo.write(structs.replace(node, status=structs.replace(node.status, identity=since)))
    repo.store.close()


def test_a_node_released_while_it_was_cut_off_finds_out_and_lets_go(made: tuple[Cluster, Bird]) -> None:
    two, bird = made
    first, second = two.machines
    pod = first.add("a")
    cidr = block_of(two, first)
    bird.hears(cidr, "n1")
    with cut_off(first):
        long_silent(two, "n1")
        second.ctl("delete", "node", "n1")
        second.ctl("node", "release", "n1", "--yes")
        taken = [second.soon_added(f"p{number}") for number in range(5)]  # one more than a block has
        bird.hears(cidr, "n1", "n2")
        # It cannot know, and serves on.
        assert ours(first) == sorted(
            [f"{pod.address} dev {pod.link} proto bgpnet scope link", f"blackhole {cidr} proto bgpnet"]
        )
    fenced(two, bird, pod, cidr, LIMITED)
    said = refused(first, "new")
    assert f"block {cidr} of this node belongs to node n2 now" in said
    if any(one.address == pod.address for one in taken):
        assert any(f"{pod.address} belongs to" in one for one in problems(first)["address-twice"])
    unfenced(two, bird, pod, cidr)
    wanted = {one.address: one.container for one in taken}
    eventually(lambda: wanted.items() <= two.live().items(), two.live, SOON)


def give(two: Cluster, cidr: str, owner: Owner) -> None:
    """Write the block with another owner, by compare-and-swap."""
    repo = two.repo()
    block = next(one for one in repo.list(kinds.IPAMBLOCK)[0] if isinstance(one, IPAMBlock) and one.spec.cidr == cidr)
    repo.write(structs.replace(block, spec=structs.replace(block.spec, owner=owner)))
    repo.store.close()


def identity(two: Cluster, name: str) -> Owner:
    repo = two.repo()
    node = repo.get(kinds.NODE, name)
    repo.store.close()
    assert isinstance(node, Node)
    assert node.status is not None
    assert node.status.identity is not None
    return Owner(name=name, uid=node.status.identity.uuid)


def test_a_block_handed_over_under_a_running_agent(made: tuple[Cluster, Bird]) -> None:
    two, bird = made
    first, second = two.machines
    pod = first.add("a")
    cidr = block_of(two, first)
    bird.hears(cidr, "n1")
    eventually(lambda: two.live() == {pod.address: pod.container}, two.live, SOON)
    give(two, cidr, identity(two, "n2"))
    eventually(lambda: [row["cidr"] for row in second.status()["blocks"]] == [cidr], second.status, SOON)
    fenced(two, bird, pod, cidr, READY)
    new = first.add("new")  # from the other block: pods go on
    assert new.address != pod.address
    first.delete(new)
    # n2 took the block as it is, without a restart.
    eventually(lambda: [row["cidr"] for row in second.status()["blocks"]] == [cidr], second.status, SOON)
    eventually(lambda: f"blackhole {cidr} proto bgpnet" in ours(second), lambda: ours(second), SOON)
    first.delete(pod)
    eventually(lambda: first.status()["warnings"] == [], first.status, SOON)
    pods = [second.add(f"p{number}") for number in range(3)]
    assert len({one.address for one in pods} | {pod.address}) == 4


def rewritten(two: Cluster, cidr: str) -> None:
    """The block as it is, at another revision."""
    repo: Repo = two.repo()
    block = next(one for one in repo.list(kinds.IPAMBLOCK)[0] if isinstance(one, IPAMBlock) and one.spec.cidr == cidr)
    repo.write(block)
    repo.store.close()


def test_a_write_that_comes_too_late_does_not_fence(made: tuple[Cluster, Bird]) -> None:
    two, bird = made
    first = two[0]
    pods = [first.add("a")]
    cidr = block_of(two, first)
    for number in range(3):
        with cut_off(first):
            rewritten(two, cidr)
            pods.append(first.add(f"p{number}"))
            bird.hears(cidr, "n1")
        wanted = {one.address: one.container for one in pods}
        eventually(lambda wanted=wanted: two.live() == wanted, two.live, SOON)
    first.ready(peers=2)
    eventually(lambda: first.status()["warnings"] == [], first.status, SOON)
    assert status_of(first) == (0, "")
    bird.hears(cidr, "n1")
    assert "belongs to node" not in first.log()


def test_a_block_of_ours_that_another_speaker_announces_is_an_alarm_while_it_does(made: tuple[Cluster, Bird]) -> None:
    two, bird = made
    first, second = two.machines
    pod, near, far = first.add("a"), first.add("near"), second.add("far")
    cidr = block_of(two, first)
    bird.hears(cidr, "n1")
    before = ours(first)
    said = [
        f"{cidr} is a block of this node and is announced by node bird {ADDRESS} as well",
        f"{pod.address}/32 is in a block of this node and is announced by node bird {ADDRESS} as well",
    ]
    with first.ping(pod, near.address) as pings:  # within the node nobody notices
        bird.announce(cidr, f"{pod.address}/32")
        eventually(
            lambda: all(any(one in text for text in first.status()["warnings"]) for one in said), first.status, SOON
        )
        assert ours(first) == before
        eventually(lambda: all(f"ERROR   {one}" in first.log() for one in said), first.log, SOON)
        assert all(one in first.ctl("node", "status") for one in said)
        found = problems(first)
        assert set(found) == {"alarm"}
        assert all(any(one in text for text in found["alarm"]) for one in said)
        bird.announce()
        eventually(lambda: first.status()["warnings"] == [], first.status, SOON)
    assert (pings.sent > 0, pings.lost) == (True, 0)
    eventually(lambda: all(f"INFO    over: {one}" in first.log() for one in said), first.log, SOON)
    assert ours(first) == before
    assert json.loads(first.ctl("ipam", "check", "-o", "json", "--settle", "5"))["problems"] == []
    with first.ping(pod, far.address):
        pass  # the way back leads to n1 again
