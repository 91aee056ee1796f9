"""The World: everything the agent knows, as one value that only the loop holds.

Nothing here acts. `None` and absence from `synced` mean "not known yet", which is never the same as empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import replace as replaced
from enum import StrEnum
from typing import TYPE_CHECKING

from bgpnet.agent.watched import Watch
from bgpnet.annotations import KEPT, Meta
from bgpnet.bgp.imports import PREFIX_LIMIT
from bgpnet.bgp.rib import Table
from bgpnet.bgp.secret import Secret, Secrets
from bgpnet.cnispec import Attachment, CniRequest
from bgpnet.kubeobjects import NodeSeen
from bgpnet.model.ip import Address, Interface, Network
from bgpnet.model.ipamblock import Allocation, IPAMBlock
from bgpnet.model.kinds import Kind, Resource
from bgpnet.model.service import Endpoint, Service
from bgpnet.reservations import NONE, Reservations

Departed = Mapping[str, Mapping[str, tuple[Resource, float]]]
"""What was deleted just now, by kind and name, each with the clock until which it lingers."""
ESTABLISHED = "Established"
WAITING = "waiting for the peer"
CLAIM_PATIENCE = 10.0
"""Seconds an ADD waits for a block (or for the datastore) before the runtime is told to try again."""


@dataclass(frozen=True, slots=True)
class Me:
    """This machine: its name in the network, its identity, its address and the link that has it.

    rest: seconds that a released address rests before it is used again. leak_grace: seconds that a pod's link and
    network namespace are gone before its address is released without a DEL. idle_after: seconds that an own block has
    been empty, by the clock that never jumps, before it is called idle. prefix_limit: of one BGP peer. firewall: is
    it to write packet rules. nat_spares_nodes: natOutgoing leaves packets to nodes' addresses as they are.
    stops_service_loops: what goes to announced service addresses, and no Service takes it, is dropped. new_here: no
    agent has worked with this state directory on this machine since that was started.
    """

    node: str
    uuid: str
    address: Interface
    uplink: str
    uplink_mtu: int
    version: str
    as_number: int | None = None
    rest: float = 30.0
    leak_grace: float = 60.0
    keep: int = KEPT
    idle_after: float = 60.0
    prefix_limit: int = PREFIX_LIMIT
    firewall: bool = True
    nat_spares_nodes: bool = False
    stops_service_loops: bool = True
    new_here: bool = False


class Phase(StrEnum):
    """Where a pod stands. LOST: journalled or recovered, but its link was not there when the agent looked.
    LEAVING: being cut off. CUT: cut off for good, its link waits to be reaped and its address with it.
    """

    WIRING = "wiring"
    READY = "ready"
    LOST = "lost"
    LEAVING = "leaving"
    CUT = "cut off"


@dataclass(frozen=True, slots=True)
class Pod:
    """One attachment and all that is needed to answer for it again.

    visible: when it was wired, this agent saw its namespace under the path `netns`; only then is it seen to be gone.
    """

    attachment: Attachment
    pod: str
    network: str
    netns: str
    link: str
    address: Address
    mac: str
    mtu: int
    since: str
    sequence: int
    phase: Phase = Phase.WIRING
    keep: int = 0
    visible: bool = False

    def allocation(self, freed: str | None = None) -> Allocation:
        """What its block says of it. freed: since when its address rests."""
        return Allocation(
            container=self.attachment.container,
            ifname=self.attachment.ifname,
            pod=self.pod,
            since=self.since,
            sequence=self.sequence,
            freedAt=freed,
            keep=self.keep,
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """A pod's link as the kernel had it when the agent started.

    address: where our /32 route over it leads, if anywhere. mac: of the pod's end, where we have it as a neighbour.
    """

    link: str
    since: str
    mtu: int
    address: Address | None
    mac: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that cannot be answered yet, until when it may wait, and for what (shown when it may no longer)."""

    request: CniRequest
    until: float
    reason: str


@dataclass(frozen=True, slots=True)
class Collection:
    """A GC that is under way: the attachments that are still to go, and what kept others from going."""

    version: str
    remaining: frozenset[Attachment]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """A BGP session. restart: seconds of graceful restart the peer offered; complete: its End-of-RIB was heard.

    known: its table was complete once; since then nothing in the kernel is from it that is not in our table.
    router_id: its BGP identifier, from its OPEN.
    deadline: while the peer is away, when its stale routes go; while it is up and not complete, when we stop waiting.
    overdue: of a peer that was lost and has not ended its table since, when another loss keeps what is stale no more.
    """

    address: Address
    as_number: int
    up: bool = False
    since: float = 0.0
    info: str = "Idle"
    restart: float | None = None
    complete: bool = False
    known: bool = False
    deadline: float | None = None
    overdue: float | None = None
    router_id: Address | None = None


