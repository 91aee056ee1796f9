"""Released addresses: how long each rests, and for whom one is kept meanwhile. Pure; times in seconds since 1970.

A pod may ask for its address to be kept (annotations.KEEP): once released, it is given to nobody but a pod of that very
name, for the interface of that name, for so many seconds; and that one gets it at once, without rest.
"""

from __future__ import annotations

from bgpnet.model.ip import Address
from bgpnet.model.ipamblock import Allocation, IPAMBlock, IPAMBlockSpec


def until(slot: Allocation, rest: float) -> float:
    """When a released address may be anybody's, where addresses rest so many seconds."""
    return slot.freed + max(rest, slot.keep) if slot.freedAt is not None else 0.0


def kept_until(slot: Allocation, now: float) -> float:
    """Until when a released address is kept for its pod; 0 when it is not, or no longer."""
    if slot.freedAt is None or not slot.keep:
        return 0.0
    end = slot.freed + slot.keep
    return end if end > now else 0.0


def queue(spec: IPAMBlockSpec, rest: float) -> list[tuple[float, int]]:
    """When each resting ordinal may be anybody's, the next first; at one instant the first that was freed."""
    slots = spec.allocations
    return sorted(((freed + max(rest, slots[one].keep), one) for freed, one in spec.resting), key=_instant)


def over(spec: IPAMBlockSpec, rest: float, now: float) -> list[int]:
    """The ordinals that may be anybody's by now, as `queue` has them."""
    if not spec.resting or spec.resting[0][0] + rest > now:
        return []  # no look at the others: every ADD asks, of every own block
    return [ordinal for end, ordinal in queue(spec, rest) if end <= now]


def pressable(spec: IPAMBlockSpec, now: float) -> list[int]:
    """Resting ordinals that may be given away before their time, the longest-resting first: not those that are kept."""
    return [ordinal for _, ordinal in spec.resting if not kept_until(spec.allocations[ordinal], now)]


def rested(block: IPAMBlock, address: Address, now: float) -> float:
    """Seconds since an address was released; 0 for one that does not rest."""
    slot = block.spec.allocations.get(int(address) - int(block.network.network_address))
    return max(now - slot.freed, 0.0) if slot is not None and slot.freedAt is not None else 0.0


def kept_for(spec: IPAMBlockSpec, pod: str, ifname: str, now: float) -> int | None:
    """The ordinal that is kept for this pod, the one that it had last."""
    slots = ((ordinal, spec.allocations[ordinal]) for _, ordinal in reversed(spec.resting))
    return next((one for one, slot in slots if is_its(slot, pod, ifname) and kept_until(slot, now)), None)


def _instant(one: tuple[float, int]) -> float:
    """What to sort by, and by nothing else: `freedAt` counts milliseconds, and a block's slots lie in their order."""
    return one[0]


def is_its(slot: Allocation, pod: str, ifname: str, container: str = "") -> bool:
    """Whether a slot is, or was, that pod's or container's: a pod without a name is nobody's equal."""
    return slot.ifname == ifname and ((slot.pod == pod != "") or (slot.container == container != ""))
