"""What a reflector tells of Kubernetes, as events: decoded, reduced to what is needed, and only what is news."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from bgpnet import files, kubeobjects
from bgpnet.agent.events import Event
from bgpnet.agent.kubeevents import EndpointsHeard, Namespaces, OwnNodeHeard, SecretHeard, ServicesHeard
from bgpnet.annotations import Meta
from bgpnet.bgp.secret import Secret, secret
from bgpnet.kube.client import Json
from bgpnet.kube.reflector import Away, Gone, Listed, Put, Told
from bgpnet.model.service import Endpoint
from bgpnet.threads import loudly

log = logging.getLogger("bgpnet.agent")

Emit = Callable[[Event], None]

REMEMBERED = "namespaces.json"
"""The file in the state directory that keeps the namespaces for a start without the API server."""
DENIED = 30.0
"""Seconds for which a refusal to read a Secret is taken for an API server that starts: its own rules come late."""


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
                self._refused = threading.Timer(DENIED, loudly(self.doubt))
                self._refused.daemon = True
                self._refused.start()

    def _say(self, document: Json | None) -> None:
        self._heard = True
        if document is None:
            self._emit(SecretHeard(self._name, {}, f"Secret {self._where} does not exist"))
        else:
            self._emit(SecretHeard(self._name, keys(document.get("data"))))

    def doubt(self) -> None:
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
