"""The conversation with ExaBGP, as a machine: lines in, events and commands out. No sockets, no clock, no threads.

First it reads what ExaBGP has: its neighbours, what they taught it, what they were told. Everything is applied in the
order in which it is said, live updates among the dump included: a dump of one neighbour is one piece, so what is heard
before it is in it, and what is heard after it is newer. Then it is live, and keeps what the peers are told equal to
the wish. A new flush of commands is only given when the last one is answered, and has one command for a prefix at most.

ExaBGP keeps what it was told for a neighbour over the end of the session and says it again by itself; it is told all
of it again nevertheless, which costs one line and nothing on the wire. Then End-of-RIB is announced.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from msgspec.structs import replace as changed

from bgpnet.bgp import causes, commands
from bgpnet.bgp.conf import IPV4_UNICAST
from bgpnet.bgp.export import Advert, Attributes
from bgpnet.bgp.lines import (
    INSIDE_ONLY,
    Ack,
    Dumped,
    EndOfRib,
    Failed,
    Neighbours,
    Notification,
    Opened,
    PeerDown,
    PeerState,
    PeerUp,
    RefreshRequest,
    parse,
)
from bgpnet.bgp.rib import LOCAL_PREF, Path, Table, Update
from bgpnet.model import ip
from bgpnet.model.ip import Address, Network
from bgpnet.pieces import Pause, never


@dataclass(frozen=True, slots=True)
class Synced:
    """What ExaBGP had when it was read: its neighbours, and what they taught it, stale where they are not up."""

    peers: Mapping[Address, PeerState]
    table: Table


@dataclass(frozen=True, slots=True)
class Away:
    """The speaker does not answer any more."""

    reason: str


@dataclass(frozen=True, slots=True)
class Removed:
    """ExaBGP does not have this neighbour any more."""

    peer: Address


SpeakerEvent = (
    Synced | Away | Removed | Opened | PeerUp | PeerDown | Failed | Update | EndOfRib | Notification | RefreshRequest
)
Exports = Mapping[Address, frozenset[Advert]]


class Talk:
    """One connection's conversation. `families` are those in which End-of-RIB is announced."""

    def __init__(self, wish: Exports | None = None, families: Sequence[str] = (IPV4_UNICAST,)) -> None:
        self.live = False
        self.refused = ""  # the last command that was answered by an error
        self._families = families
        self._wish = wish
        self._unsettled: frozenset[Address] = frozenset()
        self._spared: frozenset[Network] = frozenset()
        self._found: dict[Address, set[Network]] = {}  # of `_told`, what was there when we came, and is not wished yet
        self._said: dict[Address, frozenset[Advert]] = {}  # the wish that `_told` is of, where nothing else happened
        self._dirty = True
        self._reload = False
        self._begun = False
        self._silent = False
        self._awaited: deque[str] = deque()
        self._next_reading: tuple[str, ...] = ()
        self._peers: dict[Address, PeerState] = {}
        self._opened: dict[Address, Opened] = {}
        self._table = Table()
        self._dump: list[Path] = []
        self._held: list[EndOfRib] = []
        self._told: dict[Address, dict[Network, Advert]] = {}
        self._failures: dict[Address, str] = {}
        self._fresh: set[Address] = set()
        self._ending: set[Address] = set()

    @property
    def waiting(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self._awaited)

    @property
    def idle(self) -> bool:
        """Whether everything asked for is done: the last time, there was nothing to say."""
        return self.live and not self._awaited and self._silent

    @property
    def peers(self) -> frozenset[Address]:
        """The neighbours that ExaBGP has."""
        return frozenset(self._peers)

    def wish(
        self, exports: Exports, unsettled: frozenset[Address] = frozenset(), held: frozenset[Network] = frozenset()
    ) -> None:
        """What each peer should be told, all of it; peers that are not named are left as they are.

        Those that are unsettled hear no End-of-RIB, and what a former agent reflected to them is not withdrawn: others,
        whose routes are reflected to them, have not spoken again. Inside the networks `held` nothing is withdrawn: who
        knows whether it is to go has not spoken either.
        """
        self._wish, self._unsettled, self._spared = exports, unsettled, held
        self._dirty = True

    def reload(self) -> None:
        """Have the configuration file read again."""
        self._reload = True

    def commands(self) -> list[str]:
        """What to say now; nothing while answers are awaited."""
        if self._awaited:
            return []
        said = self._say()
        self._silent = not said
        self._awaited.extend(said)
        return said

    def _say(self) -> list[str]:
        if not self._begun:
            self._begun = True
            return [commands.SHOW_NEIGHBOURS, commands.SHOW_LEARNED, commands.SHOW_TOLD]
        if not self.live:
            return []
        if self._next_reading:
            reading, self._next_reading = self._next_reading, ()
            return list(reading)
        if self._reload:
            self._reload = False
            return [commands.RELOAD]
        return self._routes() or self._ends()

    def hear(self, line: str, pause: Pause = never) -> list[SpeakerEvent]:
        """What follows from a line. pause: called between pieces of a long one."""
        event = parse(line, pause)
        if isinstance(event, Dumped):
            self._dumped(event.path, event.valid)
            return []
        self._read_dump()
        match event:
            case Ack():
                return self._answered(event.ok)
            case Neighbours():
                return self._neighbours(event.states)
            case Opened() | PeerUp() | PeerDown() | Update() | EndOfRib() | Notification() | RefreshRequest():
                return self._happened(event)
            case _:
                return []

    # what is read

    def _dumped(self, path: Path, valid: bool) -> None:
        state = self._peers.get(path.peer)
        if state is None or not self._awaited:
            return
        if self._awaited[0] == commands.SHOW_LEARNED:
            if valid:
                self._dump.append(path)
        elif self._awaited[0] == commands.SHOW_TOLD:
            self._told.setdefault(path.peer, {})[path.prefix] = _normal(_told(path), state)
            self._found.setdefault(path.peer, set()).add(path.prefix)
            self._said.pop(path.peer, None)

    def _read_dump(self) -> None:
        """Put what was dumped so far in the table, before something else is heard."""
        by_peer: dict[Address, list[Path]] = {}
        for path in self._dump:
            by_peer.setdefault(path.peer, []).append(path)
        self._dump = []
        for peer, paths in by_peer.items():
            self._table = self._table.apply(Update(peer, tuple(_from_peer(paths, self._peers[peer]))))

    def _neighbours(self, states: Sequence[PeerState]) -> list[SpeakerEvent]:
        """All neighbours there are. One that is being removed may still be listed beside its successor."""
        found: dict[Address, PeerState] = {}
        for state in states:
            known = self._peers.get(state.peer)
            up = state.up if not self.live else known is not None and known.up
            if state.peer not in found or state.up:
                found[state.peer] = replace(state, up=up)
        removed = [Removed(peer) for peer in self._peers if peer not in found] if self.live else []
        self._peers = found
        self._told = {peer: told for peer, told in self._told.items() if peer in found}
        self._said = {peer: said for peer, said in self._said.items() if peer in found}
        self._failures = {peer: reason for peer, reason in self._failures.items() if peer in found}
        self._fresh &= found.keys()
        self._ending &= found.keys()
        return [*removed]

    def _answered(self, ok: bool) -> list[SpeakerEvent]:
        if not self._awaited:
            return []
        command = self._awaited.popleft()
        if command == commands.RELOAD:
            self._next_reading = (commands.SHOW_NEIGHBOURS,)
        elif command == commands.SHOW_NEIGHBOURS and self.live:
            self._dirty = True
        elif not ok and " announce eor " not in command:
            self.refused = command
            self._told = {}
            self._said = {}
            self._next_reading = (commands.SHOW_TOLD,)
        if not self.live and not self._awaited:
            return self._synced()
        return []

    def _synced(self) -> list[SpeakerEvent]:
        self.live = True
        for peer in self._table.peers():
            if peer not in self._peers:
                self._table = self._table.drop(peer)
            elif not self._peers[peer].up:
                self._table = self._table.mark_stale(peer)
        self._ending |= {peer for peer, state in self._peers.items() if state.up}
        synced = Synced(dict(self._peers), self._table)
        self._table = Table()
        held, self._held = self._held, []
        return [synced, *held]

    # what happens

    def _happened(
        self, event: Opened | PeerUp | PeerDown | Update | EndOfRib | Notification | RefreshRequest
    ) -> list[SpeakerEvent]:
        said: list[SpeakerEvent] = [event]
        if isinstance(event, Opened):
            self._opened[event.peer] = event
        elif isinstance(event, PeerUp):
            event = replace(event, opened=self._opened.get(event.peer))
            self._up(event)
            said = [event]
        elif isinstance(event, PeerDown):
            said = [event] if self._down(event) else self._failed(event)
        if self.live:
            return said
        if isinstance(event, Update):
            self._table = self._table.apply(event)
        elif isinstance(event, PeerUp):
            self._held = [held for held in self._held if held.peer != event.peer]
        elif isinstance(event, EndOfRib):
            self._held.append(event)
        return []

    def _up(self, event: PeerUp) -> None:
        """A new session: what the peer taught in the last one is void for ExaBGP; it must be told everything."""
        opened = event.opened
        self._failures.pop(event.peer, None)
        self._peers[event.peer] = PeerState(
            peer=event.peer,
            local=event.local,
            asn=event.asn,
            external=event.external,
            up=True,
            router_id=opened.router_id if opened else None,
            graceful=opened is not None and opened.restart_time is not None,
            families=opened.families if opened else (IPV4_UNICAST,),
            restart_time=opened.restart_time if opened else None,
        )
        self._table = self._table.drop(event.peer)
        self._fresh.add(event.peer)
        self._ending.discard(event.peer)
        self._dirty = True

    def _down(self, event: PeerDown) -> bool:
        """False when the session was never up: ExaBGP says `down` of failed attempts, too."""
        self._fresh.discard(event.peer)
        self._ending.discard(event.peer)
        state = self._peers.get(event.peer)
        if state is None or not state.up:
            return False
        self._peers[event.peer] = replace(state, up=False)
        if not causes.is_vague(event.reason):
            self._failures[event.peer] = event.reason
        return True

    def _failed(self, event: PeerDown) -> list[SpeakerEvent]:
        """Only what is news: attempts follow one another, and end in a refusal where the peer rests after an error."""
        before = self._failures.get(event.peer)
        told = before == event.reason
        if before is not None and not causes.is_vague(before):
            told = told or causes.is_vague(event.reason)
        if told or not self.live or event.peer not in self._peers:
            return []
        self._failures[event.peer] = event.reason
        return [Failed(event.peer, event.reason)]

    # what is told

    def _routes(self) -> list[str]:
        """One flush: what must be withdrawn and announced so that the peers know what they should."""
        if self._wish is None or not self._dirty:
            return []
        self._dirty = False
        drops: dict[tuple[Network, ...], list[Address]] = {}
        puts: dict[tuple[Attributes, tuple[Network, ...]], list[Address]] = {}
        for peer in sorted((one for one, state in self._peers.items() if state.up), key=int):
            if peer not in self._wish:
                continue
            dropped, put = self._difference(peer, self._wish[peer])
            if dropped:
                drops.setdefault(dropped, []).append(peer)
            for attributes, prefixes in put.items():
                puts.setdefault((attributes, tuple(prefixes)), []).append(peer)
        said = [line for prefixes, peers in drops.items() for line in commands.withdraw(peers, prefixes)]
        for (attributes, same), peers in puts.items():
            said += commands.announce(peers, same, Advert(same[0], *attributes))
        return said

    def _difference(
        self, peer: Address, wish: frozenset[Advert]
    ) -> tuple[tuple[Network, ...], dict[Attributes, list[Network]]]:
        """The prefixes to withdraw, and those to announce by their attributes; the peer counts as told from now on."""
        state, have = self._peers[peer], self._told.setdefault(peer, {})
        said = self._said.get(peer) if peer not in self._fresh else None
        if said is wish:
            return (), {}
        changed = {advert.prefix: _normal(advert, state) for advert in (wish if said is None else wish - said)}
        before = have.keys() if said is None else {advert.prefix for advert in said - wish}
        found = self._found.get(peer, set())
        found -= changed.keys()
        gone = {prefix for prefix in before if prefix not in changed and prefix in have}
        if peer in self._unsettled:
            gone = {prefix for prefix in gone if prefix not in found or not have[prefix].originator_id}
        put: dict[Attributes, list[Network]] = {}
        new = [prefix for prefix in changed if peer in self._fresh or have.get(prefix) != changed[prefix]]
        if self._spared:
            gone = {prefix for prefix in gone if not any(ip.contains(net, prefix) for net in self._spared)}
        for prefix in sorted(new, key=ip.order):
            put.setdefault(changed[prefix].attributes, []).append(prefix)
        if peer in self._fresh:
            self._fresh.discard(peer)
            self._ending.add(peer)
        for prefix in gone:
            del have[prefix]
        have |= changed
        if peer in self._unsettled or self._spared:
            self._said.pop(peer, None)
        else:
            self._said[peer] = wish
        return tuple(sorted(gone, key=ip.order)), put

    def _ends(self) -> list[str]:
        """End-of-RIB for those that have been told everything."""
        if self._wish is None:
            return []
        ready = sorted((peer for peer in self._ending if peer in self._wish and peer not in self._unsettled), key=int)
        self._ending -= set(ready)
        said: list[str] = []
        for family in self._families:
            said += commands.end_of_rib([peer for peer in ready if family in self._peers[peer].families], family)
        return said


