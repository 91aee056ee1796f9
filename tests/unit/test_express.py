"""UPDATEs past ExaBGP's decoder: what is taken of a stream, and what is left in it for ExaBGP, by a session at hand."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from test_plain import ATTRIBUTES, update

from bgpnet.bgp import express, plain
from bgpnet.bgp.lines import Update, parse
from bgpnet.model import ip

NET = b"\x1a\x0a\xf4\x01\x40"
EXTENDED = 65535
ORIGINAL, RECEIVED, NOTHING = object(), object(), object()


class Attributes(dict[int, str]):
    """As exabgp's: the next hop by its code, and the others as JSON."""

    def json(self) -> str:
        return '"origin": "igp"'


PARTS = express.Parts(
    attributes=lambda wire, negotiated: Attributes({3: "192.0.2.2"}) if wire == ATTRIBUTES else None,
    special=frozenset({14, 15}),
    next_hop=3,
    change=lambda wire, attributes: None,
    family=(1, 1),
    first=b"",
    received=RECEIVED,
    nothing=NOTHING,
    established="established",
)


@dataclass
class Session:
    """A session of exabgp, as far as it is asked for here; `told` are the lines for the helper."""

    io: socket.socket
    size: int = plain.LONGEST
    told: list[str] = field(default_factory=list)
    seen: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        told = self.told
        processes = SimpleNamespace(silence=False, write=lambda process, text, neighbour: told.extend(text.split("\n")))
        self.neighbour = {
            "adj-rib-in": True, "local-address": "192.0.2.1", "peer-address": "192.0.2.2", "local-as": 1, "peer-as": 1,
        }  # fmt: skip
        neighbour = Neighbour(self.neighbour)
        neighbour.api = {"receive-parsed": True, "receive-update": ["agent"]}
        neighbour.rib = SimpleNamespace(incoming=SimpleNamespace(_seen=self.seen))
        self.protocol = SimpleNamespace(
            connection=SimpleNamespace(io=self.io, msg_size=self.size),
            peer=SimpleNamespace(
                fsm="established", stats={"receive-update": 0}, reactor=SimpleNamespace(processes=processes)
            ),
            neighbor=neighbour,
            negotiated=SimpleNamespace(
                families=[(1, 1)],
                addpath=SimpleNamespace(receive=lambda *family: self.neighbour.get("add-path", False)),
            ),
        )

    def read(self) -> object:
        """One message, as exabgp's loop asks for it."""
        return next(iter(express.messages(lambda protocol: iter((ORIGINAL,)), PARTS)(self.protocol)))

    @property
    def ahead(self) -> bytes:
        """What was read and not taken."""
        return bytes(express.buffer_of(self.protocol.connection))


class Neighbour(dict[str, Any]):
    """exabgp's is a mapping with attributes."""

    api: dict[str, Any]
    rib: Any


@contextmanager
def session(said: bytes, size: int = plain.LONGEST) -> Iterator[Session]:
    """One whose peer has said so much."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.sendall(said)
        yield Session(ours, size)


GOOD = update(attributes=ATTRIBUTES, announced=NET)
LONG = update(attributes=ATTRIBUTES, announced=NET * 900)


def test_what_is_plain_is_told_at_once_and_in_order() -> None:
    gone = update(withdrawn=NET, attributes=ATTRIBUTES, announced=NET)
    with session(GOOD + gone + GOOD[:30]) as one:
        assert one.read() is RECEIVED
        events = [parse(line) for line in one.told]
        assert one.read() is NOTHING
        assert one.ahead == GOOD[:30]
    key = (ip.network("10.244.1.64/26"), 0)
    assert [(len(event.announced), event.withdrawn) for event in events if isinstance(event, Update)] == [
        (1, ()),
        (1, (key,)),
    ]
    assert list(one.seen[1, 1]) == [NET]


@pytest.mark.parametrize(
    "other",
    [
        update(),  # End-of-RIB
        update(attributes=b"\x40\x01\x01\x00", announced=NET),  # attributes that are not decoded
        update(attributes=ATTRIBUTES, announced=b"\x21" + NET[1:] + b"\0"),
        plain.MARKER + b"\0\x13\x04",
        LONG,
        LONG[:40],
    ],
)
def test_what_is_not_is_left_in_its_place_for_exabgp(other: bytes) -> None:
    with session(GOOD + other + GOOD) as one:
        assert one.read() is RECEIVED
        assert len(one.told) == 1
        assert one.read() is ORIGINAL
        assert one.ahead == other + GOOD


def test_a_long_message_is_taken_where_both_have_agreed_to_it() -> None:
    with session(LONG, EXTENDED) as one:
        assert one.read() is RECEIVED
        assert one.ahead == b""


def test_a_peer_that_never_says_the_same_attributes_again_does_not_fill_the_memory() -> None:
    asked = []

    def attributes(wire: bytes, negotiated: object) -> Attributes:
        asked.append(wire)
        return Attributes({3: "192.0.2.2"})

    parts = express.Parts(**{name: getattr(PARTS, name) for name in PARTS.__slots__} | {"attributes": attributes})
    with session(b"") as one:
        known = express._Session(one.protocol)
        for number in range(40):
            known.line(update(attributes=bytes([number]) * 60_000, announced=NET)[plain.HEADER :], parts)
        assert len(asked) == 40
        assert sum(map(len, known._known)) <= express.KNOWN
