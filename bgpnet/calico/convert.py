"""Calico's datastore as ours. Pure.

Everything of Calico's is either in the result, or in a note: what has no counterpart, what was changed, what is kept
and not acted on yet, and which addresses are reserved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from bgpnet.calico import raw as calico
from bgpnet.calico import resources
from bgpnet.calico.blocks import Around, Conversion
from bgpnet.calico.holders import endpoints
from bgpnet.calico.note import Note, Outcome
from bgpnet.calico.raw import Item, Raw
from bgpnet.document import habits
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.ipamconfiguration import IPAMConfiguration
from bgpnet.model.kinds import Resource
from bgpnet.model.node import Node

CONFIG = {
    "strict_affinity": "strictAffinity",
    "auto_allocate_blocks": "autoAllocateBlocks",
    "maxBlocksPerHost": "maxBlocksPerHost",
    "max_blocks_per_host": "maxBlocksPerHost",
    "ipCooldownSeconds": "ipCooldownSeconds",
    "kubeVirtVMAddressPersistence": "kubeVirtVMAddressPersistence",
}
"""What `/calico/ipam/v2/config` calls the fields of an IPAMConfiguration."""
_CONFIG_KEY = "/calico/ipam/v2/config"


def convert(raw: Raw) -> tuple[list[Resource], list[Note]]:
    """Our resources, and everything that is to be said."""
    found: list[Resource] = []
    notes = list(raw.notes)
    for item in [*raw.items, *_config(raw)]:
        resource, said = resources.convert(item)
        notes += said
        if isinstance(resource, IPAMConfiguration) and item.key != _CONFIG_KEY and raw.config is not None:
            notes.append(Note(item.key, item.kind, item.about, Outcome.LEFT_OUT, f"{_CONFIG_KEY} is what IPAM reads"))
        elif resource is not None:
            found.append(resource)
    nodes = {each.metadata.name: each for each in found if isinstance(each, Node)}
    weps = [item for item in raw.items if item.kind in ("WorkloadEndpoint", "workloadendpoints")]
    conversion = Conversion(Around(nodes, endpoints(item.tree for item in weps)))
    blocks = list(conversion.blocks(raw.blocks))
    said = [*notes, *conversion.notes, *_homeless(weps, blocks), *_affinities(raw), *_handles(raw)]
    return [*found, *blocks], said


def _homeless(weps: Iterable[Item], blocks: Iterable[IPAMBlock]) -> Iterator[Note]:
    """Endpoints with an address that no block knows of: nobody keeps it from being given away again."""
    held = {str(block.network[ordinal]) for block in blocks for ordinal in block.spec.allocations}
    for item in weps:
        for address in endpoints([item.tree]):
            if address not in held:
                reason = f"its address {address} is in no block that was imported, and may be given to another"
                yield Note(item.key, item.kind, item.about, Outcome.LEFT_OUT, reason)


def _config(raw: Raw) -> list[Item]:
    """IPAM's settings as a resource."""
    if raw.config is None:
        return []
    spec: dict[str, Any] = {CONFIG.get(key, key): value for key, value in raw.config.items()}
    tree = {"apiVersion": habits.V3, "kind": "IPAMConfiguration", "metadata": {"name": "default"}, "spec": spec}
    return [Item(_CONFIG_KEY, "IPAMConfiguration", tree)]


def _affinities(raw: Raw) -> list[Note]:
    """An affinity follows from its block; one that does not is named for it."""
    owners = {
        str(value.get("cidr")): str(value.get("affinity") or value.get("hostAffinity") or "")
        .removeprefix("host:")
        .removeprefix("virtual:")
        for value in raw.blocks.values()
    }
    notes = []
    for key, value in raw.affinities.items():
        node, cidr = calico.affinity(key)
        owner = owners.get(cidr, "")
        reason = resources.REASONS["BlockAffinity"]
        if cidr not in owners:
            reason = f"there is no block {cidr} behind it (state {value.get('state') or 'confirmed'})"
        elif owner != node:
            reason = f"the block itself says that its owner is {owner or 'nobody'}, and that counts"
        notes.append(Note(key, "BlockAffinity", f"BlockAffinity({node} {cidr})", Outcome.LEFT_OUT, reason))
    return notes


def _handles(raw: Raw) -> list[Note]:
    return [
        Note(key, "IPAMHandle", f"IPAMHandle({key.rpartition('/')[2]})", Outcome.LEFT_OUT, resources.DERIVED)
        for key in raw.handles
    ]
