"""What can be seen wrong in the datastore alone: blocks, their pools and owners, tunnel addresses. Pure.

Every function takes the picture and yields problems; none asks for anything else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from bgpnet import derived, integrity, ipam
from bgpnet.ipamcheck.picture import Picture, Problem, Severity, Slot, holder
from bgpnet.model import ip
from bgpnet.model.instant import seconds
from bgpnet.model.ipamblock import BlockState, IPAMBlock, Use
from bgpnet.model.kinds import subject
from bgpnet.model.node import Node

BLOCKS_PER_HOST = 20
"""How many blocks a node may own where IPAMConfiguration says nothing (Calico's number, too)."""
SKEW = 60.0
"""Seconds that two machines' clocks may differ before a time in the future is a finding."""


def malformed(picture: Picture) -> Iterator[Problem]:
    """Blocks whose numbers contradict each other, and stored ones that nobody can read."""
    remedy = "restart the agent of its owner, which writes the block anew from what it knows"
    for block in picture.blocks:
        for sentence in integrity.check(block):
            yield Problem(
                "malformed-block", Severity.ERROR, subject(block), sentence, remedy, _owner(block), evidence=(sentence,)
            )
        if block.spec.state is BlockState.IDLE and not ipam.is_empty(block):
            live = sorted(one.sequence for one in block.spec.allocations.values() if one.freedAt is None)
            said = f"block {block.spec.cidr} says idle, so any node may take it, and has addresses in use: {len(live)}"
            yield Problem("idle-in-use", Severity.ERROR, subject(block), said, remedy, _owner(block), evidence=(*live,))
    for key, reason in sorted(picture.broken.items()):
        said = f"{key} cannot be read: {reason}"
        again = f"delete it with bgpnetctl delete ipamblock {key.rpartition('/')[2]}; its owner writes it anew"
        yield Problem("malformed-block", Severity.ERROR, key, said, again, evidence=(reason,))


def overlapping(picture: Picture) -> Iterator[Problem]:
    """Two blocks that share addresses: both owners would give them away."""
    remedy = "delete the pods of one of the two now, and disable the pool until its block is gone"
    ordered = sorted(picture.blocks, key=lambda block: ip.order(block.network))
    for at, block in enumerate(ordered):
        for other in ordered[at + 1 :]:
            if not ip.contains(block.network, other.network):
                break
            owners = f"{_named(other)} and {_named(block)}"
            said = f"block {other.spec.cidr} lies in block {block.spec.cidr}: {owners} both give its addresses away"
            evidence = (block.spec.cidr, _owner(block), _owner(other))
            yield Problem("overlapping-blocks", Severity.ERROR, subject(other), said, remedy, evidence=evidence)


def twice(picture: Picture) -> Iterator[Problem]:
    """One address with two holders, and one interface with two addresses of a family."""
    for address, slots in picture.by_address().items():
        if len(slots) > 1:
            yield doubled(address, [(slot.owner, slot.who) for slot in slots], (*_sequences(slots),))
    held: dict[tuple[str, str, str, int], list[Slot]] = {}
    for slot in picture.slots():
        if slot.allocation.use is Use.WORKLOAD:
            held.setdefault((slot.owner, *slot.key, slot.address.version), []).append(slot)
    for (node, _, _, _), slots in held.items():
        if len({slot.block.spec.cidr for slot in slots}) > 1:
            addresses = ", ".join(str(slot.address) for slot in slots)
            said = f"{slots[0].who} of node {node or '(none)'} has several addresses: {addresses}"
            remedy = "delete the pod, so that it starts again with one"
            name = f"{slots[0].allocation.container}/{slots[0].allocation.ifname}"
            yield Problem("two-addresses", Severity.WARNING, name, said, remedy, node, evidence=(*_sequences(slots),))


def doubled(address: str, holders: list[tuple[str, str]], evidence: tuple[object, ...]) -> Problem:
    """The worst there is: an address that two have. holders: node and holder of each."""
    listed = " and ".join(f"{who} of node {node or '(none)'}" for node, who in holders)
    remedy = "delete all but one of them now: packets reach only one, and nobody can say which"
    nodes = {node for node, _ in holders}
    only = nodes.pop() if len(nodes) == 1 else ""
    return Problem(
        "address-twice", Severity.ERROR, address, f"{address} belongs to {listed}", remedy, only, None, evidence
    )


def ownership(picture: Picture) -> Iterator[Problem]:
    """Blocks whose owner is gone, is nobody, or is a machine of the past."""
    nodes = {node.metadata.name: node for node in picture.nodes}
    for block in picture.blocks:
        live = sum(one.freedAt is None for one in block.spec.allocations.values())
        what = f"block {block.spec.cidr} (addresses in use: {live})"
        if block.spec.owner is None:
            yield from _ownerless(block, what)
            continue
        name, uid = block.spec.owner.name, block.spec.owner.uid
        node = nodes.get(name)
        if node is None:
            said = f"{what} belongs to node {name}, which does not exist"
            remedy = f"if that machine is gone for good: bgpnetctl node release {name}"
            yield Problem("node-gone", Severity.WARNING, subject(block), said, remedy, name, evidence=(uid,))
        elif node.status and node.status.identity and node.status.identity.uuid != uid:
            said = f"{what} is of machine {uid}, and node {name} is machine {node.status.identity.uuid} now"
            remedy = f"start or restart the agent of node {name}, which takes its blocks over"
            evidence = (uid, node.status.identity.uuid)
            yield Problem("other-machine", Severity.WARNING, subject(block), said, remedy, name, evidence=evidence)


def _ownerless(block: IPAMBlock, what: str) -> Iterator[Problem]:
    """Empty, it is the next node's that needs one; what an import reserved in it is meant to be there."""
    live = [one for one in block.spec.allocations.values() if one.freedAt is None]
    if not live:
        return
    ours = any(one.use in (Use.WORKLOAD, Use.TUNNEL) for one in live)
    said = f"{what} has no owner, so no node releases or reuses its addresses"
    remedy = "bgpnetctl ipam release --ip ADDRESS for each whose pod is gone; empty, the block is the next node's"
    severity = Severity.WARNING if ours else Severity.INFO
    evidence = (*sorted(one.sequence for one in live),)
    yield Problem("ownerless-block", severity, subject(block), said, remedy, evidence=evidence)


def pools(picture: Picture) -> Iterator[Problem]:
    """Blocks outside every pool, and blocks that are not of their pool's size."""
    for block in picture.blocks:
        around = next((pool for pool in picture.pools if ip.contains(pool.network, block.network)), None)
        if around is None:
            said = f"block {block.spec.cidr} of {_named(block)} is outside every IP pool: its routes are not taken"
            remedy = f"create a pool that contains {block.spec.cidr}, or delete the pods that have addresses of it"
            yield Problem("outside-pools", Severity.WARNING, subject(block), said, remedy, _owner(block))
        elif around.block_size != block.network.prefixlen:
            pool = f"pool {around.metadata.name} ({around.spec.cidr}) has blocks of /{around.block_size}"
            said = f"block {block.spec.cidr} of {_named(block)} has another size than its pool: {pool}"
            remedy = "delete the pods that have addresses of it; its owner then gives the block back"
            evidence = (around.block_size,)
            yield Problem(
                "block-size", Severity.WARNING, subject(block), said, remedy, _owner(block), evidence=evidence
            )


def tunnels(picture: Picture) -> Iterator[Problem]:
    """A node's tunnel address is an allocation of its own, in a block of its own, and it has but one."""
    recorded = picture.by_address()
    expected: dict[tuple[str, str], str] = {}
    for name, tunnel, address in _said(picture.nodes):
        expected[name, tunnel] = address
        slots = recorded.get(address, [])
        restart = f"start or restart the agent of node {name}, which takes a tunnel address anew and writes it down"
        if not slots:
            said = f"tunnel address {address} of node {name} is allocated in no block"
            yield Problem("tunnel-unallocated", Severity.ERROR, address, said, restart, name)
        for slot in slots:
            if slot.owner != name or slot.allocation.use is not Use.TUNNEL:
                whose = f"{slot.who} in block {slot.block.spec.cidr} of {_named(slot.block)}"
                said = f"tunnel address {address} of node {name} is allocated to {whose}"
                evidence = (slot.allocation.sequence,)
                yield Problem("tunnel-elsewhere", Severity.ERROR, address, said, restart, name, evidence=evidence)
    for slot in picture.slots():
        said_to_be = expected.get((slot.owner, slot.allocation.ifname), str(slot.address))
        if slot.allocation.use is Use.TUNNEL and said_to_be != str(slot.address):
            said = (
                f"{slot.address} is allocated as a tunnel address of node {slot.owner}, whose tunnel address is another"
            )
            remedy = f"bgpnetctl ipam release --ip {slot.address}"
            both = (slot.allocation.sequence, said_to_be)
            yield Problem(
                "tunnel-unused", Severity.WARNING, str(slot.address), said, remedy, slot.owner, holder(slot), both
            )


def _said(nodes: Iterable[Node]) -> Iterator[tuple[str, str, str]]:
    """What Nodes say of their tunnels: node, tunnel, address."""
    for node in nodes:
        for tunnel, address in derived.tunnels(node):
            yield node.metadata.name, tunnel, address


def limits(picture: Picture) -> Iterator[Problem]:
    """Nodes with more blocks than IPAMConfiguration permits."""
    limit = picture.settings.maxBlocksPerHost or BLOCKS_PER_HOST
    for node, count in sorted(Counter(map(_owner, picture.blocks)).items()):
        if node and count > limit:
            said = f"node {node} owns {count} blocks, and maxBlocksPerHost is {limit}"
            remedy = (
                f"raise it with bgpnetctl ipam configure --max-blocks-per-host {count}, or move pods to other nodes"
            )
            yield Problem("too-many-blocks", Severity.WARNING, f"Node({node})", said, remedy, node)


def resting(picture: Picture) -> Iterator[Problem]:
    """A released address that rests until a time far ahead was released by a clock that was wrong."""
    for block in picture.blocks:
        for ordinal, allocation in sorted(block.spec.allocations.items()):
            if allocation.freedAt is None or not 0 <= ordinal < block.network.num_addresses:
                continue
            address = str(block.network[ordinal])
            try:
                ahead = seconds(allocation.freedAt) - picture.now
            except ValueError:
                said = f"{address} rests since {allocation.freedAt!r}, which is no instant"
            else:
                if ahead <= SKEW:
                    continue
                said = f"{address} rests since {allocation.freedAt}, which is {ahead:.0f} s ahead of now"
            remedy = f"set the clock of node {_owner(block)} right, whose agent then lets it rest from that moment on"
            evidence = (allocation.sequence,)
            yield Problem("rests-too-long", Severity.WARNING, address, said, remedy, _owner(block), evidence=evidence)


def reserved(picture: Picture) -> Iterator[Problem]:
    """Addresses in use that a reservation keeps from new pods: they stay, which is worth knowing."""
    kept = [
        (reservation.metadata.name, ip.network(cidr))
        for reservation in picture.reservations
        for cidr in reservation.spec.reservedCIDRs
    ]
    for slot in picture.slots() if kept else ():
        name = next((name for name, net in kept if ip.contains(net, slot.address)), "")
        if name:
            said = f"{slot.address} is reserved by IPReservation {name} and in use by {slot.who} of node {slot.owner}"
            remedy = "nothing if that is meant; else delete the pod"
            evidence = (slot.allocation.sequence,)
            yield Problem(
                "reserved-in-use", Severity.INFO, str(slot.address), said, remedy, slot.owner, holder(slot), evidence
            )


def _sequences(slots: list[Slot]) -> list[int]:
    return sorted(slot.allocation.sequence for slot in slots)


def _owner(block: IPAMBlock) -> str:
    return block.spec.owner.name if block.spec.owner else ""


def _named(block: IPAMBlock) -> str:
    return f"node {block.spec.owner.name}" if block.spec.owner else "nobody"


CHECKS = (malformed, overlapping, twice, ownership, pools, tunnels, limits, resting, reserved)
