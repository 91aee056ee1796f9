"""What is wrong inside a block that an agent did not write, and the block without that. Pure."""

from __future__ import annotations

from collections import Counter

from msgspec.structs import replace

from bgpnet import ipam, names
from bgpnet.model import instant
from bgpnet.model.ipamblock import Allocation, IPAMBlock, Use


def check(block: IPAMBlock) -> list[str]:
    """Everything that is wrong inside a block, one sentence each (source: Calico's `ipam check`, validateBlock)."""
    spec, total = block.spec, block.network.num_addresses
    queued = Counter(spec.free)
    problems = [
        f"ordinal {one} is outside the block of {total} addresses"
        for one in sorted({*queued, *spec.allocations})
        if not 0 <= one < total
    ]
    problems += [f"ordinal {one} is {times} times in the queue" for one, times in sorted(queued.items()) if times > 1]
    problems += [f"ordinal {one} is both free and allocated" for one in sorted(queued.keys() & spec.allocations.keys())]
    problems += [
        f"ordinal {one} is neither free nor allocated"
        for one in range(total)
        if one not in queued and one not in spec.allocations
    ]
    mine = (slot for slot in spec.allocations.values() if slot.freedAt is None and slot.use is not Use.RESERVED)
    live = Counter(map(ipam.who_has, mine))
    problems += [f"{who} has {times} addresses" for who, times in sorted(live.items()) if times > 1]
    problems += [
        f"ordinal {one} has sequence {slot.sequence}, later than the block's {spec.sequence}"
        for one, slot in sorted(spec.allocations.items())
        if slot.sequence > spec.sequence
    ]
    if block.metadata.name != names.block(block.network):
        problems.append(f"its name is {block.metadata.name!r} instead of {names.block(block.network)!r}")
    return [f"block {spec.cidr}: {problem}" for problem in problems]


def mended(block: IPAMBlock, now: float) -> IPAMBlock:
    """The block with every ordinal in its slot, or in the queue, once; the same block when it is so already.

    Who is in a slot stays there, and rests from now on where nobody can read since when; who has two of them, and a
    name that is not the CIDR's, are left as they are.
    """
    spec, total = block.spec, block.network.num_addresses
    slots = {one: _readable(slot, now) for one, slot in spec.allocations.items() if 0 <= one < total}
    queued = [one for one in dict.fromkeys(spec.free) if 0 <= one < total and one not in slots]
    missing = sorted(set(range(total)) - set(queued) - slots.keys())
    sequence = max([spec.sequence, *(slot.sequence for slot in slots.values())])
    changed = replace(spec, allocations=slots, free=(*queued, *missing), sequence=sequence)
    return block if changed == spec else replace(block, spec=changed)


def _readable(slot: Allocation, now: float) -> Allocation:
    return slot if slot.freedAt is None or instant.readable(slot.freedAt) else replace(slot, freedAt=instant.stamp(now))
