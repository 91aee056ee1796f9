"""The conversation with ExaBGP against a small honest ExaBGP: same lines, same order, no sockets."""

from __future__ import annotations

import json
from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from bgpnet.bgp.export import Advert
from bgpnet.bgp.lines import EndOfRib, Failed, Opened, PeerDown, PeerUp, Update
from bgpnet.bgp.rib import Path, Table
from bgpnet.bgp.talk import Exports, Removed, SpeakerEvent, Synced, Talk
from bgpnet.model import ip
from bgpnet.model.ip import Address, Network

ME, A, B = (ip.address(f"10.0.0.{n}") for n in (9, 1, 2))
NETS = [ip.network(f"10.244.{n}.0/26") for n in range(6)]


def head(peer: Address) -> dict[str, object]:
    return {"address": {"local": str(ME), "peer": str(peer)}, "asn": {"local": 64512, "peer": 64512}}


class FakeExaBGP:
    """Neighbours with a state, an adj-rib-in and an adj-rib-out. `said`: what it wrote; `wire`: what it was told."""

    def __init__(self, *peers: Address) -> None:
        self.up = dict.fromkeys(peers, False)
        self.learned: dict[Address, dict[Network, int]] = {peer: {} for peer in peers}
        self.told: dict[Address, dict[Network, str]] = {peer: {} for peer in peers}
        self.said: deque[str] = deque()
        self.wire: list[str] = []
        self.queue: deque[str] = deque()
        self.file = set(peers)
        self.originators: dict[Network, str] = {}

    def _event(self, peer: Address, kind: str, **content: object) -> None:
        self.said.append(json.dumps({"type": kind, "neighbor": head(peer) | content}))

    def session(self, peer: Address, up: bool, reason: str = "closing connection") -> None:
        if up and not self.up[peer]:
            self.learned[peer] = {}
        self.up[peer] = up
        if up:
            self._event(peer, "state", state="connected")
            graceful = {"1": {"families": ["ipv4/unicast"]}, "64": {"time": 120, "restart-flags": []}}
            content = {"asn": 64512, "hold_time": 9, "router_id": str(peer), "capabilities": graceful}
            self._event(peer, "open", direction="receive", open=content)
        self._event(peer, "state", state="up" if up else "down", reason=reason)

    def update(self, peer: Address, net: Network, med: int | None) -> None:
        if not self.up[peer]:
            return
        if med is None:
            self.learned[peer].pop(net, None)
            message: dict[str, object] = {"withdraw": {"ipv4 unicast": [str(net)]}}
        else:
            self.learned[peer][net] = med
            message = {
                "attribute": {"origin": "igp", "med": med},
                "announce": {"ipv4 unicast": {str(peer): [str(net)]}},
            }
        self._event(peer, "update", direction="receive", message={"update": message})

    def end_of_rib(self, peer: Address) -> None:
        if self.up[peer]:
            eor = {"eor": {"afi": "ipv4", "safi": "unicast"}}
            self._event(peer, "update", direction="receive", message=eor)

    def take(self, commands: list[str]) -> None:
        self.queue.extend(commands)

    def step(self) -> None:
        """Carry out one piece of work: a command, or one neighbour's part of a dump."""
        command = self.queue.popleft()
        if command.startswith("dump "):
            _, which, name = command.split()
            self._dump(which, ip.address(name))
            return
        if command.startswith("show adj-rib "):
            which = command.split()[2]
            self.queue.extendleft(["acknowledge", *(f"dump {which} {peer}" for peer in self.up)])
            return
        answer = "done"
        if command == "show neighbor json":
            self.said.append(json.dumps([self._neighbour(peer) for peer in self.up]))
        elif command == "reload":
            self._reload()
        elif command != "acknowledge":
            self.wire.append(command)
            answer = self._tell(command)
        self.said.append(answer)

    def _dump(self, which: str, peer: Address) -> None:
        routes = (
            [(net, str(peer), {"origin": "igp", "med": med}) for net, med in self.learned[peer].items()]
            if which == "in"
            else [(net, hop, self._attributes(net)) for net, hop in self.told[peer].items()]
        )
        for net, hop, attributes in routes:
            nlri = {"prefix": str(net), "nexthop": hop}
            self.said.append(
                json.dumps({"peer": {"address": str(peer)}, "route": {"nlri": nlri, "attributes": attributes}})
            )

    def _attributes(self, net: Network) -> dict[str, object]:
        return {"originator-id": self.originators[net]} if net in self.originators else {}

    def _neighbour(self, peer: Address) -> dict[str, object]:
        up = self.up[peer]
        return {
            "fsm": "ESTABLISHED" if up else "IDLE",
            "local": {"address": str(ME), "as": 64512},
            "peer": {
                "address": str(peer),
                "as": 64512,
                "id": str(peer) if up else None,
                "capabilities": {"graceful-restart": up or None},
            },
            "families": ["ipv4 unicast"] if up else [],
        }

    def _reload(self) -> None:
        for peer in set(self.up) - self.file:
            for table in (self.up, self.learned, self.told):
                del table[peer]
        for peer in self.file - set(self.up):
            self.up[peer], self.learned[peer], self.told[peer] = False, {}, {}

    def _tell(self, command: str) -> str:
        words = command.split()
        peers = [ip.address(words[at + 1]) for at, word in enumerate(words) if word == "neighbor"]
        if "eor" in words:
            return "done" if any(self.up.get(peer) for peer in peers) else "error"
        if not any(peer in self.up for peer in peers):
            return "error"
        hop = words[words.index("next-hop") + 1]
        for net in map(ip.network, words[words.index("nlri") + 1 :]):
            if "originator-id" in words:
                self.originators[net] = words[words.index("originator-id") + 1]
            for peer in peers:
                if "withdraw" in words:
                    self.told[peer].pop(net, None)
                else:
                    self.told[peer][net] = str(ME) if hop == "self" else hop
        return "done"


