"""What the speaker says, as steps of the World: sessions, the learned table, graceful restart. Pure.

A lost peer's routes stay (stale) for the restart time it offered, and go at its End-of-RIB or when the time is over
(RFC 4724). A peer that says goodbye (a NOTIFICATION) loses them at once, and so does one that comes back without
graceful restart. One that says it has lost its forwarding state keeps them until its End-of-RIB nevertheless (RFC 4724,
4.2, would drop them): BIRD says so after any lost connection, and a stale path is only used where nobody has another.
"""

from __future__ import annotations

from dataclasses import replace

from bgpnet.agent.attach import Step
from bgpnet.agent.world import ESTABLISHED, WAITING, Session, World
from bgpnet.bgp import causes
from bgpnet.bgp.conf import IPV4_UNICAST, RESTART_TIME
from bgpnet.bgp.lines import EndOfRib, Failed, Notification, Opened, PeerDown, PeerState, PeerUp, Update
from bgpnet.bgp.rib import Table
from bgpnet.bgp.talk import Away, Removed, SpeakerEvent, Synced
from bgpnet.model.ip import Address

SETTLE = 5.0
"""Seconds that a session found up is given to end its table, when nobody heard whether it has."""

AGAIN = 2 * RESTART_TIME
"""Seconds for which a route may be stale though its peer is lost again and again before it has ended its table. RFC
4724, 4.2, lets it go at the second loss, and with it the packets of a peer that is restarted twice in ten seconds."""

UNASKED = 30.0
"""Seconds that a peer which offers no graceful restart is given for its table: it need not say where that ends."""


def heard(world: World, event: SpeakerEvent) -> Step:
    """Whatever the speaker said; what means nothing to the World leaves it as it is."""
    match event:
        case Synced():
            return synced(world, event), []
        case Away(reason):
            return replace(world, speaker_away=reason), []
        case Update():
            return replace(world, table=(world.table or Table()).apply(event)), []
        case Opened():
            return _with(world, replace(_session(world, event.peer), restart=event.restart_time)), []
        case PeerUp():
            return peer_up(world, event), []
        case PeerDown():
            return peer_down(world, event), []
        case Removed():
            return removed(world, event.peer), []
        case EndOfRib(family=family):  # of one family only: the routes of the others have not all been said
            return (ended(world, event.peer) if family == IPV4_UNICAST else world), []
        case Failed():
            return _with(
                world, replace(_session(world, event.peer), info=causes.of_down(event.reason, was_up=False))
            ), []
        case Notification():
            told = causes.of_notification(event.code, event.subcode, event.message)
            return _with(world, replace(_session(world, event.peer), info=told)), []
        case _:
            return world, []


def synced(world: World, event: Synced) -> World:
    """The speaker was read anew: its table is ours, with what absent peers left in it marked stale."""
    table = event.table
    sessions: dict[Address, Session] = {}
    for state in event.peers.values():
        sessions[state.peer] = _found(world, state)
        if not state.up:
            table = table.mark_stale(state.peer)
    for peer in table.peers() - set(sessions):
        table = table.drop(peer)
    return replace(world, table=_held(world, table, sessions), sessions=sessions, speaker_away="", heard=world.clock)


def _found(world: World, state: PeerState) -> Session:
    """A session as the speaker has it now; what was known of the same session before stays known."""
    asked = RESTART_TIME if state.restart_time is None else state.restart_time
    restart = float(asked) if state.graceful else None
    before = world.sessions.get(state.peer)
    if before is not None and before.up == state.up:
        if not state.up:
            return before
        # What was withdrawn meanwhile is held as stale, and no End-of-RIB need follow: it goes with the deadline.
        return replace(before, complete=False, deadline=world.clock + SETTLE)
    known = before is not None and before.known
    session = Session(
        address=state.peer,
        as_number=state.asn,
        up=state.up,
        since=world.now,
        restart=restart,
        known=known,
        router_id=state.router_id or (before.router_id if before else None),
    )
    if state.up:
        return replace(session, info=ESTABLISHED, deadline=world.clock + SETTLE)
    return replace(session, info=WAITING, deadline=world.clock + RESTART_TIME)


