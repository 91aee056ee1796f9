"""What living agents wrote anew into a datastore that was emptied under them, beside the export that brings it back.

An agent is the truth of its own blocks and of its Node's status, so those stay as they are; what people wrote into the
Node comes from the export. The agent is the same one when the Node has the same machine's identity on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import structs

from bgpnet import codec
from bgpnet.errors import BgpnetError, Conflict
from bgpnet.model.ipamblock import IPAMBlock, Owner
from bgpnet.model.kinds import Resource, kind_of, subject
from bgpnet.model.node import Node
from bgpnet.store import repo
from bgpnet.store.api import Revision, Store
from bgpnet.transfer import contents

ATTEMPTS = 5
"""A living agent writes its Node every few seconds: that alone is no reason to give up."""


def machines(source: Iterable[Resource], target: Iterable[Resource]) -> set[Owner]:
    """The machines that both sides know by the same name."""
    return _identities(source) & _identities(target)


def _identities(resources: Iterable[Resource]) -> set[Owner]:
    return {
        Owner(name=one.metadata.name, uid=one.status.identity.uuid)
        for one in resources
        if isinstance(one, Node) and one.status is not None and one.status.identity is not None
    }


def is_of(resource: Resource, owners: set[Owner]) -> bool:
    """Whether it is one of these machines' own block or Node."""
    if isinstance(resource, IPAMBlock):
        return resource.spec.owner in owners
    return isinstance(resource, Node) and resource.metadata.name in {one.name for one in owners}


def merged(source: list[Resource], target: list[Resource], owners: set[Owner]) -> list[Resource]:
    """The export with these machines' own objects as the target has them, Nodes' statuses and people's Nodes."""
    theirs = {subject(one): one for one in target if is_of(one, owners)}
    found: list[Resource] = []
    for one in source:
        there = theirs.pop(subject(one), None)
        if isinstance(one, Node) and isinstance(there, Node):
            found.append(structs.replace(one, status=there.status))
        else:
            found.append(there or one)
    return [*found, *theirs.values()]


def give_back(store: Store, node: Node) -> None:
    """Write a Node's fields of the export, by compare-and-swap; the status stays. Raises BgpnetError."""
    key = repo.key(kind_of(node), node.metadata.name)
    for _ in range(ATTEMPTS):
        entry = store.get(key)
        there = contents.read([(key, entry.value)] if entry else [], repo.ROOT).resources
        if not entry or not there or not isinstance(there[0], Node):
            break
        try:
            store.put(key, codec.encode(structs.replace(node, status=there[0].status)), Revision(entry.revision))
        except Conflict:
            continue
        return
    raise BgpnetError(f"{subject(node)} is being written by somebody else: run the same command again")