def run(exabgp: FakeExaBGP, talk: Talk) -> list[SpeakerEvent]:
    """Until both have nothing more to do."""
    events: list[SpeakerEvent] = []
    while True:
        exabgp.take(talk.commands())
        if exabgp.said:
            events += talk.hear(exabgp.said.popleft())
        elif exabgp.queue:
            exabgp.step()
        elif talk.idle:
            return events


def wish(*nets: Network, peers: tuple[Address, ...] = (A, B)) -> Exports:
    return dict.fromkeys(peers, frozenset(map(Advert, nets)))


def living(*peers: Address) -> FakeExaBGP:
    exabgp = FakeExaBGP(A, B)
    for peer in peers:
        exabgp.session(peer, True)
    exabgp.said.clear()
    return exabgp


def told(*nets: Network) -> dict[Network, str]:
    return dict.fromkeys(nets, str(ME))


def test_the_first_agent_tells_everything_then_ends() -> None:
    exabgp = living(A, B)
    assert [type(event) for event in run(exabgp, Talk(wish(*NETS[:2])))] == [Synced]
    assert exabgp.told == {A: told(*NETS[:2]), B: told(*NETS[:2])}
    assert exabgp.wire == [
        "neighbor 10.0.0.1 , neighbor 10.0.0.2 announce attributes next-hop self nlri 10.244.0.0/26 10.244.1.0/26",
        "neighbor 10.0.0.1 , neighbor 10.0.0.2 announce eor ipv4 unicast",
    ]


def test_a_successor_tells_nothing_but_the_end() -> None:
    exabgp = living(A, B)
    run(exabgp, Talk(wish(*NETS[:2])))
    exabgp.wire.clear()
    run(exabgp, Talk(wish(*NETS[:2])))
    assert exabgp.wire == ["neighbor 10.0.0.1 , neighbor 10.0.0.2 announce eor ipv4 unicast"]


def test_without_a_wish_nothing_is_told_and_nothing_withdrawn() -> None:
    exabgp = living(A)
    exabgp.told[A] = told(NETS[0])
    run(exabgp, Talk())
    assert exabgp.wire == []


def test_a_peer_that_the_wish_does_not_name_is_left_alone() -> None:
    exabgp = living(A, B)
    exabgp.told[B] = told(NETS[5])
    run(exabgp, Talk(wish(NETS[0], peers=(A,))))
    assert exabgp.told == {A: told(NETS[0]), B: told(NETS[5])}


