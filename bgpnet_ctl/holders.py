"""Who holds a node's name, and how it is taken from them; what is left of a node that does not exist any more."""

from __future__ import annotations

from msgspec import structs

from bgpnet.errors import BgpnetError, Conflict, NotFound
from bgpnet.model import kinds
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.node import Identity, Node
from bgpnet.store.repo import Repo

ATTEMPTS = 5
"""A living agent writes its Node every few seconds: that alone is no reason to give up."""


def _node(repo: Repo, name: str) -> Node:
    found = repo.get(kinds.NODE, name)
    if not isinstance(found, Node):
        raise TypeError(f"{name} is a {type(found).__name__}")
    return found


def identity(repo: Repo, name: str) -> Identity | None:
    """The machine that holds the name, if one does; raises NotFound."""
    status = _node(repo, name).status
    return status.identity if status else None


def release(repo: Repo, name: str, holder: str) -> None:
    """Clear the identity by compare-and-swap; raises BgpnetError when it is another machine's by now."""
    for _ in range(ATTEMPTS):
        node = _node(repo, name)
        if node.status is None or node.status.identity is None:
            return
        if node.status.identity.uuid != holder:
            raise BgpnetError(
                f"Node({name}) went to machine {node.status.identity.uuid} meanwhile: nothing was released, look again"
            )
        try:
            repo.update(structs.replace(node, status=structs.replace(node.status, identity=None)))
        except Conflict:
            continue
        return
    raise BgpnetError(f"Node({name}) is being written all the time: stop the agent of machine {holder}, then try again")


def left_behind(repo: Repo, name: str) -> list[IPAMBlock]:
    """The blocks of a node that does not exist; none while it does."""
    if repo.find(kinds.NODE, name) is not None:
        return []
    blocks = (block for block in repo.list(kinds.IPAMBLOCK)[0] if isinstance(block, IPAMBlock))
    return [block for block in blocks if block.spec.owner is not None and block.spec.owner.name == name]


def give_back(repo: Repo, name: str, blocks: list[IPAMBlock]) -> None:
    """Delete the blocks as they were seen; raises BgpnetError when somebody changed one, or the node is back."""
    for block in blocks:
        if repo.find(kinds.NODE, name) is not None:
            raise BgpnetError(f"Node({name}) exists again: its agent runs, and block {block.spec.cidr} stays its own")
        try:
            repo.remove(block)
        except NotFound:
            continue
        except Conflict as error:
            raise BgpnetError(
                f"block {block.spec.cidr} was changed meanwhile: look again, node {name} may live"
            ) from error
