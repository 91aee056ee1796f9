"""Kubernetes' objects, from the JSON of its API, as the values that we need of them. Pure.

A field that is missing, or is of another type than the API says, is read as empty: what matters is decided by what is
there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from bgpnet.annotations import KNOWN_PREFIXES, Meta
from bgpnet.model import instant
from bgpnet.model.service import Endpoint, Service, ServiceType, TrafficPolicy

Json = Mapping[str, Any]
"""A JSON object as it was decoded."""

ENDED = frozenset({"Succeeded", "Failed"})
"""Phases in which no container of a pod runs, or ever will again; an evicted pod is Failed (core/v1, PodPhase)."""

NETWORK_UNAVAILABLE = "NetworkUnavailable"
"""The Node's condition that says whether its network is there (core/v1, NodeConditionType)."""

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PodSeen:
    """A pod. ips: as its status says, the primary one first; created: seconds since 1970, 0 when it is not said.

    deleting: its deletion has begun. version: its resourceVersion, opaque.
    """

    namespace: str
    name: str
    uid: str = ""
    node: str = ""
    phase: str = ""
    ips: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=lambda: _NONE)
    annotations: Mapping[str, str] = field(default_factory=lambda: _NONE)
    host_network: bool = False
    deleting: bool = False
    created: float = 0.0
    version: str = ""

    @property
    def key(self) -> str:
        """`namespace/name`, as our allocations name a pod."""
        return f"{self.namespace}/{self.name}"

    @property
    def ended(self) -> bool:
        """Whether all of its containers have ended for good."""
        return self.phase in ENDED


@dataclass(frozen=True, slots=True)
class ConditionSeen:
    """A condition of a Node: `status` is True, False or Unknown."""

    status: str
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """A Node. internal_ips, external_ips: as its kubelet (or cloud) says; conditions: by type.

    version: its resourceVersion, opaque.
    """

    name: str
    uid: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: _NONE)
    annotations: Mapping[str, str] = field(default_factory=lambda: _NONE)
    internal_ips: tuple[str, ...] = ()
    external_ips: tuple[str, ...] = ()
    conditions: Mapping[str, ConditionSeen] = field(default_factory=dict)
    created: float = 0.0
    version: str = ""

    @property
    def unavailable(self) -> bool | None:
        """What its condition NetworkUnavailable says; None where it has none, or it is Unknown."""
        found = self.conditions.get(NETWORK_UNAVAILABLE)
        return None if found is None else {"True": True, "False": False}.get(found.status)


def pod(document: Json) -> PodSeen:
    """A Pod as the API gives it."""
    meta, spec, status = _object(document, "metadata"), _object(document, "spec"), _object(document, "status")
    return PodSeen(
        namespace=_text(meta, "namespace"),
        name=_text(meta, "name"),
        uid=_text(meta, "uid"),
        node=_text(spec, "nodeName"),
        phase=_text(status, "phase"),
        ips=tuple(dict.fromkeys(_ips(status))),
        labels=_texts(meta, "labels"),
        annotations=_texts(meta, "annotations"),
        host_network=spec.get("hostNetwork") is True,
        deleting=bool(meta.get("deletionTimestamp")),
        created=_instant(meta, "creationTimestamp"),
        version=_text(meta, "resourceVersion"),
    )


def node(document: Json) -> NodeSeen:
    """A Node as the API gives it."""
    meta, status = _object(document, "metadata"), _object(document, "status")
    addresses = [(_text(one, "type"), _text(one, "address")) for one in _objects(status, "addresses")]
    return NodeSeen(
        name=_text(meta, "name"),
        uid=_text(meta, "uid"),
        labels=_texts(meta, "labels"),
        annotations=_texts(meta, "annotations"),
        internal_ips=tuple(address for kind, address in addresses if kind == "InternalIP" and address),
        external_ips=tuple(address for kind, address in addresses if kind == "ExternalIP" and address),
        conditions={
            _text(one, "type"): ConditionSeen(_text(one, "status"), _text(one, "reason"), _text(one, "message"))
            for one in _objects(status, "conditions")
        },
        created=_instant(meta, "creationTimestamp"),
        version=_text(meta, "resourceVersion"),
    )


HEADLESS = "None"
"""The clusterIP of a Service that has none (core/v1, ClusterIPNone)."""
SERVICE_NAME = "kubernetes.io/service-name"
"""The label of an EndpointSlice that names its Service (discovery.k8s.io/v1)."""


def key(document: Json) -> str:
    """`namespace/name` of an object, or its name where it is in no namespace."""
    meta = _object(document, "metadata")
    namespace, name = _text(meta, "namespace"), _text(meta, "name")
    return f"{namespace}/{name}" if namespace else name


