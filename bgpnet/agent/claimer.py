"""Blocks that become ours in the datastore: created, taken over from another node, taken back from our own idleness.

Each is one compare-and-swap and then one line of the journal, in this order: a block that is ours though no journal
knows it is found again, one that the journal has and another node owns would give addresses away twice. Where the disk
refuses, the line is owed: nothing is given away of any block until it is paid, see journal.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from msgspec.structs import replace

from bgpnet import ipam, reservations
from bgpnet.agent.effects import ClaimBlock, DropBlock, LookUp, TakeBack
from bgpnet.agent.events import (
    Changed,
    Claimed,
    ClaimFailed,
    DropFailed,
    Dropped,
    Event,
    Gone,
    StoreAway,
    TakeBackFailed,
    TakenBack,
)
from bgpnet.agent.journal import BlockIs, BlockWent, Journal
from bgpnet.errors import AlreadyExists, Conflict, Invalid, NotFound, StoreError
from bgpnet.model import ip, kinds
from bgpnet.model.ip import Network
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.ippool import IPPool
from bgpnet.model.resource import Metadata
from bgpnet.store.repo import Repo

TRIES = 3
"""How often an own block is written anew after somebody wrote it at the same time."""


class Claimer:
    """One claim after another: the caller's thread, which waits for the datastore."""

    def __init__(self, repo: Repo, journal: Journal, emit: Callable[[Event], None]) -> None:
        self._repo = repo
        self._journal = journal
        self._emit = emit

    def claim(self, work: ClaimBlock, now: float) -> Event:
        """A block of these pools that nobody has; else one that may change hands; else why there is none."""
        try:
            for block in _wanted(work, now) if work.wanted is not None else _candidates(work, now):
                if (mine := self._take(block)) is not None:
                    if reason := self._closed(work, mine):
                        self._repo.remove(mine)
                        return ClaimFailed(reason, exhausted=False, pools=_names(work))
                    self._journal.owe([BlockIs(mine)])
                    return Claimed(mine)
        except (StoreError, Invalid) as problem:
            return ClaimFailed(str(problem), exhausted=False, pools=_names(work))
        if work.wanted is not None:
            return ClaimFailed(f"block {work.wanted} went to another node", exhausted=True, pools=frozenset())
        reason = ipam.exhausted(work.owner.name, work.pools, work.known, work.reserved)
        return ClaimFailed(reason, exhausted=True, pools=_names(work))

    def take_back(self, work: TakeBack, now: float) -> Event:
        """An own idle block, in use again; raises nothing: what failed is an event."""
        block = work.block
        try:
            for _ in range(TRIES):
                if (mine := self._take(ipam.take_back(block, now))) is not None:
                    self._journal.owe([BlockIs(mine)])
                    return TakenBack(mine)
                there = self._stored(block)
                if there is not None and there.spec.owner != block.spec.owner:
                    return TakeBackFailed(block.network, f"block {block.spec.cidr} of this node went to another node")
                block = replace(block, metadata=there.metadata if there else Metadata(name=block.metadata.name))
        except (StoreError, Invalid) as problem:
            return TakeBackFailed(block.network, str(problem))
        return TakeBackFailed(block.network, f"block {block.spec.cidr} of this node is being written by somebody else")

    def drop(self, work: DropBlock) -> Event:
        """Delete an own block of no use; what failed is an event. One that is gone already is well."""
        block = work.block
        self._journal.pay()  # what the loop noted of it is in the journal before it is gone from the datastore
        try:
            if block.metadata.resourceVersion:
                with suppress(NotFound):
                    self._repo.remove(block)
            self._journal.owe([BlockWent(block.spec.cidr)])
        except Conflict:
            return DropFailed(block.network, self._why_not(block))
        except (StoreError, Invalid) as problem:
            return DropFailed(block.network, str(problem))
        return Dropped(block.network)

    def look_up(self, work: LookUp) -> Event | None:
        """An own block as it is in the datastore; None for one that cannot be read, which a feed tells of."""
        try:
            return Changed(kinds.IPAMBLOCK, self._repo.get(kinds.IPAMBLOCK, work.name), read=True)
        except NotFound:
            return Gone(kinds.IPAMBLOCK, work.name, read=True)
        except Invalid:
            return None
        except StoreError as problem:
            return StoreAway(str(problem))

    def _closed(self, work: ClaimBlock, mine: IPAMBlock) -> str:
        """Why a block must not be claimed of its pool as the datastore has that now, after the write; empty: it may.

        Who gives a pool another block size disables it first and then looks for blocks (admission.py); who claims
        writes first and then looks at the pool: one of the two sees the other, however late a partitioned node comes.
        """
        pool = next((one for one in work.pools if ip.contains(one.network, mine.network)), None)
        if pool is None:
            return f"block {mine.spec.cidr} is larger than its pool; release it"
        name = pool.metadata.name
        try:
            there = self._repo.get(kinds.IPPOOL, name)
        except NotFound:
            return f"pool {name} was deleted; it is being heard of"
        if not isinstance(there, IPPool) or (there.network, there.block_size) != (pool.network, pool.block_size):
            return f"pool {name} has another cidr or blockSize by now; it is being heard of"
        return f"pool {name} was disabled; it is being heard of" if there.spec.disabled else ""

    def _why_not(self, block: IPAMBlock) -> str:
        try:
            self._stored(block)
        except (StoreError, Invalid) as problem:
            return str(problem)
        return f"block {block.spec.cidr} of this node was written by somebody else"

    def _take(self, block: IPAMBlock) -> IPAMBlock | None:
        """Write it; if somebody was first and it is ours after all (an answer got lost), it is ours; else None."""
        try:
            written = self._repo.write(block)
        except (AlreadyExists, Conflict):
            there = self._stored(block)
            wanted = (block.spec.owner, block.spec.state)
            return there if there is not None and (there.spec.owner, there.spec.state) == wanted else None
        except NotFound:
            return None
        return written if isinstance(written, IPAMBlock) else None

    def _stored(self, block: IPAMBlock) -> IPAMBlock | None:
        """The block as it is in the datastore, which is news for the loop, too."""
        try:
            found = self._repo.get(kinds.IPAMBLOCK, block.metadata.name)
        except NotFound:
            return None
        self._emit(Changed(kinds.IPAMBLOCK, found))
        return found if isinstance(found, IPAMBlock) else None


