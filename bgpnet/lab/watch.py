"""What changes in the nodes' routing tables while something is done, as `ip monitor` tells it."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bgpnet.lab.nodes import Lab
from bgpnet.lab.wait import until

MARKER = "203.0.113.254"
"""A route that tells that the monitors listen; documentation's address (RFC 5737), proto static, in no pool."""
LISTENS_WITHIN = 60.0
"""Seconds for a monitor to listen."""


@contextmanager
def watched(lab: Lab, names: Sequence[str]) -> Iterator[list[str]]:
    """Afterwards the list holds every change of an IPv4 route in these nodes, as `ip monitor` told it."""
    changes: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        monitors = {}
        for name in names:
            output = stack.enter_context((folder / name).open("w"))
            monitors[name] = lab.popen(name, ["ip", "-4", "monitor", "route"], stdout=output, stderr=output)
            stack.callback(_end, monitors[name])
            until(partial(_deaf, lab, name, folder / name), LISTENS_WITHIN)
        yield changes
        for name, monitor in monitors.items():
            _end(monitor)
            lines = (folder / name).read_text().splitlines()
            changes += [f"{name}: {line}" for line in lines if line.strip() and MARKER not in line]


def _deaf(lab: Lab, name: str, output: Path) -> str:
    """Put a route and take it away; what is missing while the monitor has not told of it."""
    for verb in ("add", "del"):
        lab.exec(name, ["ip", "route", verb, "blackhole", MARKER, "proto", "static"])
    return "" if MARKER in output.read_text() else f"{name}: ip monitor says nothing"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(60)
