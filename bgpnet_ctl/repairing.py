"""What `ipam check --repair` and `ipam release` do: ask the owners, tell what became of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from bgpnet.errors import BgpnetError, UsageError
from bgpnet.ipamcheck import check
from bgpnet.ipamcheck.picture import Problem, Slot, holder
from bgpnet.model import ip, kinds
from bgpnet.model.node import Node
from bgpnet.store.repo import Repo
from bgpnet_ctl.findings import VERSION
from bgpnet_ctl.requests import Answer, Asking, Outcome, Wanted, free_ownerless, live


def wanted(found: Sequence[Problem]) -> list[Wanted]:
    """What a repair asks for: every leak, of its owner."""
    leaks = check.repairable(list(found))
    return [Wanted(leak.node, leak.holder) for leak in leaks if leak.holder is not None]


def ask(repo: Repo, asked: Sequence[Wanted], reason: str, seconds: float) -> list[Answer]:
    """Ask the owners, with a progress bar on a terminal; what is in a block without owner is released at once."""
    ownerless = [one for one in asked if not one.node]
    for one in ownerless:
        free_ownerless(repo, one)
    released = [Answer(one, Outcome.RELEASED) for one in ownerless]
    asked = [one for one in asked if one.node]
    with _progress(len(asked)) as heard:
        return [*released, *Asking(repo, reason, seconds, heard).release(asked)]


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Answer], None]]:
    """A bar on standard error where that is a terminal; nothing elsewhere."""
    if total == 0 or not sys.stderr.isatty():
        yield lambda answer: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("Asking the owners"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda answer: bar.advance(task)


def told(answers: Sequence[Answer]) -> Iterator[str]:
    """A line for each answer, in calicoctl's words where it has them."""
    for answer in answers:
        address = answer.wanted.holder.address
        released = answer.outcome is Outcome.RELEASED
        yield f"Successfully released IP address {address}" if released else f"Not released: {answer.sentence}"


def tree(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """The same for a report."""
    return [
        {
            "address": one.wanted.holder.address,
            "sequence": one.wanted.holder.sequence,
            "node": one.wanted.node,
            "outcome": str(one.outcome),
            "reason": one.sentence,
        }
        for one in answers
    ]


def left(found: Sequence[Problem], answers: Sequence[Answer]) -> list[Problem]:
    """The problems that a repair has not done away with."""
    done = {
        (one.wanted.holder.address, one.wanted.holder.sequence) for one in answers if one.outcome is Outcome.RELEASED
    }
    return [
        problem
        for problem in found
        if problem.holder is None or (problem.holder.address, problem.holder.sequence) not in done
    ]


def plan(asked: Sequence[Wanted]) -> Iterator[str]:
    """What would be asked."""
    for one in asked:
        who = one.holder
        begun = f"Would ask node {one.node} to release" if one.node else "Would release, as its block has no owner,"
        yield f"{begun} {who.address}, allocation {who.sequence} of {who.who}"


def allocated(repo: Repo, address: str) -> Wanted | None:
    """The live allocation of an address, None where there is none; raises UsageError, or BgpnetError.

    Refused at once is what no owner could ever answer.
    """
    try:
        sought = ip.address(address)
    except ValueError as error:
        raise UsageError(f"--ip = '{address}': is not an address; write it like 10.244.0.5") from error
    slot = live(repo).get(str(sought))
    if slot is None:
        return None
    _owned(repo, slot)
    return Wanted(slot.owner, holder(slot))


def _owned(repo: Repo, slot: Slot) -> None:
    where = f"{slot.address} is in block {slot.block.spec.cidr}"
    if slot.owner and not isinstance(repo.find(kinds.NODE, slot.owner), Node):
        gone = f"bgpnetctl node release {slot.owner}"
        raise BgpnetError(f"{where} of node {slot.owner}, which does not exist: if it is gone for good, run {gone}")


class _Said(Struct):
    """A problem of a report, as far as it is needed."""

    code: str
    address: str = ""
    sequence: int = 0


class _Report(Struct, rename={"cluster": "clusterGUID"}):
    version: int
    cluster: str
    problems: tuple[_Said, ...]


def from_reports(repo: Repo, filenames: Sequence[str], cluster: str) -> tuple[list[Wanted], list[str]]:
    """The leaks that all reports name and that are still the same allocations; a line for each that is not any more.

    Raises UsageError for a file that is no report of this cluster.
    """
    reports = [_read(filename, cluster) for filename in filenames]
    common = set.intersection(*({(one.address, one.sequence) for one in leaks} for leaks in reports))
    slots = live(repo)
    asked: list[Wanted] = []
    passed: list[str] = []
    for one in reports[0]:
        if (one.address, one.sequence) not in common:
            continue
        slot = slots.get(one.address)
        if slot is None:
            passed.append(f"IP address {one.address} is not assigned")
        elif slot.allocation.sequence != one.sequence:
            passed.append(f"IP address {one.address} was given to {slot.who} since the report, so it stays")
        else:
            _owned(repo, slot)
            asked.append(Wanted(slot.owner, holder(slot)))
    return asked, passed


def _read(filename: str, cluster: str) -> list[_Said]:
    try:
        report = msgspec.json.decode(Path(filename).read_bytes(), type=_Report)
    except OSError as error:
        raise UsageError(
            f"--from-report = '{filename}': {error.strerror}: name a file of ipam check --report"
        ) from error
    except msgspec.DecodeError as error:
        raise UsageError(
            f"--from-report = '{filename}': is no report of ipam check ({error}); write a new one"
        ) from error
    if report.version != VERSION:
        raise UsageError(
            f"--from-report = '{filename}': is of version {report.version}, not {VERSION}; write a new one"
        )
    if report.cluster != cluster:
        theirs, ours = report.cluster or "none", cluster or "none"
        raise UsageError(
            f"--from-report = '{filename}': is of the cluster with GUID {theirs}, this is {ours}: name "
            "its own --datastore, or a report of this one"
        )
    return [one for one in report.problems if one.code == "leaked-address" and one.address]
