"""ExaBGP's lines: everything it was recorded to say, and whatever else may come."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bgpnet.bgp import commands
from bgpnet.bgp.export import Advert
from bgpnet.bgp.lines import (
    Ack,
    Attempt,
    Dumped,
    EndOfRib,
    Event,
    Neighbours,
    Notification,
    Opened,
    PeerDown,
    PeerState,
    PeerUp,
    RefreshRequest,
    Shutdown,
    Unknown,
    Update,
    parse,
)
from bgpnet.bgp.rib import Path as Route
from bgpnet.model import ip

DATA = Path(__file__).parent / "data" / "exabgp"
P1, P2, P3, P4 = (ip.address(f"127.0.0.{n}") for n in (1, 2, 3, 4))
BOTH = ("ipv4 unicast", "ipv6 unicast")


def recorded(name: str) -> list[Event]:
    events = (parse(line) for line in (DATA / name).read_text().splitlines())
    return [event for event in events if event is not None]


def route(prefix: str, next_hop: str, peer: ip.Address = P2, **more: object) -> Route:
    attributes = {"local_pref": 100} | more
    return Route(prefix=ip.network(prefix), next_hop=ip.address(next_hop), peer=peer, **attributes)


RICH = route(
    "10.244.2.0/26",
    "127.0.0.9",
    origin="incomplete",
    as_path=(65001, 65002),
    med=7,
    local_pref=200,
    communities=("64512:1", "65535:65281"),
    large_communities=("64512:1:2",),
    originator_id="9.9.9.9",
    cluster_list=("8.8.8.8", "7.7.7.7"),
)
EXTERNAL = route(
    "10.244.3.0/26",
    "127.0.0.3",
    P3,
    local_pref=None,
    as_path=(64999,),
    extended_communities=("target:64512:7",),
    external=True,
    path_id=5,
)


def test_sessions_and_updates_of_three_speakers() -> None:
    opened3 = Opened(P3, 64999, P3, 30, 120, True, BOTH)
    opened2 = Opened(P2, 64512, P2, 30, 120, True, BOTH)
    assert recorded("ibgp-ebgp-ipv6-addpath.jsonl") == [
        Attempt(P3),
        Attempt(P2),
        opened3,
        opened2,
        PeerUp(P3, P1, 64999, True),
        PeerUp(P2, P1, 64512, False),
        Update(P2, (route("10.244.1.0/26", "127.0.0.2"), route("10.244.1.64/26", "127.0.0.2"))),
        Update(P2, (RICH,)),
        Update(P2, (route("fd00:1::/122", "fd00::9"),)),
        EndOfRib(P2, "ipv4 unicast"),
        EndOfRib(P2, "ipv6 unicast"),
        RefreshRequest(P3, "ipv4 unicast", "query"),
        Update(P3, (EXTERNAL,)),
        EndOfRib(P3, "ipv4 unicast"),
        Update(P3, withdrawn=((ip.network("10.244.3.0/26"), 5),)),
        PeerDown(P2, "closing connection", lost=True),
        PeerDown(P3, "closing connection", lost=True),
        Attempt(P2),
        Opened(P2, 64512, P2, 30, 120, False, BOTH),
        PeerUp(P2, P1, 64512, False),
        Update(P2, (route("10.244.1.64/26", "127.0.0.2"),)),
        PeerDown(P2, "stop, message [shutting down]", lost=True),
        Shutdown(),
    ]


def test_a_bird_that_leaves_and_a_peer_that_falls_silent() -> None:
    events = recorded("bird-and-notifications.jsonl")
    assert [event for event in events if isinstance(event, Notification | PeerDown)] == [
        Notification(P2, 6, 2, 'Shutdown Communication: "Administrative Shutdown"'),
        PeerDown(P2, "notification received (6,2)", lost=False),
        Notification(P4, 6, 2, ""),
        PeerDown(P4, "notification received (6,2)", lost=False),
        PeerDown(P2, "notification sent (4,0)", lost=True),
    ]
    assert next(event for event in events if isinstance(event, Opened)) == Opened(
        P4, 64512, P4, 240, 120, False, ("ipv4 unicast",)
    )
    without = [event.restart_time for event in events if isinstance(event, Opened) and event.peer == P2]
    assert set(without) == {None}


def test_the_dumps() -> None:
    *dumped, acknowledged, neighbours, last = recorded("dump-in-and-neighbors.jsonl")
    assert (acknowledged, last) == (Ack(True), Ack(True))
    assert neighbours == Neighbours(
        (
            PeerState(P2, P1, 64512, external=False, up=True, router_id=P2, graceful=True, families=BOTH),
            PeerState(P3, P1, 64999, external=True, up=True, router_id=P3, graceful=True, families=BOTH),
        )
    )
    assert dumped == [
        Dumped(route("10.244.1.0/26", "127.0.0.2")),
        Dumped(route("10.244.1.64/26", "127.0.0.2")),
        Dumped(RICH),
        Dumped(route("fd00:1::/122", "fd00::9")),
        Dumped(replace(EXTERNAL, external=False, path_id=0)),  # a dump tells neither
    ]


def test_acks_and_nothing() -> None:
    assert (parse("done"), parse("error\n"), parse("  \n")) == (Ack(True), Ack(False), None)


@pytest.mark.parametrize(
    "line",
    [
        "exabgp 5.0.15",
        "shutdown in progress",
        "{}",
        "null",
        "7",
        '"done"',
        "[1]",
        "[[]]",
        '{"type": "state", "neighbor": {"address": {"peer": "nonsense"}, "state": "up"}}',
        '{"type": "update", "neighbor": {"direction": "receive", "address": {"peer": "10.0.0.1"}, "message": 7}}',
        '{"type": "sideways"}',
        '{"type": ["state"]}',
        '{"route": 1, "peer": 2}',
        "[" * 100_000,
        "\ud800",
    ],
)
def test_what_is_not_understood_is_unknown(line: str) -> None:
    assert parse(line) == Unknown(line)


LINES = [line for file in sorted(DATA.iterdir()) for line in file.read_text().splitlines() if line.startswith("{")]


@settings(deadline=None)
@given(st.sampled_from(LINES), st.data())
def test_a_damaged_line_never_raises(line: str, data: st.DataObject) -> None:
    """Any value inside a real line replaced by anything."""
    damaged = json.loads(line)
    at = damaged
    while isinstance(at, dict) and at:
        key = data.draw(st.sampled_from(sorted(at)))
        if not isinstance(at[key], dict) or data.draw(st.booleans()):
            at[key] = data.draw(st.none() | st.integers() | st.text() | st.lists(st.integers()) | st.just({}))
            break
        at = at[key]
    event = parse(json.dumps(damaged))
    assert event is not None


def test_a_line_from_our_own_side_is_not_the_peers() -> None:
    line = next(line for line in LINES if '"type": "update"' in line)
    assert isinstance(parse(line), Update | EndOfRib)
    assert isinstance(parse(line.replace('"direction": "receive"', '"direction": "send"')), Unknown)


def test_commands() -> None:
    two = [ip.network("10.0.0.0/26"), ip.network("10.0.0.64/26")]
    assert commands.announce([P2, P3], two, Advert(two[0])) == [
        "neighbor 127.0.0.2 , neighbor 127.0.0.3 announce attributes next-hop self nlri 10.0.0.0/26 10.0.0.64/26"
    ]
    assert commands.announce([P2], two[:1], Advert(two[1], P4, ("64512:1", "1:2:3"))) == [
        "neighbor 127.0.0.2 announce attributes next-hop 127.0.0.4 community [ 64512:1 ] large-community [ 1:2:3 ]"
        " nlri 10.0.0.0/26"
    ]
    assert commands.withdraw([P2], two[:1]) == ["neighbor 127.0.0.2 withdraw attributes next-hop self nlri 10.0.0.0/26"]
    assert commands.end_of_rib([P2], "ipv4 unicast") == ["neighbor 127.0.0.2 announce eor ipv4 unicast"]
    assert commands.end_of_rib([], "ipv4 unicast") == commands.announce([], two, Advert(two[0])) == []


def test_commands_are_of_bounded_length() -> None:
    many = list(ip.network("10.0.0.0/12").subnets(new_prefix=24))
    peers = [ip.address("10.9.0.0") + n for n in range(250)]
    said = commands.announce(peers, many, Advert(many[0]))
    assert len(said) == 5 * 3
    assert max(map(len, said)) < 1 << 20
    assert sum(line.count("/24") for line in said) == 3 * len(many)


def said(announced: dict[str, list[str]], asn: int = 64512, **attributes: object) -> str:
    """An UPDATE of the peer P2, in this AS or another, with these attributes."""
    neighbour = {
        "address": {"local": str(P1), "peer": str(P2)},
        "asn": {"local": 64512, "peer": asn},
        "direction": "receive",
        "message": {"update": {"attribute": attributes, "announce": {"ipv4 unicast": announced}}},
    }
    return json.dumps({"type": "update", "neighbor": neighbour})


@pytest.mark.parametrize(
    "line",
    [
        said({"192.0.2.9": ["10.244.1.0/26"]}, med=1),
        said({"192.0.2.9": ["10.244.1.0/26"]}, origin="invalid"),
        said({"no-nexthop": ["10.244.1.0/26"]}, origin="igp"),
    ],
)
def test_what_lacks_a_mandatory_attribute_is_withdrawn(line: str) -> None:
    assert parse(line) == Update(P2, withdrawn=((ip.network("10.244.1.0/26"), 0),))


def test_a_learned_route_without_origin_is_not_valid_in_a_dump_either() -> None:
    nlri = {"prefix": "10.244.1.0/26", "nexthop": "192.0.2.9"}
    for attributes, valid in (({}, False), ({"origin": "igp"}, True)):
        line = json.dumps({"peer": {"address": str(P2)}, "route": {"nlri": nlri, "attributes": attributes}})
        event = parse(line)
        assert isinstance(event, Dumped)
        assert event.valid is valid


def test_what_means_something_inside_an_as_only_is_not_taken_from_another() -> None:
    inside = {"local-preference": 4294967295, "originator-id": "192.0.2.1", "cluster-list": ["244.0.0.1"]}
    for asn, kept in ((64512, True), (64999, False)):
        event = parse(said({"192.0.2.9": ["10.244.1.0/26"]}, asn, origin="igp", **inside))
        assert isinstance(event, Update)
        (path,) = event.announced
        assert path.local_pref == (4294967295 if kept else None)
        assert (path.originator_id, path.cluster_list) == (("192.0.2.1", ("244.0.0.1",)) if kept else ("", ()))
