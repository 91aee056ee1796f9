"""Kubernetes' Pods and Nodes, from the JSON of its API (core/v1), as the values that we need of them. Pure.

A field that is missing, or is of another type than the API says, is read as empty: what matters is decided by what is
there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from bgpnet.model import instant

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
