"""What the CNI plugin asks, by its verb: ADD stands in attach, DEL in detach; CHECK, GC and STATUS here. Pure.

Source: CNI specification 1.1.0, section "CNI Operations".
"""

from __future__ import annotations

from dataclasses import replace

from bgpnet import cnispec, names
from bgpnet.agent import answers, attach, choose, claims, detach, facts
from bgpnet.agent.attach import Step
from bgpnet.agent.effects import Answer, CheckPod, Effect, UnwirePod
from bgpnet.agent.events import CniAsked, PodChecked, PodUnwired, UnwireFailed
from bgpnet.agent.world import Collection, Phase, Pod, World
from bgpnet.cnispec import Attachment, CniRequest, Interface
from bgpnet.errors import CniError
from bgpnet.model import kinds

NOBODY = 0
"""The number of a DEL that nobody waits for."""


def asked(world: World, event: CniAsked) -> Step:
    """A request of the plugin: refused at once, or carried as far as it goes now."""
    number = event.number
    try:
        request = cnispec.parse(event.call)
    except CniError as problem:
        return world, [answers.refused_as(number, cnispec.version_of(event.call.stdin), problem)]
    match request.command:
        case "ADD":
            return attach.add(world, number, request)
        case "DEL":
            return detach.delete(world, number, request)
        case "CHECK":
            return world, [_check(world, number, request)]
        case "GC":
            return _collect(world, number, request)
        case _:
            return world, [_status(world, number, request)]


def checked(world: World, event: PodChecked) -> Step:
    """The comparison is made: every difference is named; a repeated ADD is told its result, or wired anew."""
    if event.repeated is not None:
        return attach.compared(world, event, event.repeated)
    if not event.differences:
        return world, [Answer(event.number, 0, b"")]
    problem = CniError(cnispec.NOT_AS_ADDED, f"{'; '.join(event.differences)}: delete the pod and start it again")
    return world, [answers.refused_as(event.number, event.version, problem, event.attachment)]


def unwired(world: World, event: PodUnwired) -> Step:
    """See detach.unwired; a GC may have waited for it."""
    world, effects = detach.unwired(world, event)
    world, more = _settled(world, event.attachment, "")
    return world, effects + more


def unwire_failed(world: World, event: UnwireFailed) -> Step:
    """See detach.unwire_failed; a GC may have waited for it."""
    world, effects = detach.unwire_failed(world, event)
    world, more = _settled(world, event.attachment, event.reason)
    return world, effects + more


def _check(world: World, number: int, request: CniRequest) -> Effect:
    """CHECK: what can be told from the World, and then a look at the kernel."""
    pod = world.pods.get(request.attachment)
    if pod is not None and pod.phase is Phase.CUT:
        pod = None  # its DEL was answered, only its link waits to be reaped
    if pod is not None and pod.phase in (Phase.WIRING, Phase.LEAVING):
        busy = CniError(cnispec.TRY_AGAIN, f"the container is {pod.phase} on {pod.link}; ask again when that has ended")
        return answers.refuse(number, request, busy)
    if pod is None and request.attachment in world.links and not world.adopted:
        unknown = CniError(cnispec.TRY_AGAIN, f"its address is not known yet: {facts.away(world)}; ask again")
        return answers.refuse(number, request, unknown)
    if pod is None or pod.phase is Phase.LOST:
        code, why = cnispec.UNKNOWN, "it was not added, or was deleted"
        if pod is not None:
            code, why = cnispec.NOT_AS_ADDED, f"its link {pod.link} is gone"
        return answers.refuse(number, request, CniError(code, f"{why}: delete the pod and start it again"))
    if reason := facts.lost_to(world, pod.address):
        lost = f"{pod.address}: {reason}: delete the pod and start it again"
        return answers.refuse(number, request, CniError(cnispec.NOT_AS_ADDED, lost))
    own = f"{pod.address}/{pod.address.max_prefixlen}"
    if own not in request.previous:
        listed = ", ".join(request.previous) or "none"
        other = f"prevResult has the address {listed}, and the pod {own}: pass the result of this container's ADD"
        return answers.refuse(number, request, CniError(cnispec.NOT_AS_ADDED, other))
    if other := _listed_otherwise(pod, request):
        problem = f"prevResult.interfaces {other}: pass the result of this container's ADD"
        return answers.refuse(number, request, CniError(cnispec.NOT_AS_ADDED, problem))
    return CheckPod(number, replace(pod, netns=request.netns), request.version)


