"""What the owners and the container runtime say, beside what is recorded. Pure.

Leaks are the owner's word alone: what a node does not say of itself, nobody concludes from afar.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from bgpnet.ipamcheck.picture import Holder, Picture, Problem, Severity, Slot, Source, Word, holder
from bgpnet.ipamcheck.recorded import doubled
from bgpnet.model import ip
from bgpnet.model.ipamblock import IPAMBlock, Use


def leaks(picture: Picture) -> Iterator[Problem]:
    """Allocations that no pod has, by the word of their owner; only what is still the same allocation counts."""
    recorded = picture.by_address()
    for word in _heard(picture):
        for one in word.leaked:
            for slot in recorded.get(one.address, []):
                if slot.owner == word.node and one.sequence in (0, slot.allocation.sequence):
                    yield _leak(slot, one, word)


def _leak(slot: Slot, said: Holder, word: Word) -> Problem:
    why = said.reason or "it has no link of that pod"
    sentence = (
        f"{slot.address} is allocated to {slot.who} since {slot.allocation.since}, and node {word.node} says: {why}"
    )
    remedy = f"bgpnetctl ipam check --repair, or bgpnetctl ipam release --ip {slot.address}"
    evidence = (slot.allocation.sequence,)
    return Problem(
        "leaked-address", Severity.WARNING, str(slot.address), sentence, remedy, word.node, holder(slot), evidence
    )


def unrecorded(picture: Picture) -> Iterator[Problem]:
    """Pods whose address is not allocated to them: it may be given to another at any moment, or was already."""
    recorded = picture.by_address()
    for word in _heard(picture):
        known = {(one.container, one.ifname) for one in word.unrecorded}
        held = [one for one in word.pods if (one.container, one.ifname) not in known and word.blocks is not None]
        for one in (*word.unrecorded, *(one for one in held if not _journalled(one, word))):
            yield from _unrecorded(one, word.node, recorded.get(one.address, []))
        yield from _shared(word)


def _journalled(one: Holder, word: Word) -> bool:
    """Whether the agent itself has the allocation: then the datastore may merely be behind, see `journal`."""
    address = ip.address(one.address)
    for cidr, held in (word.blocks or {}).items():
        net = ip.network(cidr)
        if ip.contains(net, address):
            there = held.get(int(address) - int(net.network_address))
            return there is not None and (there.container, there.ifname) == (one.container, one.ifname)
    return False


def _unrecorded(one: Holder, node: str, slots: list[Slot]) -> Iterator[Problem]:
    # What an import brought is of a use of its own, and may be in another node's block.
    others = [
        slot
        for slot in slots
        if slot.key != (one.container, one.ifname) and slot.allocation.use in (Use.WORKLOAD, Use.TUNNEL)
    ]
    if slots and not others:
        return
    if others:
        holders = [(node, one.who), *((slot.owner, slot.who) for slot in others)]
        sequences = sorted(slot.allocation.sequence for slot in others)
        yield doubled(one.address, holders, (one.container, one.ifname, *sequences))
        return
    said = f"{one.who} of node {node} has {one.address}, which is allocated to nobody"
    remedy = "delete the pod, so that it starts again with an address that is its own"
    evidence = (one.container, one.ifname)
    yield Problem("unrecorded-pod", Severity.ERROR, one.address, said, remedy, node, one, evidence)


def _shared(word: Word) -> Iterator[Problem]:
    """Two pods of one node with the same address."""
    by_address: dict[str, list[Holder]] = {}
    for one in word.pods:
        by_address.setdefault(one.address, []).append(one)
    for address, holders in by_address.items():
        if len(holders) > 1:
            evidence = (*sorted(f"{one.container}/{one.ifname}" for one in holders),)
            yield doubled(address, [(word.node, one.who) for one in holders], evidence)


def journal(picture: Picture) -> Iterator[Problem]:
    """What this node's agent holds, beside what is recorded: an agent writes within a second."""
    stored = {block.spec.cidr: block for block in picture.blocks}
    for word in _heard(picture):
        if word.blocks is None or word.away:
            continue
        for cidr, held in word.blocks.items():
            yield from _block_differs(word.node, cidr, held, stored.get(cidr))
        for block in picture.blocks:
            if block.spec.owner and block.spec.owner.name == word.node and block.spec.cidr not in word.blocks:
                said = f"block {block.spec.cidr} is recorded as node {word.node}'s, whose agent does not know it"
                yield _differs(word.node, block.spec.cidr, said, Severity.WARNING, ())


