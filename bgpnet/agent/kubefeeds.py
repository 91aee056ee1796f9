"""What of Kubernetes this node has to know, followed: each feed blocks, decodes, and puts events on the queue.

Namespaces and the own Node always; Services and their endpoints, and the Secrets of BGP passwords, when the loop's last
plan asked for them. Pods are not followed: their runtime passes their annotations; where it does not, they are asked
about. Objects are reduced to what is needed as they come.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from bgpnet import kubeobjects
from bgpnet.agent.events import Event
from bgpnet.agent.kubeevents import (
    NAMESPACES,
    DescribePod,
    EndpointsHeard,
    KubernetesAway,
    PodDescribed,
    SecretHeard,
    ServicesHeard,
)
from bgpnet.agent.kubetold import REMEMBERED, EndpointsFeed, NamespacesFeed, OwnNodeFeed, SecretFeed, ServicesFeed
from bgpnet.agent.orchestrated import Wanted
from bgpnet.errors import BgpnetError
from bgpnet.kube.client import Api, Json
from bgpnet.kube.errors import Refused
from bgpnet.kube.reflector import Away, Told, follow
from bgpnet.threads import loudly, start

log = logging.getLogger("bgpnet.agent")

Emit = Callable[[Event], None]

SHORT = 3.0
"""Seconds in which an API server has to answer what an ADD waits for; which waits for ten, and may ask again."""
ASKERS = 4
"""How many pods are asked about at once."""


class Kubernetes:
    """All feeds. `want` and `ask` return at once and may be called by the loop."""

    def __init__(self, api: Api, node: str, namespace: str, state_dir: Path, emit: Emit, stop: threading.Event) -> None:
        self._api, self._emit, self._stop = api, emit, stop
        self._node, self._namespace, self._state_dir = node, namespace, state_dir
        self._wanted = Wanted()
        self._running: dict[str, threading.Event] = {}
        self._askers = ThreadPoolExecutor(ASKERS, thread_name_prefix="kube-ask")

    def start(self) -> None:
        """Follow what is needed at all times."""
        namespaces = NamespacesFeed(self._emit, self._state_dir / REMEMBERED)
        self._follow(NAMESPACES, "/api/v1/namespaces", namespaces.told)
        name = f"metadata.name={self._node}"
        self._follow("own Node", "/api/v1/nodes", OwnNodeFeed(self._emit).told, fields=name)

    def want(self, wanted: Wanted) -> None:
        """Follow this besides, and nothing else that was followed for a former plan."""
        before, self._wanted = self._wanted, wanted
        if before == wanted:
            return
        if wanted.services and not before.services:
            slices = EndpointsFeed(self._emit, self._node)
            services, path = ServicesFeed(self._emit), "/apis/discovery.k8s.io/v1/endpointslices"
            self._follow("Services", "/api/v1/services", services.told, keep=kubeobjects.only_service)
            few = partial(kubeobjects.only_endpoints, node=self._node)
            self._follow("EndpointSlices", path, slices.told, keep=few)
        if before.services and not wanted.services:
            self._end("Services", ServicesHeard(None))
            self._end("EndpointSlices", EndpointsHeard(None))
        for name in sorted(wanted.secrets - before.secrets):
            feed = SecretFeed(self._emit, self._namespace, name, self.denied)
            path = f"/api/v1/namespaces/{self._namespace}/secrets"
            self._follow(f"Secret {name}", path, feed.told, fields=f"metadata.name={name}")
        for name in sorted(before.secrets - wanted.secrets):
            self._end(f"Secret {name}", SecretHeard(name, None))

    def ask(self, question: DescribePod) -> None:
        """Ask about a pod; the answer is an event."""
        self._askers.submit(loudly(describe), self._api, question, self._emit)

    def denied(self, name: str) -> str:
        """Why the Secret may not be followed, for good; nothing when it may, or nobody can say.

        Listed, as it is followed: a Role that permits `get` alone is a refusal.
        """
        try:
            self._api.list(f"/api/v1/namespaces/{self._namespace}/secrets", fields=f"metadata.name={name}")
        except Refused as refused:
            return str(refused)
        except BgpnetError:
            return ""
        return ""

    def _follow(
        self,
        what: str,
        path: str,
        tell: Callable[[Told], None],
        *,
        fields: str = "",
        keep: Callable[[Json], Json] | None = None,
    ) -> None:
        ended = self._running[what] = threading.Event()
        there = Presence(what, self._emit, tell)

        def say(told: Told) -> None:
            if not ended.is_set():
                there.told(told)

        def over() -> bool:
            return ended.is_set() or self._stop.is_set()

        start(f"kube-{what}", lambda: follow(self._api, path, say, over, fields=fields, keep=keep))

    def _end(self, what: str, last: Event) -> None:
        self._running.pop(what).set()
        self._emit(KubernetesAway(what, ""))
        self._emit(last)


class Presence:
    """Says once that something cannot be followed, and once that it can again; passes everything on."""

    def __init__(self, what: str, emit: Emit, tell: Callable[[Told], None]) -> None:
        self._what, self._emit, self._tell = what, emit, tell
        self._away = False

    def told(self, told: Told) -> None:
        """What the reflector tells; its news first, that it is back after them."""
        self._tell(told)
        if isinstance(told, Away):
            log.warning("Kubernetes' %s cannot be followed: %s", self._what, told.reason)
            self._away = True
            self._emit(KubernetesAway(self._what, told.reason))
        elif self._away:
            log.info("Kubernetes' %s can be followed again", self._what)
            self._away = False
            self._emit(KubernetesAway(self._what, ""))


def describe(api: Api, question: DescribePod, emit: Emit) -> None:
    """Ask about a pod, its namespace, or both. What does not exist asks for nothing."""
    namespace, _, name = question.pod.partition("/")
    annotations, meta = None, None
    try:
        if question.of_pod:
            found = kubeobjects.meta(api.get(f"/api/v1/namespaces/{namespace}/pods/{name}", seconds=SHORT) or {})
            annotations = tuple(sorted(found.annotations.items()))
        if question.of_namespace:
            meta = kubeobjects.meta(api.get(f"/api/v1/namespaces/{namespace}", seconds=SHORT) or {})
    except BgpnetError as problem:
        emit(PodDescribed(question.pod, annotations, meta, str(problem)))
    else:
        emit(PodDescribed(question.pod, annotations, meta))
