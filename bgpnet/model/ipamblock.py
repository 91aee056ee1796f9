"""IPAMBlock: a piece of a pool that one node owns, and every allocation in it.

An allocation lives here and nowhere else. A live block is written by its owner alone, always by compare-and-swap.
`free` is a queue of ordinals: allocate from the head, return to the tail, so an address comes back as late as possible.
A released address keeps its slot, with `freedAt`, while it rests; then it goes to the tail of `free`. Slots that were
freed in the same millisecond stand in the order in which they were (`allocations` keeps the order it is written in).
"""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from math import inf

from msgspec import Struct, field

from bgpnet.model import instant, ip
from bgpnet.model.resource import Metadata


class BlockState(StrEnum):
    """`idle` says: its owner found it empty for a minute; only such a block may change hands."""

    IN_USE = "inUse"
    IDLE = "idle"


class Use(StrEnum):
    """What an address serves. Reserved: somebody outside our blocks' rules has it (an import's borrowed addresses).

    A reserved slot is nobody's to find or to assign; it is freed by its sequence alone (`ipam.end_reservation`).
    """

    WORKLOAD = "Workload"
    TUNNEL = "Tunnel"
    RESERVED = "Reserved"


class Owner(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The Node that owns a block: its name and the UUID of the machine."""

    name: str
    uid: str


class Allocation(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Who has an address. `sequence` is the block's at allocation: it tells this allocation from a later one.

    pod: `namespace/name`, empty outside an orchestrator. since, freedAt: RFC 3339. keep: seconds for which the address,
    once released, is kept for a pod of the same name (resting.py).
    """

    container: str = ""
    ifname: str = ""
    pod: str = ""
    use: Use = Use.WORKLOAD
    since: str
    sequence: int
    freedAt: str | None = None
    keep: int = 0

    @property
    def freed(self) -> float:
        """When it was released, in seconds since 1970; long ago where what is written is no instant (integrity.py)."""
        try:
            return instant.seconds(self.freedAt or "")
        except ValueError:
            return 0.0


class IPAMBlockSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, dict=True):
    """`allocations` maps an ordinal (offset in the block) to its allocation; none is special, 0 and last included.

    The views are made when they are asked for first, and kept: every ADD asks them of every own block.
    """

    cidr: str
    owner: Owner | None = None
    claimedAt: str = ""
    state: BlockState = BlockState.IN_USE
    sequence: int = 0
    allocations: dict[int, Allocation] = field(default_factory=dict)
    free: tuple[int, ...] = ()

    @cached_property
    def holders(self) -> dict[tuple[str, str], int]:
        """The ordinal of who has an address here, by container and interface; reserved ones are nobody's to find."""
        found: dict[tuple[str, str], int] = {}
        for ordinal, slot in self.allocations.items():
            if slot.freedAt is None and slot.use is not Use.RESERVED:
                found.setdefault((slot.container, slot.ifname), ordinal)
        return found

    @cached_property
    def resting(self) -> tuple[tuple[float, int], ...]:
        """When each resting ordinal was released, the first one first.

        By the instant and by nothing else: that counts milliseconds, and slots lie in the order of their release.
        """
        found = [(slot.freed, ordinal) for ordinal, slot in self.allocations.items() if slot.freedAt is not None]
        return tuple(sorted(found, key=lambda one: one[0]))

    @cached_property
    def longest_rest(self) -> float:
        """When the address that rests longest was released, or was kept until; infinite when none rests."""
        return min((freed + self.allocations[ordinal].keep for freed, ordinal in self.resting), default=inf)


class IPAMBlock(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A block; its name is its CIDR with `.`, `:` and `/` turned to `-` (see `names.block`)."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: IPAMBlockSpec

    @property
    def network(self) -> ip.Network:
        """The block's CIDR as a value."""
        return ip.network(self.spec.cidr)
