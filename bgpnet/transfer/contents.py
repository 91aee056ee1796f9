"""What a datastore holds, as values: decoded, ordered, and summed up. Pure.

The checksum is SHA-256 over every object's canonical JSON in key order, without revisions: the same on every sort of
datastore, and in a file.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import structs

from bgpnet import codec
from bgpnet.errors import Invalid
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.kinds import Kind, Resource, kind_of

ORDER: tuple[Kind, ...] = (
    kinds.CLUSTERINFORMATION,
    kinds.IPAMCONFIGURATION,
    kinds.BGPCONFIGURATION,
    kinds.IPPOOL,
    kinds.IPRESERVATION,
    kinds.BGPFILTER,
    kinds.BGPPEER,
    kinds.NODE,
    kinds.IPAMBLOCK,
    kinds.RELEASEREQUEST,
)
"""Every stored kind; what others refer to goes first."""
_RANK = {kind: rank for rank, kind in enumerate(ORDER)}
_OF_PLURAL = {kind.plural: kind for kind in ORDER}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with an object, or with a key that holds none: `IPPool(blue)`, and the rest of the sentence."""

    subject: str
    problem: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.problem}"


@dataclass(slots=True)
class Contents:
    """Objects in ORDER, by name; and what is there and cannot be read."""

    resources: list[Resource] = field(default_factory=list)
    broken: list[Problem] = field(default_factory=list)


def read(pairs: Iterable[tuple[str, bytes]], root: str) -> Contents:
    """The objects of stored keys and values; root: the prefix that ours have, such as `/bgpnet/v1/`."""
    found = Contents()
    for key, value in pairs:
        plural, _, name = key.removeprefix(root).partition("/")
        kind = _OF_PLURAL.get(plural) if key.startswith(root) else None
        if kind is None:
            found.broken.append(Problem(key, "is of no kind that this version knows; upgrade bgpnetctl, or delete it"))
            continue
        try:
            resource = codec.decode_stored(kind, value, "", key)
        except Invalid as invalid:
            found.broken.append(Problem(key, "; ".join(each.problem for each in invalid.findings)))
            continue
        if resource.metadata.name == name:
            found.resources.append(resource)
        else:
            said = f"holds an object that says its name is {resource.metadata.name!r}"
            found.broken.append(Problem(key, f"{said}; delete the object and create it anew"))
    found.resources = ordered(found.resources)
    return found


def ordered(resources: Iterable[Resource]) -> list[Resource]:
    """By kind as ORDER has them, then by name; blocks by address."""
    return sorted(resources, key=_place)


def _place(resource: Resource) -> tuple[int, tuple[int, int, int], str]:
    net = ip.order(resource.network) if isinstance(resource, IPAMBlock) else (0, 0, 0)
    return _RANK[kind_of(resource)], net, resource.metadata.name


def bare(resource: Resource) -> Resource:
    """Without the revision, which is a datastore's own."""
    if not resource.metadata.resourceVersion:
        return resource
    return structs.replace(resource, metadata=structs.replace(resource.metadata, resourceVersion=""))


def tree(resource: Resource) -> dict[str, Any]:
    """The object as plain values, fields in the model's order, maps in that of their keys."""
    plain = codec.plain(bare(resource))
    for name in ("labels", "annotations"):
        if name in plain["metadata"]:
            plain["metadata"][name] = dict(sorted(plain["metadata"][name].items()))
    if "allocations" in plain["spec"]:
        allocations = plain["spec"]["allocations"]
        plain["spec"]["allocations"] = {key: allocations[key] for key in sorted(allocations, key=int)}
    return plain


def checksum(resources: Iterable[Resource]) -> str:
    """64 hexadecimal digits; of nothing, too."""
    summed = hashlib.sha256()
    for _, line in sorted((f"{kind_of(one).plural}/{one.metadata.name}", canonical(one)) for one in resources):
        summed.update(line + b"\n")
    return summed.hexdigest()


def canonical(resource: Resource) -> bytes:
    """JSON with sorted keys; a field of the spec that has its default is left out, so that new ones change no sum."""
    plain = codec.plain(bare(resource))
    defaults = _defaults(type(resource.spec))
    plain["spec"] = {
        key: value
        for key, value in plain["spec"].items()
        if key not in defaults or getattr(resource.spec, key) != defaults[key]
    }
    return msgspec.json.encode(plain, order="sorted")


@lru_cache(maxsize=64)
def _defaults(spec: type[msgspec.Struct]) -> dict[str, Any]:
    return {each.encode_name: each.default for each in structs.fields(spec) if each.default is not msgspec.NODEFAULT}


def counts(resources: Iterable[Resource]) -> dict[str, int]:
    """How many there are of each stored kind, in ORDER."""
    found = Counter(kind_of(resource) for resource in resources)
    return {kind.name: found[kind] for kind in ORDER}


def shown(problems: Sequence[object], most: int = 3) -> str:
    """The first few in one sentence, and how many more."""
    more = [f"and {len(problems) - most} more"] if len(problems) > most else []
    return "; ".join([*map(str, problems[:most]), *more])
