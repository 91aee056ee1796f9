"""What becomes of a block that was asked for: it is held, is given up, or those who wait for it go elsewhere. Pure."""

from __future__ import annotations

from bgpnet.agent import adopt, answers, attach, claims, overlaps
from bgpnet.agent.claims import Step
from bgpnet.agent.effects import DropBlock, ForgetBlock, JournalBlocks
from bgpnet.agent.events import Claimed, ClaimFailed, TakeBackFailed, TakenBack
from bgpnet.agent.world import World, replace
from bgpnet.model import kinds
from bgpnet.model.ipamblock import IPAMBlock


def claimed(world: World, event: Claimed) -> Step:
    """A new block: the tunnel's address first, then those who wait.

    It may have been ours before we were fenced from it: pods of ours that still live in it keep their addresses, and
    nobody else does.
    """
    world = replace(world, claiming=False, no_address="")
    if next(overlaps.in_the_way(world, event.block.network), None) is not None:
        return _given_up(world, event.block)
    return _held(world, event.block)


def claim_failed(world: World, event: ClaimFailed) -> Step:
    """No block: those who wait get a resting address or the reason; or go on waiting if the datastore was away."""
    said = event.reason if event.exhausted and event.pools else world.no_address
    world = replace(world, claiming=False, no_address=said, ahead_after=world.clock + claims.AHEAD_RETRY)
    if not event.exhausted:
        return answers.still_waiting(world, event.reason), []
    return attach.again(world, event.pools)


def taken_back(world: World, event: TakenBack) -> Step:
    """An own block gives addresses away again; one that was not held is, unless another node has it meanwhile.

    What is heard of its owner was written at the revision that was swapped, or after it.
    """
    world = replace(world, taking_back=world.taking_back - {event.block.network})
    if event.block.network not in world.blocks:
        there = world.of_kind(kinds.IPAMBLOCK).get(event.block.metadata.name)
        owner = there.spec.owner if isinstance(there, IPAMBlock) else None
        lost = owner is not None and owner.name != world.me.node
        return (world, [ForgetBlock(event.block.spec.cidr)]) if lost else _held(world, event.block)
    return attach.resume(attach.with_block(claims.with_stored(world, event.block), event.block))


def _held(world: World, stored: IPAMBlock) -> Step:
    """A block that the datastore has as ours is one of ours: with the pods that live in it, and nobody else."""
    if overlaps.stronger(claims.with_stored(world, stored), stored) is not None:
        return _given_up(world, stored)
    block, recovered = adopt.survivors(world, stored)
    world = claims.with_stored(world, stored)
    pods = {**world.pods, **{pod.attachment: pod for pod in recovered}}
    world = replace(world, pods=pods, blocks={**world.blocks, block.network: block})
    world, effects = attach.resume(world)
    return world, [JournalBlocks((block,), tuple(recovered)), *effects] if block is not stored or recovered else effects


def _given_up(world: World, stored: IPAMBlock) -> Step:
    """Ours by the datastore, and in the way of another node's block: it goes before anybody is tried again."""
    world = replace(claims.with_stored(world, stored), dropping=stored.network)
    return world, [ForgetBlock(stored.spec.cidr), DropBlock(stored)]


def take_back_failed(world: World, event: TakeBackFailed) -> Step:
    """Still idle: those who wait are tried again with the tide; another node's: they are tried elsewhere, now."""
    world = answers.still_waiting(replace(world, taking_back=world.taking_back - {event.network}), event.reason)
    return (world, []) if claims.is_idle(world, event.network) else attach.again(world)
