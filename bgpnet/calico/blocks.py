"""Calico's allocation blocks as IPAMBlocks. Pure.

An allocation that its block's owner could not manage becomes a reserved slot: it was borrowed by another node, its
block has no owner, or it serves what bgpnet has not. Nobody is given such an address until its reservation ends
(`ipam.end_reservation`). Everything else is an allocation of ours: a pod's, or the node's own on tunl0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import structs

from bgpnet import names
from bgpnet.calico import instants, resources
from bgpnet.calico.block_value import Attribute, Sequences, Value
from bgpnet.calico.holders import Endpoint, Holder
from bgpnet.calico.note import Note, Outcome
from bgpnet.errors import Finding
from bgpnet.model import ip
from bgpnet.model.ipamblock import Allocation, IPAMBlock, IPAMBlockSpec, Owner, Use
from bgpnet.model.node import Node
from bgpnet.model.resource import Metadata
from bgpnet.rules import common

LARGEST = 1 << 12
"""Addresses of the largest block that a pool may have, a /20."""


@dataclass(frozen=True, slots=True)
class Around:
    """What is known beside the blocks: Nodes by name, endpoints by address."""

    nodes: Mapping[str, Node]
    endpoints: Mapping[str, Endpoint]


@dataclass(slots=True)
class Conversion:
    """Converts block after block; who has an address in one gets no second in another."""

    around: Around
    notes: list[Note] = field(default_factory=list)
    claimants: set[tuple[str, str, str]] = field(default_factory=set)

    def blocks(self, raw: Mapping[str, dict[str, Any]]) -> Iterator[IPAMBlock]:
        """The blocks that can be had."""
        for key, given in raw.items():
            about = f"IPAMBlock({given.get('cidr')})"
            try:
                value = msgspec.convert(given, Value)
            except msgspec.ValidationError as error:
                self.say(key, about, Outcome.LEFT_OUT, f"is not what Calico writes ({error})")
                continue
            net = common.network("cidr", value.cidr)
            if isinstance(net, Finding):
                self.say(key, about, Outcome.LEFT_OUT, str(net))
            elif problem := _problem(value, net):
                self.say(key, about, Outcome.LEFT_OUT, problem)
            else:
                yield _Block(self, key, net, value).converted()

    def say(self, key: str, about: str, outcome: Outcome, reason: str) -> None:
        """One more note."""
        self.notes.append(Note(key, "IPAMBlock", about, outcome, reason))


def _problem(value: Value, net: ip.Network) -> str:
    """Why a block is left out; empty for one that is not."""
    if value.deleted:
        return "is marked as deleted"
    if net.version == 6:
        return "is IPv6, which is not wired yet: no agent could manage it"
    if net.num_addresses > LARGEST:
        return f"has {net.num_addresses} addresses, more than the {LARGEST} that a block of a pool may have"
    return ""


class _Block:
    """One block of Calico's."""

    def __init__(self, conversion: Conversion, key: str, net: ip.Network, value: Value) -> None:
        self.conversion, self.key, self.net, self.value = conversion, key, net, value
        self.affinity = value.affinity or (f"host:{value.host_affinity}" if value.host_affinity else "")
        self.owner = self.affinity.removeprefix("host:") if self.affinity.startswith("host:") else ""
        self.about = f"IPAMBlock({net})"
        self.sequences = Sequences(value)

    def converted(self) -> IPAMBlock:
        """The block as ours."""
        indexes = dict(self._indexes())
        allocations = {ordinal: self._slot(ordinal, index) for ordinal, index in indexes.items()}
        spec = IPAMBlockSpec(
            cidr=str(self.net),
            owner=Owner(name=self.owner, uid="") if self.owner else None,
            claimedAt=instants.rfc3339(self.value.affinity_claimed or self.value.affinity_claim_time),
            sequence=self.sequences.newest,
            allocations=allocations,
            free=tuple(self._free(allocations)),
        )
        block = IPAMBlock(metadata=Metadata(name=names.block(self.net), creationTimestamp=spec.claimedAt), spec=spec)
        return structs.replace(block, metadata=resources.identified(block).metadata)

    def _changed(self, reason: str) -> None:
        self.conversion.say(self.key, self.about, Outcome.CHANGED, reason)

    def _indexes(self) -> Iterator[tuple[int, int]]:
        """The allocated ordinals, each with the index of its attributes."""
        for ordinal, index in enumerate(self.value.allocations or []):
            if index is None:
                continue
            if ordinal >= self.net.num_addresses:
                self._changed(f"allocation {ordinal} lies outside the block and is not kept")
            else:
                yield ordinal, index

    def _free(self, allocations: Mapping[int, Allocation]) -> Iterator[int]:
        """The queue in its order, then what was forgotten."""
        seen: set[int] = set()
        for ordinal in self.value.unallocated or []:
            fits = 0 <= ordinal < self.net.num_addresses
            if fits and ordinal not in seen and ordinal not in allocations:
                seen.add(ordinal)
                yield ordinal
            else:
                why = (
                    "is allocated" if ordinal in allocations else "is there twice" if fits else "lies outside the block"
                )
                self._changed(f"{ordinal} of the queue of free ordinals {why} and is not kept there")
        lost = [one for one in range(self.net.num_addresses) if one not in seen and one not in allocations]
        if lost:
            self._changed(f"ordinals {lost} were neither free nor allocated; they join the end of the queue")
        yield from lost

    def _slot(self, ordinal: int, index: int) -> Allocation:
        address = str(self.net[ordinal])
        attributes = self.value.attributes or []
        known = 0 <= index < len(attributes)
        attribute = attributes[index] if known else Attribute()
        holder = Holder.of(attribute, self.conversion.around.endpoints.get(address), self.owner)
        reason = self._reserved(address, holder) if known else "has no attributes: nobody knows whose it is"
        if reason:
            note = Note(self.key, "address", address, Outcome.RESERVED, f"{holder}: {reason}")
            self.conversion.notes.append(note)
        elif holder.released is None:
            self.conversion.claimants.add(self._claim(holder))
        return Allocation(
            container="" if holder.tunnel and not reason else holder.container,
            ifname=holder.ifname,
            pod=holder.pod,
            use=Use.RESERVED if reason else Use.TUNNEL if holder.tunnel else Use.WORKLOAD,
            since=holder.since,
            sequence=self.sequences.of(ordinal),
            freedAt=holder.released,
        )

    def _claim(self, holder: Holder) -> tuple[str, str, str]:
        return ("" if holder.tunnel else holder.container, holder.ifname, self.owner)

    def _reserved(self, address: str, holder: Holder) -> str:
        """Why the owner could not manage the allocation; empty when it can."""
        if holder.released is not None:
            return ""
        if not self.owner:
            return f"its block has no owner{f' but {self.affinity}' if self.affinity else ''}"
        if holder.foreign:
            return holder.foreign
        if not holder.container:
            return "has no handle: nobody knows whose it is"
        if holder.node != self.owner:
            return f"was borrowed by node {holder.node} from a block of node {self.owner}"
        field, own = self._tunnel(holder.tunnel)
        if holder.tunnel and own and own != address:
            return f"is left over: the node's {field} is {own}"
        if self._claim(holder) in self.conversion.claimants:
            return "is one more address of the same interface, and ours have one"
        return ""

    def _tunnel(self, name: str) -> tuple[str, str]:
        """The field of the owner's Node that has a tunnel's address, and the address."""
        node = self.conversion.around.nodes.get(self.owner)
        if name == names.VXLAN:
            return "spec.ipv4VXLANTunnelAddr", node.spec.ipv4VXLANTunnelAddr if node is not None else ""
        bgp = node.spec.bgp if node is not None else None
        return "spec.bgp.ipv4IPIPTunnelAddr", bgp.ipv4IPIPTunnelAddr if bgp is not None else ""
