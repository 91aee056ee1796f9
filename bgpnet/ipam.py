"""IP address management: pools to blocks, blocks to addresses. Pure; time is a parameter, in seconds since 1970.

A node allocates from blocks that it owns, and from nothing else: no address is borrowed from another node's block.
Inside a block every ordinal is exactly one of three: live (a slot without `freedAt`), resting (a slot with it), free
(in the queue). Free addresses are taken from the head of the queue; a released one rests, then joins the tail. The
ordinals that an IPReservation keeps stay in the queue and are passed over: only who asks for one by name gets it.

An idle block gives nothing away: it may be another node's by the next moment, so its owner takes it back first.

`sequence` is the block's version and names its allocations: each change makes it the larger of one more and the
present microsecond, so that a sequence never comes back, not even after a journal was lost; it stays under 2**53, which
every JSON reader keeps exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from bgpnet import names, resting
from bgpnet.errors import AddressRests, AllocationRefused
from bgpnet.model import ip
from bgpnet.model.instant import stamp
from bgpnet.model.ip import Address, Network
from bgpnet.model.ipamblock import Allocation, BlockState, IPAMBlock, IPAMBlockSpec, Owner, Use
from bgpnet.model.ippool import IPPool
from bgpnet.model.resource import Metadata
from bgpnet.pools import exhausted as exhausted
from bgpnet.pools import pool_of as pool_of
from bgpnet.pools import pools_for as pools_for

REST = 30.0
"""Seconds that a released address rests before it may be taken again: stale conntrack entries and clients."""
AHEAD = 60.0
"""Seconds by which a release may lie ahead of the clock."""


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who asks for an address; the container and the interface are what it is found by again.

    keep: seconds for which it is to be kept for the pod after its release; such a pod gets the one that was kept.
    """

    container: str
    ifname: str
    pod: str = ""
    use: Use = Use.WORKLOAD
    keep: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """How many addresses of a block are what; the others add up to the first. reserved: kept back, and free else."""

    total: int
    in_use: int
    resting: int
    free: int
    reserved: int = 0


def candidate_blocks(pool: IPPool, node: str) -> Iterator[Network]:
    """Every block of the pool once, lazily, from a start that the node's name decides, upwards and around.

    None at all when the pool is smaller than a block. Other nodes start elsewhere, so that they seldom compete.
    """
    net, size = pool.network, pool.block_size
    if net.prefixlen > size:
        return
    count = 1 << (size - net.prefixlen)
    first, step = int(net.network_address), 1 << (net.max_prefixlen - size)
    start = _start(node, count)
    for index in range(count):
        yield type(net)((first + (start + index) % count * step, size))


