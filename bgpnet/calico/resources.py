"""Calico's v3 resources as ours. Pure.

What we have no field for is taken out and named, what our rules refuse is left out.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from msgspec import inspect, structs

from bgpnet import codec
from bgpnet.calico.note import Note, Outcome
from bgpnet.calico.raw import Item
from bgpnet.document import habits
from bgpnet.model import kinds
from bgpnet.model.kinds import BY_NAME, Kind, Resource
from bgpnet.model.resource import Metadata
from bgpnet.rules import table

POLICY = "bgpnet has no network policy: every pod reaches every pod"
DERIVED = "follows from the blocks' allocations"
REASONS = {
    "NetworkPolicy": POLICY,
    "GlobalNetworkPolicy": POLICY,
    "StagedNetworkPolicy": POLICY,
    "StagedGlobalNetworkPolicy": POLICY,
    "StagedKubernetesNetworkPolicy": POLICY,
    "NetworkSet": POLICY,
    "GlobalNetworkSet": POLICY,
    "Tier": POLICY,
    "Profile": POLICY,
    "HostEndpoint": "bgpnet does not protect the hosts themselves",
    "FelixConfiguration": "these are Felix's settings; the agent has its own (`bgpnet agent --help`)",
    "KubeControllersConfiguration": "these are settings of Calico's controllers; bgpnet has none of them",
    "CalicoNodeStatus": "asks Calico's nodes for reports; see `bgpnetctl node status`",
    "WorkloadEndpoint": DERIVED,
    "BlockAffinity": "follows from the owner of its block",
    "IPAMHandle": DERIVED,
}
"""Why a kind of Calico's has no counterpart."""

_NAMESPACE = uuid.UUID("6d1f6f0e-5b0a-5c1c-9a63-6a5d0f5c7f10")


def convert(item: Item) -> tuple[Resource | None, list[Note]]:
    """The resource, None where there is no counterpart or our rules refuse it; and what is to be said about it."""
    kind = BY_NAME.get(_COUNTERPART.get(item.kind, item.kind))
    if kind is None or kind.computed or kind is kinds.IPAMBLOCK:
        reason = REASONS.get(item.kind, "bgpnet has no such kind")
        return None, [Note(item.key, item.kind, item.about, Outcome.LEFT_OUT, reason)]
    changes: list[str] = []
    tree = _fitted(item, kind, changes)
    found = codec.examine_tree(tree, item.about)
    notes = [Note(item.key, item.kind, item.about, Outcome.CHANGED, change) for change in changes]
    if found.findings or found.resource is None:
        reason = "; ".join(map(str, found.findings))
        return None, [Note(item.key, item.kind, item.about, Outcome.LEFT_OUT, reason)]
    said = [each.removeprefix(f"{found.subject}: ") for each in found.notes]
    notes += [Note(item.key, item.kind, item.about, Outcome.CHANGED, each) for each in said]
    idle = [f"{path}: {instead}" for path, _, instead in table.RULES[kind].not_built(found.resource)]
    notes += [Note(item.key, item.kind, item.about, Outcome.IDLE, each) for each in idle]
    return identified(found.resource), notes


_COUNTERPART = {"IPAMConfig": "IPAMConfiguration", "ipamconfigs": "IPAMConfiguration"} | {
    kind.plural: kind.name for kind in kinds.KINDS
}


def identified(resource: Resource) -> Resource:
    """Without Calico's revision; with a uid that is the same at every import, where Calico has none."""
    meta, kind = resource.metadata, kinds.kind_of(resource)
    uid = meta.uid or str(uuid.uuid5(_NAMESPACE, f"{kind.plural}/{meta.name}"))
    return structs.replace(resource, metadata=structs.replace(meta, uid=uid, resourceVersion=""))


def _fitted(item: Item, kind: Kind, changes: list[str]) -> dict[str, Any]:
    """The tree with our fields only, and with values that old versions wrote in the way that new ones do."""
    version = item.tree.get("apiVersion")
    tree: dict[str, Any] = {"apiVersion": version if version in habits.ACCEPTED else habits.V3, "kind": kind.name}
    body = {key: value for key, value in item.tree.items() if key not in ("apiVersion", "kind")}
    fitted = _known(body, inspect.type_info(kind.type), "", changes)
    tree |= fitted if isinstance(fitted, dict) else {}
    if kind is kinds.NODE and isinstance(tree.get("spec"), dict):
        tree["spec"] = dict(_node(tree["spec"], changes))
    return tree


_KEPT_METADATA = {
    *(each.encode_name for each in structs.fields(Metadata)),
    *habits.BOOKKEEPING,
    *habits.UNUSED,
}


def _known(value: object, info: inspect.Type, path: str, changes: list[str]) -> object:
    """The value without fields that the model does not have."""
    match info:
        case inspect.UnionType(types=types):
            real = [each for each in types if not isinstance(each, inspect.NoneType)]
            return _known(value, real[0], path, changes)
        case inspect.VarTupleType(item_type=inner) if isinstance(value, list):
            return [_known(each, inner, f"{path}[{index}]", changes) for index, each in enumerate(value)]
        case inspect.StructType(fields=fields) if isinstance(value, dict):
            below = {each.encode_name: each.type for each in fields}
            kept: dict[str, object] = {}
            for key, each in value.items():
                place = f"{path}.{key}" if path else str(key)
                if key in below:
                    kept[key] = _known(each, below[key], place, changes)
                elif path == "metadata" and key in _KEPT_METADATA:
                    kept[key] = each
                elif each not in (None, "", [], {}):
                    changes.append(f"{place} is not kept: bgpnet has no such field")
            return kept
        case _:
            return value


def _node(spec: dict[str, Any], changes: list[str]) -> Iterator[tuple[str, Any]]:
    """A Node's spec: no empty spec.bgp, and addresses with a length."""
    for key, value in spec.items():
        if key != "bgp" or not isinstance(value, dict):
            yield key, value
            continue
        bgp = dict(value)
        for name, length in (("ipv4Address", 32), ("ipv6Address", 128)):
            if isinstance(bgp.get(name), str) and bgp[name] and "/" not in bgp[name]:
                changes.append(
                    f"spec.bgp.{name} = {bgp[name]} had no prefix length and has /{length}, as Calico takes it"
                )
                bgp[name] += f"/{length}"
        if any(each not in (None, "") for each in bgp.values()):
            yield key, bgp
