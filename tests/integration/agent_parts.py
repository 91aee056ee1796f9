"""What nodes under test consist of: programs that run in them, what a CNI program said, pods, pings; and patience."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bgpnet.errors import UsageError
from bgpnet.lab.nodes import Lab
from bgpnet.lab.wait import until

PATIENCE = 100.0
"""Seconds in which everything has to come about; most takes a fraction of one, but not on a busy machine.

Fewer than the 120 after which an agent gives up waiting for a peer's table: that has to come about by itself.
"""

MORE = 20
"""Replies of a ping that are waited for after what is tested has happened."""

REPLY = re.compile(r"bytes from \S+ icmp_seq=(\d+) ")
"""A reply, as ping prints it; what a router refuses has a number, too."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a CNI program said: its exit code, and its standard output as an object."""

    code: int
    said: dict[str, Any]
    raw: str

    @property
    def message(self) -> str:
        """The sentence of a refusal."""
        return str(self.said.get("msg", ""))

    @property
    def error(self) -> int:
        """The code of the CNI error object; 0 where there is none."""
        return int(self.said.get("code", 0))


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that has its address."""

    name: str
    container: str
    node: str
    address: str
    link: str
    result: dict[str, Any]


@dataclass(slots=True)
class Process:
    """A program inside a node; killed and waited for by its number on this machine."""

    lab: Lab
    node: str
    argv: Sequence[str]
    log: Path
    env: dict[str, str] = field(default_factory=dict)
    popen: subprocess.Popen[bytes] | None = None
    pid: int = 0

    def start(self) -> None:
        """Run it; its output goes to the log."""
        argv = ["env", *(f"{key}={value}" for key, value in self.env.items()), *self.argv]
        with self.log.open("ab") as out:
            self.popen = self.lab.popen(self.node, argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        until(self._found, PATIENCE)

    def _found(self) -> str:
        """nsenter forks to enter the pid namespace: ours is its only child."""
        assert self.popen is not None
        with suppress(OSError):
            children = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children").read_text().split()
            if children:
                self.pid = int(children[0])
                return ""
        return "" if self.popen.poll() is not None else f"{' '.join(self.argv)} has not started"

    def end(self, number: int = signal.SIGKILL) -> int:
        """Send the signal and wait for the end; its exit code, negative for a signal."""
        if self.popen is None:
            return 0
        if self.popen.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
                # nsenter stops itself with a child that was stopped, and would not see its end.
                os.kill(self.popen.pid, signal.SIGCONT)
        code = self.popen.wait(PATIENCE)
        self.popen = None
        return code

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit code, when it ends by itself."""
        assert self.popen is not None
        return self.popen.wait(seconds)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.popen is not None and self.popen.poll() is None


@dataclass(slots=True)
class Pings:
    """How many were sent, and how many came back: of those from the first to the last that was answered.

    What went before the first one found no route yet; the last one may be under way when ping is told to end.
    """

    sent: int = 0
    received: int = 0

    @property
    def lost(self) -> int:
        """How many did not come back."""
        return self.sent - self.received

    def count(self, told: str) -> None:
        """From what ping printed; its numbers have 16 bits, and begin anew after ten minutes."""
        answered: set[int] = set()
        last = 0
        for one in REPLY.finditer(told):
            last = int(one[1]) + (round((last - int(one[1])) / 65536) << 16)
            answered.add(last)
        assert answered, told
        self.sent, self.received = max(answered) - min(answered) + 1, len(answered)


def eventually(true: Callable[[], bool], what: str | Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until it is so; `what` is shown when it does not come about."""
    try:
        until(lambda: "" if true() else "not yet", seconds)
    except UsageError:
        raise AssertionError(what if isinstance(what, str) else str(what())) from None
