"""Asking Kubernetes about a pod whose namespace or annotations nobody has told of, while its ADD waits. Pure.

Runtimes pass a pod's annotations with the ADD (containerd and CRI-O by a capability of our network configuration), and
namespaces are followed; what is left is a namespace made a moment ago, and a runtime that passes nothing.
"""

from __future__ import annotations

from bgpnet.agent.claims import Step
from bgpnet.agent.kubeevents import NAMESPACES, DescribePod
from bgpnet.agent.world import World, replace
from bgpnet.cnispec import CniRequest

AGAIN = 2.0
"""Seconds until Kubernetes, asked in vain, is asked about the same pod again."""


def ask(world: World, request: CniRequest) -> Step:
    """Have it asked, once at a time; not while it is known not to answer."""
    kubernetes, pod = world.kubernetes, request.pod
    if kubernetes is None or kubernetes.away.get(NAMESPACES):
        return world, []
    if pod in kubernetes.asking or pod in kubernetes.unanswered:
        return world, []
    of_namespace = pod.partition("/")[0] not in (world.namespaces or {})
    world = replace(world, kubernetes=replace(kubernetes, asking=kubernetes.asking | {pod}))
    return world, [DescribePod(pod, request.annotations is None, of_namespace)]


def tide(world: World) -> World:
    """With time, whoever was asked about in vain may be asked about again."""
    if world.kubernetes is None or not world.kubernetes.unanswered:
        return world
    left = {pod: one for pod, one in world.kubernetes.unanswered.items() if one[1] > world.clock}
    return replace(world, kubernetes=replace(world.kubernetes, unanswered=left))
