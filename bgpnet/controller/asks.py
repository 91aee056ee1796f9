"""ReleaseRequests that the controller makes, follows and takes back. Pure.

A request of ours is known by `requestedBy`, whichever controller wrote it: another one, or one that was restarted,
goes on with it. One that is not answered is withdrawn, so that nothing happens later behind anybody's back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bgpnet import ipam
from bgpnet.controller.actions import Action, Ask, Leak, Remove, Waiting, Write
from bgpnet.controller.leaks import ripe
from bgpnet.controller.picture import Key, Memory, Pause, Picture, Rules, age, silence
from bgpnet.model import instant
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.releaserequest import Outcome, ReleaseRequest, ReleaseRequestSpec
from bgpnet.model.resource import Metadata

BY = "bgpnet controller"
"""Who asks, as it stands in a request."""
PATIENCE = 60.0
"""Seconds that an owner has to answer."""
BATCH = 50
"""How many are asked in one plan: the rest follows a moment later."""
LONGEST_PAUSE = 6 * 3600.0
"""Seconds after which an owner that refused is asked again at the latest."""


def pauses(picture: Picture, memory: Memory, rules: Rules) -> dict[Key, Pause]:
    """Who is not to be asked for a while, what was refused or not answered just now included.

    A refusal stays where it is until then: every controller sees it, and the owner's reason is there to be read.
    """
    found = {key: pause for key, pause in memory.pauses.items() if key in memory.suspects}
    for request in _ours(picture):
        key, at = (request.spec.address, request.spec.sequence), request.spec.requestedAt
        if request.status is not None:
            at = request.status.answeredAt
            if request.status.outcome is Outcome.RELEASED:
                continue
        elif not _overdue(picture, request):
            continue
        before = found.get(key, Pause(0, 0.0))
        if before.counted != at:
            pause = min(max(rules.leak_grace, 1.0) * 2**before.times, LONGEST_PAUSE)
            found[key] = Pause(before.times + 1, picture.clock + pause, at)
    return found


def ends(picture: Picture, memory: Memory, suspects: Mapping[Key, Leak]) -> Iterator[Action]:
    """Requests of ours that are carried out, were refused a while ago, are overdue, or are not meant any more."""
    for request in _ours(picture):
        key, who = (request.spec.address, request.spec.sequence), f"node {request.spec.node}"
        pause = memory.pauses.get(key)
        if request.status is not None and request.status.outcome is Outcome.RELEASED:
            yield Remove(request, f"{who} released {request.spec.address}", request.spec.node)
        elif request.status is None and _overdue(picture, request):
            yield Remove(request, f"{who} did not answer within {PATIENCE:.0f} s", request.spec.node)
        elif picture.cluster is not None and key not in suspects:
            yield Remove(request, f"{request.spec.address} has a pod, or another allocation", request.spec.node)
        elif request.status is not None and pause is not None and pause.until <= picture.clock:
            yield Remove(
                request, f"{who} is to be asked again: it said that {request.status.reason}", request.spec.node
            )


def begins(picture: Picture, memory: Memory, rules: Rules, suspects: Mapping[Key, Leak]) -> Iterator[Action | Waiting]:
    """Owners to ask; in a block without owner, which has no writer, the release itself.

    memory: with the suspects of the last plan, and the pauses of this one.
    """
    asked, freed = 0, set[str]()
    for key, leak in suspects.items():
        slot, pause = leak.slot, memory.pauses.get(key)
        if (there := picture.requests.get(_name(leak))) is not None:
            if there.status is not None and pause is not None and pause.until > picture.clock:
                yield _waits(leak, f"{leak.reason}; node {slot.owner} refuses: {there.status.reason}", pause.until)
            continue
        if not ripe(leak, suspects, memory, rules, picture.clock):
            yield _waits(leak, leak.reason, max(leak.since + rules.leak_grace, picture.clock))
        elif not slot.owner:
            if slot.block.metadata.name not in freed:
                freed.add(slot.block.metadata.name)  # one compare-and-swap of a block in a plan
                yield Write(_freed(picture, leak), f"release {slot.address} in", leak.reason, leak=leak)
        elif slot.owner not in picture.nodes:
            continue  # its block is given back whole, see departed.py
        elif (quiet := silence(picture, memory, rules, slot.owner)) >= rules.silence:
            shown = f"for {quiet:.0f} s" if quiet < float("inf") else "(no machine holds its name)"
            yield _waits(leak, f"{leak.reason}; its node's agent is silent {shown} and cannot be asked")
        elif pause is not None and pause.until > picture.clock:
            yield _waits(leak, f"{leak.reason}; its node did not release it {pause.times} times", pause.until)
        elif asked < BATCH:
            asked += 1
            yield Ask(_request(picture, leak), leak, leak.reason)
        else:
            yield _waits(leak, leak.reason, picture.clock)


def latest(picture: Picture) -> float:
    """Seconds until the first request of ours is overdue; 0 when there is none."""
    waits = (PATIENCE - age(picture, one.spec.requestedAt) for one in _ours(picture) if one.status is None)
    return max(min(waits, default=0.0), 0.0)


def _ours(picture: Picture) -> list[ReleaseRequest]:
    return [one for one in picture.requests.values() if one.spec.requestedBy == BY]


def _overdue(picture: Picture, request: ReleaseRequest) -> bool:
    return request.status is None and not 0 <= age(picture, request.spec.requestedAt) + SLACK < PATIENCE + SLACK


SLACK = 10.0
"""Seconds that another controller's clock may be ahead of ours."""


def _waits(leak: Leak, why: str, at: float | None = None) -> Waiting:
    return Waiting(Ask.what, f"{leak.slot.address} of {leak.slot.who}", leak.slot.owner, why, at)


def _name(leak: Leak) -> str:
    """As bgpnetctl names them: `10-0-0-5-1763690823500000`."""
    return f"{str(leak.slot.address).replace('.', '-').replace(':', '-').strip('-')}-{leak.slot.allocation.sequence}"


def _request(picture: Picture, leak: Leak) -> ReleaseRequest:
    slot = leak.slot
    spec = ReleaseRequestSpec(
        node=slot.owner,
        address=str(slot.address),
        sequence=slot.allocation.sequence,
        container=slot.allocation.container,
        ifname=slot.allocation.ifname,
        reason=leak.reason,
        requestedAt=instant.stamp(picture.now),
        requestedBy=BY,
    )
    return ReleaseRequest(metadata=Metadata(name=_name(leak)), spec=spec)


def _freed(picture: Picture, leak: Leak) -> IPAMBlock:
    return ipam.release_at(leak.slot.block, leak.slot.address, leak.slot.allocation.sequence, picture.now)
