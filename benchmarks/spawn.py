"""Executing a plugin and timing it, the same way for all: posix_spawn to wait, inside a network namespace."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NETNS_DIR = Path("/run/netns")
CLONE_NEWNET = 0x40000000  # linux/sched.h
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextmanager
def inside(netns: str) -> Iterator[None]:
    """The calling thread is in the named network namespace; what it starts is too."""
    with open("/proc/thread-self/ns/net") as home, (NETNS_DIR / netns).open() as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def namespaces(names: Sequence[str]) -> Iterator[None]:
    """Named network namespaces; gone afterwards, with all in them."""
    try:
        _netns("add", names)
        yield
    finally:
        _netns("delete", [name for name in names if (NETNS_DIR / name).exists()])


def _netns(command: str, names: Sequence[str]) -> None:
    steps = "".join(f"netns {command} {name}\n" for name in names)
    subprocess.run(["ip", "-batch", "-"], input=steps.encode(), check=True, timeout=300)


@dataclass(frozen=True, slots=True)
class Timed:
    """One execution: milliseconds from posix_spawn to its end, exit code and output."""

    ms: float
    code: int
    out: bytes


def execute(plugin: Sequence[str], env: Mapping[str, str], stdin: bytes) -> Timed:
    """Executes a plugin in the calling thread's namespace. Its input (at most a pipe's worth) is written before."""
    reader, writer = os.pipe()
    os.write(writer, stdin)
    os.close(writer)
    with tempfile.TemporaryFile() as out:
        files = [
            (os.POSIX_SPAWN_DUP2, reader, 0),
            (os.POSIX_SPAWN_DUP2, out.fileno(), 1),
            (os.POSIX_SPAWN_DUP2, out.fileno(), 2),
        ]
        started = time.perf_counter()
        child = os.posix_spawn(plugin[0], list(plugin), dict(env), file_actions=files)
        _, status = os.waitpid(child, 0)
        spent = time.perf_counter() - started
        os.close(reader)
        out.seek(0)
        return Timed(spent * 1000, os.waitstatus_to_exitcode(status), out.read())


class PluginFailed(Exception):
    """A plugin that is measured refused: the figures would mean nothing."""


def call(plugin: Sequence[str], command: str, pod: str, config: Mapping[str, object]) -> float:
    """One ADD or DEL of the pod (the name of its namespace) as a runtime makes it, in ms; raises PluginFailed."""
    env = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": pod,
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": str(NETNS_DIR / pod),
        "CNI_PATH": "/usr/lib/cni",
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME={pod}",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }
    done = execute(plugin, env, json.dumps(config).encode())
    if done.code:
        raise PluginFailed(
            f"{plugin[0]} {command} of {pod} ended with {done.code}: {done.out.decode(errors='replace')}"
        )
    return done.ms
