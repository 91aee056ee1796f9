"""A topology in docker containers: by containerlab where it is on PATH, and else by what containerlab does with docker.

That is (core/clab.go, nodes/linux, links/): a container a node, named clab-LAB-NODE, with the node's command, binds,
environment, sysctls and capabilities; veths whose ends are moved into the containers, up with the link's MTU; then the
exec lines of each. What the two have in common is all that the tests look at.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import yaml
from agents import Machine

from bgpnet.lab.links import bring_up_lines, create_lines
from bgpnet.lab.parse import parse
from bgpnet.lab.topology import Node, Topology


class Containers:
    """A topology's nodes in the containers of a docker daemon that runs in the node of a lab."""

    def __init__(self, machine: Machine, docker: str, socket: str, file: Path) -> None:
        self.machine, self.file = machine, file
        self._docker, self._socket = docker, socket
        self.topology: Topology = parse(file.read_text(), str(file), {})
        self.by = shutil.which("containerlab") or ""

    def docker(self, *argv: str, stdin: str = "", check: bool = True) -> str:
        """What docker prints."""
        return self.machine.run(self._docker, "--host", f"unix://{self._socket}", *argv, stdin=stdin, check=check)

    def exec(self, node: str, *argv: str, stdin: str = "", check: bool = True) -> str:
        """What a command inside a node prints."""
        stdins = ["--interactive"] if stdin else []
        return self.docker("exec", *stdins, self.topology.nodes[node].container, *argv, stdin=stdin, check=check)

    def pid(self, node: str) -> int:
        """The node's process 1, as the daemon's machine sees it."""
        return int(self.docker("inspect", "--format", "{{.State.Pid}}", self.topology.nodes[node].container))

    def deploy(self) -> None:
        """All nodes, their links, their exec lines."""
        for node in self.topology.nodes.values():
            for bind in node.binds:
                if bind.source.startswith("/run/"):
                    self.machine.run("mkdir", "-p", bind.source)
        if self.by:
            self._containerlab("deploy")
            return
        for node in self.topology.nodes.values():
            self.docker("run", "--detach", *self._options(node), node.image, *node.process)
        self._link()
        for node in self.topology.nodes.values():
            for line in node.exec:
                self.exec(node.name, *shlex.split(line))

    def destroy(self) -> None:
        """The containers, and their links with them."""
        if self.by:
            self._containerlab("destroy", "--cleanup", check=False)
        self.docker("rm", "--force", *(one.container for one in self.topology.nodes.values()), check=False)

    def _containerlab(self, *argv: str, check: bool = True) -> None:
        env = [f"DOCKER_HOST=unix://{self._socket}", "CLAB_LABDIR_BASE=/run"]  # or it writes where it is called
        self.machine.run("env", *env, self.by, *argv, "-t", str(self.file), check=check)

    def _options(self, node: Node) -> list[str]:
        # of the keys that the lab needs not know
        said = yaml.safe_load(self.file.read_text())["topology"]["defaults"]
        found = ["--name", node.container, "--hostname", node.name, "--network", said["network-mode"]]
        found += [f"--cap-add={one}" for one in said["cap-add"]]
        found += [f"--env={key}={value}" for key, value in node.env.items()]
        found += [f"--sysctl={key}={value}" for key, value in node.sysctls.items()]
        for bind in node.binds:
            found += ["--volume", f"{bind.source}:{bind.target}:{'ro' if bind.read_only else 'rw'}"]
        return found

    def _link(self) -> None:
        pids = {name: self.pid(name) for name in self.topology.nodes}
        lines = [line for link in self.topology.links for line in create_lines(link, pids)]
        self.machine.run("ip", "-batch", "-", stdin="\n".join(lines) + "\n")
        for name, pid in pids.items():
            up = "\n".join(bring_up_lines(name, self.topology.links)) + "\n"
            self.machine.run("nsenter", "--target", str(pid), "--net", "ip", "-batch", "-", stdin=up)