def meta(document: Json) -> Meta:
    """Labels, and the annotations that may be meant for us, of any object."""
    found = _object(document, "metadata")
    notes = {name: text for name, text in _texts(found, "annotations").items() if name.startswith(KNOWN_PREFIXES)}
    return Meta(_texts(found, "labels"), notes)


def service(document: Json) -> Service:
    """A Service (core/v1). Without addresses are a headless one, whose clusterIP is `None`, a balancer that is known by
    a host name only, and one that does not leave its address to the nodes (ipMode Proxy: no kube-proxy takes it).
    """
    spec, status = _object(document, "spec"), _object(document, "status")
    ingress = _objects(_object(status, "loadBalancer"), "ingress")
    local = _text(spec, "externalTrafficPolicy") == TrafficPolicy.LOCAL
    one, several = _text(spec, "clusterIP"), _strings(spec, "clusterIPs")
    return Service(
        type=_service_type(_text(spec, "type")),
        cluster_ips=tuple(each for each in several or (one,) if each not in ("", HEADLESS)),
        external_ips=_strings(spec, "externalIPs"),
        load_balancer_ips=tuple(
            address for point in ingress if (address := _text(point, "ip")) and _text(point, "ipMode") != "Proxy"
        ),
        policy=TrafficPolicy.LOCAL if local else TrafficPolicy.CLUSTER,
    )


def only_service(document: Json) -> dict[str, Any]:
    """Of a Service what `key` and `service` read."""
    return {**_only(document, _SERVICE)}


def only_endpoints(document: Json, node: str) -> dict[str, Any]:
    """Of an EndpointSlice what `key` and `endpoints` read: for this node it says the same."""
    _, which = endpoints(document, node)
    return {**_only(document, _SLICE), "endpoints": [{"nodeName": one.node} for one in which]}


_Shape = Mapping[str, Any]
_NAMES: _Shape = {"name": None, "namespace": None}
_SERVICE: _Shape = {
    "metadata": _NAMES,
    "spec": dict.fromkeys(("type", "clusterIP", "clusterIPs", "externalIPs", "externalTrafficPolicy")),
    "status": {"loadBalancer": {"ingress": {"ip": None, "ipMode": None}}},
}
_SLICE: _Shape = {"metadata": {**_NAMES, "labels": {SERVICE_NAME: None}}}


def _only(found: Any, shape: _Shape | None) -> Any:
    """What a shape names of an object, or of each in a list; None: all of it."""
    if shape is None:
        return found
    if isinstance(found, list | tuple):
        return [_only(one, shape) for one in found]
    if not isinstance(found, Mapping):
        return found
    return {name: _only(found[name], inner) for name, inner in shape.items() if name in found}


def endpoints(document: Json, node: str) -> tuple[str, tuple[Endpoint, ...]]:
    """Of an EndpointSlice (discovery.k8s.io/v1) its Service, and whether it has ready endpoints here and elsewhere.

    One for this node and one for all others at most: more is not asked for, and thousands of them would be kept. One
    whose readiness is not said is ready (source: the API's own description of `conditions.ready`).
    """
    found = _object(document, "metadata")
    ready = [one for one in _objects(document, "endpoints") if _object(one, "conditions").get("ready") is not False]
    here = {_text(one, "nodeName") == node for one in ready}
    name = _texts(found, "labels").get(SERVICE_NAME, "")
    which = tuple(Endpoint(node=node if mine else "") for mine in sorted(here, reverse=True))
    return f"{_text(found, 'namespace')}/{name}", which


def _service_type(text: str) -> ServiceType:
    try:
        return ServiceType(text or "ClusterIP")
    except ValueError:  # one that a later Kubernetes has: of no address of it is known what it is for
        return ServiceType.EXTERNAL_NAME


def _strings(parent: Json, key: str) -> tuple[str, ...]:
    found = parent.get(key)
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list | tuple) else ()


def _ips(status: Json) -> Iterator[str]:
    """podIP is the first of podIPs; an old API server says only the first."""
    if first := _text(status, "podIP"):
        yield first
    yield from (address for one in _objects(status, "podIPs") if (address := _text(one, "ip")))


def _object(parent: Json, key: str) -> Json:
    found = parent.get(key)
    return found if isinstance(found, Mapping) else {}


def _objects(parent: Json, key: str) -> list[Json]:
    found = parent.get(key)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list | tuple) else []


def _text(parent: Json, key: str) -> str:
    found = parent.get(key)
    return found if isinstance(found, str) else ""


def _texts(parent: Json, key: str) -> Mapping[str, str]:
    return {name: text for name, text in _object(parent, key).items() if isinstance(text, str)}


def _instant(parent: Json, key: str) -> float:
    try:
        return instant.seconds(_text(parent, key))
    except ValueError:
        return 0.0
