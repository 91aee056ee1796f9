"""A Node with what its Kubernetes Node says of it: labels, addresses, its name there. Pure.

Labels that came from Kubernetes are named in an annotation, so that those that people gave stay (as Calico's node
controller does it).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import structs

from bgpnet.kubeobjects import NodeSeen
from bgpnet.model import ip
from bgpnet.model.node import Node, NodeAddress, OrchRef

K8S = "k8s"
"""The orchestrator of an orchRef, in v3's spelling."""
KUBE_LABELS = "bgpnet.io/kube-labels"
"""The annotation of a Node with the labels that came from Kubernetes, as JSON: only those are taken away again."""
OURS = ("InternalIP", "ExternalIP")
"""The types in spec.addresses that are Kubernetes' to say."""


def like(node: Node, seen: NodeSeen) -> Node:
    """The Node with what Kubernetes says of it; people's own labels and others' addresses stay."""
    meta = node.metadata
    before = _labels(meta.annotations.get(KUBE_LABELS, ""))
    own = {key: text for key, text in meta.labels.items() if key in seen.labels or before.get(key) != text}
    written = msgspec.json.encode(dict(sorted(seen.labels.items()))).decode()
    metadata = structs.replace(
        meta, labels={**own, **seen.labels}, annotations={**meta.annotations, KUBE_LABELS: written}
    )
    said = [("InternalIP", seen.internal_ips), ("ExternalIP", seen.external_ips)]
    told = [NodeAddress(address=each, type=kind) for kind, ips in said for each in ips if _is_address(each)]
    refs = tuple(ref for ref in node.spec.orchRefs if ref.orchestrator != K8S)
    spec = structs.replace(
        node.spec,
        addresses=(*(one for one in node.spec.addresses if one.type not in OURS), *told),
        orchRefs=(*refs, OrchRef(nodeName=seen.name, orchestrator=K8S)),
    )
    return structs.replace(node, metadata=metadata, spec=spec)


def _labels(text: str) -> Mapping[str, str]:
    try:
        return msgspec.json.decode(text, type=dict[str, str]) if text else {}
    except msgspec.DecodeError:
        return {}


def _is_address(text: str) -> bool:
    try:
        ip.address(text)
    except ValueError:
        return False
    return True
