"""What the controller does, as values: each is one compare-and-swap, and carries the evidence to be seen again first.

`what` and `why` are for people; `object` names the thing in the words of all messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from bgpnet.ipamcheck.picture import Slot
from bgpnet.kubeobjects import NodeSeen
from bgpnet.model.kinds import Resource, subject
from bgpnet.model.node import Node
from bgpnet.model.releaserequest import ReleaseRequest


@dataclass(frozen=True, slots=True)
class Leak:
    """A live allocation that no pod has, and why it seems so. group: all addresses of its container, itself included.

    node: its owner in Kubernetes' words; since: by our clock.
    """

    slot: Slot
    group: tuple[Slot, ...]
    node: str
    reason: str
    since: float

    @property
    def key(self) -> tuple[str, int]:
        """The address and the sequence."""
        return str(self.slot.address), self.slot.allocation.sequence


@dataclass(frozen=True, slots=True)
class Departure:
    """A node that is gone: its name, its name in Kubernetes, and the resourceVersion of its Node; empty without one."""

    node: str
    kubernetes: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the owner of a leaked address to release it."""

    request: ReleaseRequest
    leak: Leak
    why: str

    what = "ask to release"

    @property
    def object(self) -> str:
        """The address."""
        return f"{self.leak.slot.address} of {self.leak.slot.who}"

    @property
    def node(self) -> str:
        """Who is asked."""
        return self.leak.slot.owner


@dataclass(frozen=True, slots=True)
class Write:
    """Write an object at its resourceVersion. departure, leak: what has to be seen again before."""

    resource: Resource
    what: str
    why: str
    node: str = ""
    departure: Departure | None = None
    leak: Leak | None = None

    @property
    def object(self) -> str:
        """The object's name."""
        return subject(self.resource)


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete an object at its resourceVersion; with a departure, only after that was seen again."""

    resource: Resource
    why: str
    node: str = ""
    departure: Departure | None = None

    what = "delete"

    @property
    def object(self) -> str:
        """The object's name."""
        return subject(self.resource)


@dataclass(frozen=True, slots=True)
class SetNetwork:
    """Say in the Kubernetes Node's condition NetworkUnavailable whether its network is there.

    ours: the Node that stands for it, by whose heartbeat this is said.
    """

    seen: NodeSeen
    unavailable: bool
    reason: str
    why: str
    ours: Node

    @property
    def what(self) -> str:
        """What it becomes."""
        return f"set NetworkUnavailable {self.unavailable}"

    @property
    def object(self) -> str:
        """The Kubernetes Node."""
        return f"Kubernetes Node({self.seen.name})"

    @property
    def node(self) -> str:
        """Its name."""
        return self.seen.name


Action = Ask | Write | Remove | SetNetwork


class Waiting(NamedTuple):
    """What will be done later, if it is still so. at: when, by our clock; None: when something else has happened."""

    what: str
    object: str
    node: str
    why: str
    at: float | None = None
