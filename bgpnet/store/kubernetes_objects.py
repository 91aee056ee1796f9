"""Our stored values as custom resources, and back. Pure.

A value is the JSON that `bgpnet.stored` writes. The API server gives every object a uid and a creationTimestamp of its
own and sorts the keys of mappings: what differs from that is kept in one annotation, which values never show. Objects
without it, such as those that kubectl made, have the API server's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from bgpnet import names
from bgpnet.model.kinds import KINDS, Kind
from bgpnet.model.resource import API_VERSION

KEPT = "bgpnet.io/kept"
"""The annotation: uid and creationTimestamp as the value has them, and the order of a block's allocations."""
ROOT = "/bgpnet/v1/"
"""Where the keys of all resources begin (`repo.ROOT`)."""
API = "/apis/bgpnet.io/v1"
STORED: dict[str, Kind] = {kind.plural: kind for kind in KINDS if not kind.computed}
"""The kinds that are stored, by plural."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key's object is: its kind and its name."""

    kind: Kind
    name: str

    @property
    def path(self) -> str:
        """The path of the object."""
        return f"{collection(self.kind)}/{self.name}"

    @property
    def has_status(self) -> bool:
        """Whether its status is written apart (the status subresource)."""
        return has_status(self.kind)


def has_status(kind: Kind) -> bool:
    """Whether objects of the kind have a status."""
    return "status" in kind.type.__struct_fields__


def collection(kind: Kind) -> str:
    """The path of all objects of a kind."""
    return f"{API}/{kind.plural}"


def place(key: str) -> Place | None:
    """`/bgpnet/v1/ippools/blue`; None for a key that can be no object here."""
    plural, slash, name = key.removeprefix(ROOT).partition("/")
    if not key.startswith(ROOT) or plural not in STORED or not slash or not names.is_subdomain(name):
        return None  # the API server gives no other names; `blue?x` in a path would be blue
    return Place(STORED[plural], name)


def key(kind: Kind, item: Mapping[str, Any]) -> str:
    """The key of an object."""
    return f"{ROOT}{kind.plural}/{item['metadata']['name']}"


def from_value(place: Place, value: bytes) -> Json:
    """The object of a value, with apiVersion, kind, metadata, spec and, if it says one, status.

    Raises ValueError for a value that is no resource of that kind and name: no other can be stored here.
    """
    try:
        tree = msgspec.json.decode(value, type=dict[str, Any])
        metadata, spec = tree["metadata"], tree["spec"]
        if tree["kind"] != place.kind.name or metadata["name"] != place.name or not isinstance(spec, dict):
            raise ValueError(f"it is {tree['kind']}({metadata['name']})")
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise ValueError(f"it is no resource: {error}") from error
    kept = {"uid": metadata.get("uid", ""), "creationTimestamp": metadata.get("creationTimestamp", "")}
    order = list(spec.get("allocations") or ())
    if order != sorted(order):
        kept["order"] = order
    annotations = {**metadata.get("annotations", {}), KEPT: msgspec.json.encode(kept).decode()}
    made: Json = {
        "apiVersion": API_VERSION,
        "kind": place.kind.name,
        "metadata": {"name": place.name, "labels": metadata.get("labels", {}), "annotations": annotations},
        "spec": _said(spec),
    }
    if tree.get("status") is not None:
        made["status"] = _said(tree["status"])
    return made


def to_value(kind: Kind, item: Mapping[str, Any]) -> bytes:
    """The value of an object that the API server gave, without its resourceVersion."""
    given = item["metadata"]
    annotations = dict(given.get("annotations") or {})
    kept = _kept(annotations.pop(KEPT, ""))
    metadata = {
        "name": given["name"],
        "labels": given.get("labels") or {},
        "annotations": annotations,
        "uid": kept.get("uid", given.get("uid", "")),
        "creationTimestamp": kept.get("creationTimestamp", given.get("creationTimestamp", "")),
    }
    tree: Json = {
        "apiVersion": item.get("apiVersion", API_VERSION),
        "kind": item.get("kind", kind.name),
        "metadata": {name: value for name, value in metadata.items() if value},
        "spec": _ordered(item.get("spec") or {}, kept.get("order")),
    }
    if item.get("status") is not None:
        tree["status"] = item["status"]
    return msgspec.json.encode(tree)


def main_part(item: Mapping[str, Any]) -> tuple[object, ...]:
    """What a write of the object itself changes; its status is written apart."""
    metadata = item["metadata"]
    return metadata.get("labels") or {}, metadata.get("annotations") or {}, item.get("spec") or {}


def replacement(item: Mapping[str, Any], revision: str) -> list[Json]:
    """The JSON patch (RFC 6902) that puts labels, annotations and spec in the place of what is there, whatever it is.

    Finalizers and owners, which others may have set, stay. revision: the one that it must be at; empty for any.
    """
    metadata = item["metadata"]
    return [
        *_at(revision),
        {"op": "add", "path": "/metadata/labels", "value": metadata["labels"]},
        {"op": "add", "path": "/metadata/annotations", "value": metadata["annotations"]},
        {"op": "add", "path": "/spec", "value": item["spec"]},
    ]


def status_replacement(item: Mapping[str, Any], revision: str) -> list[Json]:
    """The same for the status."""
    if "status" not in item:
        return [*_at(revision), {"op": "remove", "path": "/status"}]
    return [*_at(revision), {"op": "add", "path": "/status", "value": item["status"]}]


def _at(revision: str) -> list[Json]:
    return [{"op": "add", "path": "/metadata/resourceVersion", "value": revision}] if revision else []


def _said(value: Any) -> Any:
    """Without what is null, which means that it is not said, and which the API server takes for a wrong type."""
    if isinstance(value, dict):
        return {name: _said(entry) for name, entry in value.items() if entry is not None}
    return [_said(entry) for entry in value] if isinstance(value, list) else value


def _kept(text: str) -> Json:
    """What the annotation says; nothing where somebody spoilt it."""
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except msgspec.DecodeError:
        return {}


def _ordered(spec: Json, order: object) -> Json:
    """The spec with its allocations in the order that they were written in; what is new comes last."""
    there = spec.get("allocations")
    if not isinstance(order, list) or not isinstance(there, dict):
        return spec
    known = [ordinal for ordinal in order if isinstance(ordinal, str) and ordinal in there]
    ordinals = dict.fromkeys([*known, *there])
    return {**spec, "allocations": {ordinal: there[ordinal] for ordinal in ordinals}}
