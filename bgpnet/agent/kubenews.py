"""What Kubernetes says, as steps of the World. Pure. What follows from it for the node stands in orchestrated.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, overload

from bgpnet.agent import attach, orchestrated
from bgpnet.agent.attach import Step
from bgpnet.agent.describe import AGAIN
from bgpnet.agent.effects import Warn
from bgpnet.agent.kubeevents import (
    EndpointsHeard,
    KubernetesAway,
    Namespaces,
    OwnNodeHeard,
    PodDescribed,
    SecretHeard,
    ServicesHeard,
)
from bgpnet.agent.world import Kubernetes, World, replace
from bgpnet.bgp.secret import Secrets

T = TypeVar("T")

News = Namespaces | PodDescribed | ServicesHeard | EndpointsHeard | OwnNodeHeard | SecretHeard | KubernetesAway


def heard(world: World, event: News) -> Step:
    """One row an event; whoever waits for it is tried again."""
    match event:
        case Namespaces(metas, whole):
            return attach.resume(replace(world, namespaces=_merged(world.namespaces, metas, whole=whole)))
        case PodDescribed():
            return described(world, event)
        case ServicesHeard(services, whole):
            return replace(world, services=_merged(world.services, services, whole=whole)), []
        case EndpointsHeard(endpoints, whole):
            return replace(world, endpoints=_merged(world.endpoints, endpoints, whole=whole)), []
        case OwnNodeHeard():
            return own_node(world, event)
        case SecretHeard(name, keys, problem):
            known = _kubernetes(world)
            secrets = {each: one for each, one in known.secrets.items() if each != name}
            if keys is not None:
                secrets[name] = (keys, problem)
            return _with_secrets(world, replace(known, secrets=secrets)), []
        case KubernetesAway():
            return away(world, event)


def files(world: World, found: Secrets) -> World:
    """The passwords in files and in the environment, with those in Secrets."""
    if world.kubernetes is None:
        return replace(world, secrets=found)
    return _with_secrets(world, replace(world.kubernetes, files=found))


def described(world: World, event: PodDescribed) -> Step:
    """A pod was asked about: the ADDs that wait for it go on with what is known now, or wait for what is not.

    Of a namespace that the watch has told of meanwhile the answer may be older, and the watch will not say it again.
    """
    known = _kubernetes(world)
    unanswered = {pod: one for pod, one in known.unanswered.items() if pod != event.pod}
    if event.problem:
        unanswered[event.pod] = (event.problem, world.clock + AGAIN)
    known = replace(known, asking=known.asking - {event.pod}, unanswered=unanswered)
    namespaces = world.namespaces
    if event.namespace is not None:
        namespaces = {event.pod.partition("/")[0]: event.namespace, **(namespaces or {})}
    waiting = {
        number: replace(one, request=replace(one.request, annotations=event.annotations))
        if event.annotations is not None and one.request.pod == event.pod and one.request.annotations is None
        else one
        for number, one in world.waiting.items()
    }
    return attach.resume(replace(world, kubernetes=known, namespaces=namespaces, waiting=waiting))


def own_node(world: World, event: OwnNodeHeard) -> Step:
    """This node as Kubernetes has it; what is wrong with that is said once."""
    known = _kubernetes(world)
    before = orchestrated.disagreements(world)
    world = replace(world, kubernetes=replace(known, node=event.node, node_heard=True))
    return world, [Warn(one) for one in orchestrated.disagreements(world) if one not in before]


def away(world: World, event: KubernetesAway) -> Step:
    """Something cannot be followed, or can be again: what was heard of it stays."""
    known = _kubernetes(world)
    left = {what: reason for what, reason in known.away.items() if what != event.what}
    left |= {event.what: event.reason} if event.reason else {}
    return attach.resume(replace(world, kubernetes=replace(known, away=left)))


def _kubernetes(world: World) -> Kubernetes:
    return world.kubernetes or Kubernetes()


def _with_secrets(world: World, known: Kubernetes) -> World:
    world = replace(world, kubernetes=known)
    if known.files is None:
        return world
    found = {f"{name}/{key}": one for name, (keys, _) in known.secrets.items() for key, one in keys.items()}
    merged = Secrets(
        known.files.directory,
        {**found, **known.files.found},
        known.namespace,
        {name: problem for name, (_, problem) in known.secrets.items()},
    )
    return replace(world, secrets=merged)


@overload
def _merged(before: Mapping[str, T] | None, news: None, *, whole: bool) -> None: ...
@overload
def _merged(before: Mapping[str, T] | None, news: Mapping[str, T | None], *, whole: bool) -> Mapping[str, T]: ...
def _merged(
    before: Mapping[str, T] | None, news: Mapping[str, T | None] | None, *, whole: bool
) -> Mapping[str, T] | None:
    """What is known after the news; news None: nothing is known any more."""
    if news is None:
        return None
    kept = {} if whole else before or {}
    return {name: one for name, one in {**kept, **news}.items() if one is not None}
