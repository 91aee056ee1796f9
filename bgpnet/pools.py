"""Which pools a node may take addresses from, and why it gets none. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from bgpnet import reservations, selector
from bgpnet.errors import NoAddress
from bgpnet.model import ip
from bgpnet.model.ipamblock import IPAMBlock, Use
from bgpnet.model.ippool import AllowedUse, AssignmentMode, Encap, IPPool
from bgpnet.reservations import Reservations

_LONG = 200
"""How many characters of a pool's name a refusal shows: nobody has checked what was asked for."""
_SHOWN = 5
"""How many pools or nodes a refusal names before it only counts the others."""


def pools_for(
    pools: Iterable[IPPool],
    use: Use,
    labels: Mapping[str, str],
    named: Sequence[str] = (),
    namespace: Mapping[str, str] | None = None,
    source: str = "",
) -> list[IPPool]:
    """The pools that a node with these labels may allocate from for this use, by name; raises NoAddress.

    named: pools that were asked for, by name or CIDR: each must exist and be enabled; selectors do not count for them.
    source: what asked for them, such as an annotation.
    namespace: the labels of the pod's namespace; None where there is none or they are not known.
    Source: Calico's determinePools; for the tunnel's address, its determineEnabledPoolCIDRs.
    """
    every = sorted(pools, key=lambda pool: pool.metadata.name)
    if not every:
        raise NoAddress("there is no IP pool: create one with bgpnetctl create -f FILE (kind: IPPool, spec.cidr)")
    asked = _asked_for(every, named, source) if named else every
    reasons = {pool.metadata.name: _unfit(pool, use, labels, namespace, asked=bool(named)) for pool in asked}
    return _fit(asked, reasons, use)


def _fit(asked: Sequence[IPPool], reasons: Mapping[str, str], use: Use) -> list[IPPool]:
    """Those of the pools that have no reason not to; raises NoAddress."""
    if fit := [pool for pool in asked if not reasons[pool.metadata.name]]:
        return fit
    listed = _some([f"pool {name} {reason}" for name, reason in reasons.items()])
    raise NoAddress(
        f"no IP pool has {use} addresses for this node: {listed}; "
        "change that field of one of them, or create a pool that permits it"
    )


def pools_of_node(pools: Iterable[IPPool], labels: Mapping[str, str]) -> list[IPPool]:
    """The pools that serve pods of a node with these labels: of some namespace, or that ask for them; raises NoAddress.

    That a pod may ask for a pool which leaves its node out is nothing to count on.
    """
    every = sorted(pools, key=lambda pool: pool.metadata.name)
    reasons = {pool.metadata.name: _unserving(pool, Use.WORKLOAD, labels) for pool in every}
    return _fit(every, reasons, Use.WORKLOAD)


def pool_of(pools: Iterable[IPPool], address: ip.Address, use: Use, source: str) -> IPPool:
    """The pool that an address which was asked for lies in; raises NoAddress when it is in none, or in an unfit one.

    Selectors and assignmentMode do not count (source: Calico's AssignIP). source: what asked for the address.
    """
    every = sorted(pools, key=lambda pool: pool.metadata.name)
    found = next((pool for pool in every if ip.contains(pool.network, address)), None)
    if found is None:
        there = _some([f"{pool.metadata.name} ({pool.spec.cidr})" for pool in every]) or "none yet"
        raise NoAddress(f"{source} = {address} is outside every IP pool: ask for an address of one, there is {there}")
    if reason := _unfit(found, use, {}, None, asked=True):
        raise NoAddress(
            f"{source} = {address}: pool {found.metadata.name} {reason}; change that field, or ask for another address"
        )
    return found


def serves(pool: IPPool, labels: Mapping[str, str]) -> bool:
    """Whether a node with these labels may keep blocks of the pool: it is enabled and selects the node.

    A pool for those who ask for it (Manual) serves.
    """
    return any(not _unserving(pool, use, labels) for use in (Use.WORKLOAD, Use.TUNNEL))


def _unserving(pool: IPPool, use: Use, labels: Mapping[str, str]) -> str:
    """Why a pool serves nobody on this node, not even those who ask for it, as `_unfit` says it."""
    unfit = _unfit(pool, use, labels, None, asked=True)
    return unfit or _unselected("nodeSelector", pool.spec.nodeSelector, labels, "this node")


def _asked_for(every: Sequence[IPPool], named: Sequence[str], source: str) -> list[IPPool]:
    order = [_name(each) for each in named]
    wanted = set(order)
    asker = f"{source} asks for" if source else "was asked for"
    found = [pool for pool in every if wanted & {*_names(pool)}]
    for pool in found:
        wanted -= {*_names(pool)}
        if pool.spec.disabled:
            raise NoAddress(
                f"the pool {pool.metadata.name} ({pool.spec.cidr}) that {asker} is disabled: "
                "set its spec.disabled to false, or ask for another"
            )
        if reason := _withdrawn(pool):
            raise NoAddress(f"the pool {pool.metadata.name} ({pool.spec.cidr}) that {asker} {reason}: ask for another")
    if wanted:
        there = _some([f"{pool.metadata.name} ({pool.spec.cidr})" for pool in every])
        raise NoAddress(
            f"the pool {_some([one[:_LONG] for one in sorted(wanted)])} that {asker} does not exist: "
            f"create it, or ask for {there}"
        )
    return sorted(found, key=lambda pool: min(order.index(one) for one in _names(pool) if one in order))


