"""The rules of every kind in one place: `check`, `not_built` and `normalise` for any resource.

A new kind is one new row here and one new file beside this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from bgpnet.errors import Finding
from bgpnet.model import kinds
from bgpnet.model.kinds import Kind, Resource, kind_of, subject
from bgpnet.rules import (
    bgpconfiguration,
    bgpfilter,
    bgppeer,
    clusterinformation,
    common,
    computed,
    ipamblock,
    ipamconfiguration,
    ippool,
    ipreservation,
    limits,
    node,
    releaserequest,
)


class Rules(Protocol):
    """What a file beside this one has, for resources of its kind."""

    def check(self, resource: Any, /) -> Iterator[Finding]:
        """Every broken rule that needs no datastore to be seen."""

    def not_built(self, resource: Any, /) -> Iterator[tuple[str, object, str]]:
        """(path, value, what happens instead) of each value that is kept but not acted on."""

    def normalise(self, resource: Any, /) -> Any:
        """The resource as it is stored."""


RULES: dict[Kind, Rules] = {
    kinds.IPPOOL: ippool,
    kinds.IPRESERVATION: ipreservation,
    kinds.IPAMCONFIGURATION: ipamconfiguration,
    kinds.BGPCONFIGURATION: bgpconfiguration,
    kinds.BGPPEER: bgppeer,
    kinds.BGPFILTER: bgpfilter,
    kinds.NODE: node,
    kinds.CLUSTERINFORMATION: clusterinformation,
    kinds.IPAMBLOCK: ipamblock,
    kinds.RELEASEREQUEST: releaserequest,
    kinds.WORKLOADENDPOINT: computed,
    kinds.BLOCKAFFINITY: computed,
    kinds.NODESTATUS: computed,
}


BY_NAMESPACE = ("spec.namespaceSelector",)
"""What is acted on wherever an agent knows of namespaces."""


def check(resource: Resource) -> Iterator[Finding]:
    """Every broken rule that needs no datastore to be seen, all at once."""
    kind, meta = kind_of(resource), resource.metadata
    yield from common.metadata(meta)
    if meta.namespace and not kind.namespaced:
        problem = f"namespace should not be specified for a non-namespaced resource. {kind.name} is not a namespaced"
        yield Finding("metadata.namespace", meta.namespace, f"{problem} resource; remove it")
    yield from RULES[kind].check(resource)
    yield from limits.check(resource)


def not_built(resource: Resource, *, orchestrated: bool = False) -> Iterator[str]:
    """One sentence for each value of a valid resource that is stored but not acted on yet.

    orchestrated: the agents are known to be told of an orchestrator, which has namespaces.
    """
    for path, value, instead in RULES[kind_of(resource)].not_built(resource):
        if orchestrated and path in BY_NAMESPACE:
            continue
        shown = msgspec.json.encode(value).decode()
        yield f"{subject(resource)}: {path} = {shown} is stored but not acted on yet: {instead}"


def normalise(resource: Resource) -> Resource:
    """The resource as it is stored: usual spellings, defaults written out; what is wrong stays for `check`."""
    normal: Resource = RULES[kind_of(resource)].normalise(resource)
    return normal