def _wanted(work: ClaimBlock, now: float) -> Iterator[IPAMBlock]:
    """The one block, as it is to be written."""
    known = next((block for block in work.known if block.network == work.wanted), None)
    if known is None and work.wanted is not None:
        if any(_meet(block.network, work.wanted) for block in work.known):
            return
        yield ipam.new_block(work.wanted, work.owner, now)
    elif known is not None and ipam.may_change_hands(known):
        yield ipam.take_over(known, work.owner, now)


def _candidates(work: ClaimBlock, now: float) -> Iterator[IPAMBlock]:
    """Every block that may become ours, as it is to be written: the free ones first."""
    taken = {block.network for block in work.known}
    for pool in work.pools:
        odd = _of_other_size(pool, taken)
        for net in ipam.candidate_blocks(pool, work.owner.name):
            if net in taken or reservations.covers(work.reserved, net):
                continue
            if any(_meet(net, other) for other in odd):
                continue
            yield ipam.new_block(net, work.owner, now)
    for pool in work.pools:
        for block in work.known:
            if not ip.contains(pool.network, block.network) or not ipam.may_change_hands(block):
                continue
            if block.spec.owner != work.owner and not reservations.covers(work.reserved, block.network):
                yield ipam.take_over(block, work.owner, now)


def _of_other_size(pool: IPPool, taken: set[Network]) -> list[Network]:
    """Blocks from before the pool's block size was changed, or that the pool lies in: no other may overlap them."""
    return [net for net in taken if net.prefixlen != pool.block_size and _meet(pool.network, net)]


def _meet(one: Network, other: Network) -> bool:
    return ip.contains(one, other) or ip.contains(other, one)


def _names(work: ClaimBlock) -> frozenset[str]:
    return frozenset(pool.metadata.name for pool in work.pools)