def _start(node: str, count: int) -> int:
    """FNV-1a (32 bits) of the name as the seed of splitmix64, whose draws make a number below `count`.

    The second step spreads names that differ in their last letter over the whole pool, however large.
    """
    seed = 0x811C9DC5
    for byte in node.encode():
        seed = (seed ^ byte) * 0x01000193 & 0xFFFFFFFF
    drawn = 0
    for _ in range(0, count.bit_length(), 64):
        seed = (seed + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        mixed = (seed ^ seed >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        drawn = drawn << 64 | (mixed ^ mixed >> 31)
    return drawn % count


def new_block(network: Network, owner: Owner, now: float) -> IPAMBlock:
    """A block with all its addresses free, the first and the last included."""
    return IPAMBlock(
        metadata=Metadata(name=names.block(network)),
        spec=IPAMBlockSpec(
            cidr=str(network),
            owner=owner,
            claimedAt=stamp(now),
            sequence=_next(0, now),
            free=tuple(range(network.num_addresses)),
        ),
    )


def assign(
    block: IPAMBlock,
    who: Claimant,
    now: float,
    rest: float = REST,
    pressed: bool = False,
    reserved: frozenset[int] = frozenset(),
) -> tuple[IPAMBlock, Address] | None:
    """An address for `who`, and the block with it given away; None when nothing is free, or the block is idle.

    Asked again for who has one, the answer is the same; who has one kept gets that. pressed: with nothing else free,
    the address that has rested longest is taken before its time. reserved: ordinals to pass over.
    """
    if had := find(block, who.container, who.ifname):
        return block, had[0]
    spec = block.spec
    if spec.state is BlockState.IDLE:
        return None
    if (kept := kept_for(block, who, now)) is not None:
        return _given(block, kept, who, now, ()), block.network[kept]
    rested = resting.over(spec, rest, now)
    queue = (*spec.free, *rested) if rested else spec.free
    ordinal = _first(queue, reserved)
    if ordinal is None and pressed:
        ordinal = _first(resting.pressable(spec, now), reserved)
    if ordinal is None:
        return None
    return _given(block, ordinal, who, now, rested), block.network[ordinal]


def kept_for(block: IPAMBlock, who: Claimant, now: float) -> int | None:
    """The ordinal of the address that is kept for who asks for that."""
    return resting.kept_for(block.spec, who.pod, who.ifname, now) if who.keep else None


def take(block: IPAMBlock, address: Address, who: Claimant, now: float, rest: float = REST) -> IPAMBlock:
    """The block with this very address given to `who`, reserved or not; the same block when `who` has it.

    Raises AllocationRefused when it is taken, when `who` has another or when the block is idle, and AddressRests.
    """
    ordinal = _offset(block, address)
    there = block.spec.allocations.get(ordinal)
    had = find(block, who.container, who.ifname)
    if had is not None and had[0] == address:
        return block
    if had is not None:
        raise AllocationRefused(
            f"{who_has(had[1])} has {had[0]} and asks for {address}: delete it before it has another"
        )
    if there is not None and there.freedAt is None:
        remedy = "ask for another address, or delete that one first"
        if there.use is Use.RESERVED:
            remedy = "ask for another address, or release it with bgpnetctl ipam release once its holder is gone"
        elif there.use is Use.TUNNEL:
            remedy = (
                "ask for another address: the node needs this one to reach pods of other nodes, and takes another only "
                f"when the pool of block {block.spec.cidr} is disabled or its allowedUses have no Tunnel"
            )
        state = "reserved for" if there.use is Use.RESERVED else "taken by"
        raise AllocationRefused(f"{address} is {state} {who_has(there)} since {there.since}: {remedy}")
    if there is not None and there.freedAt is not None and (end := _end(there, who, now, rest)) > now:
        state = "is kept for it" if resting.kept_until(there, now) else "rests"
        raise AddressRests(
            f"{address} of {who_has(there)} {state} until {stamp(end)}: ask again then, or for another address"
        )
    if block.spec.state is BlockState.IDLE:
        raise AllocationRefused(
            f"{address} is in the idle block {block.spec.cidr}: its owner has to take it back first"
        )
    return _given(block, ordinal, who, now, ())


def idle(block: IPAMBlock, now: float) -> IPAMBlock:
    """An own empty block whose addresses have all rested, as any node may take it; they join the queue in their order.

    Raises AllocationRefused while somebody has an address here.
    """
    if not is_empty(block):
        raise AllocationRefused(
            f"block {block.spec.cidr} has addresses in use and cannot become idle: release them first"
        )
    free = (*block.spec.free, *(ordinal for _, ordinal in resting.queue(block.spec, 0.0)))
    changed = replace(
        block.spec, state=BlockState.IDLE, sequence=_next(block.spec.sequence, now), allocations={}, free=free
    )
    return replace(block, spec=changed)


def take_back(block: IPAMBlock, now: float) -> IPAMBlock:
    """An own block in use again. It gives addresses away once the datastore has acknowledged that, and not before."""
    return replace(block, spec=replace(block.spec, state=BlockState.IN_USE, sequence=_next(block.spec.sequence, now)))


def may_change_hands(block: IPAMBlock) -> bool:
    """Whether another node may take the block: it is empty, and its owner called it idle or there is none."""
    return (block.spec.owner is None or block.spec.state is BlockState.IDLE) and is_empty(block)


def take_over(block: IPAMBlock, owner: Owner, now: float) -> IPAMBlock:
    """The block as its next owner writes it, by compare-and-swap: what rests goes on resting, the queue stays.

    Raises AllocationRefused when it may not change hands.
    """
    if not may_change_hands(block):
        holder = block.spec.owner.name if block.spec.owner else "nobody"
        raise AllocationRefused(
            f"block {block.spec.cidr} of node {holder} is {block.spec.state} and cannot be taken over: "
            "only an empty block that its owner calls idle changes hands"
        )
    changed = replace(
        block.spec,
        owner=owner,
        claimedAt=stamp(now),
        state=BlockState.IN_USE,
        sequence=_next(block.spec.sequence, now),
    )
    return replace(block, spec=changed)


def release(block: IPAMBlock, container: str, ifname: str, now: float, sequence: int | None = None) -> IPAMBlock:
    """The address rests from now on; the same block when the claimant has none here.

    sequence: that of the allocation which is meant; raises AllocationRefused when the claimant has a later one.
    """
    ordinal = _ordinal(block.spec, container, ifname)
    if ordinal is None:
        return block
    allocation = block.spec.allocations[ordinal]
    if sequence is not None and sequence != allocation.sequence:
        raise AllocationRefused(
            f"{block.network[ordinal]} of {who_has(allocation)} is allocation {allocation.sequence}, "
            f"not {sequence}, which is meant: look again and release that one if it should go"
        )
    allocations = _last(block.spec, ordinal, replace(allocation, freedAt=stamp(now)))
    changed = replace(block.spec, sequence=_next(block.spec.sequence, now), allocations=allocations)
    return replace(block, spec=changed)


def rest_anew(block: IPAMBlock, now: float) -> IPAMBlock:
    """What was released by a clock that was ahead, at boot say, rests from now on; the same block if nothing was."""
    late = [ordinal for freed, ordinal in block.spec.resting if freed > now + AHEAD]
    if not late:
        return block
    slots = block.spec.allocations
    allocations = {**slots, **{one: replace(slots[one], freedAt=stamp(now)) for one in late}}
    return replace(block, spec=replace(block.spec, sequence=_next(block.spec.sequence, now), allocations=allocations))


def end_reservation(block: IPAMBlock, address: Address, sequence: int, now: float) -> IPAMBlock:
    """A reserved address rests from now on, as whoever had it is gone; the same block when it rests already.

    Raises AllocationRefused when the slot is not that reservation, told by its sequence: it is somebody else's by now.
    """
    slot = block.spec.allocations.get(_offset(block, address))
    if slot is None or slot.use is not Use.RESERVED or slot.sequence != sequence:
        there = f"allocation {slot.sequence} of {who_has(slot)}" if slot else "free"
        raise AllocationRefused(f"{address} is not reservation {sequence} but {there}: look again at who has it")
    return release_at(block, address, sequence, now)


def release_at(block: IPAMBlock, address: Address, sequence: int, now: float) -> IPAMBlock:
    """This very allocation, of whatever use, rests from now on and is kept for nobody; the same block if so already.

    Raises AllocationRefused when the address is free, or another allocation's by its sequence.
    """
    ordinal = _offset(block, address)
    slot = block.spec.allocations.get(ordinal)
    if slot is None or slot.sequence != sequence:
        there = f"allocation {slot.sequence} of {who_has(slot)}" if slot else "free"
        raise AllocationRefused(f"{address} is not allocation {sequence} but {there}: look again at who has it")
    if slot.freedAt is not None and not slot.keep:
        return block
    freed = replace(slot, freedAt=slot.freedAt or stamp(now), keep=0)
    allocations = (
        _last(block.spec, ordinal, freed) if slot.freedAt is None else {**block.spec.allocations, ordinal: freed}
    )
    changed = replace(block.spec, sequence=_next(block.spec.sequence, now), allocations=allocations)
    return replace(block, spec=changed)


def discard(block: IPAMBlock, address: Address) -> IPAMBlock:
    """The address joins the tail of the queue at once, without rest: nobody ever used it. Same block if it is free."""
    ordinal = _offset(block, address)
    if ordinal not in block.spec.allocations:
        return block
    allocations = {key: kept for key, kept in block.spec.allocations.items() if key != ordinal}
    changed = replace(
        block.spec,
        sequence=block.spec.sequence + 1,
        allocations=allocations,
        free=(*block.spec.free, ordinal),
    )
    return replace(block, spec=changed)


def restore(block: IPAMBlock, address: Address, allocation: Allocation) -> IPAMBlock:
    """What a journal remembers, put in its slot whatever the queue says; the block's sequence never goes back.

    An older address of the same claimant rests since then, for nobody else would release it. An allocation with
    `freedAt` is put to rest. Raises AllocationRefused when the slot is somebody else's, or in another block.
    """
    spec, ordinal = block.spec, _offset(block, address)
    there = spec.allocations.get(ordinal)
    key = (allocation.container, allocation.ifname)
    if there is not None and there.freedAt is None and (there.container, there.ifname) != key:
        raise AllocationRefused(
            f"{address} is recorded for {who_has(there)} and cannot be restored to {who_has(allocation)}: "
            "one of the two must be deleted and started again"
        )
    allocations = dict(spec.allocations)
    older = None if allocation.freedAt else _ordinal(spec, *key)
    if older is not None and older != ordinal:
        allocations[older] = replace(allocations[older], freedAt=allocation.since)
    if allocation.freedAt:
        allocations.pop(ordinal, None)  # to the end, as `_last` has it: what a journal tells, it tells in its order
    allocations[ordinal] = allocation
    changed = replace(
        spec,
        state=spec.state if allocation.freedAt else BlockState.IN_USE,
        sequence=max(spec.sequence, allocation.sequence),
        allocations=allocations,
        free=tuple(other for other in spec.free if other != ordinal),
    )
    return block if changed == spec else replace(block, spec=changed)


def find(block: IPAMBlock, container: str, ifname: str) -> tuple[Address, Allocation] | None:
    """The claimant's live address in this block."""
    ordinal = _ordinal(block.spec, container, ifname)
    return None if ordinal is None else (block.network[ordinal], block.spec.allocations[ordinal])


def allocation(block: IPAMBlock, address: Address) -> Allocation:
    """Of an address of this block that somebody has."""
    return block.spec.allocations[_offset(block, address)]


def usage(block: IPAMBlock, now: float, rest: float = REST, reserved: frozenset[int] = frozenset()) -> Usage:
    """How much of the block is used; an address that has rested counts as free, a reserved one that is free does not.

    Every address counts once: who has a reserved one uses it.
    """
    total = block.network.num_addresses
    in_use = len(block.spec.allocations) - len(block.spec.resting)
    rests = {ordinal for end, ordinal in resting.queue(block.spec, rest) if end > now}
    live = {one for one, slot in block.spec.allocations.items() if slot.freedAt is None} if reserved else set()
    kept = len(reserved - rests - live)
    return Usage(total, in_use, len(rests), total - in_use - len(rests) - kept, kept)


def assignable(block: IPAMBlock, now: float, rest: float = REST, reserved: frozenset[int] = frozenset()) -> int:
    """How many addresses `assign` would give away now, without pressure."""
    return 0 if block.spec.state is BlockState.IDLE else usage(block, now, rest, reserved).free


def is_free(block: IPAMBlock, address: Address) -> bool:
    """Whether an address of the block is in its queue: nobody has it, and it does not rest."""
    return _offset(block, address) not in block.spec.allocations


def is_empty(block: IPAMBlock) -> bool:
    """Whether nobody has an address here; resting ones do not count."""
    return len(block.spec.resting) == len(block.spec.allocations)


def who_has(allocation: Allocation) -> str:
    """Whose it is, as the subject of a sentence."""
    if allocation.use is Use.TUNNEL:
        return f"the tunnel {allocation.ifname}"
    pod = f" (pod {allocation.pod})" if allocation.pod else ""
    return f"container {allocation.container} interface {allocation.ifname}{pod}"


def _first(queue: Sequence[int], reserved: frozenset[int]) -> int | None:
    return next((ordinal for ordinal in queue if ordinal not in reserved), None)


def _given(block: IPAMBlock, ordinal: int, who: Claimant, now: float, rested: Sequence[int]) -> IPAMBlock:
    """The block with the slot given away, and what has rested in the queue."""
    spec = block.spec
    sequence = _next(spec.sequence, now)
    allocations = dict(spec.allocations)
    for back in rested:
        del allocations[back]
    allocations[ordinal] = Allocation(
        container=who.container,
        ifname=who.ifname,
        pod=who.pod,
        use=who.use,
        since=stamp(now),
        sequence=sequence,
        keep=who.keep,
    )
    queue = (*spec.free, *rested) if rested else spec.free
    free = queue[1:] if queue and queue[0] == ordinal else tuple(one for one in queue if one != ordinal)
    return replace(block, spec=replace(spec, sequence=sequence, allocations=allocations, free=free))


def _last(spec: IPAMBlockSpec, ordinal: int, freed: Allocation) -> dict[int, Allocation]:
    """The slots with one that is freed now as the last: among those of one instant, their order is that of freeing."""
    others = {one: slot for one, slot in spec.allocations.items() if one != ordinal}
    return {**others, ordinal: freed}


def _next(sequence: int, now: float) -> int:
    return max(sequence + 1, int(now * 1_000_000))


def _end(slot: Allocation, who: Claimant, now: float, rest: float) -> float:
    """When a released address may be given to who asks for it: at once if it was theirs, for others would be misled."""
    return 0.0 if resting.is_its(slot, who.pod, who.ifname, who.container) else resting.until(slot, rest)


def _ordinal(spec: IPAMBlockSpec, container: str, ifname: str) -> int | None:
    return spec.holders.get((container, ifname))


def _offset(block: IPAMBlock, address: Address) -> int:
    if not ip.contains(block.network, address):
        raise AllocationRefused(f"{address} is not in block {block.spec.cidr}: look for the block that contains it")
    return int(address) - int(block.network.network_address)
