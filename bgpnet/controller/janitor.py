"""One look in, everything that is to be done out. Pure.

The plan says the whole of it, from scratch, each time: what was done is not in the next picture, and what failed is in
it again. Nothing is done for being absent from what was heard: each action carries its evidence, which is looked for
once more, at the API and in the datastore themselves, before its one compare-and-swap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bgpnet.controller import asks, departed, leaks, upkeep
from bgpnet.controller.actions import Action, Leak, Waiting
from bgpnet.controller.picture import Key, Memory, Picture, Rules, pulses


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done now, in this order; what will be, if it is still so; and the suspects, for the metrics.

    wake: when, by our clock, there may be something to do although nothing has happened; None: never.
    """

    actions: tuple[Action, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    suspects: Mapping[Key, Leak] | None = None
    wake: float | None = None


def plan(picture: Picture, before: Memory, rules: Rules) -> tuple[Memory, Plan]:
    """What one picture asks for, and what to remember."""
    suspects = leaks.suspects(picture, before, rules)
    memory = replace(
        before,
        pulses=pulses(picture, before, rules),
        orphans=departed.orphans(picture, before),
        pauses=asks.pauses(picture, before, rules),
    )
    steps: list[Action | Waiting] = [
        *upkeep.pools(picture),
        *upkeep.nodes(picture),
        *upkeep.network(picture, memory, rules),
        *asks.ends(picture, memory, suspects),
        *asks.begins(picture, memory, rules, suspects),
        *departed.plan(picture, memory, rules),
    ]
    actions = tuple(one for one in steps if not isinstance(one, Waiting))
    waiting = tuple(one for one in steps if isinstance(one, Waiting))
    if picture.cluster is not None:  # unknown for a while: what was suspect stays so
        memory = replace(memory, suspects={key: leak.since for key, leak in suspects.items()})
    times = [one.at for one in waiting if one.at is not None]
    if open_ := asks.latest(picture):
        times.append(picture.clock + open_)
    times += upkeep.next_look(picture, memory, rules)
    return memory, Plan(actions, waiting, suspects, min(times, default=None))
