"""libcni's own execution of the list, as the CNI project's cnitool does it, and its validation (VERSION)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pod_image
import pytest
from agents import SHARED, Process, eventually
from callers import BINS, CONFLIST, NETWORKS, PODS, Calling, calling
from programs import built

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

CACHE = "/var/lib/cni/results"
"""Where libcni notes what it added (libcni/api.go, CacheDir); of the node alone."""


@dataclass(slots=True)
class Tool:
    """cnitool in a node. network: the one that it calls, by its name."""

    node: Calling
    network: str = "bgpnet"
    processes: list[Process] = field(default_factory=list)

    def call(self, verb: str, netns: str = "any", **env: str) -> tuple[int, str]:
        """Its exit code, and what it printed. netns: of a name in /run/netns."""
        env = {"CNI_PATH": BINS, "NETCONFPATH": NETWORKS, **env}
        variables = [f"{name}={value}" for name, value in env.items()]
        program = [built("cnitool", "validate"), self.network]
        if verb != "version":
            program = [built("cnitool", "cnitool"), verb, self.network, f"/run/netns/{netns}"]
        one = self.node.one
        done = one.lab.exec(one.name, ["env", *variables, *program])
        return done.returncode, done.stdout + done.stderr

    def good(self, verb: str, netns: str = "any", **env: str) -> str:
        """It goes well; what it printed."""
        code, said = self.call(verb, netns, **env)
        assert code == 0, said
        return said

    def add(self, netns: str, **env: str) -> dict[str, Any]:
        """A namespace and an ADD: the result."""
        self.node.one.netns(netns)
        said: dict[str, Any] = json.loads(self.good("add", netns, **env))
        return said

    def delete(self, netns: str) -> None:
        """DEL and the end of the namespace."""
        self.good("del", netns)
        self.node.one.run("ip", "netns", "del", netns)

    def start(self, netns: str, *argv: str) -> None:
        """A program in a namespace."""
        process = self.node.one.process(f"{netns}-{argv[1]}", "ip", "netns", "exec", netns, *argv)
        self.processes.append(process)
        process.start()


@pytest.fixture
def tool(tmp_path: Path) -> Iterator[Tool]:
    """A node and cnitool."""
    with calling(tmp_path) as node:
        made = Tool(node)
        yield made
        for process in made.processes:
            process.end()


def address(result: dict[str, Any]) -> str:
    """Of the pod."""
    return str(result["ips"][0]["address"]).removesuffix("/32")


def test_twenty_pods_come_reach_each_other_and_go(tool: Tool) -> None:
    node, one = tool.node, tool.node.one
    before = node.before()
    results = {f"pod{number}": tool.add(f"pod{number}") for number in range(PODS)}
    assert {result["cniVersion"] for result in results.values()} == {"1.1.0"}
    addresses = {name: address(result) for name, result in results.items()}
    eventually(lambda: set(node.made.live()) == set(addresses.values()), node.made.live)
    for name in results:
        tool.good("check", name)
        others = " ".join(addresses.values())
        loop = f"for one in {others}; do ping -n -q -c 1 -w 10 $one >/dev/null || echo lost $one; done"
        assert one.run("ip", "netns", "exec", name, "sh", "-c", loop) == ""
    two_programs_share_localhost_and_the_address(tool, addresses)
    for name in results:
        tool.delete(name)
    node.gone(before)


def two_programs_share_localhost_and_the_address(tool: Tool, addresses: dict[str, str]) -> None:
    """What containers of one pod are to the network: programs in its namespace."""
    pod_image.build(tool.node.made.folder)
    program, one = f"{SHARED}/pod", tool.node.one
    tool.start("pod0", program, "serve", "8080", "hello")

    def asked(netns: str, to: str) -> str:
        done = one.lab.exec(one.name, ["ip", "netns", "exec", netns, program, "ask", to, "8080"])
        return done.stdout + done.stderr

    eventually(lambda: asked("pod0", "127.0.0.1") == "hello to 127.0.0.1", lambda: asked("pod0", "127.0.0.1"))
    assert asked("pod1", addresses["pod0"]) == f"hello to {addresses['pod1']}"
    assert "refused" in asked("pod1", "127.0.0.1")
    tool.processes.pop().end()


def test_version_is_asked_of_every_plugin(tool: Tool) -> None:
    assert tool.good("version").split()[0] == "1.1.0"
    path = tool.node.made.folder / "net.d" / CONFLIST
    later = json.loads(path.read_text()) | {"cniVersion": "9.9.9"}
    later.pop("cniVersions")
    (path.parent / "20-later.conflist").write_text(json.dumps(later | {"name": "later"}))
    code, said = tool.call("version")
    assert code == 0, said
    one = tool.node.one
    argv = ["env", f"CNI_PATH={BINS}", f"NETCONFPATH={NETWORKS}", built("cnitool", "validate"), "later"]
    done = one.lab.exec(one.name, argv)
    assert (done.returncode, done.stderr) == (1, '[plugin bgpnet does not support config version "9.9.9"]\n')


def test_add_twice_and_delete_twice(tool: Tool) -> None:
    before = tool.node.before()
    first = tool.add("p")
    assert json.loads(tool.good("add", "p")) == first
    tool.good("del", "p")
    tool.good("del", "p")
    tool.node.one.run("ip", "netns", "del", "p")
    tool.node.gone(before)


def test_check_names_what_is_not_as_it_was(tool: Tool) -> None:
    mine = address(tool.add("p"))
    tool.good("check", "p")
    tool.node.one.run("ip", "-n", "p", "address", "del", f"{mine}/32", "dev", "eth0")
    code, said = tool.call("check", "p")
    assert (code, mine in said) == (1, True), said
    tool.delete("p")


def test_gc_deletes_what_libcni_noted_and_nothing_else(tool: Tool) -> None:
    """cnitool lists no attachment as valid: libcni deletes those of its cache, and gives the plugin no list."""
    node, one = tool.node, tool.node.one
    before = node.before()
    kept = tool.add("kept")
    one.run("sh", "-c", f"mv {CACHE} /var/lib/cni/hidden")
    tool.add("stale")
    tool.good("gc")
    eventually(lambda: set(node.made.live()) == {address(kept)}, node.made.live)
    one.run("sh", "-c", f"rm -rf {CACHE} && mv /var/lib/cni/hidden {CACHE}")
    tool.good("check", "kept")
    tool.good("gc")
    for name in ("kept", "stale"):
        one.run("ip", "netns", "del", name)
    node.gone(before)


def test_status_follows_the_agent(tool: Tool) -> None:
    tool.good("status")
    agent = tool.node.one.agent
    agent.end()
    code, said = tool.call("status")
    assert (code, "no agent answers" in said) == (1, True), said
    agent.start()
    tool.node.one.ready()
    tool.good("status")


def test_the_python_twin(tool: Tool) -> None:
    one = tool.node.one
    one.run(sys.executable, "-m", "bgpnet", "cni", "install", "--python", "--bin-dir", BINS)
    before = tool.node.before()
    tool.good("version")
    tool.good("status")
    tool.add("p")
    tool.good("check", "p")
    tool.good("gc")
    one.run("ip", "netns", "del", "p")
    tool.node.gone(before)


def test_arguments_and_capabilities(tool: Tool) -> None:
    pod = "IgnoreUnknown=1;K8S_POD_NAMESPACE=test;K8S_POD_NAME=web"
    result = tool.add("p", CNI_ARGS=pod, CAP_ARGS=json.dumps({"ips": ["10.244.0.77/32"]}))
    assert address(result) == "10.244.0.77"
    tool.good("del", "p", CNI_ARGS=pod)
