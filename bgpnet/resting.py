"""Released addresses: how long each rests, and for whom one is kept meanwhile. Pure; times in seconds since 1970.

A pod may ask for its address to be kept (annotations.KEEP): once released, it is given to nobody but a pod of that very
name, for the interface of that name, for so many seconds; and that one gets it at once, without rest.
"""

from __future__ import annotations

from bgpnet.model.instant import seconds
from bgpnet.model.ip import Address
from bgpnet.model.ipamblock import Allocation, IPAMBlock, IPAMBlockSpec


def freed(slot: Allocation) -> float:
    """When an address was released; long ago where what is written is no instant (integrity.py mends that)."""
    try:
        return seconds(slot.freedAt or "")
    except ValueError:
        return 0.0


def until(slot: Allocation, rest: float) -> float:
    """When a released address may be anybody's, where addresses rest so many seconds."""
    return freed(slot) + max(rest, slot.keep) if slot.freedAt is not None else 0.0


def kept_until(slot: Allocation, now: float) -> float:
    """Until when a released address is kept for its pod; 0 when it is not, or no longer."""
    if slot.freedAt is None or not slot.keep:
        return 0.0
    end = freed(slot) + slot.keep
    return end if end > now else 0.0


def queue(spec: IPAMBlockSpec, rest: float) -> list[tuple[float, int]]:
    """When each resting ordinal may be anybody's, the next first; at one instant the first that was freed."""
    found = [(until(slot, rest), ordinal) for ordinal, slot in spec.allocations.items() if slot.freedAt is not None]
    return sorted(found, key=_instant)


def pressable(spec: IPAMBlockSpec, now: float) -> list[int]:
    """Resting ordinals that may be given away before their time, the longest-resting first: not those that are kept."""
    found = [
        (freed(slot), ordinal)
        for ordinal, slot in spec.allocations.items()
        if slot.freedAt is not None and not kept_until(slot, now)
    ]
    return [ordinal for _, ordinal in sorted(found, key=_instant)]


def rested(block: IPAMBlock, address: Address, now: float) -> float:
    """Seconds since an address was released; 0 for one that does not rest."""
    slot = block.spec.allocations.get(int(address) - int(block.network.network_address))
    return max(now - freed(slot), 0.0) if slot is not None and slot.freedAt is not None else 0.0


def kept_for(spec: IPAMBlockSpec, pod: str, ifname: str, now: float) -> int | None:
    """The ordinal that is kept for this pod, the one that it had last."""
    found = [
        (freed(slot), ordinal)
        for ordinal, slot in spec.allocations.items()
        if slot.keep and slot.freedAt is not None and is_its(slot, pod, ifname) and kept_until(slot, now)
    ]
    return sorted(found, key=_instant)[-1][1] if found else None


def _instant(one: tuple[float, int]) -> float:
    """What to sort by, and by nothing else: `freedAt` counts milliseconds, and a block's slots lie in their order."""
    return one[0]


def is_its(slot: Allocation, pod: str, ifname: str) -> bool:
    """Whether a slot is, or was, that pod's: a pod without a name is nobody's equal."""
    return bool(pod) and slot.pod == pod and slot.ifname == ifname
