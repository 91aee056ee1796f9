"""Resources as text, both ways; as stored bytes, see `bgpnet.stored`.

People write YAML or JSON (`decode`): everything wrong in all documents is said at once. `bgpnet.io/v1` is written;
Calico's versions are read, too (`habits`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import yaml

from bgpnet.document import habits, marks, reader
from bgpnet.document.marks import Mark
from bgpnet.document.shape import Shaper, convert
from bgpnet.errors import Finding, Invalid
from bgpnet.model.kinds import BY_ALIAS, BY_NAME, KINDS, Kind, Resource, kind_of
from bgpnet.model.resource import API_VERSION
from bgpnet.rules import table
from bgpnet.stored import decode_stored, encode

__all__ = ["Examined", "decode", "decode_stored", "encode", "examine", "plain", "settle", "to_json", "to_yaml"]


def decode(text: str, source: str = "-") -> list[Resource]:
    """The resources of a YAML or JSON text: documents, lists and kinds that end in List, in their order.

    Raises Invalid with every finding of every document; its subject is the object, such as `IPPool(blue)`, or, when
    several are wrong, the source. What it returns is normalised and obeys all rules that need no datastore.
    """
    return settle(examine(text, source), source)


@dataclass(slots=True)
class Examined:
    """One object of a text: the resource, or what is wrong with it. subject: `IPPool(blue)`, or its place in the text.

    line: where it begins, from 1, if known. notes: a sentence for each thing that was accepted and is not kept.
    """

    subject: str
    findings: list[Finding]
    resource: Resource | None = None
    notes: list[str] = field(default_factory=list)
    line: int | None = None
    document: int = 0
    path: str = ""
    mark: Mark | None = None

    def named(self, where: str) -> Iterator[Finding]:
        """The findings among those of other objects: their paths begin with the subject."""
        prefix = self.subject.removeprefix(where).removeprefix(", ")
        for finding in self.findings:
            yield replace(finding, path=f"{prefix} {finding.path}".lstrip())

    def locate(self, documents: list[Mark]) -> None:
        """Gives the object and its findings their lines."""
        if self.document < len(documents):
            self.mark = documents[self.document]
            self.line = self.line_of("")
            self.findings = [replace(each, line=self.line_of(each.path)) for each in self.findings]

    def add(self, path: str, value: object, problem: str) -> None:
        """One more finding, with its line."""
        self.findings.append(Finding(path, value, problem, self.line_of(path)))

    def line_of(self, path: str) -> int | None:
        """The line of a field of the object, if known."""
        joint = "." if self.path and path else ""
        return self.mark.line_of(f"{self.path}{joint}{path}") if self.mark else None


def examine(text: str, source: str = "-", lines: bool = False) -> list[Examined]:
    """Every object of a text, and what was wrong with the text itself; raises nothing.

    Findings have lines; with `lines`, objects without findings have theirs, too, which costs a second reading.
    """
    where = _where(source)
    reading = reader.read(text)
    objects = list(_objects(reading.documents, where))
    if lines or any(each.findings for each in objects):
        documents = marks.read(text)
        for each in objects:
            each.locate(documents)
    if not reading.findings:
        return objects
    return [Examined(where, reading.findings, line=reading.findings[0].line), *objects]


def examine_tree(tree: object, place: str) -> Examined:
    """One object that was read already, by `reader` or as JSON; raises nothing, findings have no lines."""
    return _object(tree, place, 0)


def settle(objects: list[Examined], source: str = "-") -> list[Resource]:
    """The resources of what was examined; raises Invalid as `decode` does."""
    wrong = [each for each in objects if each.findings]
    if len(wrong) == 1:
        raise Invalid(wrong[0].subject, wrong[0].findings)
    if wrong:
        where = _where(source)
        raise Invalid(where, [finding for each in wrong for finding in each.named(where)])
    return [each.resource for each in objects if each.resource is not None]


def _where(source: str) -> str:
    return "standard input" if source == "-" else source


def _objects(documents: list[object], where: str) -> Iterator[Examined]:
    for number, document in enumerate(documents):
        place = f"{where}, document {number + 1}" if len(documents) > 1 else where
        array = isinstance(document, list)
        items = document if array else _items(document)
        if items is None:
            yield _object(document, place, number)
        elif not isinstance(items, list):
            findings = [Finding("items", None, "must be a list; write each object with - before it")]
            yield Examined(place, findings, document=number)
        else:
            yield from _members(document, items, place, number, "" if array else "items", reader.DEPTH_LIMIT)


def _members(within: object, items: list[object], place: str, number: int, path: str, depth: int) -> Iterator[Examined]:
    """The objects of a list, and of lists in it."""
    for index, item in enumerate(items):
        below, here = f"{place}, item {index + 1}", f"{path}[{index}]"
        inner = _items(item)
        if isinstance(inner, list) and depth:
            yield from _members(item, inner, below, number, f"{here}.items", depth - 1)
        else:
            yield _object(_typed(item, within), below, number, here)


def _typed(item: object, within: object) -> object:
    """An item of `IPPoolList` need not say that it is an IPPool: the Kubernetes API server's do not."""
    if not isinstance(item, dict) or not isinstance(within, dict) or within.get("kind") == "List":
        return item
    given = {"apiVersion": within.get("apiVersion"), "kind": str(within.get("kind")).removesuffix("List")}
    return {**{key: value for key, value in given.items() if key not in item}, **item}


