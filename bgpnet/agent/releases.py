"""Requests to release an address, answered by the owner of its block, which is this node. Pure.

An answer `Released` is written when the release is in the journal, and not before: a disk that refuses is waited for.
The kernel is looked at for each request: what the World believes of a pod is no evidence when somebody says that it is
wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from enum import Enum

from msgspec import structs

from bgpnet import ipam, resting
from bgpnet.agent import facts, leaks
from bgpnet.agent.claims import Step
from bgpnet.agent.effects import Effect, JournalBlocks, RemoveRequest
from bgpnet.agent.events import PodsLooked
from bgpnet.agent.watched import Answered, Netns
from bgpnet.agent.world import Phase, Pod, World
from bgpnet.cnispec import Attachment
from bgpnet.model import ip, kinds
from bgpnet.model.instant import seconds, stamp
from bgpnet.model.ipamblock import Allocation, IPAMBlock, Use
from bgpnet.model.releaserequest import Outcome, ReleaseRequest, ReleaseRequestStatus

OLD = 600.0
"""Seconds after which a request is not carried out any more, and after which one that was answered is deleted."""


class Turn(Enum):
    """What a request needs before it is answered. DONE: nothing, it was released. WAIT: something is under way."""

    DONE = "done"
    WAIT = "wait"
    LOOK = "look"


def due(world: World) -> Step:
    """Answer what can be answered at once, and have the others' pods looked at."""
    open_ = list(_open(world)) if world.adopted else []
    world = _forgotten(world)
    looks: dict[Attachment, str] = {}
    for request in open_:
        turn = _turn(world, request)
        if turn is Turn.LOOK:
            attachment = Attachment(request.spec.container, request.spec.ifname)
            if (found := _slot(world, request)) is not None:
                attachment = _attachment(found[2])
            pod = world.pods.get(attachment)
            looks[attachment] = pod.netns if pod else ""
        elif turn is not Turn.WAIT:
            world = _answer(world, request, "" if isinstance(turn, Turn) else turn)
    return leaks.look_at(world, looks) if looks else (world, [])


def after(step: Step) -> Step:
    """A step, and then the requests that it may have brought an answer for."""
    world, effects = step
    world, more = due(world)
    return world, [*effects, *more]


def looked(world: World, event: PodsLooked) -> Step:
    """Pods were looked at: answer the requests that waited for it."""
    effects: list[Effect] = []
    for request in list(_open(world)) if event.links is not None else ():
        found = _slot(world, request)
        if found is None or _attachment(found[2]) not in event.netns or _turn(world, request) is not Turn.LOOK:
            continue
        if reason := _alive(world, request, event):
            world = _answer(world, request, reason)
            continue
        pod = _pod(world, request)
        if pod is not None:
            world, more = leaks.release(world, pod)  # answered when that has ended
        else:
            block = ipam.release_at(found[0], found[1], request.spec.sequence, world.now)
            world = replace(world, blocks={**world.blocks, block.network: block})
            more = [JournalBlocks((block,))]
            world = _answer(world, request, "")
        effects += more
    return world, effects


def tidy(world: World) -> Step:
    """With time: delete what was answered and not fetched."""
    old = [one for one in _ours(world) if one.status is not None and _age(world, one.status.answeredAt) >= OLD]
    return world, [] if world.store_away else [RemoveRequest(one) for one in old]


def records(world: World) -> Iterator[ReleaseRequest]:
    """Answered requests as they should be stored, where they are not."""
    for name, answer in world.watch.answers.items():
        stored = world.of_kind(kinds.RELEASEREQUEST).get(name)
        if isinstance(stored, ReleaseRequest) and stored.status is None and stored.spec == answer.spec:
            yield structs.replace(stored, status=answer.status)


def _turn(world: World, request: ReleaseRequest) -> Turn | str:
    """What is next for an open request; text: it is refused, and this is why."""
    spec = request.spec
    if (age := _age(world, spec.requestedAt)) > OLD:
        since = f"{age:.0f} s ago" if age < float("inf") else f"at {spec.requestedAt!r}"
        return f"the request is too old to be carried out: it was made {since}; ask again"
    if _block(world, request) is None:
        return f"{spec.address} is in no block of node {world.me.node}: look again at who owns its block"
    found = _slot(world, request)
    if found is None:
        return f"{spec.address} is not allocated to anybody: there is nothing to release"
    slot = found[2]
    if slot.sequence != spec.sequence:
        return f"{spec.address} is allocation {slot.sequence} by now, not {spec.sequence}: look again at who has it"
    if slot.freedAt is not None and not resting.kept_until(slot, world.now):
        return Turn.WAIT if world.unjournalled else Turn.DONE
    if slot.use is Use.TUNNEL and facts.tunnel_address(world, slot.ifname) == found[1]:
        return f"{spec.address} is the address of this node's own tunnel interface {slot.ifname}"
    pod = _pod(world, request)
    if pod is None or pod.phase is Phase.LOST:
        return Turn.WAIT if world.unjournalled else Turn.LOOK
    if pod.phase in (Phase.LEAVING, Phase.CUT):
        return Turn.WAIT
    return f"{_who(pod)} has it and is {pod.phase} on link {pod.link}: delete the pod"


