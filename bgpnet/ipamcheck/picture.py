"""What `ipam check` looks at, as values: the datastore, the owners' words, the container runtime. Pure.

Three sources. The datastore says what is recorded. The owner of a block says what its kernel has: this machine's agent
when asked, the other nodes in what they publish. The container runtime of this machine says which sandboxes it knows.
A source that says nothing is unknown, and unknown is never evidence for a leak.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from bgpnet.model import ip
from bgpnet.model.ipamblock import Allocation, IPAMBlock
from bgpnet.model.ipamconfiguration import IPAMConfigurationSpec
from bgpnet.model.ippool import IPPool
from bgpnet.model.ipreservation import IPReservation
from bgpnet.model.node import Node


class Severity(StrEnum):
    """Errors and warnings are problems; information is not."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Source(StrEnum):
    """Where a node's word comes from."""

    AGENT = "agent"
    PUBLISHED = "published"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has an address, as an owner says it; sequence 0: it did not say which allocation."""

    address: str
    sequence: int = 0
    container: str = ""
    ifname: str = ""
    pod: str = ""
    since: str = ""
    reason: str = ""

    @property
    def who(self) -> str:
        """`pod default/web`, else the container."""
        return called(self.pod, self.container, self.ifname)


def called(pod: str, container: str, ifname: str) -> str:
    """How messages call who has an address."""
    if not container:
        return f"the interface {ifname or 'of nobody'}"
    return f"pod {pod} (container {container[:13]}, {ifname})" if pod else f"container {container} ({ifname})"


@dataclass(frozen=True, slots=True)
class Word:
    """What a node says of its own addresses, and when (RFC 3339).

    leaked: allocations of its blocks that no pod of it has. unrecorded: pods whose address is not allocated to them.
    blocks: its own blocks with their live allocations by ordinal, ahead of the datastore; None when it did not say.
    pods: the pods that it has wired. away: its datastore does not answer, and this is why.
    reason: with source UNKNOWN, why there is no word; `at` is the node's last sign of life then, or empty.
    starting: its agent lives and has published nothing yet, as for some seconds after its first start.
    """

    node: str
    source: Source
    at: str = ""
    leaked: tuple[Holder, ...] = ()
    unrecorded: tuple[Holder, ...] = ()
    alarms: tuple[str, ...] = ()
    blocks: Mapping[str, Mapping[int, Holder]] | None = None
    pods: tuple[Holder, ...] = ()
    away: str = ""
    reason: str = ""
    starting: bool = False


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A pod sandbox as the container runtime has it. address: empty when it was not asked for or has none of ours."""

    container: str
    pod: str
    ready: bool
    address: str = ""


@dataclass(frozen=True, slots=True)
class Runtime:
    """This machine's container runtime. sandboxes None: it was not heard, for this reason."""

    node: str = ""
    sandboxes: tuple[Sandbox, ...] | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Slot:
    """A live allocation and where it is."""

    address: ip.Address
    block: IPAMBlock
    allocation: Allocation

    @property
    def owner(self) -> str:
        """The node that owns the block; empty for a block without owner."""
        return self.block.spec.owner.name if self.block.spec.owner else ""

    @property
    def who(self) -> str:
        """As `called`."""
        return called(self.allocation.pod, self.allocation.container, self.allocation.ifname)

    @property
    def key(self) -> tuple[str, str]:
        """What CNI knows the holder by."""
        return (self.allocation.container, self.allocation.ifname)


@dataclass(frozen=True, slots=True)
class Picture:
    """One look at everything. broken: stored blocks that cannot be read, by key, with the reason. now: seconds."""

    now: float
    blocks: tuple[IPAMBlock, ...] = ()
    pools: tuple[IPPool, ...] = ()
    nodes: tuple[Node, ...] = ()
    reservations: tuple[IPReservation, ...] = ()
    settings: IPAMConfigurationSpec = field(default_factory=IPAMConfigurationSpec)
    words: Mapping[str, Word] = field(default_factory=dict)
    runtime: Runtime = field(default_factory=Runtime)
    broken: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def slots(self) -> Iterator[Slot]:
        """Every live allocation that lies inside its block, block by block."""
        for block in self.blocks:
            for ordinal, allocation in sorted(block.spec.allocations.items()):
                if allocation.freedAt is None and 0 <= ordinal < block.network.num_addresses:
                    yield Slot(block.network[ordinal], block, allocation)

    def by_address(self) -> dict[str, list[Slot]]:
        """The live allocations of each address; more than one where blocks overlap."""
        found: dict[str, list[Slot]] = {}
        for slot in self.slots():
            found.setdefault(str(slot.address), []).append(slot)
        return found


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: a stable code, what it is about, a sentence, and what to do about it.

    evidence: what must be the same in a second look for it to be the same problem: sequences, mostly.
    """

    code: str
    severity: Severity
    subject: str
    sentence: str
    remedy: str
    node: str = ""
    holder: Holder | None = None
    evidence: tuple[object, ...] = ()

    @property
    def key(self) -> tuple[object, ...]:
        """What two looks are compared by."""
        return (self.code, self.subject, self.node, *self.evidence)


def holder(slot: Slot) -> Holder:
    """The slot's holder, to be named in a problem."""
    one = slot.allocation
    return Holder(str(slot.address), one.sequence, one.container, one.ifname, one.pod, one.since)
