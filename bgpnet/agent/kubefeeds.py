"""What of Kubernetes this node has to know, followed: each feed blocks, decodes, and puts events on the queue.

Namespaces and the own Node always; Services and their endpoints, and the Secrets of BGP passwords, when the loop's last
plan asked for them. Pods are not followed: their runtime passes their annotations, and one that does not is asked about.
Objects are reduced to what is needed as they come.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol

from bgpnet import files, kubeobjects
from bgpnet.agent.events import Event
from bgpnet.agent.kubeevents import (
    NAMESPACES,
    DescribePod,
    EndpointsHeard,
    KubernetesAway,
    Namespaces,
    OwnNodeHeard,
    PodDescribed,
    SecretHeard,
    ServicesHeard,
)
from bgpnet.agent.orchestrated import Wanted
from bgpnet.agent.threads import loudly, start
from bgpnet.annotations import Meta
from bgpnet.bgp.secret import Secret, secret
from bgpnet.errors import BgpnetError
from bgpnet.kube.client import Api, Json
from bgpnet.kube.errors import Refused
from bgpnet.kube.reflector import Away, Gone, Listed, Put, Told, follow
from bgpnet.model.service import Endpoint

log = logging.getLogger("bgpnet.agent")

Emit = Callable[[Event], None]

ASKERS = 4
"""How many pods are asked about at once."""
REMEMBERED = "namespaces.json"
"""The file in the state directory that keeps the namespaces for a start without the API server."""
DENIED = 30.0
"""Seconds for which a refusal to read a Secret is taken for an API server that starts: its own rules come late."""


class Feed(Protocol):
    """Takes what a reflector tells."""

    def told(self, told: Told) -> None:
        """Decode it, and say what is news."""


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
            self._follow("Services", "/api/v1/services", ServicesFeed(self._emit).told)
            self._follow("EndpointSlices", "/apis/discovery.k8s.io/v1/endpointslices", slices.told)
        if before.services and not wanted.services:
            self._end("Services", ServicesHeard(None))
            self._end("EndpointSlices", EndpointsHeard(None))
        for name in sorted(wanted.secrets - before.secrets):
            feed = SecretFeed(self._emit, self._namespace, name, self._denied)
            path = f"/api/v1/namespaces/{self._namespace}/secrets"
            self._follow(f"Secret {name}", path, feed.told, fields=f"metadata.name={name}")
        for name in sorted(before.secrets - wanted.secrets):
            self._end(f"Secret {name}", SecretHeard(name, None))

    def ask(self, question: DescribePod) -> None:
        """Ask about a pod; the answer is an event."""
        self._askers.submit(loudly(describe), self._api, question, self._emit)

    def _denied(self, name: str) -> str:
        """Why the Secret may not be read, for good; nothing when it may, or nobody can say."""
        try:
            self._api.get(f"/api/v1/namespaces/{self._namespace}/secrets/{name}")
        except Refused as refused:
            return str(refused)
        except BgpnetError:
            return ""
        return ""

    def _follow(self, what: str, path: str, tell: Callable[[Told], None], *, fields: str = "") -> None:
        ended = self._running[what] = threading.Event()
        there = Presence(what, self._emit, tell)

        def say(told: Told) -> None:
            if not ended.is_set():
                there.told(told)

        def over() -> bool:
            return ended.is_set() or self._stop.is_set()

        start(f"kube-{what}", lambda: follow(self._api, path, say, over, fields=fields))

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


class NamespacesFeed:
    """Labels and annotations of namespaces, told when they change, and kept in a file for a start without the API."""

    def __init__(self, emit: Emit, file: Path) -> None:
        self._emit, self._file = emit, file
        self._metas: dict[str, Meta] = {}

    def told(self, told: Told) -> None:
        """Many changes of a namespace are none of its labels and annotations that matter here."""
        before = dict(self._metas)
        match told:
            case Listed(objects):
                self._metas = {kubeobjects.key(one): kubeobjects.meta(one) for one in objects}
                self._emit(Namespaces(dict(self._metas), whole=True))
            case Put(one):
                name, meta = kubeobjects.key(one), kubeobjects.meta(one)
                if self._metas.get(name) != meta:
                    self._metas[name] = meta
                    self._emit(Namespaces({name: meta}))
            case Gone(one):
                self._metas.pop(kubeobjects.key(one), None)
                self._emit(Namespaces({kubeobjects.key(one): None}))
            case Away():
                pass
        if self._metas != before:
            remember(self._file, self._metas)


class OwnNodeFeed:
    """Labels and addresses of the own Node; its conditions change every few minutes, and are nothing to us."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._said: OwnNodeHeard | None = None

    def told(self, told: Told) -> None:
        """One object, or none."""
        match told:
            case Listed(objects):
                news = OwnNodeHeard(_own(objects[0]) if objects else None)
            case Put(one):
                news = OwnNodeHeard(_own(one))
            case Gone():
                news = OwnNodeHeard(None)
            case _:
                return
        if news != self._said:
            self._said = news
            self._emit(news)


