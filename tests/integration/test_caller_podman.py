"""Debian's podman with a CNI network: it calls the plugin for pods of its own, without a kubelet and without CRI."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pod_image
import pytest
from agents import SHARED, eventually
from callers import BINS, NETWORKS, PODS, Calling, calling

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

SETTINGS = f"""
[network]
network_backend = "cni"
cni_plugin_dirs = ["{BINS}"]
network_config_dir = "{NETWORKS}"
default_network = "bgpnet"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
infra_image = "{pod_image.NAME}"
"""
"""lock_type: its usual locks are in /dev/shm, which is the machine's, and these are the node's alone."""
PATIENCE = 300.0
"""Seconds that a call may take on a busy machine: one of them removes twenty pods."""


@dataclass(slots=True)
class Podman:
    """podman in a node: every call is a program that ends."""

    node: Calling

    def said(self, *argv: str) -> tuple[int, str]:
        """Its exit code, and what it printed."""
        one = self.node.one
        places = ["--root", f"{SHARED}/podman", "--runroot", "/run/podman", "--storage-driver", "overlay"]
        command = ["env", f"CONTAINERS_CONF={SHARED}/containers.conf", "podman", *places, *argv]
        done = one.lab.exec(one.name, command, timeout=PATIENCE)
        return done.returncode, done.stdout + done.stderr

    def run(self, *argv: str) -> str:
        """It has to go well."""
        code, said = self.said(*argv)
        assert code == 0, f"{argv}: {said}\n{self.node.one.log()}"
        return said.strip()

    def pod(self, name: str, *options: str) -> None:
        """A running pod."""
        cgroups = ["--cgroup-parent", f"/{self.node.cgroups}"]
        self.run("pod", "create", "--name", name, "--network", "bgpnet", *cgroups, *options)
        self.run("pod", "start", name)

    def container(self, pod: str, name: str, *argv: str) -> None:
        """One more container in a pod."""
        self.run("run", "--detach", "--pod", pod, "--name", name, pod_image.NAME, *argv)

    def infra(self, pod: str) -> tuple[str, int]:
        """A pod's address and a process in it."""
        container = self.run("pod", "inspect", pod, "--format", "{{.InfraContainerID}}")
        told = json.loads(self.run("inspect", container))[0]
        return str(told["NetworkSettings"]["Networks"]["bgpnet"]["IPAddress"]), int(told["State"]["Pid"])


@contextmanager
def running(folder: Path, plugins: str) -> Iterator[Podman]:
    """A node and podman with the image of the pods. plugins: Debian's, chained after ours."""
    for program in ("podman", "runc", "conmon"):
        assert shutil.which(program), (
            f"{program} is missing; run `scripts/install test`, or `apt-get install {program}`"
        )
    (folder / "containers.conf").write_text(SETTINGS)
    archive = pod_image.build(folder)
    with calling(folder, plugins) as node:
        made = Podman(node)
        made.run("load", "--input", f"{SHARED}/{archive.name}")
        yield made


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Podman]:
    """Without any plugin but ours."""
    with running(tmp_path, "none") as made:
        yield made


def test_twenty_pods_come_reach_each_other_and_go(podman: Podman) -> None:
    node = podman.node
    before = node.before()
    names = [f"pod{number}" for number in range(PODS)]
    for name in names:
        podman.pod(name)
    told = {name: podman.infra(name) for name in names}
    eventually(lambda: set(node.made.live()) == {address for address, _ in told.values()}, node.made.live)
    node.mesh(dict(told.values()))
    two_containers_share_localhost_and_the_address(podman, told["pod0"][0], told["pod1"][0])
    podman.run("pod", "rm", "--force", "--time", "5", "--all")
    node.gone(before)


def two_containers_share_localhost_and_the_address(podman: Podman, served: str, other: str) -> None:
    podman.container("pod0", "server", "serve", "8080", "hello")
    podman.container("pod0", "beside")
    podman.container("pod1", "outside")

    def asked(container: str, address: str) -> str:
        return podman.said("exec", container, "/pod", "ask", address, "8080")[1]

    eventually(lambda: asked("beside", "127.0.0.1") == "hello to 127.0.0.1", lambda: asked("beside", "127.0.0.1"))
    assert asked("outside", served) == f"hello to {other}"
    assert "refused" in asked("outside", "127.0.0.1")


def test_a_pod_that_stops_and_starts_again(podman: Podman) -> None:
    before = podman.node.before()
    podman.pod("p")
    podman.run("pod", "stop", "--time", "5", "p")
    eventually(lambda: podman.node.made.live() == {}, podman.node.made.live)
    podman.run("pod", "start", "p")
    address, _ = podman.infra("p")
    eventually(lambda: set(podman.node.made.live()) == {address}, podman.node.made.live)
    podman.run("pod", "rm", "--force", "--time", "5", "p")
    podman.node.gone(before)


def test_an_address_that_is_asked_for(podman: Podman) -> None:
    podman.pod("p", "--ip", "10.244.0.99")
    assert podman.infra("p")[0] == "10.244.0.99"
    podman.run("pod", "restart", "p")
    podman.run("pod", "stop", "--time", "5", "p")
    podman.run("pod", "start", "p")
    assert podman.infra("p")[0] == "10.244.0.99"
    podman.run("pod", "rm", "--force", "--time", "5", "p")


def test_a_mac_that_is_asked_for(podman: Podman) -> None:
    mac = "02:11:22:33:44:55"
    podman.pod("p", "--mac-address", mac)
    podman.pod("other")
    address, process = podman.infra("p")
    inside = podman.node.one.run("nsenter", "-t", str(process), "-n", "ip", "link", "show", "eth0")
    assert f"link/ether {mac} " in inside
    podman.node.mesh(dict([(address, process), podman.infra("other")]))
    podman.run("pod", "rm", "--force", "--time", "5", "--all")


def test_a_port_is_published_by_the_chained_plugin(tmp_path: Path) -> None:
    with running(tmp_path, "portmap") as podman:
        one = podman.node.one
        podman.pod("p", "--publish", "8081:8080")
        podman.container("p", "server", "serve", "8080", "hello")
        asked = ["ip", "netns", "exec", "other", f"{SHARED}/pod", "ask", one.address, "8081"]
        other = one.add("other")
        eventually(lambda: one.run(*asked, check=False) == f"hello to {other.address}", one.log)
        podman.run("pod", "rm", "--force", "--time", "5", "p")
        assert "8081" not in one.run("iptables", "-t", "nat", "-S")


def test_an_agent_away(podman: Podman) -> None:
    node = podman.node
    before = node.before()
    podman.pod("there")
    node.one.agent.end()
    podman.run("pod", "create", "--name", "early", "--network", "bgpnet", "--cgroup-parent", f"/{node.cgroups}")
    code, said = podman.said("pod", "start", "early")
    assert (code != 0, "no agent answers" in said) == (True, True), said
    podman.run("pod", "rm", "--force", "--time", "5", "there")
    node.one.agent.start()
    node.one.ready()
    podman.run("pod", "start", "early")
    podman.run("pod", "rm", "--force", "--time", "5", "early")
    node.gone(before)