def _held(world: World, table: Table, sessions: dict[Address, Session]) -> Table:
    """ExaBGP forgets what it learned when it is restarted itself; we keep it, stale, as a graceful restart asks."""
    if world.table is None:
        return table
    for peer in world.table.peers() & set(sessions):
        old = world.table.mark_stale(peer).of(peer)
        missing = [path for key, path in old.items() if key not in table.of(peer)]
        if missing:
            table = table.apply(Update(peer, announced=tuple(missing)))
    return table


def peer_up(world: World, event: PeerUp) -> World:
    """Established: its table follows, and ends with End-of-RIB; a peer that sends none has until its deadline."""
    before = _session(world, event.peer)
    restart = event.opened.restart_time if event.opened else before.restart
    session = Session(
        address=event.peer,
        as_number=event.asn,
        up=True,
        since=world.now,
        info=ESTABLISHED,
        restart=restart,
        known=before.known,
        overdue=before.overdue,
        deadline=world.clock + (UNASKED if restart is None else RESTART_TIME),
        router_id=event.opened.router_id if event.opened else before.router_id,
    )
    if restart is None and world.table is not None:
        world = replace(world, table=world.table.sweep(event.peer))  # it would never say which of them still hold
    return _with(world, session)


def peer_down(world: World, event: PeerDown) -> World:
    """Lost, its routes wait for it as long as it asked; gone for good, they go."""
    before = _session(world, event.peer)
    patience = before.restart if before.up and event.lost else None
    told = before.up and event.reason.startswith("notification received") and before.info != ESTABLISHED
    info = before.info if told else causes.of_down(event.reason, was_up=before.up)
    session = replace(before, up=False, info=info, complete=False, since=world.now)
    table = world.table
    if table is not None and before.up:
        if before.overdue is not None and world.clock >= before.overdue:
            table = table.sweep(event.peer)
            session = replace(session, overdue=None)
        table = table.mark_stale(event.peer) if patience else table.drop(event.peer)
        session = replace(session, overdue=session.overdue or world.clock + AGAIN)
    deadline = world.clock + (patience or 0) if before.up else before.deadline
    return replace(_with(world, replace(session, deadline=deadline)), table=table)


def removed(world: World, peer: Address) -> World:
    """Nobody wants the session any more: what the peer taught us goes, though it be waited for."""
    sessions = {address: one for address, one in world.sessions.items() if address != peer}
    return replace(world, sessions=sessions, table=world.table.drop(peer) if world.table is not None else None)


def ended(world: World, peer: Address) -> World:
    """End-of-RIB: what the peer did not say again is gone (RFC 4724, 4.2)."""
    session = replace(_session(world, peer), complete=True, known=True, deadline=None, overdue=None)
    table = world.table.sweep(peer) if world.table is not None else None
    return replace(_with(world, session), table=table)


def expire(world: World) -> World:
    """Peers whose time is over lose what is still stale of theirs."""
    for session in world.sessions.values():
        if session.complete or session.deadline is None or session.deadline > world.clock:
            continue
        if session.up:
            world = _with(world, replace(session, complete=True, known=True, deadline=None, overdue=None))
        table = world.table.sweep(session.address) if world.table is not None else None
        if table is not world.table:
            world = replace(world, table=table)
    return world


def _session(world: World, peer: Address) -> Session:
    """What is known of it; one that is new has its time, after which nobody waits for it."""
    return world.sessions.get(peer) or Session(peer, 0, deadline=world.clock + RESTART_TIME)


def _with(world: World, session: Session) -> World:
    if world.sessions.get(session.address) == session:
        return world
    return replace(world, sessions={**world.sessions, session.address: session})
