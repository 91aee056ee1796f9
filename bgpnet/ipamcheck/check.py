"""`ipam check` as a function: pictures in, problems out. Pure.

No lock is taken, so that one look may catch a write half-way: the block without the Node that follows it, the journal
a second ahead of the datastore. A problem is one only when a second look, a little later, finds the very same: the
same object and the same allocation sequences.
"""

from __future__ import annotations

from dataclasses import dataclass

from bgpnet.ipamcheck import recorded, vouched
from bgpnet.ipamcheck.picture import Picture, Problem, Severity, Slot, Source

ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


def problems(picture: Picture) -> list[Problem]:
    """What one look finds, each thing once, the worst first."""
    found = [problem for check in (*recorded.CHECKS, *vouched.CHECKS) for problem in check(picture)]
    return sorted({problem.key: problem for problem in found}.values(), key=lambda one: ORDER[one.severity])


def confirmed(first: list[Problem], second: list[Problem]) -> list[Problem]:
    """Those of the second look which the first one had already."""
    known = {problem.key for problem in first}
    return [problem for problem in second if problem.key in known]


def is_wrong(found: list[Problem]) -> bool:
    """Whether there is a problem among them, and not only things worth knowing."""
    return any(problem.severity is not Severity.INFO for problem in found)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A live allocation, and what is thought of it: `in use`, the code of its problem, or `unknown`."""

    slot: Slot
    state: str


IN_USE, UNKNOWN = "in use", "unknown"


def verdicts(picture: Picture, found: list[Problem]) -> list[Verdict]:
    """Every live allocation. Unknown is one whose owner says nothing, and has no problem either."""
    codes: dict[str, str] = {}
    for problem in reversed(found):
        if problem.severity is not Severity.INFO:
            codes[problem.holder.address if problem.holder else problem.subject] = problem.code
    heard = {word.node for word in picture.words.values() if word.source is not Source.UNKNOWN}
    return [
        Verdict(slot, codes.get(str(slot.address)) or (IN_USE if slot.owner in heard else UNKNOWN))
        for slot in picture.slots()
    ]


def repairable(found: list[Problem]) -> list[Problem]:
    """The leaks whose owner can be asked to release them: known allocations, by the owner's own word."""
    return [problem for problem in found if problem.code == "leaked-address" and problem.holder is not None]
