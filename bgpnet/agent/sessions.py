"""What our Node says of its BGP sessions, so that one who looks at the datastore sees those of all nodes. Pure.

A hundred nodes with a hundred sessions each write this, and each of them hears it all: a session that is up says only
what differs from most. A session that comes or goes is told at the next look; numbers wait a little.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from functools import lru_cache

from msgspec import structs

from bgpnet.agent import peers, policies
from bgpnet.agent.claims import Step
from bgpnet.agent.effects import Effect, Warn
from bgpnet.agent.plan import announcements
from bgpnet.agent.same import Same
from bgpnet.agent.status import session_info
from bgpnet.agent.watched import Watch
from bgpnet.agent.world import World
from bgpnet.bgp.basis import basis
from bgpnet.bgp.imports import Imported, Reason, counts
from bgpnet.bgp.peering import MESH, Peerings
from bgpnet.bgp.rib import Key, Path
from bgpnet.model import kinds
from bgpnet.model.instant import stamp
from bgpnet.model.ip import Address, Network
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.kinds import Resource
from bgpnet.model.node import IN_MESH, NodeSession, NodeSessions

EVERY = 2.0
"""Seconds between two looks."""
NUMBERS = 10.0
"""Seconds between two changes of what the Node says, when only numbers of routes changed."""
LIVELY = 30.0
"""Seconds after a change of what the sessions are made from in which numbers do not wait: somebody waits for them."""


def tide(world: World) -> Step:
    """With time: what our Node is to say of its sessions; and what is too much for a route reflector, once."""
    if world.clock < world.watch.sessions_due:
        return world, []
    found, watch = peers.of(world), replace(world.watch, sessions_due=world.clock + EVERY)
    if found is None or world.table is None:
        return replace(world, watch=watch), []
    taken = policies.learned(world, found)
    loud = policies.overload(world, found, taken)
    effects: list[Effect] = [Warn(one) for one in loud] if len(loud) > watch.overloads else []
    watch = _published(replace(watch, overloads=len(loud)), report(world, found, taken), world.clock)
    return replace(world, watch=watch), effects


def _published(watch: Watch, now: NodeSessions, clock: float) -> Watch:
    before = watch.sessions
    if before is None or before.basis != now.basis:
        return replace(watch, sessions=now, sessions_at=clock, changed_at=clock)
    if before.sessions == now.sessions:
        return replace(watch, sessions=now)
    waits = clock < watch.sessions_at + NUMBERS and clock >= watch.changed_at + LIVELY
    if waits and _states(before) == _states(now):
        return watch
    return replace(watch, sessions=now, sessions_at=clock)


def report(world: World, found: Peerings, taken: Imported | None) -> NodeSessions:
    """All sessions as of now."""
    refused, unused = _refused(Same(taken)) if taken is not None else ({}, frozenset())
    told = announcements(world, found, taken) or {}
    others = _others(Same(world.of_kind(kinds.IPAMBLOCK)), world.me.node)
    said = []
    for peer in found.neighbours:
        session = world.sessions.get(peer.address)
        up = session is not None and session.up and not world.speaker_away
        paths = world.table.of(peer.address) if world.table is not None else {}
        said.append(
            NodeSession(
                peer=str(peer.address),
                type=str(peer.kind),
                state="up" if up else "start",
                info=session_info(world, session, peer) if not up else "",
                since=stamp(session.since) if session is not None else "",
                received=len(paths),
                refused=sum(refused.get(peer.address, {}).values()),
                advertised=len(told.get(peer.address, ())) if up else 0,
                blocks=sum((peer.address, prefix) not in unused for prefix in _fresh(paths, others)),
                sources=tuple(
                    IN_MESH if source == MESH else source.removeprefix("BGPPeer ")
                    for source in found.sources.get(peer.address, ())
                ),
            )
        )
    return NodeSessions(checkedAt=stamp(world.now), basis=_basis(world), sessions=tuple(said))


@lru_cache(maxsize=1)
def _refused(taken: Same[Imported]) -> tuple[Mapping[Address, Mapping[Reason, int]], Set[tuple[Address, Network]]]:
    """What is not taken, counted by peer, and each; a switch may send a hundred thousand of them."""
    return counts(taken.value.refused), {(one.peer, one.prefix) for one in taken.value.refused}


def _fresh(paths: Mapping[Key, Path], wanted: Set[Network]) -> list[Network]:
    """Which of the wanted prefixes a peer announces, the larger side not looked through."""
    if len(paths) < len(wanted):
        return [prefix for (prefix, _), path in paths.items() if prefix in wanted and not path.stale]
    found = ((prefix, paths.get((prefix, 0))) for prefix in wanted)
    return [prefix for prefix, path in found if path is not None and not path.stale]


def _basis(world: World) -> str:
    return _word(tuple(Same(world.of_kind(kind)) for kind in peers.KINDS))


@lru_cache(maxsize=1)
def _word(heard: tuple[Same[Mapping[str, Resource]], ...]) -> str:
    return basis(one for each in heard for one in each.value.values())


def _states(said: NodeSessions) -> list[NodeSession]:
    """Without the numbers."""
    return [structs.replace(one, received=0, refused=0, advertised=0, blocks=0) for one in said.sessions]


@lru_cache(maxsize=1)
def _others(blocks: Same[Mapping[str, Resource]], me: str) -> Set[Network]:
    """The blocks of other nodes."""
    found = (one for one in blocks.value.values() if isinstance(one, IPAMBlock))
    return frozenset(one.network for one in found if one.spec.owner is not None and one.spec.owner.name != me)
