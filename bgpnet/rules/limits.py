"""How many entries the lists of a resource may have, and how long its texts may be. Pure.

Kubernetes' API server takes no rule in CEL whose cost it cannot bound, so that the CRDs have these limits; what goes
into one datastore has to go into each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bgpnet.errors import Finding
from bgpnet.model import kinds
from bgpnet.model.kinds import Kind, Resource, kind_of
from bgpnet.rules import bgpconfiguration, bgpfilter

SELECTOR = 4096
"""Characters of a selector."""
_FILTERS = [f"spec.{name}" for name, _ in bgpfilter.LISTS]

ITEMS: Mapping[Kind, Mapping[str, int]] = {
    kinds.BGPCONFIGURATION: {
        **{f"spec.{name}": 500 for name in bgpconfiguration.SERVICE_RANGES},
        "spec.prefixAdvertisements": 500,
    },
    kinds.BGPPEER: {"spec.filters": 1000},
    kinds.BGPFILTER: dict.fromkeys(_FILTERS, 500) | {f"{path}[].asPathPrefix": 1000 for path in _FILTERS},
    kinds.IPRESERVATION: {"spec.reservedCIDRs": 5000},
    kinds.NODE: {
        "spec.addresses": 500,
        "spec.interfaces": 500,
        "spec.interfaces[].addresses": 100,
        "status.podCIDRs": 1000,
    },
}
"""Entries, by the path of the list; `[]` are the items of a list."""
LENGTHS: Mapping[Kind, Mapping[str, int]] = {
    kinds.IPPOOL: {"spec.nodeSelector": SELECTOR, "spec.namespaceSelector": SELECTOR},
    kinds.BGPPEER: {f"spec.{name}": SELECTOR for name in ("nodeSelector", "peerSelector", "localWorkloadSelector")},
    kinds.BGPCONFIGURATION: {"spec.communities[].name": 253},
}
"""Characters, by the path of the text."""


def check(resource: Resource) -> Iterator[Finding]:
    """Lists and texts that are too long."""
    kind = kind_of(resource)
    for found, what, remedy in ((ITEMS, "entries", "remove some"), (LENGTHS, "characters", "shorten it")):
        for path, limit in found.get(kind, {}).items():
            for where, value in _at(resource, path.split("."), ""):
                if len(value) > limit:
                    yield Finding(where, None, f"has {len(value)} {what}, at most {limit} are allowed; {remedy}")


def _at(value: object, steps: Sequence[str], where: str) -> Iterator[tuple[str, Sequence[object]]]:
    """Each value that the steps lead to, with its path; what is not there has none."""
    if not steps:
        if isinstance(value, str | tuple):
            yield where, value
        return
    name = steps[0].removesuffix("[]")
    below, path = getattr(value, name, None), f"{where}.{name}".lstrip(".")
    if steps[0] == name:
        yield from _at(below, steps[1:], path)
    elif isinstance(below, tuple):
        for index, item in enumerate(below):
            yield from _at(item, steps[1:], f"{path}[{index}]")