def test_only_the_difference_withdrawn_first() -> None:
    exabgp = living(A)
    talk = Talk(wish(NETS[0], NETS[1]))
    run(exabgp, talk)
    exabgp.wire.clear()
    talk.wish(wish(NETS[1], NETS[2]))
    run(exabgp, talk)
    talk.wish(wish(NETS[2], NETS[1]))
    run(exabgp, talk)
    assert exabgp.wire == [
        "neighbor 10.0.0.1 withdraw attributes next-hop self nlri 10.244.0.0/26",
        "neighbor 10.0.0.1 announce attributes next-hop self nlri 10.244.2.0/26",
    ]


def test_another_next_hop_or_community_is_announced_over_the_old_one() -> None:
    exabgp = living(A)
    talk = Talk({A: frozenset({Advert(NETS[0], B, ("1:2", "1:1"))})})
    run(exabgp, talk)
    talk.wish({A: frozenset({Advert(NETS[0], B, ("1:1", "1:2"))})})
    run(exabgp, talk)
    talk.wish({A: frozenset({Advert(NETS[0], ME)})})
    run(exabgp, talk)
    assert [one for one in exabgp.wire if "eor" not in one] == [
        "neighbor 10.0.0.1 announce attributes next-hop 10.0.0.2 community [ 1:1 1:2 ] nlri 10.244.0.0/26",
        "neighbor 10.0.0.1 announce attributes next-hop self nlri 10.244.0.0/26",
    ]


def test_a_peer_that_is_down_is_told_when_it_comes_up() -> None:
    exabgp = living(A)
    talk = Talk(wish(NETS[0]))
    run(exabgp, talk)
    exabgp.wire.clear()
    exabgp.session(A, False)
    run(exabgp, talk)
    talk.wish(wish(NETS[1]))
    run(exabgp, talk)
    assert (exabgp.wire, exabgp.told[A]) == ([], told(NETS[0]))
    exabgp.session(A, True)
    assert [type(event) for event in run(exabgp, talk)] == [Opened, PeerUp]
    assert exabgp.wire == [
        "neighbor 10.0.0.1 withdraw attributes next-hop self nlri 10.244.0.0/26",
        "neighbor 10.0.0.1 announce attributes next-hop self nlri 10.244.1.0/26",
        "neighbor 10.0.0.1 announce eor ipv4 unicast",
    ]


def test_no_second_flush_before_the_first_is_answered() -> None:
    exabgp = living(A)
    talk = Talk(wish())
    run(exabgp, talk)
    talk.wish(wish(NETS[0]))
    assert talk.commands() == ["neighbor 10.0.0.1 announce attributes next-hop self nlri 10.244.0.0/26"]
    talk.wish(wish())
    assert (talk.commands(), talk.idle) == ([], False)
    talk.hear("done")
    assert talk.commands() == ["neighbor 10.0.0.1 withdraw attributes next-hop self nlri 10.244.0.0/26"]


def test_a_refused_command_is_named_and_what_peers_know_is_read_again() -> None:
    exabgp = living(A)
    talk = Talk(wish())
    run(exabgp, talk)
    talk.wish(wish(NETS[0]))
    refused = talk.commands()
    talk.hear("error")
    run(exabgp, talk)
    assert talk.refused == refused[0]
    talk.wish(wish(NETS[0]))
    run(exabgp, talk)
    assert exabgp.told[A] == told(NETS[0])


def test_a_reload_is_over_when_the_neighbours_have_been_read_again() -> None:
    exabgp = living(A, B)
    talk = Talk(wish(NETS[0]))
    run(exabgp, talk)
    exabgp.file = {A}
    talk.reload()
    run(exabgp, talk)
    assert talk.peers == {A}
    exabgp.file = {A, B}
    talk.reload()
    run(exabgp, talk)
    exabgp.session(B, True)
    run(exabgp, talk)
    assert exabgp.told == {A: told(NETS[0]), B: told(NETS[0])}


def test_after_a_reload_the_old_neighbours_are_still_told() -> None:
    exabgp = living(A)
    talk = Talk(wish(NETS[0]))
    run(exabgp, talk)
    talk.reload()
    run(exabgp, talk)
    talk.wish(wish(NETS[1]))
    run(exabgp, talk)
    assert exabgp.told[A] == told(NETS[1])


