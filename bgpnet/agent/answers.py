"""What a request is told, or why it waits. Pure."""

from __future__ import annotations

from bgpnet import cnispec
from bgpnet.agent.effects import Answer
from bgpnet.agent.kubeevents import NO_ADDRESS, NOT_WIRED, Grievance
from bgpnet.agent.world import CLAIM_PATIENCE, Pod, Waiting, World, replace
from bgpnet.cnispec import Attachment, CniRequest
from bgpnet.errors import CniError, one_line

GIVEN_UP = "the ADD is given up: its plugin has hung up (killed after the runtime's timeout, say)"
"""Why a pod that nobody waits for is not wired: its DEL may be over, or never come."""


def answer(number: int, version: str, pod: Pod) -> Answer:
    """The result of an ADD."""
    told = cnispec.Wired(pod.link, pod.attachment.ifname, pod.netns, pod.mac, pod.mtu, pod.address)
    return Answer(number, 0, cnispec.result(version, told))


def refuse(number: int, request: CniRequest, problem: CniError, *, waited: bool = False) -> Answer:
    """The specification's error object; the log has whose it is besides.

    A pod that gets no address, cannot be wired, or waited in vain has its owner told, where there is somebody to tell.
    """
    refused = refused_as(number, request.version, problem, request.attachment, request.pod)
    final = waited or problem.code in (cnispec.NO_ADDRESS, cnispec.WIRING_REFUSED)
    return aggrieved(refused, request.pod, request.uid, problem) if final else refused


def aggrieved(refused: Answer, pod: str, uid: str, problem: CniError) -> Answer:
    """The answer, and the pod's owner told of it; a runtime that does not say which pod it is has nobody told."""
    if not pod or not uid:
        return refused
    reason = NOT_WIRED if problem.code == cnispec.WIRING_REFUSED else NO_ADDRESS
    return replace(refused, grievance=Grievance(pod, uid, one_line(problem.message), reason))


def refused_as(
    number: int, version: str, problem: CniError, attachment: Attachment | None = None, pod: str = ""
) -> Answer:
    """The specification's error object where there is no request to ask, or none that could be read."""
    problem = CniError(problem.code, one_line(problem.message), problem.details)
    # A STATUS is about nobody.
    about = attachment if attachment and attachment.container else None
    named = f" (pod {pod})" if pod else ""
    whose = f"container {about.container} interface {about.ifname}{named}: " if about else ""
    return Answer(number, 1, cnispec.error(version, problem), f"{whose}{problem.message}")


def wait(world: World, number: int, request: CniRequest, reason: str) -> World:
    """It waits for this, and not for ever."""
    waiting = Waiting(request, world.clock + CLAIM_PATIENCE, reason)
    return replace(world, waiting={**world.waiting, number: waiting})


def still_waiting(world: World, reason: str) -> World:
    """Those who wait are told this when their patience ends."""
    waiting = {number: replace(one, reason=reason) for number, one in world.waiting.items()}
    return replace(world, waiting=waiting)
