"""What Calico's datastore holds, as plain values: from its etcd keys, or from a file of calicoctl's. Pure.

Sources: libcalico-go/lib/backend/model (keys and values of etcd v3), calicoctl's `datastore migrate export`: resources
in YAML, a line `===`, the ClusterInformation in JSON, a line `===`, IPAM in JSON with the keys of etcd.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bgpnet.calico.note import Note, Outcome
from bgpnet.document import habits, reader
from bgpnet.document.reader import Plain
from bgpnet.errors import Finding
from bgpnet.model.resource import API_VERSION

ROOT = "/calico/"
"""Every key of Calico's begins so."""

_RESOURCES = "/calico/resources/v3/projectcalico.org/"
_BLOCK = re.compile(r"/calico/ipam/v2/assignment/ipv[46]/block/[^/]+")
_AFFINITY = re.compile(r"/calico/ipam/v2/(host|virtual)/([^/]+)/ipv[46]/block/([^/]+)")
_HOST = re.compile(r"/calico/ipam/v2/(host|virtual)/[^/]+")
_HANDLE = "/calico/ipam/v2/handle/"
_CONFIG = "/calico/ipam/v2/config"
_DIVIDER = re.compile(r"^===[ \t]*$", re.MULTILINE)
_INTEGER = re.compile(r"-?[0-9]+\Z", re.ASCII)
_EXPORTED = ("blocks", "block_affinities", "handles")


@dataclass(frozen=True, slots=True)
class Item:
    """One v3 resource. key: where it stood."""

    key: str
    kind: str
    tree: dict[str, Any]

    @property
    def name(self) -> str:
        """`namespace/name`, or the name alone."""
        metadata = self.tree.get("metadata")
        known = metadata if isinstance(metadata, dict) else {}
        return "/".join(str(known[each]) for each in ("namespace", "name") if known.get(each))

    @property
    def about(self) -> str:
        """`IPPool(blue)`."""
        return f"{self.kind}({self.name})"


@dataclass(slots=True)
class Raw:
    """Everything of Calico's; blocks, affinities and handles by key. problems: what was wrong with a file as such."""

    items: list[Item] = field(default_factory=list)
    blocks: dict[str, dict[str, Any]] = field(default_factory=dict)
    affinities: dict[str, dict[str, Any]] = field(default_factory=dict)
    handles: dict[str, dict[str, Any]] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    notes: list[Note] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)

    @property
    def is_calico(self) -> bool:
        """Whether something of it is Calico's, by what it says of itself."""
        said = any(item.tree.get("apiVersion") in (habits.V3, habits.CRD) for item in self.items)
        return bool(said or self.blocks or self.affinities or self.handles or self.config)

    def leave_out(self, key: str, kind: str, reason: str) -> None:
        """Note what is not imported."""
        self.notes.append(Note(key, kind, key, Outcome.LEFT_OUT, reason))

    def take(self, key: str, value: object) -> None:
        """One key with its value, decoded."""
        if key.startswith(_RESOURCES) and isinstance(value, dict):
            self.items.append(_item(key, value))
        elif key == _CONFIG and isinstance(value, dict):
            self.config = value
        elif _BLOCK.fullmatch(key) and isinstance(value, dict):
            self.blocks[key] = value
        elif _AFFINITY.fullmatch(key):
            self.affinities[key] = value if isinstance(value, dict) else {}
        elif key.startswith(_HANDLE):
            self.handles[key] = value if isinstance(value, dict) else {}
        elif _HOST.fullmatch(key):
            self.leave_out(key, "IPAMHost", "says that a host uses IPAM; its blocks and its Node say so, too")
        elif key.startswith("/calico/felix/"):
            self.leave_out(key, "FelixStatus", "is what Felix reported of itself; the agents report anew")
        else:
            self.leave_out(key, "unknown", "is no key of Calico's that this version knows")


def affinity(key: str) -> tuple[str, str]:
    """The node and the CIDR of an affinity's key."""
    found = _AFFINITY.fullmatch(key)
    return (found[2], re.sub(r"-(?=[0-9]+\Z)", "/", found[3])) if found else ("", "")


def from_etcd(pairs: Iterable[tuple[str, bytes]]) -> Raw:
    """What stands under `/calico/` in etcd."""
    raw = Raw()
    for key, value in pairs:
        if not value:
            raw.take(key, None)
            continue
        try:
            raw.take(key, json.loads(value))
        except (ValueError, RecursionError) as error:
            raw.leave_out(key, "unknown", f"its value is not JSON ({error})")
    return raw


def _item(key: str, tree: dict[str, Any]) -> Item:
    """A resource of etcd; its kind, name and namespace are those of its key where the value does not say."""
    plural, _, rest = key.removeprefix(_RESOURCES).partition("/")
    namespace, _, name = rest.rpartition("/")
    metadata = tree.get("metadata")
    known = {each: text for each, text in (("name", name), ("namespace", namespace)) if text}
    if isinstance(metadata, dict):
        tree = {**tree, "metadata": {**known, **metadata}}
    elif metadata is None:
        tree = {**tree, "metadata": known}
    kind = tree.get("kind")
    return Item(key, kind if isinstance(kind, str) else plural, tree)


def from_text(text: str, source: str) -> Raw:
    """What calicoctl wrote: `get -o yaml`, `get -o json`, or `datastore migrate export`."""
    raw = Raw()
    for section in _DIVIDER.split(text):
        reading = reader.read(section)
        raw.problems += reading.findings
        for document in reading.documents:
            for tree in _objects(document):
                _sort_in(raw, tree, source)
    return raw


def _objects(document: object) -> Iterator[object]:
    """The document, or what a list or an object of kind List holds."""
    if isinstance(document, list):
        for each in document:
            yield from _objects(each)
    elif isinstance(document, dict) and str(document.get("kind", "")).endswith("List"):
        yield from _objects(document.get("items") or [])
    else:
        yield document


def _sort_in(raw: Raw, tree: object, source: str) -> None:
    if not isinstance(tree, dict):
        raw.problems.append(Finding(source, None, "holds what is no mapping; give it as calicoctl wrote it"))
    elif "kind" not in tree and any(name in tree for name in (*_EXPORTED, "config")):
        _ipam(raw, tree)
    else:
        kind = habits.kind_name(tree.get("apiVersion"), tree.get("kind"))
        item = Item(source, str(kind), tree)
        if kind == "IPAMBlock" and tree.get("apiVersion") != API_VERSION and isinstance(tree.get("spec"), dict):
            raw.blocks[f"{source}: {item.about}"] = typed(tree["spec"])
        else:
            raw.items.append(item)


def _ipam(raw: Raw, tree: dict[str, Any]) -> None:
    """The last part of an export: pairs of Key and Value."""
    lists = [found for name in _EXPORTED if isinstance(found := tree.get(name), list)]
    pairs = [each for found in lists for each in found]
    for pair in [*pairs, *([tree["config"]] if tree.get("config") else [])]:
        if isinstance(pair, dict) and isinstance(pair.get("Key"), str):
            raw.take(pair["Key"], typed(pair.get("Value")))
        else:
            raw.problems.append(
                Finding("the IPAM part", None, "has an entry without Key; give it as calicoctl wrote it")
            )


def typed(value: object) -> Any:
    """YAML's unquoted numbers and booleans as such; JSON's are already."""
    match value:
        case dict():
            return {key: typed(each) for key, each in value.items()}
        case list():
            return [typed(each) for each in value]
        case Plain():
            if _INTEGER.match(value):
                return int(value)
            return {"true": True, "false": False}.get(value, str(value))
        case _:
            return value