def test_a_neighbour_that_exabgp_has_made_anew_is_told_everything() -> None:
    exabgp = living(A)
    talk = Talk(wish(NETS[0]))
    run(exabgp, talk)
    exabgp.session(A, False)
    exabgp.told[A] = {}  # such as after a reload with another AS
    exabgp.session(A, True)
    run(exabgp, talk)
    assert exabgp.told[A] == told(NETS[0])


def test_an_end_of_rib_that_comes_during_the_dump_is_said_after_it() -> None:
    exabgp = living(A)
    talk = Talk()
    exabgp.take(talk.commands())
    exabgp.end_of_rib(A)
    assert [type(event) for event in run(exabgp, talk)] == [Synced, EndOfRib]


def test_an_update_right_after_its_neighbours_dump_is_newer_than_the_dump() -> None:
    exabgp = living(A)
    exabgp.update(A, NETS[0], 1)
    exabgp.said.clear()
    talk = Talk()
    exabgp.take(talk.commands())
    while not any('"route"' in line for line in exabgp.said):
        exabgp.step()
    exabgp.update(A, NETS[0], None)
    (synced,) = run(exabgp, talk)
    assert isinstance(synced, Synced)
    assert len(synced.table) == 0


def test_down_is_only_said_after_up() -> None:
    exabgp = living()
    talk = Talk()
    run(exabgp, talk)
    exabgp.session(A, False)
    assert [type(event) for event in run(exabgp, talk)] == [Failed]
    exabgp.session(A, True)
    exabgp.session(A, False)
    assert [type(event) for event in run(exabgp, talk)][1:] == [PeerUp, PeerDown]


def test_what_dead_peers_left_is_stale() -> None:
    exabgp = living(A, B)
    exabgp.update(A, NETS[0], 1)
    exabgp.update(B, NETS[0], 1)
    exabgp.session(B, False)
    exabgp.said.clear()
    (synced,) = run(exabgp, Talk())
    assert isinstance(synced, Synced)
    assert {path.peer: path.stale for path in synced.table.paths()} == {A: False, B: True}
    assert {peer: state.up for peer, state in synced.peers.items()} == {A: True, B: False}


def test_of_a_dump_no_more_is_taken_than_of_updates() -> None:
    exabgp, talk = living(A), Talk()
    state = exabgp._neighbour(A)
    state["peer"] = {"address": str(A), "as": 64999, "id": str(A), "capabilities": {"graceful-restart": None}}
    hostile: dict[str, object] = {"local-preference": 4294967295, "originator-id": str(ME), "cluster-list": [str(ME)]}
    routes = [
        {"nlri": {"prefix": str(net), "nexthop": str(A)}, "attributes": hostile | more}
        for net, more in zip(NETS[:2], ({"origin": "igp"}, {}), strict=True)
    ]
    dump = [json.dumps({"peer": {"address": str(A)}, "route": route}) for route in routes]
    talk.commands()
    events = [event for line in (json.dumps([state]), "done", *dump, "done", "done") for event in talk.hear(line)]
    (synced,) = events
    assert isinstance(synced, Synced)
    assert list(synced.table.paths()) == [Path(prefix=NETS[0], next_hop=A, peer=A, external=True)]


Happening = tuple[str, Address, Network, int | None, int]
"""What, at which neighbour, the prefix, its MED or None for a withdrawal, and how much work ExaBGP does before."""

happenings = st.lists(
    st.tuples(
        st.sampled_from(["update", "update", "up", "down", "eor"]),
        st.sampled_from([A, B]),
        st.sampled_from(NETS[:2]),
        st.none() | st.integers(0, 1),
        st.integers(0, 3),
    ),
    max_size=12,
)


def happen(exabgp: FakeExaBGP, what: Happening) -> None:
    kind, peer, net, med, _ = what
    if kind == "update":
        exabgp.update(peer, net, med)
    elif kind == "eor":
        exabgp.end_of_rib(peer)
    elif kind in ("up", "down") and exabgp.up[peer] != (kind == "up"):
        exabgp.session(peer, kind == "up")