def _listed_otherwise(pod: Pod, request: CniRequest) -> str:
    """How prevResult tells one of the pod's two ends, as the rest of a sentence; other plugins' interfaces are theirs.

    The pod's namespace is the one that this CHECK names, as in the specification's own plugins.
    """
    ends = (Interface(pod.link, names.HOST_MAC), Interface(pod.attachment.ifname, pod.mac, request.netns))
    for end in ends if request.interfaces else ():
        named = [one for one in request.interfaces if one.name == end.name]
        if not named:
            return f"have no {end.name}"
        here = [one for one in named if one.sandbox == end.sandbox] or [one for one in named if not one.sandbox]
        if not here:
            return f"have {end.name} in sandbox {named[0].sandbox} instead of {end.sandbox or 'none'}"
        if all(one.mac not in ("", end.mac) for one in here):
            return f"have {end.name} with mac {here[0].mac} instead of {end.mac}"
    return ""


def _collect(world: World, number: int, request: CniRequest) -> Step:
    """GC: pods of this network that the runtime does not list are deleted as by DEL; without a list none is.

    Pods whose network is not known (recovered without a journal) stay: nobody said that they are of this one.
    """
    valid = request.valid
    doomed = [
        pod
        for attachment, pod in world.pods.items()
        if valid is not None
        and attachment not in valid
        and pod.network == request.network
        and pod.phase in (Phase.READY, Phase.LOST)
    ]
    if not doomed:
        return world, [Answer(number, 0, b"")]
    leaving = {pod.attachment: replace(pod, phase=Phase.LEAVING) for pod in doomed}
    collection = Collection(request.version, frozenset(leaving))
    world = replace(world, pods={**world.pods, **leaving}, collections={**world.collections, number: collection})
    return world, [UnwirePod(NOBODY, pod, request.version) for pod in leaving.values()]


def _settled(world: World, attachment: Attachment, problem: str) -> Step:
    """One pod is gone or stays: the GCs that waited for the last are answered."""
    effects: list[Effect] = []
    collections = dict(world.collections)
    for number, one in world.collections.items():
        if attachment not in one.remaining:
            continue
        problems = (*one.problems, f"container {attachment.container}: {problem}") if problem else one.problems
        collections[number] = Collection(one.version, one.remaining - {attachment}, problems)
        if not collections[number].remaining:
            del collections[number]
            error = CniError(cnispec.TRY_AGAIN, f"not everything could be deleted: {'; '.join(problems)}")
            effects.append(answers.refused_as(number, one.version, error) if problems else Answer(number, 0, b""))
    return (replace(world, collections=collections) if collections != world.collections else world), effects


def _status(world: World, number: int, request: CniRequest) -> Effect:
    """STATUS: whether an ADD could be carried out; 51 where none can, and pods of lost blocks are cut off besides.

    A node without a free address is ready all the same: it would be tainted and its pods evicted for want of more. So
    is one that lost blocks and has another, or may claim one: pods can come, and those that are cut off and have to be
    deleted would not be helped by others' eviction. The log and `node status` tell of them.
    """
    problem = _unable(world, request)
    if world.fenced and (problem or not claims.has_prospects(world, request.pools)):
        said = f"{problem}; {world.fenced}" if problem else world.fenced
        return answers.refuse(number, request, CniError(cnispec.UNAVAILABLE_AND_LIMITED, said))
    if problem:
        return answers.refuse(number, request, CniError(cnispec.UNAVAILABLE, problem))
    return Answer(number, 0, b"")


def _unable(world: World, request: CniRequest) -> str:
    """Why no ADD of this configuration can be carried out; want of free addresses is no reason here, see `_status`."""
    if world.unjournalled:
        return world.unjournalled
    if not world.blocks and not world.is_synced(kinds.IPPOOL):
        return f"no address can be given: {facts.away(world)}, and this node owns no block; see to it"
    return choose.unserved(world, request.pools)