def _from_peer(paths: Sequence[Path], state: PeerState) -> Sequence[Path]:
    """Dumped paths, which do not say whether their peer is in another AS, made to say it."""
    return [changed(path, external=True, **INSIDE_ONLY) for path in paths] if state.external else paths


def _normal(advert: Advert, state: PeerState) -> Advert:
    """The one way to say it, so that what was told can be compared with what is wanted."""
    changes: dict[str, object] = {}
    if advert.next_hop is not None and advert.next_hop == state.local:
        changes["next_hop"] = None
    if len(advert.communities) > 1:
        changes["communities"] = tuple(sorted(set(advert.communities)))
    if advert.local_pref is not None and (state.external or advert.local_pref == LOCAL_PREF):
        changes["local_pref"] = None
    if any(isinstance(one, tuple) for one in advert.as_path):
        changes["as_path"] = tuple(tuple(sorted(one)) if isinstance(one, tuple) else one for one in advert.as_path)
    return replace(advert, **changes) if changes else advert  # type: ignore[arg-type]  # each name has its type


def _told(path: Path) -> Advert:
    """A dumped announcement of ours."""
    return Advert(
        prefix=path.prefix,
        next_hop=path.next_hop,
        communities=path.communities + path.large_communities,
        as_path=path.as_path,
        local_pref=path.local_pref,
        med=path.med,
        origin=path.origin,
        originator_id=path.originator_id,
        cluster_list=path.cluster_list,
        extended=tuple(sorted(path.extended_communities)),
    )