@dataclass(frozen=True, slots=True)
class Unheard:
    """The revision of a write of ours that no watch has told of, and the clock since which that is so."""

    revision: str
    since: float


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """What is known of and by Kubernetes beside namespaces, Services and endpoints; the World has none without it.

    namespace: where Secrets with BGP passwords are. away: what cannot be followed, and why. node: this node as
    Kubernetes has it; None: it has none, or (node_heard) that is not known. asking: pods that it is being asked about;
    unanswered: those that it was asked about in vain, why, and the clock until which it is not asked again. remembered:
    namespaces as a former agent heard of them, for as long as nobody can be asked. files: passwords that are no
    Secret's, None until they were looked for. secrets: the Secrets that were heard of, by name, with the problem of
    those that cannot be read.
    """

    namespace: str = ""
    away: Mapping[str, str] = field(default_factory=dict)
    node: NodeSeen | None = None
    node_heard: bool = False
    asking: frozenset[str] = frozenset()
    unanswered: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    remembered: Mapping[str, Meta] = field(default_factory=dict)
    files: Secrets | None = None
    secrets: Mapping[str, tuple[Mapping[str, Secret], str]] = field(default_factory=dict)


@dataclass(frozen=True)
class World:
    """One consistent picture. `resources` is the datastore as last heard; `blocks` are our own, ahead of it.

    now: seconds since 1970, for what is written down. clock: seconds that never jump, for what is waited for.
    also_deleting: further DELs of a pod that is being cut off; they are answered with the first.

    broken: by kind, the names of stored objects that cannot be read; they are not absent.

    journalled: a journal was there at the start: what is reserved is known from it. reserved: all IPReservations
    together. cooldown: the cluster's ipCooldownSeconds, None where it says nothing.

    freed: addresses that pods of ours left while their block was not ours: should it be again, they have to rest.
    namespaces: by name, as an orchestrator has them; None where there is none. taking_back: own idle blocks that are
    being made usable again. dropping: a block of ours that is being deleted. empty: own blocks that are empty, at which
    sequence, and since which clock. ahead_after: the clock before which no block is claimed ahead of need. replaced:
    why the datastore's pools are not believed. unheard: own blocks as we last wrote them, while no watch has told of
    that: what watches tell is from before. departed: Nodes and pools that were deleted just now, by kind and name, each
    with the clock until which it lingers. unjournalled: why the disk refuses the journal; while it does, some of what
    is here is owed to it.
    secrets: the BGP passwords there are; None until they were looked for.
    conflist: what is wrong with the CNI configuration that runtimes read; no_conflist: why there is none.
    firewall: what is wrong with packet rules.
    subnets: the networks on this node's other links, each with its link. homeless: whether its address is on none.
    services, endpoints: of an orchestrator, by `namespace/name`; None while they are not known. kubernetes: None where
    there is no orchestrator.
    """

    me: Me
    now: float
    clock: float
    resources: Mapping[str, Mapping[str, Resource]] = field(default_factory=dict)
    synced: frozenset[str] = frozenset()
    broken: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    store_away: str = ""
    blocks: Mapping[Network, IPAMBlock] = field(default_factory=dict)
    freed: Mapping[Address, Allocation] = field(default_factory=dict)
    adopted: bool = False
    links: Mapping[Attachment, Seen] = field(default_factory=dict)
    pods: Mapping[Attachment, Pod] = field(default_factory=dict)
    waiting: Mapping[int, Waiting] = field(default_factory=dict)
    also_deleting: Mapping[Attachment, tuple[int, ...]] = field(default_factory=dict)
    journalled: bool = False
    reserved: Reservations = NONE
    cooldown: int | None = None
    namespaces: Mapping[str, Meta] | None = None
    collections: Mapping[int, Collection] = field(default_factory=dict)
    claiming: bool = False
    taking_back: frozenset[Network] = frozenset()
    dropping: Network | None = None
    empty: Mapping[Network, tuple[int, float]] = field(default_factory=dict)
    ahead_after: float = 0.0
    no_address: str = ""
    subnets: Mapping[Network, str] = field(default_factory=dict)
    homeless: bool = False
    sessions: Mapping[Address, Session] = field(default_factory=dict)
    table: Table | None = None
    speaker_away: str = "not connected yet"
    heard: float = 0.0
    refusals: tuple[str, ...] = ()
    unheard: Mapping[Network, Unheard] = field(default_factory=dict)
    departed: Departed = field(default_factory=dict)
    unjournalled: str = ""
    fenced: str = ""
    replaced: str = ""
    watch: Watch = field(default_factory=Watch)
    conflist: tuple[str, ...] = ()
    no_conflist: str = ""
    firewall: tuple[str, ...] = ()
    services: Mapping[str, Service] | None = None
    endpoints: Mapping[str, tuple[Endpoint, ...]] | None = None
    secrets: Secrets | None = None
    kubernetes: Kubernetes | None = None

    def of_kind(self, kind: Kind) -> Mapping[str, Resource]:
        """What the datastore holds of a kind, by name, as last heard."""
        return self.resources.get(kind.plural, {})

    def is_synced(self, *kinds: Kind) -> bool:
        """Whether all of these kinds have been listed at least once."""
        return self.synced.issuperset([kind.plural for kind in kinds])


if TYPE_CHECKING:
    from dataclasses import replace as replace
else:

    def replace(one, /, **changes):
        """dataclasses.replace, and for a World at a tenth of its cost: every event makes several of them."""
        if type(one) is not World:
            return replaced(one, **changes)
        values = vars(one)
        if not changes.keys() <= values.keys():
            raise TypeError(f"a World has no {', '.join(sorted(changes.keys() - values.keys()))}")
        other = object.__new__(World)
        vars(other).update(values, **changes)
        return other
