"""Numbered packets between namespaces, 1,000 a second and pair, and exactly which of them were lost (packets.c)."""

from __future__ import annotations

import select
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
WITHIN = 120.0
"""Seconds in which every flow has to have a packet through, and later the report has to be there."""
NEAR = 0.05
"""Seconds around a lost packet in which the control flow tells whether the machine lost it."""


@dataclass(frozen=True, slots=True)
class End:
    """Where packets leave and arrive: an address, and the path of the network namespace that has it."""

    address: str
    netns: Path


@dataclass(frozen=True, slots=True)
class Lost:
    """Packets of a flow that did not arrive, so many in a row; since and until: when they were sent (monotonic)."""

    source: str
    target: str
    first: int
    count: int
    since: float
    until: float


@dataclass(slots=True)
class Report:
    """What came of all flows. slowest: the longest way of a packet, late: how long the sender was kept from sending,
    both in seconds. unreachable: flows of which an ICMP message came back. overrun: packets without room here."""

    sent: dict[tuple[str, str], int] = field(default_factory=dict)
    received: dict[tuple[str, str], int] = field(default_factory=dict)
    lost: list[Lost] = field(default_factory=list)
    unreachable: dict[tuple[str, str], int] = field(default_factory=dict)
    overrun: int = 0
    slowest: float = 0.0
    late: float = 0.0


def build(folder: Path) -> Path:
    """The program, compiled into the folder; fails with the command that installs the compiler."""
    out = folder / "packets"
    try:
        done = subprocess.run(
            ["gcc", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-o", str(out), str(SOURCE)],
            capture_output=True,
            text=True,
            timeout=WITHIN,
        )
    except FileNotFoundError:
        raise AssertionError("gcc is missing; run: apt-get install gcc libc6-dev") from None
    assert done.returncode == 0, done.stderr
    return out


@contextmanager
def flowing(program: Path, rate: int, *groups: Sequence[End]) -> Iterator[Report]:
    """So many packets a second from every end of a group to every other one; the report is whole after the block."""
    words = [str(rate)]
    for group in groups:
        words += [*(f"{end.address}={end.netns}" for end in group), "-"]
    report = Report()
    with subprocess.Popen(
        [str(program), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], WITHIN)[0], "some flow has not had a packet through"
            assert process.stdout.readline() == "counting\n", "the sender has ended"
            yield report
            text, _ = process.communicate(timeout=WITHIN)  # which closes its input first
        finally:
            process.kill()
    assert process.returncode == 0, f"the sender ended with {process.returncode}"
    _read(report, text)


def told_apart(report: Report, node_of: Mapping[str, str]) -> tuple[list[Lost], list[Lost]]:
    """What pods lost to route changes, and what the machine lost. node_of: the node's address by the pod's.

    The flows between the nodes' own addresses, which are in the report, too, are those that tell: a pod's packet counts
    as lost to the machine only if they lost some on the same way within NEAR of it.
    """
    control = [one for one in report.lost if one.source not in node_of]
    lost: list[Lost] = []
    by_machine: list[Lost] = []
    for one in report.lost:
        if one.source in node_of:
            pair = node_of[one.source], node_of[one.target]
            excused = any((other.source, other.target) == pair and _near(other, one) for other in control)
            (by_machine if excused else lost).append(one)
    return lost, by_machine


def _near(one: Lost, other: Lost) -> bool:
    return one.since - NEAR <= other.until and other.since <= one.until + NEAR


def _read(report: Report, text: str) -> None:
    for line in text.splitlines():
        match line.split():
            case ["flow", source, target, sent, received, twice, slowest]:
                assert twice == "0", f"packets from {source} to {target} arrived {twice} times more than once"
                report.sent[source, target], report.received[source, target] = int(sent), int(received)
                report.slowest = max(report.slowest, int(slowest) / 1e6)
            case ["lost", source, target, first, count, since, until]:
                report.lost.append(Lost(source, target, int(first), int(count), float(since), float(until)))
            case ["unreachable", source, target, count]:
                report.unreachable[source, target] = int(count)
            case ["overrun", count]:
                report.overrun = int(count)
            case ["late", microseconds]:
                report.late = int(microseconds) / 1e6
            case _:
                raise AssertionError(f"the sender said {line!r}")
