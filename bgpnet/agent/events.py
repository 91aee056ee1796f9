"""What happens to the agent, told by feeds and workers. What it then wants done: effects.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bgpnet.agent.kubeevents import (
    EndpointsHeard,
    KubernetesAway,
    Namespaces,
    OwnNodeHeard,
    PodDescribed,
    SecretHeard,
    ServicesHeard,
)
from bgpnet.agent.watched import Netns
from bgpnet.agent.world import Seen
from bgpnet.bgp.secret import Secrets
from bgpnet.cnispec import WIRING_REFUSED, Attachment, CniRequest
from bgpnet.model.ip import Network
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.kinds import Kind, Resource
from bgpnet.wire import CniCall


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed. now: seconds since 1970, for what is written down; clock: seconds that never jump."""

    now: float
    clock: float


@dataclass(frozen=True, slots=True)
class Listed:
    """The datastore's whole content of one kind; objects that could not be read are named in `broken`."""

    kind: Kind
    resources: tuple[Resource, ...]
    broken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Changed:
    """One object as it is now, from a watch. read: looked up on purpose, never old news. written: by us, just now.

    upon: with either, the revision that we wrote it on, or wanted to; "" where there was none. A watch that has told of
    another one meanwhile knows better.
    """

    kind: Kind
    resource: Resource
    read: bool = False
    written: bool = False
    upon: str | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """One object was deleted. read: looked for on purpose, never old news. upon: as in `Changed`."""

    kind: Kind
    name: str
    read: bool = False
    upon: str | None = None


@dataclass(frozen=True, slots=True)
class StoreAway:
    """The datastore does not answer; what was heard of it stays."""

    reason: str


@dataclass(frozen=True, slots=True)
class CniAsked:
    """The plugin was executed; `number` is the way to the answer. noted: when a DEL's note was written (see detach)."""

    number: int
    call: CniCall
    noted: float | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A question on the socket, such as {"ask": "status"}."""

    number: int
    question: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class PodWired:
    """The pod's link is up and its allocation is journalled. visible: see `Pod`."""

    number: int
    attachment: Attachment
    version: str
    visible: bool = False


@dataclass(frozen=True, slots=True)
class PodRefused:
    """The pod could not be journalled or wired; nothing of it is left in the kernel. again, uid: see WirePod.

    code: of the CNI specification, for the runtime.
    """

    number: int
    attachment: Attachment
    version: str
    reason: str
    again: bool = False
    uid: str = ""
    code: int = WIRING_REFUSED


@dataclass(frozen=True, slots=True)
class PodUnwired:
    """The pod's routes are gone, its link waits to be reaped, and its release is journalled or owed to the journal."""

    number: int
    attachment: Attachment


@dataclass(frozen=True, slots=True)
class UnwireFailed:
    """The kernel refused: the runtime has to ask again."""

    number: int
    attachment: Attachment
    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class PodChecked:
    """What of the pod is not as it was wired, one phrase each. repeated: see CheckPod."""

    number: int
    attachment: Attachment
    version: str
    differences: tuple[str, ...]
    repeated: CniRequest | None = None


@dataclass(frozen=True, slots=True)
class Reaped:
    """The links of these attachments are gone: their addresses may rest now."""

    attachments: tuple[Attachment, ...]


@dataclass(frozen=True, slots=True)
class Claimed:
    """A block is ours in the datastore and in the journal."""

    block: IPAMBlock


@dataclass(frozen=True, slots=True)
class ClaimFailed:
    """No block could be had from the pools of these names. `exhausted`: all are owned, which only others can change.

    No pools, though exhausted: the one block that was wanted is another node's by now.
    """

    reason: str
    exhausted: bool
    pools: frozenset[str]


@dataclass(frozen=True, slots=True)
class TakenBack:
    """An own block that was idle is in use in the datastore and in the journal: it may give addresses away."""

    block: IPAMBlock


@dataclass(frozen=True, slots=True)
class TakeBackFailed:
    """An own idle block stays idle, or is another node's by now, which is news of its own and came before this."""

    network: Network
    reason: str


@dataclass(frozen=True, slots=True)
class IdleJournalled:
    """The journal has the block as idle; sequence: that of the block which was found empty."""

    block: IPAMBlock
    sequence: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """An own block is deleted from datastore and journal."""

    network: Network


@dataclass(frozen=True, slots=True)
class DropFailed:
    """An own block that is of no use is still there, or is another node's, which is news of its own and came before."""

    network: Network
    reason: str


@dataclass(frozen=True, slots=True)
class KernelLooked:
    """Which pod links of ours the kernel had when the agent started."""

    links: Mapping[Attachment, Seen]


@dataclass(frozen=True, slots=True)
class LinksLooked:
    """The networks on the host's links, each with its link; the uplink's MTU. homeless: our address is on none."""

    subnets: Mapping[Network, str]
    mtu: int
    homeless: bool = False


@dataclass(frozen=True, slots=True)
class ConflistLooked:
    """What is wrong with the CNI configuration that container runtimes read, each a sentence.

    missing: why there is none of ours, nor will be; without it no pod comes to this node's agent.
    """

    warnings: tuple[str, ...]
    missing: str = ""


@dataclass(frozen=True, slots=True)
class FirewallLooked:
    """What is wrong with the packet rules, ours and others', each a sentence."""

    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SecretsLooked:
    """The BGP passwords as they are now."""

    secrets: Secrets


@dataclass(frozen=True, slots=True)
class KernelApplied:
    """What the kernel refused of the last plan, each a sentence; and the pod links that are gone."""

    refusals: tuple[str, ...]
    lost: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PodsLooked:
    """All pod links of ours that the kernel has now, and of those who were to be looked at, their namespaces.

    links None: the kernel could not be read.
    """

    netns: Mapping[Attachment, Netns]
    links: Mapping[Attachment, Seen] | None


@dataclass(frozen=True, slots=True)
class JournalTold:
    """The disk refuses the journal, in a sentence; nothing: it takes it again, and what was owed is in it."""

    refusal: str


Event = (
    Tick
    | Listed
    | Changed
    | Gone
    | StoreAway
    | CniAsked
    | PodWired
    | PodRefused
    | PodUnwired
    | UnwireFailed
    | PodChecked
    | Reaped
    | Claimed
    | ClaimFailed
    | TakenBack
    | TakeBackFailed
    | IdleJournalled
    | Dropped
    | DropFailed
    | Namespaces
    | PodDescribed
    | ServicesHeard
    | EndpointsHeard
    | OwnNodeHeard
    | SecretHeard
    | KubernetesAway
    | KernelLooked
    | KernelApplied
    | LinksLooked
    | ConflistLooked
    | FirewallLooked
    | SecretsLooked
    | PodsLooked
    | JournalTold
)