@settings(max_examples=400, deadline=None)  # a loaded machine is not a fault
@given(happenings, happenings)
def test_whatever_happens_while_the_dump_is_read_the_table_is_right(
    before: list[Happening], during: list[Happening]
) -> None:
    """No event between snapshot and end of dump is lost or doubled, wherever it falls."""
    exabgp = living(A)
    for what in before:
        happen(exabgp, what)
    exabgp.said.clear()
    talk = Talk()
    exabgp.take(talk.commands())
    for what in during:
        for _ in range(min(what[-1], len(exabgp.queue))):
            exabgp.step()
        happen(exabgp, what)
    events = run(exabgp, talk)
    assert isinstance(events[0], Synced)
    table, up = events[0].table, {peer for peer, state in events[0].peers.items() if state.up}
    for event in events[1:]:
        if isinstance(event, Update):
            table = table.apply(event)
        elif isinstance(event, PeerUp):
            table, up = table.drop(event.peer), up | {event.peer}
        elif isinstance(event, PeerDown):
            table, up = table.mark_stale(event.peer), up - {event.peer}
    assert up == {peer for peer in (A, B) if exabgp.up[peer]}
    assert table == Table(
        Path(prefix=net, next_hop=peer, peer=peer, med=med, stale=peer not in up)
        for peer in (A, B)
        for net, med in exabgp.learned[peer].items()
    )


wishes = st.lists(
    st.tuples(st.sets(st.sampled_from(NETS)), st.lists(st.sampled_from(["up", "down"]), max_size=3)), max_size=6
)


@settings(deadline=None)
@given(wishes, st.sets(st.sampled_from(NETS)))
def test_peers_that_are_up_end_up_knowing_the_last_wish(
    steps: list[tuple[set[Network], list[str]]], left: set[Network]
) -> None:
    exabgp = living(A)
    exabgp.told = {A: told(*left), B: told(*left)}
    talk = Talk()
    run(exabgp, talk)
    for nets, changes in steps:
        talk.wish(wish(*nets))
        exabgp.take(talk.commands())
        for change in changes:
            happen(exabgp, (change, B, NETS[0], None, 0))
        run(exabgp, talk)
        assert exabgp.told[A] == told(*nets)
        assert not exabgp.up[B] or exabgp.told[B] == told(*nets)


def test_why_no_session_comes_about_is_told_once_and_a_notification_is_the_better_reason() -> None:
    exabgp, talk = FakeExaBGP(A, B), Talk({})
    run(exabgp, talk)
    heard: list[SpeakerEvent] = []
    for reason in ("closing connection", "closing connection", "notification sent (2,2)", "closing connection"):
        exabgp.session(A, False, reason)
        heard += run(exabgp, talk)
    assert heard == [Failed(A, "closing connection"), Failed(A, "notification sent (2,2)")]
    exabgp.session(A, True)
    run(exabgp, talk)
    exabgp.session(A, False)
    exabgp.session(A, False)
    assert [type(event) for event in run(exabgp, talk)] == [PeerDown, Failed]


def test_a_neighbour_that_a_reload_removes_is_told_of_whether_it_was_up_or_not() -> None:
    exabgp, talk = FakeExaBGP(A, B), Talk({})
    exabgp.session(A, True)
    run(exabgp, talk)
    exabgp.file = {A}
    talk.reload()
    assert run(exabgp, talk) == [Removed(B)]
    exabgp.file = set()
    talk.reload()
    assert Removed(A) in run(exabgp, talk)
    exabgp.said.append(json.dumps({"type": "state", "neighbor": head(A) | {"state": "down", "reason": "late"}}))
    assert run(exabgp, talk) == []


def test_where_withdrawals_are_held_back_nothing_goes_until_they_are_not() -> None:
    inside, outside, new = (ip.network(text) for text in ("203.0.113.9/32", "10.244.0.0/26", "203.0.113.0/24"))
    exabgp = living(A)
    run(exabgp, Talk({A: frozenset({Advert(inside), Advert(outside)})}))
    talk, wanted = Talk(), frozenset({Advert(new)})
    talk.wish({A: wanted}, frozenset({A}), frozenset({new}))
    run(exabgp, talk)
    assert exabgp.told[A].keys() == {inside, new}
    talk.wish({A: wanted})
    run(exabgp, talk)
    assert exabgp.told[A].keys() == {new}
