"""The processes of a lab's nodes, as this machine sees them: who they are, what they cost, and ending them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bgpnet.lab.record import NodeRecord

PARTS = {"agent": ("agent",), "speaker": ("speaker", "bgpnet.bgp.relay")}
"""The words of a command line that tell our processes apart."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process by this machine's pid."""

    pid: int
    argv: tuple[str, ...]

    @property
    def part(self) -> str:
        """Which of ours it is: agent, speaker (the relay is its part), or empty."""
        if not any("python" in Path(word).name or Path(word).name == "bgpnet" for word in self.argv[:2]):
            return ""
        return next((part for part, words in PARTS.items() if any(word in self.argv for word in words)), "")


def of(node: NodeRecord) -> Iterator[Process]:
    """All processes in the node's pid namespace."""
    space = os.readlink(f"/proc/{node.pid}/ns/pid")
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with suppress(OSError):  # it ended while we looked
            if os.readlink(entry / "ns/pid") == space:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                yield Process(int(entry.name), tuple(words[:-1]))


def memory(node: NodeRecord) -> dict[str, float]:
    """Proportional set size of agent and speaker, in MiB (proc(5), smaps_rollup)."""
    total = dict.fromkeys(PARTS, 0.0)
    for process in of(node):
        if process.part:
            with suppress(OSError):
                total[process.part] += _pss(process.pid)
    return {part: round(mib, 1) for part, mib in total.items()}


def kill(node: NodeRecord, part: str) -> int:
    """SIGKILL every process of that part; how many there were."""
    chosen = [process.pid for process in of(node) if process.part == part]
    for pid in chosen:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(chosen)


def interrupt(node: NodeRecord, program: str) -> None:
    """SIGINT to that program's processes in the node, at which ping prints what it counted."""
    for process in of(node):
        if process.argv and Path(process.argv[0]).name == program:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)


def _pss(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0
