"""What must not happen: somebody else announces a block of ours. Pure.

An own idle block may become another's before we hear of it, and one that was another's a moment ago may still be
announced by it: what lasts shorter than PATIENCE is no alarm.
"""

from __future__ import annotations

from dataclasses import replace

from bgpnet.agent import facts
from bgpnet.agent.claims import Step
from bgpnet.agent.effects import Alarm, Effect
from bgpnet.agent.world import World
from bgpnet.bgp.rib import Path
from bgpnet.model.ip import Address, Network
from bgpnet.model.ipamblock import BlockState, Use

PATIENCE = 5.0
"""Seconds for which a block of ours has to be heard from another before it is an alarm."""


def scan(world: World) -> Step:
    """With time: raise what is wrong, and take back what no longer is; each is logged once."""
    now = {key: world.watch.intruders.get(key, world.clock) for key in _intruders(world)}
    lasting = [_sentence(world, *key) for key, since in now.items() if world.clock - since >= PATIENCE]
    raised = (*([world.fenced] if world.fenced else []), *sorted(lasting))
    before = world.watch.alarms
    effects: list[Effect] = [Alarm(one) for one in raised if one not in before]
    effects += [Alarm(one, over=True) for one in before if one not in raised]
    return replace(world, watch=replace(world.watch, intruders=now, alarms=raised)), effects


def _intruders(world: World) -> set[tuple[Network, Address]]:
    """Who announces an own block or a part of it: prefix and peer; what a lost peer said does not count."""
    mine = {net for net, block in world.blocks.items() if block.spec.state is BlockState.IN_USE}
    lengths = sorted({net.prefixlen for net in mine})
    if world.table is None or not mine:
        return set()
    return {
        (path.prefix, path.peer)
        for path in world.table.paths()
        if not path.stale
        and path.next_hop != world.me.address.ip
        and (block := _around(path.prefix, lengths, mine)) is not None
        and not _is_borrowed(world, block, path)
    }


def _around(prefix: Network, lengths: list[int], mine: set[Network]) -> Network | None:
    """The own block that has this prefix; thousands are asked about, so no block is compared one by one."""
    for length in lengths:
        if length <= prefix.prefixlen:
            around = prefix if length == prefix.prefixlen else prefix.supernet(new_prefix=length)
            if around in mine:
                return around
    return None


def _is_borrowed(world: World, block: Network, path: Path) -> bool:
    """Whether it is an address that an import reserved for a pod of another node: that one announces it rightly."""
    if path.prefix.prefixlen != path.prefix.max_prefixlen:
        return False
    ordinal = int(path.prefix.network_address) - int(block.network_address)
    slot = world.blocks[block].spec.allocations.get(ordinal)
    return slot is not None and slot.use is Use.RESERVED and slot.freedAt is None


def _sentence(world: World, prefix: Network, peer: Address) -> str:
    name = next((f"node {name}" for name, node in facts.nodes(world).items() if node.ipv4 and node.ipv4.ip == peer), "")
    said = f"{prefix} is a block of this node" if prefix in world.blocks else f"{prefix} is in a block of this node"
    return (
        f"{said} and is announced by {name or 'peer'} {peer} as well, so that packets to its pods may go astray: "
        "see which of the two owns it with bgpnetctl ipam check, and restart the agent of the other"
    )
