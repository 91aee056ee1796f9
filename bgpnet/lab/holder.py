"""The process that is a node: namespaces of its own, a private root (see mounts), and process 1 in them."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from bgpnet.lab.mounts import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUTS, Root, unshare
from bgpnet.lab.topology import Node

INIT = """
if [ $# -gt 0 ]; then { "$@"; echo "bgpnet lab: the command of $(hostname) ended with status $?"; } & fi
while :; do sleep 3600; done
"""
"""Process 1: the node outlives its command, and what nobody waits for is reaped."""


class HolderFailed(Exception):
    """The node could not be made; the message is one sentence without its subject."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A node that is ready and waits to be released; `pid` is its process 1 as this machine sees it."""

    pid: int
    go: int

    def release(self) -> None:
        """Let process 1 start the node's command."""
        os.write(self.go, b"g")
        os.close(self.go)

    def abandon(self) -> None:
        """Let the node vanish."""
        os.close(self.go)


def start(node: Node, scratch: Path, log: Path, env: dict[str, str]) -> Holder:
    """Make the node and wait until it is ready to be released; raises HolderFailed.

    `scratch` is an empty directory to mount on, inside the node's namespace only. Until it is released the node ends
    with the caller: at no instant does a killed deploy leave a node that nobody has recorded.
    """
    report_read, report_write = os.pipe()
    go_read, go_write = os.pipe()
    output = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    child = os.fork()
    if child == 0:
        try:
            os.close(report_read)
            os.close(go_write)
            _become(node, scratch, env, output, report_write, go_read)
        finally:  # when its deploy was killed it meets EPIPE: were it to leave here, it would undo the lab itself
            os._exit(1)
    for end in (report_write, go_read, output):
        os.close(end)
    said = _read_line(report_read)
    os.waitpid(child, 0)
    if said.startswith("pid "):
        pid = int(said.removeprefix("pid "))
        said = _read_line(report_read)
        if said == "ready":
            os.close(report_read)
            return Holder(pid, go_write)
    os.close(report_read)
    os.close(go_write)
    raise HolderFailed(said or "its process ended early")


def _read_line(descriptor: int) -> str:
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(descriptor, 1)):
        line += byte
    return line.decode(errors="replace").rstrip("\n")


def _become(node: Node, scratch: Path, env: dict[str, str], output: int, report: int, go: int) -> NoReturn:
    """In the child: namespaces, then process 1 as a grandchild. Never returns."""
    hello_read, hello_write = os.pipe()
    try:
        unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWPID | CLONE_NEWNET)
        pid = os.fork()
    except OSError as error:
        _refuse(report, f"{error}: the lab needs root and a kernel with network, mount, uts and pid namespaces")
    if pid:
        os.write(report, f"pid {pid}\n".encode())
        os.write(hello_write, b"h")
        os._exit(0)
    os.close(hello_write)
    if not os.read(hello_read, 1):  # the pid is reported before anything of ours, or there is nobody to report to
        os._exit(1)
    try:
        _furnish(node, scratch)
    except (OSError, ValueError, HolderFailed) as error:
        _refuse(report, str(error))
    _run(env, node.process, output, report, go)


def _refuse(report: int, problem: str) -> NoReturn:
    os.write(report, problem.replace("\n", " ").encode() + b"\n")
    os._exit(1)


def _furnish(node: Node, scratch: Path) -> None:
    os.setsid()
    socket.sethostname(node.name)
    root = Root(scratch)
    root.furnish(node.binds)
    root.enter()
    for name, value in node.sysctls.items():
        try:
            Path("/proc/sys", *name.split(".")).write_text(value)
        except OSError as error:
            raise HolderFailed(f"sysctl {name} = {value}: {error.strerror}; mend it in sysctls") from error


def _run(env: dict[str, str], process: tuple[str, ...], output: int, report: int, go: int) -> NoReturn:
    """Say that all is ready, wait for the word, and be process 1; without the word, end, and the node with us."""
    silence = os.open("/dev/null", os.O_RDONLY)
    os.write(report, b"ready\n")
    if os.read(go, 1) != b"g":
        os._exit(1)
    for descriptor, place in ((silence, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, place)
    try:
        os.execve("/bin/sh", ["bgpnet-lab", "-c", INIT, "bgpnet-lab", *process], env)  # noqa: S606 - it becomes it
    except OSError as error:
        os.write(2, f"bgpnet lab: /bin/sh: {error}\n".encode())
        os._exit(1)
