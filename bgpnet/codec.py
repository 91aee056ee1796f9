"""Resources as text and as stored bytes, both ways.

People write YAML or JSON (`decode`): everything wrong in all documents is said at once. The datastore holds JSON
without the revision (`encode`, `decode_stored`). `bgpnet.io/v1` is written; `projectcalico.org/v3` is read, too.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import yaml

from bgpnet.document import reader
from bgpnet.document.shape import Shaper, convert
from bgpnet.errors import Finding, Invalid
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.ippool import IPPool
from bgpnet.model.kinds import BY_ALIAS, BY_NAME, KINDS, Kind, Resource, kind_of
from bgpnet.model.node import Node
from bgpnet.model.resource import API_VERSION
from bgpnet.rules import table

ACCEPTED = (API_VERSION, "projectcalico.org/v3")
BOOKKEEPING = ("managedFields", "generation", "selfLink")
"""What a Kubernetes API server adds to metadata by itself: read past, as nobody wrote it."""


def decode(text: str, source: str = "-") -> list[Resource]:
    """The resources of a YAML or JSON text: documents, lists and kinds that end in List, in their order.

    Raises Invalid with every finding of every document; its subject is the object, such as `IPPool(blue)`, or, when
    several are wrong, the source. What it returns is normalised and obeys all rules that need no datastore.
    """
    where = "standard input" if source == "-" else source
    reading = reader.read(text)
    parts = list(_parts(reading.documents, where))
    wrong = [part for part in parts if part.findings]
    if len(wrong) == 1 and not reading.findings:
        raise Invalid(wrong[0].subject, wrong[0].findings)
    if wrong or reading.findings:
        raise Invalid(where, reading.findings + [each for part in wrong for each in part.named(where)])
    return [part.resource for part in parts if part.resource is not None]


@dataclass(slots=True)
class _Part:
    """One object of a text: the resource, or what is wrong with it."""

    subject: str
    findings: list[Finding]
    resource: Resource | None = None

    def named(self, where: str) -> Iterator[Finding]:
        """The findings among those of other objects: their paths begin with the subject."""
        prefix = self.subject.removeprefix(where).removeprefix(", ")
        for finding in self.findings:
            yield Finding(f"{prefix} {finding.path}".lstrip(), finding.value, finding.problem)


def _parts(documents: list[object], where: str) -> Iterator[_Part]:
    for number, document in enumerate(documents, 1):
        place = f"{where}, document {number}" if len(documents) > 1 else where
        items = document if isinstance(document, list) else _items(document)
        if items is None:
            yield _part(document, place)
        elif not isinstance(items, list):
            yield _Part(place, [Finding("items", None, "must be a list; write each object with - before it")])
        else:
            for index, item in enumerate(items, 1):
                yield _part(item, f"{place}, item {index}")


def _items(document: object) -> object | None:
    """What a list object holds; None for anything else."""
    kind = document.get("kind") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(kind, str) or not kind.endswith("List"):
        return None
    return document.get("items") or []


def _part(tree: object, place: str) -> _Part:
    if not isinstance(tree, dict):
        return _Part(
            place, [Finding("the object", None, "is not a mapping; write apiVersion, kind, metadata and spec")]
        )
    name = tree.get("kind")
    kind = BY_NAME.get(name) if isinstance(name, str) else None
    findings = list(_envelope(tree, kind))
    if kind is None:
        return _Part(place, findings)
    body = {key: value for key, value in tree.items() if key not in ("apiVersion", "kind")}
    metadata = body.get("metadata")
    if isinstance(metadata, dict):
        body["metadata"] = {key: value for key, value in metadata.items() if key not in BOOKKEEPING}
        place = f"{kind.name}({metadata['name']})" if isinstance(metadata.get("name"), str) else place
    shaper = Shaper(kind.name)
    shaped = shaper.shape(body, kind.type)
    findings += shaper.findings
    try:
        resource = table.normalise(convert(shaped, kind.type))
    except msgspec.ValidationError as error:
        return _Part(place, findings or [Finding("the object", None, f"{error}; correct it")])
    said = tuple(finding.path for finding in findings)
    findings += [each for each in table.check(resource) if not (said and each.path.startswith(said))]
    return _Part(place, findings, resource)


def _envelope(tree: dict[str, object], kind: Kind | None) -> Iterator[Finding]:
    version, name = tree.get("apiVersion"), tree.get("kind")
    if version not in ACCEPTED:
        shown = str(version) if isinstance(version, str) else None
        yield Finding("apiVersion", shown, f"must be {API_VERSION} or {ACCEPTED[1]}; write {API_VERSION}")
    if kind is not None:
        return
    known = ", ".join(row.name for row in KINDS)
    if not isinstance(name, str):
        yield Finding("kind", None, f"is missing; known kinds are {known}")
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


def encode(resource: Resource) -> bytes:
    """What the datastore holds: JSON, without the revision."""
    metadata = msgspec.structs.replace(resource.metadata, resourceVersion="")
    tree: dict[str, object] = {"apiVersion": API_VERSION, "kind": kind_of(resource).name, "metadata": metadata}
    tree["spec"] = resource.spec
    if (status := getattr(resource, "status", None)) is not None:
        tree["status"] = status
    return msgspec.json.encode(tree)


def decode_stored(kind: Kind, value: bytes, revision: str, key: str = "") -> Resource:
    """The resource of stored bytes, at that revision; raises Invalid, naming the key, when they are broken."""
    try:
        stored = _decoder(kind).decode(value)
        if (stored.apiVersion, stored.kind) != (API_VERSION, kind.name):
            raise ValueError(f"it says {stored.kind} of {stored.apiVersion}")
        metadata = msgspec.structs.replace(stored.metadata, resourceVersion=revision)
        resource = kind.type(metadata=metadata, **{name: getattr(stored, name) for name in _parts_of(kind)})
        _touch(resource)
    except (msgspec.DecodeError, ValueError) as error:
        problem = f"the stored object cannot be read ({error}); delete it and create it anew"
        raise Invalid(key or kind.name, [Finding("value", None, problem)]) from error
    return resource


def _touch(resource: Resource) -> None:
    """Reads the addresses that the model parses lazily; raises ValueError for a broken one."""
    match resource:
        case IPPool() | IPAMBlock():
            _ = resource.network
        case Node():
            _ = resource.ipv4, resource.ipv6


@lru_cache(maxsize=64)
def _parts_of(kind: Kind) -> tuple[str, ...]:
    return tuple(name for name in kind.type.__struct_fields__ if name != "metadata")


@lru_cache(maxsize=64)
def _decoder(kind: Kind) -> msgspec.json.Decoder[Any]:
    """Decodes a kind's fields beside apiVersion and kind, which the model does not carry."""
    fields: list[Any] = [("apiVersion", str), ("kind", str)]
    for field in msgspec.structs.fields(kind.type):
        if field.required:
            fields.append((field.name, field.type))
        elif field.default_factory is not msgspec.NODEFAULT:
            fields.append((field.name, field.type, msgspec.field(default_factory=field.default_factory)))
        else:
            fields.append((field.name, field.type, field.default))
    return msgspec.json.Decoder(
        msgspec.defstruct(f"Stored{kind.name}", fields, forbid_unknown_fields=True, kw_only=True)
    )
