"""The rules of every kind in one place: `check`, `not_built` and `normalise` for any resource.

A new kind is one new row here and one new file beside this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

import msgspec

from bgpnet.errors import Finding
from bgpnet.model.bgpconfiguration import BGPConfiguration
from bgpnet.model.bgppeer import BGPPeer
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.ippool import IPPool
from bgpnet.model.kinds import Resource, subject
from bgpnet.model.node import Node
from bgpnet.rules import bgpconfiguration, bgppeer, common, ipamblock, ippool, node


def check(resource: Resource) -> Iterator[Finding]:
    """Every broken rule that needs no datastore to be seen, all at once."""
    yield from common.metadata(resource.metadata)
    match resource:
        case IPPool():
            yield from ippool.check(resource)
        case BGPConfiguration():
            yield from bgpconfiguration.check(resource)
        case BGPPeer():
            yield from bgppeer.check(resource)
        case Node():
            yield from node.check(resource)
        case IPAMBlock():
            yield from ipamblock.check(resource)
        case _:
            assert_never(resource)


def not_built(resource: Resource) -> Iterator[str]:
    """One sentence for each value of a valid resource that is stored but not acted on yet."""
    for path, value, instead in _not_built(resource):
        shown = msgspec.json.encode(value).decode()
        yield f"{subject(resource)}: {path} = {shown} is stored but not acted on yet: {instead}"


def _not_built(resource: Resource) -> Iterator[tuple[str, object, str]]:
    match resource:
        case IPPool():
            return ippool.not_built(resource)
        case BGPConfiguration():
            return bgpconfiguration.not_built(resource)
        case BGPPeer():
            return bgppeer.not_built(resource)
        case Node():
            return node.not_built(resource)
        case IPAMBlock():
            return ipamblock.not_built(resource)
        case _:
            assert_never(resource)


def normalise(resource: Resource) -> Resource:
    """The resource as it is stored: usual spellings, defaults written out; what is wrong stays for `check`."""
    match resource:
        case IPPool():
            return ippool.normalise(resource)
        case BGPConfiguration():
            return bgpconfiguration.normalise(resource)
        case BGPPeer():
            return bgppeer.normalise(resource)
        case Node():
            return node.normalise(resource)
        case IPAMBlock():
            return ipamblock.normalise(resource)
        case _:
            assert_never(resource)
