"""`bgpnetctl validate`: everything that can be said about files without a datastore, all at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bgpnet import admission, codec
from bgpnet.codec import Examined
from bgpnet.model.ippool import IPPool
from bgpnet.model.kinds import kind_of, subject
from bgpnet.rules import table as rules
from bgpnet_ctl import render, sources
from bgpnet_ctl.session import Refused


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said about one object of one file."""

    file: str
    about: Examined

    @property
    def warnings(self) -> list[str]:
        """What is accepted, and not kept or not acted on."""
        resource = self.about.resource
        return [*self.about.notes, *(rules.not_built(resource) if resource and not self.about.findings else ())]

    def place(self, line: int | None) -> str:
        """`pools.yaml:12`."""
        return self.file if line is None else f"{self.file}:{line}"

    def lines(self) -> Iterator[str]:
        """One line for each finding, or one that there is none."""
        name = self.about.subject.removeprefix(self.file).removeprefix(", ")
        joint = ": " if name else ""
        for finding in self.about.findings:
            yield f"{self.place(finding.line)}: {name}{joint}{finding}"
        if not self.about.findings:
            yield f"{self.place(self.about.line)}: {name}{joint}valid"

    def tree(self) -> dict[str, Any]:
        """The same as plain values."""
        resource = self.about.resource
        return {
            "file": self.file,
            "line": self.about.line,
            "kind": kind_of(resource).name if resource else None,
            "name": resource.metadata.name if resource else None,
            "valid": not self.about.findings,
            "findings": [
                {"line": each.line, "field": each.path, "value": each.value, "problem": each.problem}
                for each in self.about.findings
            ],
            "warnings": self.warnings,
        }


def verdicts(filenames: tuple[str, ...], recursive: bool = False) -> list[Verdict]:
    """Every object of every source; raises UsageError for a source that cannot be read, Refused when there is none."""
    found = [
        Verdict(source, examined)
        for source, text in sources.texts(filenames, recursive)
        for examined in codec.examine(text, source, lines=True)
    ]
    if not found:
        raise Refused(f"No resources specified: write at least one into {', '.join(filenames)}")
    _beside_each_other(found)
    return found


def _beside_each_other(given: list[Verdict]) -> None:
    """What would be refused whatever the datastore holds: derived kinds, a name twice, pools that overlap."""
    seen: dict[str, Verdict] = {}
    pools: list[IPPool] = []
    for found in given:
        resource = found.about.resource
        if resource is None:
            continue
        name, at = subject(resource), found.about
        if kind_of(resource).derived:
            kind = kind_of(resource)
            at.add("kind", kind.name, f"{kind.origin}; take it out, and {kind.remedy}")
        if resource.metadata.name and name in seen:
            problem = f"occurs twice, first at {seen[name].place(seen[name].about.line)}; keep one of the two"
            at.add("metadata.name", resource.metadata.name, problem)
        elif isinstance(resource, IPPool) and not at.findings:
            for each in admission.on_create(resource, pools, []):
                at.add(each.path, each.value, each.problem)
            pools.append(resource)
        seen.setdefault(name, found)


def shown(found: list[Verdict]) -> tuple[str, str]:
    """One line for each resource when all are valid, else one for each finding: for standard output and error."""
    if any(verdict.about.findings for verdict in found):
        wrong = [line for verdict in found if verdict.about.findings for line in verdict.lines()]
        return "", "\n".join(wrong)
    return "".join(f"{line}\n" for verdict in found for line in verdict.lines()), ""


def tree(found: list[Verdict], output: str) -> str:
    """All of it, as JSON or YAML."""
    return render.tree([verdict.tree() for verdict in found], output)
