"""A pod's address kept for its next sandbox, by the programs that runtimes execute, over kills of the agent."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import Machine, cluster, eventually

from bgpnet.annotations import KEEP
from bgpnet.conflist import ANNOTATIONS

pytestmark = pytest.mark.root

NUMBERS = itertools.count(1)
ASKING = {"runtimeConfig": {ANNOTATIONS: {KEEP: "10m"}}}


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Machine]:
    """One node with an agent; addresses hardly rest."""
    with cluster(tmp_path, 1, f"keep{os.getpid()}x{next(NUMBERS)}", size=29, rest=0.1) as made:
        made[0].agent.start()
        made[0].ready()
        yield made[0]


@pytest.mark.parametrize("twin", [False, True], ids=["C", "twin"])
def test_a_stateful_pod_has_its_address_again(one: Machine, twin: bool) -> None:
    first = one.add("db-a", container="sandbox1", pod="db-0", twin=twin, **ASKING)
    assert one.cni("DEL", "sandbox1", "db-a", pod="db-0", twin=twin).code == 0
    others = [one.add(f"o{number}", twin=twin) for number in range(10)]  # more than a block has
    assert first.address not in {pod.address for pod in others}
    # The datastore follows within a second.
    eventually(lambda: "Last held by" in show(one, first.address), lambda: show(one, first.address))
    sentence = f"{first.address} is not assigned\nIt is kept for pod test/db-0 until 2"
    assert show(one, first.address).startswith(sentence)
    again = one.add("db-b", container="sandbox2", pod="db-0", twin=twin, **ASKING)
    assert again.address == first.address
    one.run("ip", "netns", "exec", "db-b", "ping", "-n", "-c", "1", "-w", "10", one.address)
    # At once after the DEL, while the link of the former sandbox waits to be reaped.
    for number in range(3, 8):
        assert one.cni("DEL", f"sandbox{number - 1}", "", pod="db-0", twin=twin).code == 0
        answer = one.add(f"db-{number}", container=f"sandbox{number}", pod="db-0", twin=twin, **ASKING)
        assert answer.address == first.address


@pytest.mark.parametrize("with_journal", [True, False])
def test_kills_of_the_agent_change_nothing(one: Machine, with_journal: bool) -> None:
    first = one.add("db-a", container="sandbox1", pod="db-0", **ASKING)
    eventually(lambda: first.address in one.cluster.live(), lambda: one.cluster.live())
    kill(one, with_journal)
    assert one.cni("DEL", "sandbox1", "db-a", pod="db-0").code == 0
    eventually(lambda: one.cluster.live() == {}, lambda: one.cluster.live())
    kill(one, with_journal)
    others = [one.add(f"o{number}") for number in range(8)]
    assert first.address not in {pod.address for pod in others}
    one.agent.end()
    one.agent.start()
    assert one.cni("DEL", "sandbox1", "db-a", pod="db-0").code == 0  # the runtime's second one, as usual
    one.ready()
    assert one.add("db-b", container="sandbox2", pod="db-0", **ASKING).address == first.address


def show(one: Machine, address: str) -> str:
    return one.ctl("ipam", "show", "--ip", address)


def kill(one: Machine, with_journal: bool) -> None:
    one.agent.end()
    if not with_journal:
        (one.state / "journal").unlink()
    one.agent.start()
    one.ready()


def test_a_del_without_an_agent_keeps_it_too(one: Machine) -> None:
    first = one.add("db-a", container="sandbox1", pod="db-0", **ASKING)
    one.agent.end()
    assert one.cni("DEL", "sandbox1", "db-a", pod="db-0").code == 0
    one.agent.start()
    one.ready()
    assert one.add("o").address != first.address
    assert one.add("db-b", container="sandbox2", pod="db-0", **ASKING).address == first.address


def test_a_wrong_annotation_is_one_sentence(one: Machine) -> None:
    one.netns("p")
    answer = one.cni("ADD", "c1", "p", pod="p", runtimeConfig={ANNOTATIONS: {KEEP: "sometimes"}})
    assert (answer.code, answer.error) == (1, 101)
    assert f'annotation {KEEP} of pod test/p = \'sometimes\': write "true", "false"' in answer.message


def test_an_operator_ends_it_early(one: Machine) -> None:
    first = one.add("db-a", container="sandbox1", pod="db-0", **ASKING)
    assert one.cni("DEL", "sandbox1", "db-a", pod="db-0").code == 0
    eventually(lambda: "It is kept for" in show(one, first.address), lambda: show(one, first.address))
    one.ctl("ipam", "release", "--ip", first.address)
    eventually(lambda: "It is kept for" not in show(one, first.address), lambda: show(one, first.address))
    one.restart_agent()
    others = [one.add(f"o{number}").address for number in range(8)]
    assert first.address in others
