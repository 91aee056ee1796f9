"""The round that the agent makes every few seconds: lost pods, requests, alarms, what its Node says. Pure."""

from __future__ import annotations

from dataclasses import replace

from bgpnet.agent import alarms, facts, leaks, releases, sessions
from bgpnet.agent.claims import Step
from bgpnet.agent.events import PodsLooked
from bgpnet.agent.world import World

EVERY = 5.0
"""Seconds between two rounds, by the clock that never jumps."""


def tide(world: World) -> Step:
    """With time: one round, once the own blocks are known."""
    if not world.adopted:
        return world, []
    world, said = sessions.tide(world)
    if world.clock < world.watch.due:
        return world, said
    world = replace(world, watch=replace(world.watch, due=world.clock + EVERY))
    if world.fenced:
        world = replace(world, fenced=facts.fenced(world))
    world, effects = leaks.suspects(world)
    for part in (releases.due, releases.tidy, alarms.scan):
        world, more = part(world)
        effects = [*effects, *more]
    return leaks.publish(world), [*said, *effects]


def looked(world: World, event: PodsLooked) -> Step:
    """Pods were looked at, as lost ones or for requests, which come first: who asks waits."""
    world, effects = releases.looked(world, event)
    world, more = leaks.looked(world, event)
    return world, [*effects, *more]
