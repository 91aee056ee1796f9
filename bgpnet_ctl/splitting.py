"""`ipam split`: one pool becomes several, under running pods.

Blocks are exclusive and whole, so each of them lies in one of the new pools as it is, and nothing has to be locked or
moved. The new pools come before the old one goes: at every instant some pool contains every block, so no route is
ever taken away. They overlap the old one meanwhile, which harms nobody, because all of them have the same blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from bgpnet.errors import AlreadyExists, BgpnetError, Conflict, NotFound, UsageError
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.ippool import IPPool
from bgpnet.model.resource import Metadata
from bgpnet.store.repo import Repo


def found(repo: Repo, name: str | None, cidr: str | None) -> IPPool:
    """The pool of that name or CIDR; raises NotFound."""
    for pool in repo.list(kinds.IPPOOL)[0]:
        if isinstance(pool, IPPool) and (pool.metadata.name == name or cidr in (pool.spec.cidr, str(pool.network))):
            return pool
    raise NotFound(f"resource does not exist: IPPool({name or cidr}); see `bgpnetctl get ippools` for those that do")


def parts(pool: IPPool, number: int, blocks: Sequence[IPAMBlock]) -> list[IPPool]:
    """The new pools; raises UsageError for a number that cannot be, BgpnetError for a block that would not fit."""
    if number < 2 or number & (number - 1):
        raise UsageError(f"N = {number}: is not a power of two that is at least 2; write 2, 4, 8, ...")
    length = pool.network.prefixlen + number.bit_length() - 1
    if length > pool.block_size:
        most = 1 << max(pool.block_size - pool.network.prefixlen, 0)
        raise UsageError(f"N = {number}: pool {pool.metadata.name} has {most} blocks of /{pool.block_size}; write less")
    for block in blocks:
        if ip.contains(pool.network, block.network) and block.network.prefixlen < length:
            raise BgpnetError(f"block {block.spec.cidr} is larger than the new pools of /{length}: write a smaller N")
    return [
        IPPool(
            metadata=Metadata(name=f"split-{pool.metadata.name}-{at}", labels=pool.metadata.labels),
            spec=structs.replace(pool.spec, cidr=str(net)),
        )
        for at, net in enumerate(pool.network.subnets(new_prefix=length))
    ]


def split(repo: Repo, pool: IPPool, number: int) -> list[IPPool]:
    """Carry it out; raises BgpnetError, and then the pool is as it was. Killed, it is finished when repeated."""
    blocks = [block for block in repo.list(kinds.IPAMBLOCK)[0] if isinstance(block, IPAMBlock)]
    new = parts(pool, number, blocks)
    made: list[IPPool] = []
    try:
        for one in new:
            made.append(_make(repo, one))
        repo.remove(pool)
    except (Conflict, NotFound, AlreadyExists) as error:
        for one in made:
            repo.remove(one)
        raise BgpnetError(f"pool {pool.metadata.name} was not split: {error}") from error
    return made


def _make(repo: Repo, wanted: IPPool) -> IPPool:
    """The pool as stored, which an earlier attempt may have left; raises AlreadyExists for another of its name."""
    try:
        return repo.write(wanted)  # type: ignore[return-value] # as what it is given
    except AlreadyExists:
        stored = repo.find(kinds.IPPOOL, wanted.metadata.name)
        if isinstance(stored, IPPool) and stored.spec == wanted.spec:
            return stored
        raise
