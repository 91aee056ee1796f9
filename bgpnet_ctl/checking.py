"""`bgpnetctl datastore check`: what is there, what is wrong with it, and where two datastores differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bgpnet.transfer import checks, compare, contents
from bgpnet.transfer.compare import Difference
from bgpnet.transfer.contents import Problem
from bgpnet_ctl import render, text
from bgpnet_ctl.copies import Copy


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found."""

    ours: Copy
    findings: list[Problem]
    theirs: Copy | None = None
    differences: list[Difference] = field(default_factory=list)

    @property
    def is_wrong(self) -> bool:
        """Whether something was found."""
        return bool(self.findings or self.differences)

    def text(self) -> str:
        """Counts, checksums, then what was found."""
        sides = [each for each in (self.ours, self.theirs) if each is not None]
        tallies = [contents.counts(side.contents.resources) for side in sides]
        rows = [[kind, *(str(tally[kind]) for tally in tallies)] for kind in tallies[0]]
        total = ["total", *(str(len(side.contents.resources)) for side in sides)]
        heading = ["KIND", "OBJECTS", "OTHER"][: 1 + len(sides)]
        parts = [text.plain(heading, [*rows, total])]
        parts += [f"{side.name}: sha256 {side.checksum}\n" for side in sides]
        if self.findings:
            parts += ["\n", text.plain(["OBJECT", "PROBLEM"], [[each.subject, each.problem] for each in self.findings])]
        if self.differences:
            parts += [
                "\n",
                text.plain(["OBJECT", "DIFFERENCE"], [[each.subject, each.how] for each in self.differences]),
            ]
        found = f"{len(self.findings)} problem(s)"
        compared = f", {len(self.differences)} difference(s)" if self.theirs is not None else ""
        return "".join([*parts, f"Check complete; found {found}{compared}.\n"])

    def tree(self, output: str) -> str:
        """The same as JSON or YAML."""
        plain: dict[str, Any] = {
            **_side(self.ours),
            "findings": [{"object": each.subject, "problem": each.problem} for each in self.findings],
        }
        if self.theirs is not None:
            plain["other"] = _side(self.theirs)
            plain["differences"] = [{"object": each.subject, "difference": each.how} for each in self.differences]
        return render.tree(plain, output)


def _side(copy: Copy) -> dict[str, Any]:
    resources = copy.contents.resources
    return {"datastore": copy.name, "objects": contents.counts(resources), "checksum": copy.checksum}


def checked(ours: Copy, theirs: Copy | None = None) -> Report:
    """Everything that is wrong with the one, and, given another, all that is not alike; what cannot be read counts."""
    resources = ours.contents.resources
    found = [*ours.contents.broken, *checks.broken(resources), *checks.findings(resources)]
    if theirs is None:
        return Report(ours, found)
    differences = compare.compare(resources, theirs.contents.resources)
    unread = [
        Difference(each.subject, f"cannot be read in {theirs.name}: {each.problem}") for each in theirs.contents.broken
    ]
    return Report(ours, found, theirs, [*differences, *unread])
