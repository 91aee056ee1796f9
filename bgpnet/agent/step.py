"""step(world, event) -> (world, effects): the one place where the World changes. Pure.

One row an event; the bodies of the rows stand in attach and detach (pods), sync (datastore) and learn (BGP).
"""

from __future__ import annotations

from bgpnet.agent import (
    attach,
    claims,
    describe,
    detach,
    disk,
    events,
    holding,
    idle,
    kubeevents,
    kubenews,
    learn,
    releases,
    sync,
    verbs,
    watch,
)
from bgpnet.agent.attach import Step
from bgpnet.agent.world import World, replace
from bgpnet.bgp.talk import SpeakerEvent

Happening = events.Event | SpeakerEvent


def step(world: World, event: Happening) -> Step:
    """The World after the event, and what is to be done."""
    match event:
        case events.Tick(now, clock):
            return tick(replace(world, now=now, clock=clock))
        case events.CniAsked():
            return detach.outdated(world, event) or verbs.asked(world, event)
        case events.PodWired():
            return attach.wired(world, event)
        case events.PodRefused():
            return attach.refused(world, event)
        case events.PodUnwired():
            return verbs.unwired(world, event)
        case events.UnwireFailed():
            return verbs.unwire_failed(world, event)
        case events.PodChecked():
            return verbs.checked(world, event)
        case events.Reaped():
            return releases.after(detach.reaped(world, event))
        case events.Claimed():
            return holding.claimed(world, event)
        case events.ClaimFailed():
            return holding.claim_failed(world, event)
        case events.TakenBack():
            return holding.taken_back(world, event)
        case events.TakeBackFailed():
            return holding.take_back_failed(world, event)
        case events.IdleJournalled():
            return idle.journalled(world, event)
        case events.Dropped():
            return idle.dropped(world, event)
        case events.DropFailed():
            return idle.drop_failed(world, event)
        case events.Listed():
            return sync.listed(world, event)
        case events.Changed():
            return sync.changed(world, event)
        case events.Gone():
            return sync.gone(world, event)
        case events.StoreAway():
            return sync.away(world, event)
        case events.KernelLooked():
            return sync.looked(world, event)
        case events.LinksLooked():
            return sync.links(world, event)
        case events.ConflistLooked(warnings, missing):
            return replace(world, conflist=warnings, no_conflist=missing), []
        case events.FirewallLooked(warnings):
            return replace(world, firewall=warnings), []
        case events.SecretsLooked(secrets):
            return kubenews.files(world, secrets), []
        case events.PodsLooked():
            return watch.looked(world, event)
        case events.JournalTold():
            return disk.told(world, event)
        case events.KernelApplied():
            return attach.applied(world, event)
        case (
            kubeevents.Namespaces()
            | kubeevents.PodDescribed()
            | kubeevents.ServicesHeard()
            | kubeevents.EndpointsHeard()
            | kubeevents.OwnNodeHeard()
            | kubeevents.SecretHeard()
            | kubeevents.KubernetesAway()
        ):
            return kubenews.heard(world, event)
        case _:
            return learn.heard(world, event)


def tick(world: World) -> Step:
    """Time passed: who waits is tried again or answered, who was away too long loses its routes."""
    world, effects = attach.expire(describe.tide(sync.tide(world)))
    if world.waiting or not world.no_address:
        world, more = attach.resume(world)
        effects += more
    world, more = claims.tide(world)
    world, doubts = claims.confirm(world)
    world, ebb = idle.tide(idle.settled(world))
    world, found = watch.tide(learn.expire(world))
    world, debts = disk.tide(world)
    return world, [*effects, *more, *doubts, *ebb, *found, *debts]
