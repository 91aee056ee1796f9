"""What an agent keeps in view over time: lost pods, alarms, what it has published and answered. Part of the World."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

from bgpnet.cnispec import Attachment
from bgpnet.model.ip import Address, Network
from bgpnet.model.node import NodeIPAM, NodeSessions
from bgpnet.model.releaserequest import ReleaseRequestSpec, ReleaseRequestStatus


class Netns(StrEnum):
    """Whether a pod's network namespace is there. UNSEEN: its path is not known, or leads where we cannot look."""

    THERE = "there"
    GONE = "gone"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True)
class Sight:
    """What was found of a lost pod, and since which clock it has been found so without a break."""

    netns: Netns
    since: float


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to a request, told from a later one of the same name by what it asks for."""

    spec: ReleaseRequestSpec
    status: ReleaseRequestStatus


@dataclass(frozen=True, slots=True)
class Watch:
    """due: the clock of the next round. sights: of lost pods without a link. looking: who is being looked at now.

    intruders: what others announce of our blocks (prefix and peer), since which clock. alarms: those that were logged.
    published: what our Node is to say, set at published_at. sessions: the same of BGP, set at sessions_at and looked
    at again at sessions_due; changed_at: when what they are made from last changed. overloads: how many warnings of a
    route reflector that serves too many were logged. answers: to requests, by name, decided and not yet stored.
    pressed_until: the clock until which no more is said of addresses that are given away before they have rested.
    """

    due: float = 0.0
    sights: Mapping[Attachment, Sight] = field(default_factory=dict)
    looking: frozenset[Attachment] = frozenset()
    intruders: Mapping[tuple[Network, Address], float] = field(default_factory=dict)
    alarms: tuple[str, ...] = ()
    published: NodeIPAM | None = None
    published_at: float = 0.0
    sessions: NodeSessions | None = None
    sessions_at: float = 0.0
    sessions_due: float = 0.0
    changed_at: float = -inf
    overloads: int = 0
    answers: Mapping[str, Answered] = field(default_factory=dict)
    pressed_until: float = 0.0
