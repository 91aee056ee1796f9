"""Keeps the CNI network configuration list in its place, from the moment at which the agent's socket answers. An edge.

The file's presence is what makes a node ready for pods, so it is never written by a process that does not answer yet.
It stays when the agent stops: the plugin says then that the agent is away, or leaves a tombstone, and the next agent
goes on; a node whose configuration came and went with every restart would be not ready each time.
"""

from __future__ import annotations

import logging
import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bgpnet import cnispec, conflist, files
from bgpnet.agent.events import ConflistLooked
from bgpnet.client import AgentClient
from bgpnet.errors import BgpnetError

log = logging.getLogger("bgpnet.agent")

LOOK = 10.0
"""Seconds between two looks at the directory and at the chained plugins."""
FIRST_LOOK = 0.05
"""Seconds between two questions whether the socket answers."""
DEADLINE = 5.0
"""Seconds in which a chained plugin has to say which versions it supports."""
MODE = 0o644

Emit = Callable[[ConflistLooked], None]
Stamp = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the list is written, where the plugins are, and what is to stand in it."""

    folder: Path
    plugins: Path
    socket: str
    chain: conflist.Chain
    mtu: int = 0


class Keeper:
    """One thread's work. `emit` hears of warnings whenever they change."""

    def __init__(self, place: Place, emit: Emit) -> None:
        self._place = place
        self._emit = emit
        self._asked: dict[Path, tuple[Stamp, tuple[str, ...] | str]] = {}
        self._refused: frozenset[str] = frozenset()
        self._told = ConflistLooked(())

    def run(self, stop: threading.Event) -> None:
        """Wait for the agent's own answer, and then look after the file until stopped."""
        while not _answers(self._place.socket):
            if stop.wait(FIRST_LOOK):
                return
        while True:
            self.look()
            if stop.wait(LOOK):
                return

    def look(self) -> None:
        """Write the list where it is not as it should be; tell of what is wrong when that is news."""
        found = self._look()
        for one in found.warnings:
            if one not in self._told.warnings:
                log.warning("%s", one)
        if found != self._told:
            self._emit(found)
        self._told = found

    def _look(self) -> ConflistLooked:
        place = self._place
        said = {entry["type"]: self._versions(place.plugins / entry["type"]) for entry in place.chain.entries}
        hasty = self._refused_now(said)
        wish = conflist.build(place.chain, said, cnispec.VERSIONS, mtu=place.mtu, socket=place.socket)
        path = place.folder / conflist.NAME
        try:
            place.folder.mkdir(parents=True, exist_ok=True)
            files.sweep(path)
            if (content := _content(path)) is not None and hasty:
                return self._told
            if content != wish.content:
                files.replace(path, wish.content, MODE)
                log.info("wrote %s, chained: %s", path, ", ".join(wish.chained) or "none")
            with os.scandir(place.folder) as there:
                others = conflist.before(one.name for one in there if not one.is_dir(follow_symlinks=False))
            if others and conflist.leads_here(_read(place.folder / others[0])):
                others = []
        except OSError as problem:
            refused = (
                f"{path} cannot be written: {problem.strerror}; see to that directory, or name another cni_conf_dir"
            )
            return ConflistLooked((refused, *wish.left_out), "" if os.path.isfile(path) else refused)
        before = (conflist.first_is(str(place.folder), one) for one in others)
        return ConflistLooked((*before, *wish.left_out, *self._without_ours()))

    def _refused_now(self, said: Mapping[str, tuple[str, ...] | str]) -> bool:
        """Whether a plugin that is there did not tell, for the first time: a list that is there stays until the second.

        Pods that came meanwhile would be without that plugin, say without their ports, for as long as they live.
        """
        before = self._refused
        self._refused = frozenset(name for name, answer in said.items() if answer and isinstance(answer, str))
        return not self._refused <= before

    def _without_ours(self) -> list[str]:
        ours = self._place.plugins / conflist.TYPE
        if os.access(ours, os.X_OK):
            return []
        return [f"{ours} is no executable, and container runtimes look for it there: run bgpnet cni install"]

    def _versions(self, plugin: Path) -> tuple[str, ...] | str:
        """What a plugin supports, or why it cannot be asked; empty when it is not there.

        Asked once for each file, unless it did not tell: a node that boots may be too busy for an answer in time.
        """
        try:
            found = plugin.stat()
        except OSError as problem:
            missing = isinstance(problem, FileNotFoundError | NotADirectoryError)
            return "" if missing else f"it cannot be executed ({problem.strerror})"
        stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode)
        before = self._asked.get(plugin)
        if before is None or before[0] != stamp or isinstance(before[1], str):
            before = self._asked[plugin] = (stamp, ask(plugin))
        return before[1]


def ask(plugin: Path, deadline: float = DEADLINE) -> tuple[str, ...] | str:
    """The versions of CNI that a plugin supports, or a phrase that says why it does not tell. deadline: seconds."""
    try:
        done = subprocess.run(
            [str(plugin)],
            env={"CNI_COMMAND": "VERSION", "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")},
            input=b'{"cniVersion":"1.0.0"}',
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=deadline,
        )
    except subprocess.TimeoutExpired:
        return f"it did not answer VERSION within {deadline:g} s"
    except OSError as problem:
        return f"it cannot be executed ({problem.strerror})"
    if done.returncode:
        return f"it answered VERSION with exit code {done.returncode}"
    try:
        return conflist.versions(done.stdout)
    except (ValueError, RecursionError):
        return "its answer to VERSION is not that of a CNI plugin"


def _content(path: Path) -> bytes | None:
    """What is there; a link or anything but a file counts as nothing, and is replaced."""
    try:
        return path.read_bytes() if path.is_file() and not path.is_symlink() else None
    except FileNotFoundError:
        return None


def _read(path: Path) -> bytes:
    """Another's file, if it is one."""
    with suppress(OSError):
        return path.read_bytes() if path.is_file() else b""
    return b""


def _answers(socket: str) -> bool:
    try:
        AgentClient(socket, timeout=1.0).ask("status")
    except BgpnetError:
        return False
    return True
