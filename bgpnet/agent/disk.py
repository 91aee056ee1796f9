"""A disk that refuses the journal: no pod comes, every pod may go, and it is tried every second until it is over. Pure.

One that does not answer refuses, too; see journal.py.

An ADD is refused before it takes an address: of addresses that were given and taken back again, a block would soon have
none that has rested.
"""

from __future__ import annotations

from dataclasses import replace

from bgpnet.agent import releases
from bgpnet.agent.claims import Step
from bgpnet.agent.effects import Alarm, Effect, PayJournal
from bgpnet.agent.events import JournalTold
from bgpnet.agent.world import World


def told(world: World, event: JournalTold) -> Step:
    """It refuses, or no longer; the log says either once, and requests that waited for the journal are answered."""
    before = world.unjournalled
    world = replace(world, unjournalled=event.refusal)
    if event.refusal:
        return world, [Alarm(event.refusal)]
    over: list[Effect] = [Alarm(before, over=True)] if before else []
    return releases.after((world, over))


def tide(world: World) -> Step:
    """With time: try again."""
    return world, [PayJournal()] if world.unjournalled else []
