"""containerd as the kubelet uses it, Debian's 1.6 and the current one: pods by the Container Runtime Interface."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cri
import pod_image
import pytest
from agents import SHARED, Process, eventually
from callers import BINS, NETWORKS, PODS, Calling, calling
from programs import built

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

SOCKET = "/run/containerd/containerd.sock"
IMAGE = pod_image.NAME
CALLERS = 5

OLD = f"""
version = 2
root = "{SHARED}/containerd"
state = "/run/containerd"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{IMAGE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{BINS}"
    conf_dir = "{NETWORKS}"
"""
NEW = f"""
version = 3
root = "{SHARED}/containerd"
state = "/run/containerd"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{BINS}"]
    conf_dir = "{NETWORKS}"
"""


@dataclass(slots=True)
class Runtime:
    """A containerd in a node, and the kubelet's connection to it."""

    node: Calling
    process: Process
    cri: cri.Cri

    def config(self, name: str, **annotations: str) -> dict[str, Any]:
        """Of a pod."""
        return cri.sandbox(name, f"/{self.node.cgroups}", **annotations)

    def run(self, name: str, **annotations: str) -> str:
        """A pod; its sandbox's id."""
        return self.cri.run(self.config(name, **annotations))

    def container(self, sandbox: str, pod: str, name: str, *args: str) -> str:
        """One more container in a pod."""
        return self.cri.container(sandbox, self.config(pod), name, IMAGE, *args)

    def end(self, sandbox: str) -> None:
        """As the kubelet ends a pod: it stops it twice."""
        self.cri.stop(sandbox)
        self.cri.stop(sandbox)
        self.cri.remove(sandbox)

    def pid(self, sandbox: str) -> int:
        """A process of the pod, as the node sees it."""
        return int(json.loads(self.cri.info(sandbox))["pid"])

    def network(self) -> tuple[bool, str]:
        """Whether the kubelet is told that the network is ready, and what is said; one that is starting says no."""
        try:
            return self.cri.conditions()["NetworkReady"]
        except cri.Refused as problem:
            return False, str(problem)

    def log(self) -> str:
        """What it wrote, and the agent."""
        return self.process.log.read_text()[-5000:] + self.node.one.log()[-5000:]


def containerd(version: str) -> str:
    """The program."""
    if version == "2":
        return built("containerd", "containerd")
    found = shutil.which("containerd")
    assert found, "containerd is missing; run `scripts/install test`, or `apt-get install containerd`"
    return found


@contextmanager
def running(folder: Path, version: str) -> Iterator[Runtime]:
    """A node whose containerd is ready for pods."""
    program = containerd(version)
    assert shutil.which("runc"), "runc is missing; run `scripts/install test`, or `apt-get install runc`"
    with calling(folder) as node:
        one = node.one
        (folder / "containerd.toml").write_text(NEW if version == "2" else OLD)
        archive = pod_image.build(folder)
        path = f"PATH={Path(program).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        process = one.process("containerd", "env", path, program, "--config", f"{SHARED}/containerd.toml")
        process.start()
        client = cri.Cri(f"{one.root}{SOCKET}")
        try:
            runtime = Runtime(node, process, client)
            eventually(lambda: runtime.network()[0], runtime.log)
            ctr = str(Path(program).parent / "ctr")
            one.run(ctr, "-a", SOCKET, "-n", "k8s.io", "images", "import", f"{SHARED}/{archive.name}")
            yield runtime
        finally:
            client.close()
            process.end()


@pytest.fixture(params=["1.6", "2"])
def runtime(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Runtime]:
    """Of either version."""
    with running(tmp_path, request.param) as made:
        yield made


def test_twenty_pods_come_reach_each_other_and_go(runtime: Runtime) -> None:
    node = runtime.node
    before = node.before()
    names = [f"pod{number}" for number in range(PODS)]
    with ThreadPoolExecutor(CALLERS) as threads:
        sandboxes = dict(zip(names, threads.map(runtime.run, names), strict=True))
    addresses = {name: runtime.cri.address(sandbox) for name, sandbox in sandboxes.items()}
    eventually(lambda: node.made.live() == {addresses[name]: sandboxes[name] for name in names}, node.made.live)
    node.mesh({addresses[name]: runtime.pid(sandboxes[name]) for name in names})
    two_containers_share_localhost_and_the_address(runtime, sandboxes, addresses)
    with ThreadPoolExecutor(CALLERS) as threads:
        list(threads.map(runtime.end, sandboxes.values()))
    node.gone(before)


def two_containers_share_localhost_and_the_address(
    runtime: Runtime, sandboxes: dict[str, str], addresses: dict[str, str]
) -> None:
    served, other = "pod0", "pod1"
    runtime.container(sandboxes[served], served, "server", "serve", "8080", "hello")
    beside = runtime.container(sandboxes[served], served, "beside")
    outside = runtime.container(sandboxes[other], other, "outside")

    def asked(container: str, address: str) -> str:
        return runtime.cri.exec(container, "/pod", "ask", address, "8080")[1]

    eventually(lambda: asked(beside, "127.0.0.1") == "hello to 127.0.0.1", lambda: asked(beside, "127.0.0.1"))
    assert asked(outside, addresses[served]) == f"hello to {addresses[other]}"
    assert "refused" in asked(outside, "127.0.0.1")


def test_annotations_reach_the_agent(runtime: Runtime) -> None:
    wish = {"cni.projectcalico.org__ipAddrs": '["10.244.0.42"]'}
    sandbox = runtime.run("asking", **wish)
    assert runtime.cri.address(sandbox) == "10.244.0.42"
    runtime.end(sandbox)


def test_an_agent_away(runtime: Runtime) -> None:
    node = runtime.node
    before = node.before()
    there = runtime.run("there")
    node.one.agent.end()
    with pytest.raises(cri.Refused, match="no agent answers"):
        runtime.run("early")
    runtime.end(there)
    node.one.agent.start()
    node.one.ready()
    early = runtime.run("early")
    eventually(lambda: list(node.made.live().values()) == [early], node.made.live)
    runtime.end(early)
    node.gone(before)


def test_pods_start_while_the_agent_is_killed_again_and_again(runtime: Runtime) -> None:
    """As the kubelet does it: what is refused is asked for again. Each refusal is a DEL of containerd's own, too."""
    node, agent = runtime.node, runtime.node.one.agent
    before = node.before()
    names = [f"pod{number}" for number in range(PODS)]
    sandboxes: dict[str, str] = {}
    refusals: list[str] = []
    waiting: set[str] = set()

    def stubborn(name: str) -> None:
        while name not in sandboxes:
            try:
                sandboxes[name] = runtime.run(name)
            except cri.Refused as problem:
                refusals.append(str(problem))
                waiting.add(name)
                eventually(node.answers, node.one.log)
                waiting.discard(name)

    def halted() -> bool:
        """Whether everybody who asks was refused and waits: a kill that finds them so gets no refusal."""
        return len(waiting) == min(CALLERS, PODS - len(sandboxes))

    with ThreadPoolExecutor(CALLERS) as threads:
        asked = [threads.submit(stubborn, name) for name in names]
        for _ in range(4):
            more = min(PODS, len(sandboxes) + 3)
            eventually(lambda more=more: len(sandboxes) >= more, runtime.log)
            more = len(refusals) + 1
            agent.end()
            eventually(lambda more=more: len(refusals) >= more or halted(), runtime.log)
            agent.start()
        for one in asked:
            one.result(120)
    node.one.ready()
    assert refusals
    for sandbox in set(runtime.cri.sandboxes()) - set(sandboxes.values()):  # the kubelet ends what a refusal left
        runtime.end(sandbox)
    addresses = {name: runtime.cri.address(sandbox) for name, sandbox in sandboxes.items()}
    eventually(lambda: node.made.live() == {addresses[name]: sandboxes[name] for name in names}, runtime.log)
    node.mesh({addresses[name]: runtime.pid(sandboxes[name]) for name in names})
    for sandbox in sandboxes.values():
        runtime.end(sandbox)
    node.gone(before)


def test_a_runtime_that_is_killed_finds_its_pods_again(runtime: Runtime) -> None:
    node = runtime.node
    before = node.before()
    sandboxes = [runtime.run(name) for name in ("a", "b")]
    runtime.process.end()
    runtime.process.start()
    eventually(lambda: runtime.network()[0], runtime.log)
    addresses = [runtime.cri.address(sandbox) for sandbox in sandboxes]
    node.mesh(dict(zip(addresses, map(runtime.pid, sandboxes), strict=True)))
    for sandbox in sandboxes:
        runtime.end(sandbox)
    node.gone(before)


def test_the_kubelet_hears_from_status_that_the_agent_is_away(tmp_path: Path) -> None:
    with running(tmp_path, "2") as runtime:
        agent = runtime.node.one.agent
        agent.end()
        ready, words = runtime.network()
        assert not ready
        assert "no agent answers" in words
        assert runtime.cri.conditions()["RuntimeReady"][0]
        agent.start()
        eventually(lambda: runtime.network()[0], runtime.log)
