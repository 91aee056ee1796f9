"""Resources as the datastore holds them: JSON without the revision. Apart from `codec`, as it needs no YAML."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from bgpnet import reservations
from bgpnet.errors import Finding, Invalid
from bgpnet.model import ip
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.ippool import IPPool
from bgpnet.model.ipreservation import IPReservation
from bgpnet.model.kinds import Kind, Resource, kind_of
from bgpnet.model.node import Node
from bgpnet.model.releaserequest import ReleaseRequest
from bgpnet.model.resource import API_VERSION


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
        case IPReservation():
            _ = reservations.of([resource])
        case ReleaseRequest():
            _ = ip.address(resource.spec.address)


@lru_cache(maxsize=64)
def _parts_of(kind: Kind) -> tuple[str, ...]:
    return tuple(name for name in kind.type.__struct_fields__ if name != "metadata")


@lru_cache(maxsize=64)
def _decoder(kind: Kind) -> msgspec.json.Decoder[Any]:
    """Decodes a kind's fields beside apiVersion and kind, which the model does not carry."""
    fields: list[Any] = [("apiVersion", str), ("kind", str)]
    for each in msgspec.structs.fields(kind.type):
        if each.required:
            fields.append((each.name, each.type))
        elif each.default_factory is not msgspec.NODEFAULT:
            fields.append((each.name, each.type, msgspec.field(default_factory=each.default_factory)))
        else:
            fields.append((each.name, each.type, each.default))
    return msgspec.json.Decoder(
        msgspec.defstruct(f"Stored{kind.name}", fields, forbid_unknown_fields=True, kw_only=True)
    )
