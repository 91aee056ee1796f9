"""What the agent wants done: by workers, in its log, as an answer. What happens to it: events.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bgpnet.agent.kubeevents import (
    DescribePod,
    Grievance,
)
from bgpnet.agent.world import Pod
from bgpnet.cnispec import Attachment, CniRequest
from bgpnet.model.ip import Network
from bgpnet.model.ipamblock import IPAMBlock, Owner
from bgpnet.model.ippool import IPPool
from bgpnet.model.releaserequest import ReleaseRequest
from bgpnet.reservations import Reservations


@dataclass(frozen=True, slots=True)
class WirePod:
    """Journal the allocation, wire the pod, report PodWired or PodRefused. again: the pod had its address before.

    uid: the pod's in Kubernetes, for those who tell of it.
    """

    number: int
    pod: Pod
    version: str
    again: bool = False
    uid: str = ""


@dataclass(frozen=True, slots=True)
class UnwirePod:
    """Drop the pod's routes, mark its link, journal the release or owe it, report PodUnwired or UnwireFailed."""

    number: int
    pod: Pod
    version: str


@dataclass(frozen=True, slots=True)
class CheckPod:
    """Compare the pod's wiring with the kernel, report PodChecked. repeated: the ADD of a pod that was added before."""

    number: int
    pod: Pod
    version: str
    repeated: CniRequest | None = None


@dataclass(frozen=True, slots=True)
class Reap:
    """Delete the link, which is marked, soon and with others; then report the attachment as Reaped."""

    attachment: Attachment


@dataclass(frozen=True, slots=True)
class ReapNow:
    """Delete what is marked at once: an ADD waits for one of them."""


@dataclass(frozen=True, slots=True)
class ClaimBlock:
    """Create the first block of these pools that nobody has, else take over one that may change hands.

    known: the blocks as last heard, anybody's. reserved: what is no use to claim. wanted: that block and no other.
    """

    pools: tuple[IPPool, ...]
    owner: Owner
    known: tuple[IPAMBlock, ...]
    reserved: Reservations
    wanted: Network | None = None


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Have the datastore say that an own idle block is in use again; report TakenBack or TakeBackFailed."""

    block: IPAMBlock


@dataclass(frozen=True, slots=True)
class JournalIdle:
    """Make it durable that an empty block is idle; report IdleJournalled, or nothing where the disk refuses."""

    block: IPAMBlock
    sequence: int


@dataclass(frozen=True, slots=True)
class LookUp:
    """Read an own block in the datastore; report it as Changed or Gone."""

    name: str


@dataclass(frozen=True, slots=True)
class DropBlock:
    """Delete an own idle block at its resourceVersion (none: it is gone already); report Dropped or DropFailed."""

    block: IPAMBlock


@dataclass(frozen=True, slots=True)
class ForgetBlock:
    """Make it durable that a block is no longer ours."""

    cidr: str


@dataclass(frozen=True, slots=True)
class JournalBlocks:
    """Make these blocks durable as they are, and these pods, which a journal without them would release."""

    blocks: tuple[IPAMBlock, ...]
    pods: tuple[Pod, ...] = ()


@dataclass(frozen=True, slots=True)
class JournalReserved:
    """Make durable, for a start without the datastore: which addresses are reserved, how long released ones rest."""

    cidrs: tuple[str, ...]
    cooldown: int | None = None


@dataclass(frozen=True, slots=True)
class PayJournal:
    """Try once more to write what is owed to the journal; JournalTold says when that has gone well."""


@dataclass(frozen=True, slots=True)
class LookAtPods:
    """See whether these pods live, by the paths of their network namespaces (empty: not known); report PodsLooked."""

    netns: Mapping[Attachment, str]


@dataclass(frozen=True, slots=True)
class RemoveRequest:
    """Delete a request whose answer nobody fetched."""

    request: ReleaseRequest


@dataclass(frozen=True, slots=True)
class Alarm:
    """Say in the log that this is wrong, or that it no longer is."""

    sentence: str
    over: bool = False


@dataclass(frozen=True, slots=True)
class Warn:
    """Say this in the log, as a warning."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Tell the one who asked: exit status, body. reason: why it is refused, for the log; grievance: for its owner."""

    number: int
    status: int
    body: bytes
    reason: str = ""
    grievance: Grievance | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """The agent must not go on; one sentence."""

    reason: str


Effect = (
    WirePod
    | UnwirePod
    | CheckPod
    | Reap
    | ReapNow
    | ClaimBlock
    | TakeBack
    | JournalIdle
    | DropBlock
    | LookUp
    | JournalBlocks
    | JournalReserved
    | ForgetBlock
    | PayJournal
    | LookAtPods
    | RemoveRequest
    | DescribePod
    | Alarm
    | Warn
    | Answer
    | Stop
)
