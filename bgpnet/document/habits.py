"""The apiVersions that people's files carry, and what comes with each.

`projectcalico.org/v3` is what calicoctl reads and writes. `crd.projectcalico.org/v1` is the same as the Kubernetes API
server holds it: the metadata that Calico's users know are in an annotation, the rest of it is the API server's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from bgpnet.errors import Finding
from bgpnet.model.resource import API_VERSION

V3 = "projectcalico.org/v3"
CRD = "crd.projectcalico.org/v1"
ACCEPTED = (API_VERSION, V3, CRD)
KINDS = {
    V3: {"CalicoNodeStatus": "NodeStatus"},
    CRD: {"CalicoNodeStatus": "NodeStatus", "IPAMConfig": "IPAMConfiguration"},
}
"""What Calico calls differently."""

_POLICY = "this network routes and has no policy"
_POLICY_KINDS = (
    *("NetworkPolicy", "GlobalNetworkPolicy", "NetworkSet", "GlobalNetworkSet", "HostEndpoint", "Profile", "Tier"),
    *("StagedNetworkPolicy", "StagedGlobalNetworkPolicy", "StagedKubernetesNetworkPolicy", "QoSPolicy"),
)
CALICOS_OWN = {
    **dict.fromkeys(_POLICY_KINDS, _POLICY),
    "FelixConfiguration": "what of it is needed here are settings of the agent, see `bgpnet agent --help`",
    "KubeControllersConfiguration": "there are no controllers of Calico's here",
    "IPAMHandle": "an allocation stands in its block and nowhere else",
    "ExternalNetwork": "routes come from BGPPeers alone",
    "LiveMigration": "there are no virtual machines here",
}
"""Kinds of Calico's that we do not have, and why."""

BOOKKEEPING = ("managedFields", "generation", "selfLink")
"""What a Kubernetes API server adds to metadata by itself: read past, as nobody wrote it."""

THE_SERVERS = ("uid", "resourceVersion")
"""Of a custom resource: they mean something to the API server that it comes from, and nothing to our datastore."""

UNUSED = {
    "finalizers": "deleting an object waits for nobody",
    "ownerReferences": "an object does not go when another goes",
    "deletionTimestamp": "the object is stored as one that stays",
    "deletionGracePeriodSeconds": "the object is stored as one that stays",
}
"""Metadata that people or controllers wrote, and that we do not keep."""

ANNOTATION = "projectcalico.org/metadata"


@dataclass(slots=True)
class Reading:
    """The metadata as ours has them, what is not kept of them (field and reason), and what is wrong with them."""

    metadata: dict[str, Any]
    notes: list[tuple[str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def kind_name(version: object, name: object) -> object:
    """The kind's name here."""
    return KINDS.get(version, {}).get(name, name) if isinstance(version, str) and isinstance(name, str) else name


def read(version: object, metadata: dict[str, Any]) -> Reading:
    """The metadata of an object of that apiVersion."""
    dropped = (*BOOKKEEPING, *UNUSED, *(THE_SERVERS if version == CRD else ()))
    reading = Reading({key: value for key, value in metadata.items() if key not in dropped})
    reading.notes = [(f"metadata.{key}", UNUSED[key]) for key in metadata if key in UNUSED and metadata[key]]
    annotations = metadata.get("annotations")
    if version == CRD and isinstance(annotations, dict) and ANNOTATION in annotations:
        _unpack(reading, annotations)
    return reading


def _unpack(reading: Reading, annotations: dict[str, Any]) -> None:
    """Calico's own labels and annotations beside Kubernetes'; where both say something, Calico's hold."""
    path = f"metadata.annotations[{ANNOTATION}]"
    try:
        inner = json.loads(str(annotations[ANNOTATION]))
    except ValueError:
        inner = None
    if not isinstance(inner, dict):
        reading.findings.append(Finding(path, None, "is not a mapping in JSON; take it as kubectl printed it, or out"))
        return
    rest = {key: value for key, value in annotations.items() if key != ANNOTATION}
    outer = {"labels": reading.metadata.get("labels"), "annotations": rest}
    for name, kubernetes in outer.items():
        calico = inner.get(name) or {}
        if not isinstance(calico, dict):
            reading.findings.append(Finding(path, None, f"has {name} that are no mapping; take it out"))
        elif kubernetes is None or isinstance(kubernetes, dict):
            reading.metadata[name] = {**(kubernetes or {}), **calico}
