"""Which pools a node may take addresses from, and why it gets none. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from bgpnet import selector
from bgpnet.errors import NoAddress
from bgpnet.model import ip
from bgpnet.model.ipamblock import IPAMBlock, Use
from bgpnet.model.ippool import AllowedUse, AssignmentMode, Encap, IPPool

_SHOWN = 5
"""How many pools or nodes a refusal names before it only counts the others."""


def pools_for(
    pools: Iterable[IPPool],
    use: Use,
    labels: Mapping[str, str],
    named: Sequence[str] = (),
    namespace: Mapping[str, str] | None = None,
) -> list[IPPool]:
    """The pools that a node with these labels may allocate from for this use, by name; raises NoAddress.

    named: pools that were asked for, by name or CIDR: each must exist and be enabled; selectors do not count for them.
    namespace: the labels of the pod's namespace; None where there is none or they are not known.
    Source: Calico's determinePools; for the tunnel's address, its determineEnabledPoolCIDRs.
    """
    every = sorted(pools, key=lambda pool: pool.metadata.name)
    if not every:
        raise NoAddress("there is no IP pool: create one with bgpnetctl create -f FILE (kind: IPPool, spec.cidr)")
    asked = _asked_for(every, named) if named else every
    reasons = {pool.metadata.name: _unfit(pool, use, labels, namespace, asked=bool(named)) for pool in asked}
    if fit := [pool for pool in asked if not reasons[pool.metadata.name]]:
        return fit
    listed = _some([f"pool {name} {reason}" for name, reason in reasons.items()])
    raise NoAddress(
        f"no IP pool has {use} addresses for this node: {listed}; "
        "change that field of one of them, or create a pool that permits it"
    )


def _asked_for(every: Sequence[IPPool], named: Sequence[str]) -> list[IPPool]:
    wanted = set(named)
    found = [pool for pool in every if wanted & {pool.metadata.name, pool.spec.cidr, str(pool.network)}]
    for pool in found:
        wanted -= {pool.metadata.name, pool.spec.cidr, str(pool.network)}
        if pool.spec.disabled:
            raise NoAddress(
                f"the pool {pool.metadata.name} ({pool.spec.cidr}) that was asked for is disabled: "
                "set its spec.disabled to false, or ask for another"
            )
    if wanted:
        there = _some([f"{pool.metadata.name} ({pool.spec.cidr})" for pool in every])
        raise NoAddress(
            f"the pool {', '.join(sorted(wanted))} that was asked for does not exist: create it, or ask for {there}"
        )
    return found


def _unfit(
    pool: IPPool, use: Use, labels: Mapping[str, str], namespace: Mapping[str, str] | None, *, asked: bool
) -> str:
    """Why a pool does not qualify, as the rest of a sentence that begins with its name; empty when it does."""
    spec = pool.spec
    uses = ", ".join(spec.allowedUses)
    if spec.disabled:
        return "is disabled (spec.disabled: true)"
    if pool.network.version == 6:
        return f"is IPv6, which is not wired yet (spec.cidr: {spec.cidr})"
    if pool.network.prefixlen > pool.block_size:
        return f"is smaller than one of its blocks (spec.cidr: {spec.cidr}, spec.blockSize: {pool.block_size})"
    if AllowedUse(use.value) not in spec.allowedUses:
        return f"is not for this use (spec.allowedUses: {uses or 'none'})"
    if use is Use.TUNNEL and spec.ipipMode is Encap.NEVER:
        return "does not tunnel (spec.ipipMode: Never)"
    if asked:
        return ""
    # The tunnel's address asks for its pools, so to say: Manual does not keep it out, and it has no namespace.
    if use is Use.WORKLOAD and spec.assignmentMode is AssignmentMode.MANUAL:
        return "is only for pods that ask for it (spec.assignmentMode: Manual)"
    if reason := _unselected("nodeSelector", spec.nodeSelector, labels, "this node"):
        return reason
    if use is Use.WORKLOAD and spec.namespaceSelector:
        return _unselected("namespaceSelector", spec.namespaceSelector, namespace, "the pod's namespace")
    return ""


def _unselected(field: str, text: str, labels: Mapping[str, str] | None, subject: str) -> str:
    try:
        wanted = selector.parse(text)
    except ValueError as error:
        return f"has a selector that cannot be read (spec.{field}: {text}; {error})"
    if labels is None:
        return f"selects by labels of {subject}, which are not known here (spec.{field}: {text})"
    return "" if wanted.matches(labels) else f"does not select {subject} (spec.{field}: {text})"


def exhausted(node: str, pools: Sequence[IPPool], blocks: Sequence[IPAMBlock], now: float) -> str:
    """Why a node gets no further block, as one sentence: who has the blocks, what lies unused in them, the remedy."""
    inside = {
        pool.metadata.name: [block for block in blocks if ip.contains(pool.network, block.network)] for pool in pools
    }
    described = [_described(pool, node, inside[pool.metadata.name]) for pool in pools]
    unused: Counter[str] = Counter()
    for block in {block.spec.cidr: block for found in inside.values() for block in found}.values():
        live = sum(1 for allocation in block.spec.allocations.values() if allocation.freedAt is None)
        unused[_owner(block)] += block.network.num_addresses - live
    own, others = unused.pop(node, 0), [f"{name or 'nobody'} {count}" for name, count in unused.most_common() if count]
    elsewhere = f", {sum(unused.values())} in the blocks of others ({_some(others)})" if others else ""
    smaller = any(pool.block_size < pool.network.max_prefixlen for pool in pools)
    remedy = "create another IPPool, or delete the Nodes that are gone"
    if smaller:
        remedy += ", or give the next pool smaller blocks (a greater spec.blockSize)"
    return (
        f"node {node} gets no further block: {_some(described) or 'no pool permits it one'}; "
        f"unused addresses: {own} in its own blocks{elsewhere}; {remedy}"
    )


def _described(pool: IPPool, node: str, blocks: Sequence[IPAMBlock]) -> str:
    total = 1 << max(pool.block_size - pool.network.prefixlen, 0)
    own = sum(1 for block in blocks if _owner(block) == node)
    return (
        f"pool {pool.metadata.name} ({pool.spec.cidr}) has {total} blocks of /{pool.block_size}, "
        f"{own} owned by this node, {len(blocks) - own} by others"
    )


def _owner(block: IPAMBlock) -> str:
    return block.spec.owner.name if block.spec.owner else ""


def _some(items: Sequence[str]) -> str:
    """The first few, and how many more."""
    more = [f"and {len(items) - _SHOWN} more"] if len(items) > _SHOWN else []
    return "; ".join([*items[:_SHOWN], *more])