def _own(document: Json) -> kubeobjects.NodeSeen:
    seen = kubeobjects.node(document)
    return replace(seen, annotations={}, conditions={}, version="")


class ServicesFeed:
    """Services, told when something of them changes that decides about their addresses."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._known: dict[str, object] = {}

    def told(self, told: Told) -> None:
        """By `namespace/name`."""
        match told:
            case Listed(objects):
                found = {kubeobjects.key(one): kubeobjects.service(one) for one in objects}
                self._known = dict(found)
                self._emit(ServicesHeard(dict(found), whole=True))
            case Put(one):
                name, service = kubeobjects.key(one), kubeobjects.service(one)
                if self._known.get(name) != service:
                    self._known[name] = service
                    self._emit(ServicesHeard({name: service}))
            case Gone(one):
                self._known.pop(kubeobjects.key(one), None)
                self._emit(ServicesHeard({kubeobjects.key(one): None}))
            case Away():
                pass


class EndpointsFeed:
    """Whether Services have ready endpoints here and elsewhere, from all of their EndpointSlices."""

    def __init__(self, emit: Emit, node: str) -> None:
        self._emit, self._node = emit, node
        self._slices: dict[str, tuple[str, tuple[Endpoint, ...]]] = {}
        self._of: dict[str, set[str]] = {}
        self._said: dict[str, tuple[Endpoint, ...]] = {}

    def told(self, told: Told) -> None:
        """Of each Service that a slice is, or was, of: what it has now, if that is news."""
        match told:
            case Listed(objects):
                self._slices, self._of = {}, {}
                for one in objects:
                    self._put(kubeobjects.key(one), *kubeobjects.endpoints(one, self._node))
                self._said = {name: self._whole(name) for name in self._of}
                self._emit(EndpointsHeard(dict(self._said), whole=True))
            case Put(one):
                name = kubeobjects.key(one)
                gone = self._drop(name)
                service, which = kubeobjects.endpoints(one, self._node)
                self._put(name, service, which)
                self._say(gone, service)
            case Gone(one):
                self._say(self._drop(kubeobjects.key(one)))
            case Away():
                pass

    def _put(self, name: str, service: str, which: tuple[Endpoint, ...]) -> None:
        self._slices[name] = (service, which)
        self._of.setdefault(service, set()).add(name)

    def _drop(self, name: str) -> str:
        service, _ = self._slices.pop(name, ("", ()))
        slices = self._of.get(service, set())
        slices.discard(name)
        if not slices:
            self._of.pop(service, None)
        return service

    def _whole(self, service: str) -> tuple[Endpoint, ...]:
        each = {one for name in self._of.get(service, ()) for one in self._slices[name][1]}
        return tuple(sorted(each, key=lambda one: one.node, reverse=True))

    def _say(self, *services: str) -> None:
        for service in dict.fromkeys(services):
            now = self._whole(service) if service in self._of else None
            if service and now != self._said.get(service):
                if now is None:
                    del self._said[service]
                else:
                    self._said[service] = now
                self._emit(EndpointsHeard({service: now}))


class SecretFeed:
    """The keys of one Secret. One that we may not read counts as none after a while, whatever keeps the others away."""

    def __init__(self, emit: Emit, namespace: str, name: str, denied: Callable[[str], str]) -> None:
        self._emit, self._name, self._denied = emit, name, denied
        self._where = f"{namespace}/{name}"
        self._heard = False
        self._refused: threading.Timer | None = None

    def told(self, told: Told) -> None:
        """What it has now; that it is gone; or that it cannot be had."""
        match told:
            case Listed(objects):
                self._say(next(iter(objects), None))
            case Put(one):
                self._say(one)
            case Gone():
                self._say(None)
            case Away() if not self._heard and self._refused is None:
                self._refused = threading.Timer(DENIED, loudly(self._doubt))
                self._refused.daemon = True
                self._refused.start()

    def _say(self, document: Json | None) -> None:
        self._heard = True
        if document is None:
            self._emit(SecretHeard(self._name, {}, f"Secret {self._where} does not exist"))
        else:
            self._emit(SecretHeard(self._name, keys(document.get("data"))))

    def _doubt(self) -> None:
        """An API server that is away tells nothing of the Secret; one that refuses it does."""
        self._refused = None
        if not self._heard and (reason := self._denied(self._name)) and not self._heard:
            self._emit(SecretHeard(self._name, {}, reason))


def keys(data: object) -> Mapping[str, Secret]:
    """The values of a Secret's `data`, which are base64 (core/v1)."""
    found: dict[str, Secret] = {}
    for key, text in data.items() if isinstance(data, dict) else ():
        try:
            found[str(key)] = secret(base64.b64decode(text, validate=True))
        except (binascii.Error, TypeError, ValueError):
            found[str(key)] = Secret(problem="is not base64; write it with kubectl create secret")
    return found


