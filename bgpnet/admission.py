"""What a change must obey given everything else that exists. Pure: the repository reads, this judges.

Each function returns all findings at once; none means yes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from bgpnet.errors import Finding
from bgpnet.model import instant, ip
from bgpnet.model.bgpfilter import BGPFilter
from bgpnet.model.bgppeer import BGPPeer
from bgpnet.model.ipamblock import IPAMBlock, Use
from bgpnet.model.ippool import AllowedUse, IPPool
from bgpnet.model.kinds import Resource, subject
from bgpnet.model.node import Node
from bgpnet.model.releaserequest import ReleaseRequest

HEARTBEAT_FRESH = 60.0
"""Seconds: a node whose agent gave a sign of life within this time is alive."""
_SHOWN = 5
"""How many nodes a refusal names before it only counts the others."""


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
    sizes = {block.network.prefixlen for block in _meeting(pool, blocks)} - {pool.block_size}
    if not sizes:
        return []
    shown = ", ".join(f"/{size}" for size in sorted(sizes))
    fits = len(sizes) == 1 and min(sizes) >= pool.network.prefixlen
    remedy = f"write blockSize: {min(sizes)}" if fits else "choose another cidr"
    where = "that exist inside" if min(sizes) >= pool.network.prefixlen else "that exist around"
    problem = f"does not fit the blocks {where} {pool.spec.cidr} ({shown}); {remedy}, or release those blocks"
    return [Finding("spec.blockSize", pool.block_size, problem)]


def _meeting(pool: IPPool, blocks: Iterable[IPAMBlock]) -> list[IPAMBlock]:
    """Those with addresses of the pool; one may be larger than the pool, where another one was there before."""
    return [
        block
        for block in blocks
        if ip.contains(pool.network, block.network) or ip.contains(block.network, pool.network)
    ]


def _inside(pool: IPPool, blocks: Iterable[IPAMBlock]) -> list[IPAMBlock]:
    return [block for block in blocks if ip.contains(pool.network, block.network)]


def on_update(
    new: Resource, old: Resource, existing: Sequence[Resource] = (), blocks: Sequence[IPAMBlock] = ()
) -> list[Finding]:
    """May the new one take the old one's place, given the objects of its kind and all blocks?

    existing and blocks are looked at only where `reshaped` says so.
    """
    if not isinstance(new, IPPool) or not isinstance(old, IPPool):
        return []
    findings = _reshape(new, old, existing, blocks)
    if AllowedUse.LOAD_BALANCER in old.spec.allowedUses and AllowedUse.LOAD_BALANCER not in new.spec.allowedUses:
        uses = [str(use) for use in new.spec.allowedUses]
        problem = "a LoadBalancer pool stays one; create a second pool for the other uses"
        findings.append(Finding("spec.allowedUses", uses, problem))
    return findings


def reshaped(new: Resource, old: Resource) -> bool:
    """Whether a pool is to have another cidr or other blocks, which is judged by what exists."""
    if not isinstance(new, IPPool) or not isinstance(old, IPPool):
        return False
    return (new.network, new.block_size) != (old.network, old.block_size)


def _reshape(new: IPPool, old: IPPool, existing: Sequence[Resource], blocks: Sequence[IPAMBlock]) -> list[Finding]:
    """Another cidr or block size: only while no block is in the way and, as nodes do not wait, none can be claimed.

    Two nodes that claim blocks of two sizes at the same time would own the same addresses.
    """
    if not reshaped(new, old):
        return []
    path: str
    shown: object
    if new.network != old.network:
        path, shown = "spec.cidr", new.spec.cidr
        change = f"cannot be changed from {old.spec.cidr} to {new.spec.cidr}"
        in_the_way, instead = _inside(old, blocks), "create a second pool and disable this one"
    else:
        path, shown = "spec.blockSize", new.block_size
        change = f"cannot be changed from {old.block_size} to {new.block_size}"
        in_the_way = [block for block in _inside(old, blocks) if block.network.prefixlen != new.block_size]
        instead = "create a second pool with that size and disable this one, or delete the pool and create it anew"
    if in_the_way:
        held = f"{_many(len(in_the_way), 'block', 's')} of it ({_by_node(in_the_way, lambda block: 1)})"
        return [Finding(path, shown, f"{change} while nodes own {held}; {instead}")]
    if not old.spec.disabled:
        problem = f"{change} while nodes may claim blocks of it; disable it first ({_disable(old)}), or {instead}"
        return [Finding(path, shown, problem)]
    return on_create(new, existing, blocks)


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


def abandoned(resource: Resource) -> bool:
    """What people may delete although agents write it: a block without owner and without anybody's address, which no
    agent looks after; and a request to release an address, which is thereby withdrawn.
    """
    if isinstance(resource, ReleaseRequest):
        return True
    if not isinstance(resource, IPAMBlock) or resource.spec.owner is not None:
        return False
    return all(each.freedAt is not None for each in resource.spec.allocations.values())


def _pool_in_use(pool: IPPool, blocks: Sequence[IPAMBlock]) -> list[Finding]:
    """Pods keep the pool; tunnel addresses do not, because their nodes take others.

    An enabled pool is kept by every block that a node owns, be it empty: the node may have given an address of it away
    a moment ago, and cut off from the datastore it goes on with that.
    """
    held = [block for block in _inside(pool, blocks) if _workloads(block)]
    owned = [block for block in _inside(pool, blocks) if block.spec.owner is not None]
    if not held and owned and not pool.spec.disabled:
        problem = (
            f"is enabled, and nodes may give away addresses of {_many(len(owned), 'block', 's')} "
            f"({_by_node(owned, lambda block: 1)}): disable it ({_disable(pool)}), "
            f"then bgpnetctl delete ippool {pool.metadata.name}"
        )
        return [Finding("spec.disabled", False, problem)]
    if not held:
        return []
    total = _many(sum(map(_workloads, held)), "address", "es")
    where = _many(len(held), "block", "s")
    if any(block.spec.owner for block in held):
        where += f" ({_by_node(held, _workloads)})"
    steps = f"delete their pods or wait until they are gone, then bgpnetctl delete ippool {pool.metadata.name}"
    first = "it is disabled already: " if pool.spec.disabled else f"disable it ({_disable(pool)}), "
    return [Finding("spec.cidr", pool.spec.cidr, f"still serves {total} of workloads in {where}; {first}{steps}")]


def _disable(pool: IPPool) -> str:
    """The command that does it."""
    name = pool.metadata.name
    return f"bgpnetctl get ippool {name} -o yaml | sed 's/disabled: false/disabled: true/' | bgpnetctl apply -f -"


def _by_node(blocks: Iterable[IPAMBlock], count: Callable[[IPAMBlock], int]) -> str:
    """`n1 3, n2 1`: so many of each owner, those with most first, at most five by name."""
    counts: Counter[str] = Counter()
    for block in blocks:
        counts[block.spec.owner.name if block.spec.owner else "nobody"] += count(block)
    listed = [f"{node} {number}" for node, number in counts.most_common()]
    more = [f"and {len(listed) - _SHOWN} more nodes"] if len(listed) > _SHOWN else []
    return ", ".join([*listed[:_SHOWN], *more])


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