def _items(document: object) -> object | None:
    """What a list object holds; None for anything else."""
    kind = document.get("kind") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(kind, str) or not kind.endswith("List"):
        return None
    return document.get("items") or []


def _object(tree: object, place: str, document: int, path: str = "") -> Examined:
    found = Examined(place, [], document=document, path=path)
    if not isinstance(tree, dict):
        problem = "is not a mapping; write apiVersion, kind, metadata and spec"
        found.findings.append(Finding("the object", None, problem))
        return found
    name = habits.kind_name(tree.get("apiVersion"), tree.get("kind"))
    kind = BY_NAME.get(name) if isinstance(name, str) else None
    found.findings += _envelope(tree, kind)
    if kind is not None:
        _fill(found, tree, kind)
    return found


def _fill(found: Examined, tree: dict[str, object], kind: Kind) -> None:
    """The resource of a tree, its findings and notes."""
    body = {key: value for key, value in tree.items() if key not in ("apiVersion", "kind")}
    metadata = body.get("metadata")
    if isinstance(metadata, dict):
        found.subject = f"{kind.name}({metadata['name']})" if isinstance(metadata.get("name"), str) else found.subject
        reading = habits.read(tree.get("apiVersion"), metadata)
        body["metadata"] = reading.metadata
        found.findings += reading.findings
        found.notes = [f"{found.subject}: {path} is accepted and not kept: {reason}" for path, reason in reading.notes]
    shaper = Shaper(kind.name)
    shaped = shaper.shape(body, kind.type)
    if kind.derived and shaper.findings and tree.get("apiVersion") != API_VERSION:
        found.findings.append(Finding("kind", kind.name, f"{kind.origin}; take it out, and {kind.remedy}"))
        return  # Calico's own has other fields: what is wrong with them is beside the point
    found.findings += shaper.findings
    try:
        found.resource = table.normalise(convert(shaped, kind.type))
    except msgspec.ValidationError as error:
        if not found.findings:
            found.findings.append(Finding("the object", None, f"{error}; correct it"))
        return
    said = tuple(finding.path for finding in found.findings)
    found.findings += [each for each in table.check(found.resource) if not _follows(each.path, said)]


def _follows(path: str, said: tuple[str, ...]) -> bool:
    """Whether a finding may be there only because what another one is about was left out: it stands below or above."""
    return path.startswith(said) or any(other.startswith((f"{path}.", f"{path}[")) for other in said)


def _envelope(tree: dict[str, object], kind: Kind | None) -> Iterator[Finding]:
    version, name = tree.get("apiVersion"), tree.get("kind")
    if version not in habits.ACCEPTED:
        shown = str(version) if isinstance(version, str) else None
        known = f"{', '.join(habits.ACCEPTED[:-1])} or {habits.ACCEPTED[-1]}"
        yield Finding("apiVersion", shown, f"must be {known}; write {API_VERSION}")
    if kind is not None:
        return
    known = ", ".join(row.name for row in KINDS)
    if not isinstance(name, str):
        yield Finding("kind", None, f"is missing; known kinds are {known}")
        return
    if name in habits.CALICOS_OWN:
        yield Finding("kind", str(name), f"is a kind of Calico's only: {habits.CALICOS_OWN[name]}; take the object out")
        return
    alias = difflib.get_close_matches(name.lower(), list(BY_ALIAS), n=1, cutoff=0.8)
    hint = f"write {BY_ALIAS[alias[0]].name}" if alias else f"known kinds are {known}"
    yield Finding("kind", str(name), f"unknown kind; {hint}")


def plain(resource: Resource) -> dict[str, Any]:
    """apiVersion, kind, metadata, spec, status in this order, in JSON's types; what is not said is left out."""
    tree: dict[str, Any] = {"apiVersion": API_VERSION, "kind": kind_of(resource).name, "metadata": {}, "spec": {}}
    tree.update(msgspec.to_builtins(resource, str_keys=True))
    if tree.get("status") is None:
        tree.pop("status", None)
    tree["spec"] = {key: value for key, value in tree["spec"].items() if value is not None and value != ""}
    return tree


def to_yaml(resources: Sequence[Resource]) -> str:
    """One object as itself, several (or none) as a List."""
    return yaml.dump(_tree(resources), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def to_json(resources: Sequence[Resource]) -> str:
    """One object as itself, several (or none) as a List; indented, with a line end."""
    return msgspec.json.format(msgspec.json.encode(_tree(resources)), indent=2).decode() + "\n"


def _tree(resources: Sequence[Resource]) -> dict[str, Any]:
    if len(resources) == 1:
        return plain(resources[0])
    return {"apiVersion": API_VERSION, "kind": "List", "items": [plain(resource) for resource in resources]}


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc] # libyaml's where it was built in
    """Writes equal values out twice: people do not read anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True
