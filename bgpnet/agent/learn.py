"""What the speaker says, as steps of the World: sessions, the learned table, graceful restart. Pure.

A lost peer's routes stay (stale) for the restart time it offered, and go at its End-of-RIB or when the time is over
(RFC 4724). A peer that says goodbye (a NOTIFICATION) loses them at once.
"""

from __future__ import annotations

from dataclasses import replace

from bgpnet.agent.attach import Step
from bgpnet.agent.world import World
from bgpnet.bgp.lines import EndOfRib, Opened, PeerDown, PeerUp, Update
from bgpnet.bgp.speaker import Away, Synced

SETTLE = 5.0
"""Seconds that a session found up is given to end its table, when nobody heard whether it has."""

Heard = Synced | Away | PeerUp | PeerDown | Opened | Update | EndOfRib


def synced(world: World, event: Synced) -> Step:
    """The speaker was read anew: its table is ours, with what dead peers left in it marked stale."""
    raise NotImplementedError


def away(world: World, event: Away) -> Step:
    """The speaker is gone: everything learned is held until it is back."""
    return replace(world, speaker_away=event.reason), []
