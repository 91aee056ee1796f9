"""What the feeds have said, held for the loop: pictures are made of it, and only of what was heard in full.

`news` is set when something may be to be done. A heartbeat is no news: a hundred nodes write five a second.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import cast

from msgspec import structs

from bgpnet import kubeobjects
from bgpnet.controller.picture import Cluster, Picture, heartbeat
from bgpnet.kube.reflector import Away, Gone, Listed, Put, Told
from bgpnet.kubeobjects import NodeSeen, PodSeen
from bgpnet.model import instant, kinds
from bgpnet.model.bgpconfiguration import BGPConfiguration
from bgpnet.model.bgppeer import BGPPeer
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.ippool import IPPool
from bgpnet.model.ipreservation import IPReservation
from bgpnet.model.kinds import Kind, Resource
from bgpnet.model.node import Node
from bgpnet.model.releaserequest import ReleaseRequest

KINDS = (
    kinds.NODE,
    kinds.IPAMBLOCK,
    kinds.IPPOOL,
    kinds.BGPPEER,
    kinds.BGPCONFIGURATION,
    kinds.RELEASEREQUEST,
    kinds.IPRESERVATION,
)
"""What is followed in the datastore."""
GAP = 45.0
"""Seconds between two heartbeats after which the second one is news: they come every 20 s."""
_NONE: Mapping[str, str] = MappingProxyType({})


class View:
    """Filled by the feeds' threads, read by the loop's.

    kubernetes: whether there is such a feed; keeps: whether that API is the datastore, too.
    """

    def __init__(self, kubernetes: bool, clock: Callable[[], float], *, keeps: bool = False) -> None:
        self.news = threading.Event()
        self.kubernetes = kubernetes
        self._keeps = keeps
        self._clock = clock
        self._lock = threading.Lock()
        self._stored: dict[str, dict[str, Resource]] = {}
        self._broken: frozenset[str] = frozenset()
        self._heard = clock()
        self._store_away: dict[str, str] = {}
        self._pods: dict[str, PodSeen] | None = None
        self._nodes: dict[str, NodeSeen] | None = None
        self._away: dict[str, str] = {}

    # the datastore

    def listed(self, kind: Kind, resources: Iterable[Resource], broken: Iterable[str] = ()) -> None:
        """All objects of a kind, and the names of those that cannot be read."""
        with self._lock:
            if self._store_away.pop(kind.plural, ""):
                self._heard = self._clock()
            self._stored[kind.plural] = {one.metadata.name: one for one in resources}
            if kind is kinds.NODE:
                self._broken = frozenset(broken)
            self.news.set()

    def changed(self, kind: Kind, resource: Resource) -> None:
        """An object is new, or other."""
        with self._lock:
            there = self._stored.setdefault(kind.plural, {})
            before = there.get(resource.metadata.name)
            there[resource.metadata.name] = resource
            if not _is_heartbeat(before, resource):
                self.news.set()

    def deleted(self, kind: Kind, name: str) -> None:
        """An object is gone."""
        with self._lock:
            self._stored.setdefault(kind.plural, {}).pop(name, None)
            self.news.set()

    def store_away(self, kind: Kind, reason: str) -> None:
        """The datastore does not answer: what it said last may be old, and nothing is planned until it is listed."""
        with self._lock:
            self._store_away[kind.plural] = reason
            self.news.set()

    # Kubernetes

    def pods(self, told: Told) -> None:
        """What the API says of Pods; of a pod, only what allocations are compared with is kept."""
        with self._lock:
            match told:
                case Listed(objects):
                    found = map(_pod, objects)
                    self._pods = {one.key: one for one in found}
                case Put(document):
                    one, there = _pod(document), self._pods if self._pods is not None else {}
                    if there.get(one.key) == one:
                        return
                    there[one.key] = one
                case Gone(document):
                    (self._pods or {}).pop(_pod(document).key, None)
            self._told("pods", told)

    def nodes(self, told: Told) -> None:
        """What the API says of Nodes."""
        with self._lock:
            match told:
                case Listed(objects):
                    self._nodes = {one.name: one for one in map(kubeobjects.node, objects)}
                case Put(document):
                    one, there = kubeobjects.node(document), self._nodes if self._nodes is not None else {}
                    before = there.get(one.name)
                    there[one.name] = one
                    if before is not None and _same_node(before, one):
                        return
                case Gone(document):
                    (self._nodes or {}).pop(kubeobjects.node(document).name, None)
            self._told("nodes", told)

    def _told(self, what: str, told: Told) -> None:
        match told:
            case Listed():
                self._away.pop(what, None)
            case Away(reason):
                self._away[what] = reason
        self.news.set()

    # what there is

    def missing(self) -> tuple[str, str]:
        """Why the datastore, and why Kubernetes, is not known; empty where it is."""
        with self._lock:
            return self._no_store(), self._no_cluster()

    def picture(self, now: float) -> Picture | None:
        """One look at everything, None while the datastore is not known."""
        with self._lock:
            if self._no_store():
                return None
            known = self.kubernetes and not self._no_cluster()
            return Picture(
                now=now,
                clock=self._clock(),
                heard=self._heard,
                nodes=cast("dict[str, Node]", self._of(kinds.NODE)),
                blocks=cast("dict[str, IPAMBlock]", self._of(kinds.IPAMBLOCK)),
                pools=cast("dict[str, IPPool]", self._of(kinds.IPPOOL)),
                peers=cast("dict[str, BGPPeer]", self._of(kinds.BGPPEER)),
                configurations=cast("dict[str, BGPConfiguration]", self._of(kinds.BGPCONFIGURATION)),
                requests=cast("dict[str, ReleaseRequest]", self._of(kinds.RELEASEREQUEST)),
                reservations=cast("dict[str, IPReservation]", self._of(kinds.IPRESERVATION)),
                broken=self._broken,
                cluster=Cluster(dict(self._pods or {}), dict(self._nodes or {}), self._keeps) if known else None,
            )

    def _of(self, kind: Kind) -> dict[str, Resource]:
        return dict(self._stored[kind.plural])

    def _no_store(self) -> str:
        if self._store_away:
            return next(iter(self._store_away.values()))
        lacking = [kind.plural for kind in KINDS if kind.plural not in self._stored]
        return f"the datastore has not said yet what there is of {', '.join(lacking)}" if lacking else ""

    def _no_cluster(self) -> str:
        if not self.kubernetes:
            return ""
        if self._away:
            return next(iter(self._away.values()))
        lacking = [name for name, there in (("pods", self._pods), ("nodes", self._nodes)) if there is None]
        return f"the Kubernetes API has not said yet what there is of {', '.join(lacking)}" if lacking else ""


def _pod(document: kubeobjects.Json) -> PodSeen:
    return replace(kubeobjects.pod(document), labels=_NONE, annotations=_NONE, version="", deleting=False)


def _same_node(one: NodeSeen, other: NodeSeen) -> bool:
    """Whether nothing that we act on differs."""
    return replace(one, version="", annotations=_NONE) == replace(other, version="", annotations=_NONE)


def _is_heartbeat(before: Resource | None, after: Resource) -> bool:
    """Whether a Node has only said again that its agent lives, in time, or how its sessions are."""
    if not isinstance(before, Node) or not isinstance(after, Node):
        return False
    if _without_status(before) != _without_status(after):
        return False
    try:
        return abs(instant.seconds(heartbeat(after)) - instant.seconds(heartbeat(before))) < GAP
    except ValueError:
        return heartbeat(after) == heartbeat(before)


def _without_status(node: Node) -> Node:
    return structs.replace(node, metadata=structs.replace(node.metadata, resourceVersion=""), status=None)
