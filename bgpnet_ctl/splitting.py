"""`ipam split`: one pool becomes several, under running pods.

Blocks are exclusive and whole, so each of them lies in one of the new pools as it is, and nothing has to be locked or
moved. The new pools come before the old one goes: at every instant some pool contains every block, so no route is
ever taken away. They overlap the old one meanwhile, which harms nobody, because all of them have the same blocks.

So nothing is ever undone either: what a split left half-way, whatever ended it, the same command finishes. Undoing it
could take away what another split, at the same time, counts on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import structs

from bgpnet.errors import AlreadyExists, BgpnetError, Conflict, NotFound, StoreUnreachable, UsageError
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.ippool import IPPool
from bgpnet.model.resource import Metadata
from bgpnet.store.repo import Repo

ATTEMPTS = 10
"""How often a split goes on when somebody changes the pools meanwhile."""


def found(repo: Repo, name: str | None, cidr: str | None) -> IPPool:
    """The pool of that name or CIDR; raises NotFound."""
    for pool in _pools(repo):
        if pool.metadata.name == name or cidr in (pool.spec.cidr, str(pool.network)):
            return pool
    raise NotFound(f"resource does not exist: IPPool({name or cidr}); see `bgpnetctl get ippools` for those that do")


def finished(repo: Repo, name: str | None, cidr: str | None, number: int) -> list[IPPool]:
    """The pools that a split of this pool into so many made, where it is gone by now; none if it was not split so."""
    groups: dict[str, dict[str, IPPool]] = {}
    for pool in _pools(repo):
        before, _, at = pool.metadata.name.rpartition("-")
        groups.setdefault(before, {})[at] = pool
    for before, group in groups.items():
        made = [group[str(at)] for at in range(number) if str(at) in group]
        length = number.bit_length() - 1
        if len(made) != number or not 1 <= length <= made[0].network.prefixlen:
            continue
        whole = made[0].network.supernet(prefixlen_diff=length)
        meant = before == f"split-{name}" if name else str(whole) == cidr
        if meant and [one.network for one in made] == list(whole.subnets(prefixlen_diff=length)):
            return made
    return []


def _pools(repo: Repo) -> Iterator[IPPool]:
    return (pool for pool in repo.list(kinds.IPPOOL)[0] if isinstance(pool, IPPool))


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
    """Carry it out, or go on with it where an earlier attempt ended; raises BgpnetError, which says what to do then."""
    name = pool.metadata.name
    for _ in range(ATTEMPTS):
        blocks = [block for block in repo.list(kinds.IPAMBLOCK)[0] if isinstance(block, IPAMBlock)]
        new = parts(pool, number, blocks)
        stored = {one.metadata.name: one for one in _pools(repo)}
        _refuse_others(pool, new, stored)
        made = _carried_out(repo, pool, new, stored)
        if made is not None:
            return made
        again = repo.find(kinds.IPPOOL, name)
        if not isinstance(again, IPPool):
            raise NotFound(
                f"pool {name} was deleted by somebody else while it was split: see `bgpnetctl get ippools`, and delete "
                f"those called split-{name}-0 and so on if they are not wanted"
            )
        pool = again
    raise Conflict(f"pool {name} is half split, because others keep changing it: run the same command again")


def _refuse_others(pool: IPPool, new: Sequence[IPPool], stored: dict[str, IPPool]) -> None:
    """Before the first write: raises BgpnetError for another pool that has a name of the new ones."""
    for one in new:
        there = stored.get(one.metadata.name)
        if there is None or there.network == one.network:
            continue
        remedy = "delete that one first"
        if ip.contains(pool.network, there.network):
            other = 1 << (there.network.prefixlen - pool.network.prefixlen)
            remedy = (
                f"pool {pool.metadata.name} is half split into {other}, finish that with "
                f"bgpnetctl ipam split {other} --name {pool.metadata.name}"
            )
        raise BgpnetError(
            f"pool {pool.metadata.name} was not split: IPPool({one.metadata.name}) exists and has CIDR "
            f"{there.spec.cidr}, not {one.spec.cidr}: {remedy}"
        )


def _carried_out(repo: Repo, pool: IPPool, new: Sequence[IPPool], stored: dict[str, IPPool]) -> list[IPPool] | None:
    """The new pools, the old one gone; None when somebody changed one of them meanwhile. Raises BgpnetError."""
    made: list[IPPool] = []
    try:
        for one in new:
            made.append(_make(repo, one, stored.get(one.metadata.name)))
    except (AlreadyExists, Conflict, NotFound):
        return None
    except StoreUnreachable as away:
        raise BgpnetError(
            f"pool {pool.metadata.name} is half split, which harms nobody: {len(made)} of the {len(new)} new pools are "
            f"written, perhaps one more, and the old one is there: {away}; run the same command again, it goes on"
        ) from away
    try:
        repo.remove(pool)
    except NotFound:
        return made  # another split of it was quicker, by an instant
    except Conflict:
        return None
    except StoreUnreachable as away:
        raise BgpnetError(
            f"pool {pool.metadata.name} is nearly split, which harms nobody: all {len(new)} new pools are written, and "
            f"the old one may be there still: {away}; run the same command again, it ends what is to be ended"
        ) from away
    return made


def _make(repo: Repo, wanted: IPPool, there: IPPool | None) -> IPPool:
    """The new pool as stored; one that an earlier attempt left becomes like the old pool again, if that was changed."""
    if there is not None and there.spec == wanted.spec:
        return there
    if there is not None:
        wanted = structs.replace(there, spec=wanted.spec)
    return repo.write(wanted)  # type: ignore[return-value] # as what it is given