def _block_differs(node: str, cidr: str, held: Mapping[int, Holder], block: IPAMBlock | None) -> Iterator[Problem]:
    if block is None:
        said = f"block {cidr} is used by the agent of node {node}, and is not in the datastore"
        yield _differs(node, cidr, said, Severity.ERROR, ())
        return
    owner = block.spec.owner.name if block.spec.owner else "nobody"
    if owner != node:
        said = f"block {cidr} is used by the agent of node {node}, and belongs to {owner} in the datastore"
        yield _differs(node, cidr, said, Severity.ERROR, (owner,))
        return
    live = {at: one for at, one in block.spec.allocations.items() if one.freedAt is None}
    for at in sorted(live.keys() | held.keys()):
        ours, theirs = held.get(at), live.get(at)
        if ours and theirs and (ours.container, ours.ifname) == (theirs.container, theirs.ifname):
            continue
        address = str(block.network[at]) if 0 <= at < block.network.num_addresses else f"ordinal {at} of {cidr}"
        recorded = Holder(address, theirs.sequence, theirs.container, theirs.ifname, theirs.pod).who if theirs else ""
        said = (
            f"{address} belongs to {ours.who if ours else 'nobody'} by the journal of node {node},"
            f" and to {recorded or 'nobody'} by the datastore"
        )
        evidence = (ours.sequence if ours else 0, theirs.sequence if theirs else 0)
        yield _differs(node, address, said, Severity.WARNING, evidence)


def _differs(node: str, about: str, said: str, severity: Severity, evidence: tuple[object, ...]) -> Problem:
    remedy = f"see the log of the agent of node {node}: it writes its blocks within a second, and says what hinders it"
    return Problem("journal-differs", severity, about, said, remedy, node, evidence=evidence)


def sandboxes(picture: Picture) -> Iterator[Problem]:
    """What this machine's container runtime knows, beside what is recorded for its node.

    Only allocations to pods are judged: what has no pod's name did not come from this runtime. And only beside a
    runtime that knows at least one of them: another one, a second agent on the machine say, knows none.
    """
    runtime = picture.runtime
    if runtime.sandboxes is None or not shares_pods(picture):
        return
    known = {sandbox.container for sandbox in runtime.sandboxes}
    leaked = {one.address for word in _heard(picture) for one in word.leaked}
    recorded = picture.by_address()
    ours: set[str] = set()
    for slot in _of_node(picture, runtime.node):
        ours.add(slot.allocation.container)
        if slot.allocation.pod and slot.allocation.container not in known and str(slot.address) not in leaked:
            said = f"{slot.address} is allocated to {slot.who}, which the container runtime does not know"
            remedy = f"bgpnetctl ipam release --ip {slot.address}; the node refuses while the pod's link is there"
            evidence = (slot.allocation.sequence,)
            yield Problem(
                "sandbox-gone", Severity.WARNING, str(slot.address), said, remedy, slot.owner, holder(slot), evidence
            )
    for sandbox in runtime.sandboxes:
        if sandbox.ready and sandbox.address and sandbox.container not in ours and _pooled(sandbox.address, picture):
            one = Holder(sandbox.address, 0, sandbox.container, "eth0", sandbox.pod)
            yield from _unrecorded(one, runtime.node, recorded.get(sandbox.address, []))


def shares_pods(picture: Picture) -> bool:
    """Whether the container runtime knows a pod of its node: else it is another's."""
    known = {sandbox.container for sandbox in picture.runtime.sandboxes or ()}
    return any(slot.allocation.container in known for slot in _of_node(picture, picture.runtime.node))


def _of_node(picture: Picture, node: str) -> Iterator[Slot]:
    """The live allocations to workloads in a node's blocks."""
    return (slot for slot in picture.slots() if slot.owner == node and slot.allocation.use is Use.WORKLOAD)


def _pooled(address: str, picture: Picture) -> bool:
    return any(ip.contains(pool.network, ip.address(address)) for pool in picture.pools)


def alarms(picture: Picture) -> Iterator[Problem]:
    """What nodes raise an alarm about by themselves."""
    for word in _heard(picture):
        for sentence in dict.fromkeys(word.alarms):
            remedy = f"see bgpnetctl node status on node {word.node}"
            yield Problem(
                "alarm", Severity.ERROR, f"Node({word.node})", sentence, remedy, word.node, evidence=(sentence,)
            )


def silent(picture: Picture) -> Iterator[Problem]:
    """Nodes with live allocations that say nothing of them. One that has none, or was deleted, is not missed here.

    What an import reserved is nobody's word to give, and does not count.
    """
    live = Counter(slot.owner for slot in picture.slots() if slot.allocation.use is not Use.RESERVED)
    for word in picture.words.values():
        if word.source is not Source.UNKNOWN or word.starting or not live[word.node]:
            continue
        since = f" since {word.at}" if word.at else ""
        said = (
            f"node {word.node} says nothing of its addresses{since} ({word.reason}), and nobody else vouches for "
            f"those in use there: {live[word.node]}"
        )
        remedy = (
            f"start or restart the agent of node {word.node}, of this version; if that machine is gone for good: "
            f"bgpnetctl delete node {word.node}, then bgpnetctl node release {word.node}"
        )
        evidence = (word.at,)
        yield Problem("node-silent", Severity.WARNING, f"Node({word.node})", said, remedy, word.node, evidence=evidence)


def _heard(picture: Picture) -> Iterator[Word]:
    return (word for word in picture.words.values() if word.source is not Source.UNKNOWN)


CHECKS = (leaks, unrecorded, journal, sandboxes, alarms, silent)