def _names(pool: IPPool) -> tuple[str, ...]:
    return (pool.metadata.name, pool.spec.cidr, str(pool.network))


def _name(asked: str) -> str:
    """A pool's name as it is; a CIDR without its host bits."""
    try:
        return str(ip.interface(asked).network) if "/" in asked else asked
    except ValueError:
        return asked


_OF_THE_SPEC = frozenset({"PoolDisabled", "FamilyNotSupported", "SmallerThanBlock"})
"""Reasons that the pool's spec says itself, and that may be behind it: there may be no controller at the moment."""


def _withdrawn(pool: IPPool) -> str:
    """Why a controller took the pool out of use (its deletion has begun, its CIDR overlaps); empty when it did not."""
    for condition in pool.status.conditions if pool.status else ():
        if condition.type == "Allocatable" and condition.status == "False" and condition.reason not in _OF_THE_SPEC:
            why = f", {condition.reason}" if condition.reason else ""
            return f"gives no addresses (status.conditions: Allocatable is False{why})"
    return ""


def _unfit(
    pool: IPPool, use: Use, labels: Mapping[str, str], namespace: Mapping[str, str] | None, *, asked: bool
) -> str:
    """Why a pool does not qualify, as the rest of a sentence that begins with its name; empty when it does."""
    spec = pool.spec
    uses = ", ".join(spec.allowedUses)
    if spec.disabled:
        return "is disabled (spec.disabled: true)"
    if reason := _withdrawn(pool):
        return reason
    if pool.network.version == 6:
        return f"is IPv6, which is not wired yet (spec.cidr: {spec.cidr})"
    if pool.network.prefixlen > pool.block_size:
        sizes = f"spec.cidr: {spec.cidr}, spec.blockSize: {pool.block_size}"
        return f"is smaller than one of its blocks ({sizes}, which can be made greater while spec.disabled is true)"
    if AllowedUse(use.value) not in spec.allowedUses:
        return f"is not for this use (spec.allowedUses: {uses or 'none'})"
    if use is Use.TUNNEL and spec.ipipMode is Encap.NEVER and spec.vxlanMode is Encap.NEVER:
        return "does not tunnel (spec.ipipMode and spec.vxlanMode: Never)"
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


def exhausted(
    node: str,
    pools: Sequence[IPPool],
    blocks: Sequence[IPAMBlock],
    reserved: Reservations = reservations.NONE,
) -> str:
    """Why a node gets no further block, as one sentence: who has the blocks, what lies unused in them, the remedy."""
    inside = {
        pool.metadata.name: [block for block in blocks if ip.contains(pool.network, block.network)] for pool in pools
    }
    described = [_described(pool, node, inside[pool.metadata.name], reserved) for pool in pools]
    unused: Counter[str] = Counter()
    for block in {block.spec.cidr: block for found in inside.values() for block in found}.values():
        unused[_owner(block)] += unused_in(block, reserved)
    own, others = unused.pop(node, 0), [f"{name or 'nobody'} {count}" for name, count in unused.most_common() if count]
    elsewhere = f", {sum(unused.values())} in the blocks of others ({_some(others)})" if others else ""
    remedy = "create another IPPool, or delete the Nodes that are gone"
    if any(pool.block_size < pool.network.max_prefixlen for pool in pools):
        remedy += ", or give the next pool smaller blocks (a greater spec.blockSize)"
    if any(reservations.whole_blocks(reserved, pool.network, pool.block_size) for pool in pools):
        remedy += ", or take addresses out of an IPReservation"
    return (
        f"node {node} gets no further block: {_some(described) or 'no pool permits it one'}; "
        f"unused addresses: {own} in its own blocks{elsewhere}; {remedy}"
    )


def unused_in(block: IPAMBlock, reserved: Reservations) -> int:
    """How many addresses of a block nobody has, resting ones included and reserved ones not."""
    kept = reservations.ordinals(reserved, block.network)
    if not kept:
        return block.network.num_addresses - len(block.spec.allocations) + len(block.spec.resting)
    live = {ordinal for ordinal, slot in block.spec.allocations.items() if slot.freedAt is None}
    return block.network.num_addresses - len(live | kept)


def _described(pool: IPPool, node: str, blocks: Sequence[IPAMBlock], reserved: Reservations) -> str:
    total = 1 << max(pool.block_size - pool.network.prefixlen, 0)
    own = sum(1 for block in blocks if _owner(block) == node)
    kept = reservations.whole_blocks(reserved, pool.network, pool.block_size)
    return (
        f"pool {pool.metadata.name} ({pool.spec.cidr}) has {total} blocks of /{pool.block_size}, "
        f"{own} owned by this node, {len(blocks) - own} by others{f', {kept} wholly reserved' if kept else ''}"
    )


def _owner(block: IPAMBlock) -> str:
    return block.spec.owner.name if block.spec.owner else ""


def _some(items: Sequence[str]) -> str:
    """The first few, and how many more."""
    more = [f"and {len(items) - _SHOWN} more"] if len(items) > _SHOWN else []
    return "; ".join([*items[:_SHOWN], *more])
