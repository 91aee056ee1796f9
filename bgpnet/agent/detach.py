"""DEL, as steps of the World: routes away and link marked, journalled, answered; reaped; then the address rests. Pure.

The link is reaped with others, and only when it is gone does its address rest.
"""

from __future__ import annotations

from bgpnet import cnispec, names
from bgpnet.agent import answers, attach
from bgpnet.agent.claims import Step
from bgpnet.agent.effects import Answer, Reap, UnwirePod, Warn
from bgpnet.agent.events import CniAsked, PodUnwired, Reaped, UnwireFailed
from bgpnet.agent.world import Phase, Pod, World, replace
from bgpnet.cnispec import Attachment, CniRequest
from bgpnet.errors import CniError
from bgpnet.model import instant

COARSE = 0.1
"""Seconds by which a file's time may be behind the clock."""


def delete(world: World, number: int, request: CniRequest) -> Step:
    """DEL: what is known is unwired; what is not known is looked for under its name, and found or not, it ends well.

    Its link is no evidence of life from now on, should our blocks not be known yet.
    """
    world, effects = _forget_waiting(world, request.attachment)
    if request.attachment in world.links:
        world = replace(world, links={key: one for key, one in world.links.items() if key != request.attachment})
    pod = world.pods.get(request.attachment)
    if pod is None:
        pod = _unknown(world, request)
    elif pod.phase is Phase.CUT:
        return world, [*effects, Answer(number, 0, b"")]
    elif pod.phase is Phase.LEAVING:
        numbers = (*world.also_deleting.get(request.attachment, ()), number)
        return replace(world, also_deleting={**world.also_deleting, request.attachment: numbers}), effects
    elif pod.phase is Phase.WIRING:
        # A DEL that overtakes its ADD is answered when the ADD has ended: the runtime asks again.
        problem = CniError(cnispec.TRY_AGAIN, f"container {pod.attachment.container} is being wired; ask again")
        return world, [*effects, answers.refuse(number, request, problem)]
    else:
        pod = replace(pod, phase=Phase.LEAVING)
        world = attach.with_pod(world, pod)
    return world, [*effects, UnwirePod(number, pod, request.version)]


def outdated(world: World, event: CniAsked) -> Step | None:
    """A DEL's note that is older than its pod: it could not be removed, and the runtime has used the id again."""
    if event.noted is None:
        return None
    env = event.call.env
    attachment = Attachment(env.get("CNI_CONTAINERID", ""), env.get("CNI_IFNAME", ""))
    pod = world.pods.get(attachment)
    if pod is None or not instant.readable(pod.since):
        return None
    if event.noted + COARSE >= instant.seconds(pod.since):
        return None
    said = f"{attachment.container}:{attachment.ifname} in tombstones/ is the note of a DEL from before {pod.since}"
    return world, [Warn(f"{said}, when its pod came: it is not carried out"), Answer(event.number, 0, b"")]


def unwired(world: World, event: PodUnwired) -> Step:
    """The pod is cut off and its release is durable: answer everybody who asked for it, and reap."""
    pod = world.pods.get(event.attachment)
    if pod is not None:
        world = attach.with_pod(world, replace(pod, phase=Phase.CUT))
    world, also = _also(world, event.attachment)
    return world, [*(Answer(number, 0, b"") for number in (event.number, *also)), Reap(event.attachment)]


def unwire_failed(world: World, event: UnwireFailed) -> Step:
    """Not released: the pod stays as it was, the runtime asks again."""
    pod = world.pods.get(event.attachment)
    world, also = _also(world, event.attachment)
    if pod is not None:
        rivals = attach.rivals(world, pod.link, pod.attachment)
        before = Phase.LOST if any(one.phase in (Phase.WIRING, Phase.READY) for one in rivals) else Phase.READY
        world = attach.with_pod(world, replace(pod, phase=before))
    problem = CniError(cnispec.TRY_AGAIN, event.reason)
    name = pod.pod if pod is not None else ""
    return world, [
        answers.refused_as(number, event.version, problem, event.attachment, name) for number in (event.number, *also)
    ]


def reaped(world: World, event: Reaped) -> Step:
    """The links are gone: the addresses rest from now on."""
    for attachment in event.attachments:
        pod = world.pods.get(attachment)
        if pod is not None and pod.phase is Phase.CUT:
            world = attach.released(world, attachment)
    return attach.again(world)


def _also(world: World, attachment: Attachment) -> tuple[World, tuple[int, ...]]:
    """The further DELs of a pod that was being cut off."""
    left = {key: numbers for key, numbers in world.also_deleting.items() if key != attachment}
    return replace(world, also_deleting=left), world.also_deleting.get(attachment, ())


def _unknown(world: World, request: CniRequest) -> Pod:
    """A stand-in for a pod that nothing is known of: its link can only have one name."""
    attachment = request.attachment
    return Pod(
        attachment=attachment,
        pod=request.pod,
        network=request.network,
        netns=request.netns,
        link=names.pod_link(request.pod, attachment.container, attachment.ifname),
        address=world.me.address.ip,
        mac="",
        mtu=0,
        since="",
        sequence=0,
        phase=Phase.LEAVING,
    )


def _forget_waiting(world: World, attachment: Attachment) -> Step:
    """An ADD that still waits while its DEL comes: the runtime has given it up."""
    given_up = {number: one for number, one in world.waiting.items() if one.request.attachment == attachment}
    return attach.send_away(world, given_up, f"container {attachment.container} was deleted while it waited")