def describe(api: Api, question: DescribePod, emit: Emit) -> None:
    """Ask about a pod, its namespace, or both. What does not exist asks for nothing."""
    namespace, _, name = question.pod.partition("/")
    annotations, meta = None, None
    try:
        if question.of_pod:
            found = kubeobjects.meta(api.get(f"/api/v1/namespaces/{namespace}/pods/{name}") or {})
            annotations = tuple(sorted(found.annotations.items()))
        if question.of_namespace:
            meta = kubeobjects.meta(api.get(f"/api/v1/namespaces/{namespace}") or {})
    except BgpnetError as problem:
        emit(PodDescribed(question.pod, annotations, meta, str(problem)))
    else:
        emit(PodDescribed(question.pod, annotations, meta))


def remember(file: Path, metas: Mapping[str, Meta]) -> None:
    """Keep the namespaces for a start without the API server; a disk that refuses takes nothing else with it."""
    data = json.dumps({name: asdict(meta) for name, meta in metas.items()}).encode()
    try:
        files.replace(file, data, 0o600)
    except OSError as problem:
        log.warning("%s cannot be written: %s; see to the disk", file, problem.strerror)


def remembered(file: Path) -> Mapping[str, Meta]:
    """The namespaces as a former agent heard of them; none where they cannot be read."""
    found: dict[str, Meta] = {}
    with suppress(OSError, ValueError, TypeError, AttributeError):
        for name, meta in json.loads(file.read_bytes()).items():
            found[name] = Meta(_texts(meta["labels"].items()), _texts(meta["annotations"].items()))
    return found


def _texts(pairs: Iterable[tuple[object, object]]) -> dict[str, str]:
    return {str(name): str(text) for name, text in pairs}
