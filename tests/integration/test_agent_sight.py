"""Lost pods of a real agent that sees its runtime's namespaces, and of one in a container that does not."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import Machine, Pod, cluster, eventually

from bgpnet.client import AgentClient

pytestmark = pytest.mark.root

BLIND = f"mkdir -p /run/netns && mount -t tmpfs none /run/netns && exec {sys.executable} -m bgpnet agent"
"""An agent with a /run/netns of its own, as in a container."""


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Machine]:
    with cluster(tmp_path, 1, f"sight{os.getpid()}", rest=1.0) as made:
        made[0].agent.env["BGPNET_LEAK_GRACE"] = "1"
        made.start()
        yield made[0]


def ended(one: Machine, pod: Pod) -> None:
    """The pod's namespace is gone, and its link with it; nobody says DEL."""
    one.run("ip", "netns", "del", pod.name)
    eventually(lambda: pod.link not in one.cali(), one.cali)


def unseen(one: Machine) -> list[str]:
    """The addresses of lost pods that the agent says it will not release by itself."""
    said: dict[str, Any] = AgentClient(one.root / "run/bgpnet/agent.sock", timeout=30).ask("ipam")
    return [leak["address"] for leak in said["ipam"]["leaked"] if "cannot be seen from here" in leak["reason"]]


def test_what_was_seen_to_be_there_is_seen_to_be_gone_also_after_a_restart(one: Machine) -> None:
    first, second = one.add("first"), one.add("second")
    ended(one, first)
    eventually(lambda: first.address not in one.cluster.live(), one.log)
    one.agent.end()
    ended(one, second)
    one.agent.start()
    one.ready()
    eventually(lambda: second.address not in one.cluster.live(), one.log)


def test_an_agent_that_cannot_see_the_runtimes_directory_releases_nothing_by_itself(one: Machine) -> None:
    one.agent.end()
    one.agent = one.process("agent", "unshare", "-m", "sh", "-c", BLIND, BGPNET_LEAK_GRACE="1")
    one.agent.start()
    one.ready()
    pod = one.add("pod")
    ended(one, pod)
    eventually(lambda: unseen(one) == [pod.address], one.log)
    one.restart_agent()
    eventually(lambda: unseen(one) == [pod.address], one.log)
    assert pod.address in one.cluster.live()
    assert one.cni("DEL", pod.container, "", pod="pod").code == 0
    eventually(lambda: pod.address not in one.cluster.live(), one.log)