def _alive(world: World, request: ReleaseRequest, event: PodsLooked) -> str:
    """Why the address is in use after all, by a look at the kernel and at what is announced; nothing if it is not.

    A pod whose link is gone while its namespace lives counts as alive: its runtime has it under that address, so that
    others send to it there.
    """
    found = _slot(world, request)
    if found is None or event.links is None:
        return ""
    address, pod = found[1], _pod(world, request)
    attachment = _attachment(found[2])
    for other, seen in event.links.items():
        if seen.address == address or (other == attachment and (pod is not None or seen.address is None)):
            return f"container {other.container} has it by its link {seen.link} in the kernel: delete the pod"
    if pod is not None and event.netns[attachment] is Netns.THERE:
        return (
            f"the link of {_who(pod)} is gone, but its network namespace {pod.netns} is there: "
            "delete the pod, whose DEL releases it"
        )
    for path in world.table.paths() if world.table is not None else ():
        if path.prefix == ip.host(address) and not path.stale and path.next_hop != world.me.address.ip:
            return f"{path.peer} announces it: delete the pod that has it there"
    return ""


def _open(world: World) -> Iterator[ReleaseRequest]:
    """Ours, neither answered nor about to be."""
    for one in _ours(world):
        decided = world.watch.answers.get(one.metadata.name)
        if one.status is None and (decided is None or decided.spec != one.spec):
            yield one


def _ours(world: World) -> Iterator[ReleaseRequest]:
    for one in world.of_kind(kinds.RELEASEREQUEST).values():
        if isinstance(one, ReleaseRequest) and one.spec.node == world.me.node:
            yield one


def _forgotten(world: World) -> World:
    """The World without answers that are stored, or to requests that were withdrawn."""
    stored = {one.metadata.name: one for one in _ours(world)}
    kept = {
        name: answer
        for name, answer in world.watch.answers.items()
        if name in stored and stored[name].status is None and stored[name].spec == answer.spec
    }
    return world if len(kept) == len(world.watch.answers) else _with_answers(world, kept)


def _answer(world: World, request: ReleaseRequest, reason: str) -> World:
    """Decided: refused for a reason, or released."""
    outcome = Outcome.REFUSED if reason else Outcome.RELEASED
    status = ReleaseRequestStatus(outcome=outcome, reason=reason, answeredAt=stamp(world.now))
    return _with_answers(world, {**world.watch.answers, request.metadata.name: Answered(request.spec, status)})


def _with_answers(world: World, answers: dict[str, Answered]) -> World:
    return replace(world, watch=replace(world.watch, answers=answers))


def _block(world: World, request: ReleaseRequest) -> IPAMBlock | None:
    address = ip.address(request.spec.address)
    return next((block for net, block in world.blocks.items() if ip.contains(net, address)), None)


def _slot(world: World, request: ReleaseRequest) -> tuple[IPAMBlock, ip.Address, Allocation] | None:
    """The own block, the address and whatever allocation it has."""
    block, address = _block(world, request), ip.address(request.spec.address)
    slot = block.spec.allocations.get(int(address) - int(block.network.network_address)) if block else None
    return (block, address, slot) if block and slot else None


def _pod(world: World, request: ReleaseRequest) -> Pod | None:
    """The pod that has this very allocation, as far as we know."""
    found = _slot(world, request)
    if found is None or found[2].use is not Use.WORKLOAD:
        return None
    pod = world.pods.get(_attachment(found[2]))
    return pod if pod is not None and pod.address == found[1] else None


def _attachment(slot: Allocation) -> Attachment:
    return Attachment(slot.container, slot.ifname)


def _who(pod: Pod) -> str:
    container = f"container {pod.attachment.container} ({pod.attachment.ifname})"
    return f"pod {pod.pod} ({container})" if pod.pod else container


def _age(world: World, at: str) -> float:
    """Seconds since that instant; infinite when it is none."""
    try:
        return world.now - seconds(at)
    except ValueError:
        return float("inf")
