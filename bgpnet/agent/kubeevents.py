"""What Kubernetes tells the loop, and what the loop asks of it. Pure values; the other events are in events.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bgpnet.annotations import Meta
from bgpnet.bgp.secret import Secret
from bgpnet.kubeobjects import NodeSeen
from bgpnet.model.service import Endpoint, Service

NAMESPACES = "namespaces"
"""What is followed at all times: while it cannot be, nobody is asked about pods either."""

NO_ADDRESS, NOT_WIRED = "NoAddress", "NotWired"
"""Reasons of Events about pods."""


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Namespaces by name as the orchestrator has them; None: gone. whole: there are no others."""

    metas: Mapping[str, Meta | None]
    whole: bool = False


@dataclass(frozen=True, slots=True)
class PodDescribed:
    """What Kubernetes says of a pod that an ADD waits for, and of its namespace; None where that was not asked for.

    problem: why it could not be asked, a sentence.
    """

    pod: str
    annotations: tuple[tuple[str, str], ...] | None = None
    namespace: Meta | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ServicesHeard:
    """Services by `namespace/name`; None: gone. whole: there are no others. services None: nobody listens any more."""

    services: Mapping[str, Service | None] | None
    whole: bool = False


@dataclass(frozen=True, slots=True)
class EndpointsHeard:
    """The endpoints of Services by the Services' names, as above; all that a Service has, reduced to what is asked."""

    endpoints: Mapping[str, tuple[Endpoint, ...] | None] | None
    whole: bool = False


@dataclass(frozen=True, slots=True)
class OwnNodeHeard:
    """This node as Kubernetes has it; None: it has none of the name."""

    node: NodeSeen | None


@dataclass(frozen=True, slots=True)
class SecretHeard:
    """The keys of a Secret that was referred to; none where it does not exist, or is not ours to read (problem).

    keys None: nobody listens any more.
    """

    name: str
    keys: Mapping[str, Secret] | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class KubernetesAway:
    """What of Kubernetes (`namespaces`) cannot be followed, and why; an empty reason: it is followed again."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class DescribePod:
    """Ask Kubernetes, in vain for a short time only, of a pod or its namespace or both; report PodDescribed."""

    pod: str
    of_pod: bool
    of_namespace: bool


@dataclass(frozen=True, slots=True)
class Grievance:
    """That a pod has no address, or could not be wired, for its owner: a sentence that says what to do.

    reason: of its Event.
    """

    pod: str
    uid: str
    sentence: str
    reason: str = NO_ADDRESS
