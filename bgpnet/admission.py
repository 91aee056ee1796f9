"""What a change must obey given everything else that exists. Pure: the repository reads, this judges.

Each function returns all findings at once; none means yes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from bgpnet.errors import Finding
from bgpnet.model import instant, ip
from bgpnet.model.bgpfilter import BGPFilter
from bgpnet.model.bgppeer import BGPPeer
from bgpnet.model.ipamblock import IPAMBlock, Use
from bgpnet.model.ippool import AllowedUse, IPPool
from bgpnet.model.kinds import Resource, subject
from bgpnet.model.node import Node

HEARTBEAT_FRESH = 60.0
"""Seconds: a node whose agent gave a sign of life within this time is alive."""


def on_create(resource: Resource, existing: Sequence[Resource], blocks: Sequence[IPAMBlock]) -> list[Finding]:
    """May it be created, given the objects of its kind and all blocks?"""
    if not isinstance(resource, IPPool):
        return []
    findings = [
        Finding("spec.cidr", resource.spec.cidr, _overlap(resource, other))
        for other in existing
        if isinstance(other, IPPool) and other.metadata.name != resource.metadata.name and _overlaps(resource, other)
    ]
    return findings + _other_sizes(resource, blocks)


def _overlaps(one: IPPool, other: IPPool) -> bool:
    return ip.contains(one.network, other.network) or ip.contains(other.network, one.network)


def _overlap(one: IPPool, other: IPPool) -> str:
    where = f"{subject(one)} CIDR {one.spec.cidr} overlaps with {subject(other)} CIDR {other.spec.cidr}"
    return f"{where}; choose a range outside it, or delete that pool first"


def _other_sizes(pool: IPPool, blocks: Iterable[IPAMBlock]) -> list[Finding]:
    sizes = {block.network.prefixlen for block in _inside(pool, blocks)} - {pool.block_size}
    if not sizes:
        return []
    shown = ", ".join(f"/{size}" for size in sorted(sizes))
    remedy = f"write blockSize: {min(sizes)}" if len(sizes) == 1 else "choose another cidr"
    problem = f"does not fit the blocks that exist inside {pool.spec.cidr} ({shown}); {remedy}, or release those blocks"
    return [Finding("spec.blockSize", pool.block_size, problem)]


def _inside(pool: IPPool, blocks: Iterable[IPAMBlock]) -> list[IPAMBlock]:
    return [block for block in blocks if ip.contains(pool.network, block.network)]


def on_update(new: Resource, old: Resource) -> list[Finding]:
    """May the new one take the old one's place?"""
    if not isinstance(new, IPPool) or not isinstance(old, IPPool):
        return []
    findings = []
    if new.network != old.network:
        problem = (
            f"cannot be changed from {old.spec.cidr} to {new.spec.cidr}; create a second pool and disable this one"
        )
        findings.append(Finding("spec.cidr", new.spec.cidr, problem))
    elif new.block_size != old.block_size:
        problem = f"cannot be changed from {old.block_size} to {new.block_size}; delete the pool and create it anew"
        findings.append(Finding("spec.blockSize", new.block_size, problem))
    if AllowedUse.LOAD_BALANCER in old.spec.allowedUses and AllowedUse.LOAD_BALANCER not in new.spec.allowedUses:
        uses = [str(use) for use in new.spec.allowedUses]
        problem = "a LoadBalancer pool stays one; create a second pool for the other uses"
        findings.append(Finding("spec.allowedUses", uses, problem))
    return findings


def missing(resource: Resource, filters: Collection[str]) -> list[Finding]:
    """What it refers to and does not exist, given the names of all BGPFilters; for create and update alike."""
    if not isinstance(resource, BGPPeer):
        return []
    absent = [name for name in dict.fromkeys(resource.spec.filters) if name not in filters]
    if not absent:
        return []
    problem = f"BGPFilter(s) not found: {', '.join(absent)}; create them first, or take the names out"
    return [Finding("spec.filters", list(resource.spec.filters), problem)]


def referrers(resource: Resource, peers: Iterable[Resource]) -> list[Finding]:
    """Who still refers to what is to be deleted, given all BGPPeers."""
    if not isinstance(resource, BGPFilter):
        return []
    name = resource.metadata.name
    naming = [each.metadata.name for each in peers if isinstance(each, BGPPeer) and name in each.spec.filters]
    if not naming:
        return []
    problem = f"is named in spec.filters of BGPPeer(s) {', '.join(naming)}; take it out there, or delete those first"
    return [Finding("metadata.name", name, problem)]


def on_delete(resource: Resource, blocks: Sequence[IPAMBlock], now: float) -> list[Finding]:
    """May it be deleted, given all blocks and the time (seconds since 1970)?"""
    match resource:
        case IPPool():
            return _pool_in_use(resource, blocks)
        case Node():
            return _node_alive(resource, now)
        case _:
            return []


def _pool_in_use(pool: IPPool, blocks: Sequence[IPAMBlock]) -> list[Finding]:
    counts = [count for count in map(_workloads, _inside(pool, blocks)) if count]
    if not counts:
        return []
    held = f"{_many(sum(counts), 'address', 'es')} of workloads in {_many(len(counts), 'block', 's')}"
    problem = f"still serves {held}; disable it (spec.disabled: true), delete its pods, then delete it"
    return [Finding("spec.cidr", pool.spec.cidr, problem)]


def _workloads(block: IPAMBlock) -> int:
    """Addresses that workloads hold, reserved ones included; resting ones (freedAt) have nobody."""
    return sum(each.use != Use.TUNNEL and each.freedAt is None for each in block.spec.allocations.values())


def _many(count: int, one: str, ending: str) -> str:
    return f"{count} {one}{'' if count == 1 else ending}"


def _node_alive(node: Node, now: float) -> list[Finding]:
    identity = node.status.identity if node.status else None
    if identity is None:
        return []
    path = "status.identity.heartbeat"
    try:
        age = now - instant.seconds(identity.heartbeat)
    except ValueError:
        problem = "is not an instant, so the node may be alive; correct it with `bgpnetctl apply`, then delete the node"
        return [Finding(path, identity.heartbeat, problem)]
    if age >= HEARTBEAT_FRESH:
        return []
    ago, wait = f"{max(age, 0):.0f} s ago", f"{HEARTBEAT_FRESH:.0f} s later"
    problem = f"the node's agent was alive {ago}; stop it, and delete the node {wait}"
    return [Finding(path, identity.heartbeat, problem)]
