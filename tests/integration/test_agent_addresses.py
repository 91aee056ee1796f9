"""Real agents choose addresses: reservations, an address by name, limits; refusals in the CNI error and in the log."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import Cluster, Machine, cluster, eventually

from bgpnet.errors import AgentAway

pytestmark = pytest.mark.root

RESERVATION = """
apiVersion: bgpnet.io/v1
kind: IPReservation
metadata: {{name: kept}}
spec: {{reservedCIDRs: [{cidrs}]}}
"""
SETTINGS = """
apiVersion: bgpnet.io/v1
kind: IPAMConfiguration
metadata: {name: default}
spec: {strictAffinity: true, maxBlocksPerHost: 2}
"""
POOL = "10.244.0.0/24"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes with agents on a pool of four blocks, each with half of its addresses reserved."""
    with cluster(tmp_path, 2, f"agaddr{os.getpid()}", pool=POOL, rest=600) as two:
        cidrs = ", ".join(f"10.244.0.{64 * block + first}/28" for block in range(4) for first in (0, 32))
        two[0].ctl("create", "-f", "-", stdin=RESERVATION.format(cidrs=cidrs))
        two[0].ctl("create", "-f", "-", stdin=SETTINGS)
        for machine in two.machines:
            machine.agent.start()
        for machine in two.machines:
            machine.ready()
        yield two


def answers(machine: Machine) -> bool:
    """Whether somebody is on the agent's socket."""
    try:
        machine.status()
    except AgentAway:
        return False
    return True


def refused(machine: Machine, name: str, **more: object) -> str:
    """The sentence of an ADD that must fail; the agent's log has it, too."""
    machine.netns(name)
    answer = machine.cni("ADD", f"{machine.name}-{name}", name, pod=name, **more)
    assert answer.code == 1, answer.raw
    said = str(answer.said["msg"])
    eventually(lambda: said in machine.log(), machine.log)
    machine.run("ip", "netns", "del", name)
    return said


def test_reserved_addresses_go_to_those_who_ask_by_name_only(made: Cluster) -> None:
    first, second = made.machines
    pods = [first.add(f"p{number}") for number in range(40)]  # more than one block has unreserved
    offsets = {int(pod.address.rpartition(".")[2]) % 64 for pod in pods}
    assert not offsets & {*range(16), *range(32, 48)}
    block = f"10.244.0.{int(pods[0].address.rpartition('.')[2]) // 64 * 64}"
    base = int(block.rpartition(".")[2])
    wanted = f"10.244.0.{base + 5}"
    first.netns("named")
    named = first.cni("ADD", "n1-named", "named", pod="named", address=wanted)
    pod = first.added("named", "n1-named", named)
    assert pod.address == wanted
    again = first.cni("ADD", "n1-named", "named", pod="named", address=wanted)
    assert again.said == named.said
    assert "taken by container n1-named interface eth0 (pod test/named)" in refused(first, "other", address=wanted)
    eventually(lambda: made.live().get(wanted) == "n1-named", made.live)
    said = refused(second, "far", runtimeConfig={"ips": [f"{wanted}/24"]})
    assert f"runtimeConfig.ips = {wanted} is in block {block}/26 of node n1: run the pod on that node" in said
    first.delete(pod)
    assert f"CNI_ARGS IP = {wanted} of container n1-named interface eth0 (pod test/named) rests until" in refused(
        first, "soon", address=wanted
    )
    first.netns("again")
    assert first.added("again", "n1-again", first.cni("ADD", "n1-again", "again", pod="named", address=wanted))


def test_refusals_name_what_was_asked_and_the_remedy(made: Cluster) -> None:
    first = made[0]
    assert refused(first, "b", address="172.16.0.1") == (
        "CNI_ARGS IP = 172.16.0.1 is outside every IP pool: ask for an address of one, there is pods (10.244.0.0/24)"
    )
    assert "is an IPv6 address, and pods have IPv4 only: leave it out" in refused(first, "c", address="fd00::1")
    assert "the pool red that ipv4_pools of the network configuration asks for does not exist" in refused(
        first, "d", ipv4_pools=["red"]
    )
    pods = 0
    while True:
        first.netns(f"p{pods}")
        answer = first.cni("ADD", f"n1-p{pods}", f"p{pods}", pod=f"p{pods}")
        if answer.code:
            break
        pods += 1
    assert pods == 2 * 32  # two blocks with half of their addresses reserved
    assert answer.said["code"] == 101
    assert answer.said["msg"] == (
        "node n1 gets no further block because it has 2, 0 addresses in them unused: "
        "raise spec.maxBlocksPerHost (2) of IPAMConfiguration default, or delete pods"
    )
    eventually(lambda: answer.said["msg"] in first.log(), first.log)


def test_a_start_without_the_datastore_keeps_what_is_reserved(made: Cluster) -> None:
    first = made[0]
    before = first.add("before")
    eventually(lambda: before.address in made.live(), made.live)
    first.agent.end()
    store = made.folder / "store"
    store.rename(made.folder / "away")
    store.write_text("no directory, so that nobody makes a datastore in it")
    try:
        first.agent.start()
        eventually(lambda: answers(first), first.log)
        pods = [first.add(f"p{number}") for number in range(20)]
        eventually(lambda: first.status()["datastore"].startswith("away"), first.status)
    finally:
        store.unlink()
        (made.folder / "away").rename(store)
    offsets = {int(pod.address.rpartition(".")[2]) % 64 for pod in (before, *pods)}
    assert not offsets & {*range(16), *range(32, 48)}
    first.ready()
    eventually(lambda: {pod.address for pod in pods} <= set(made.live()), made.live)
