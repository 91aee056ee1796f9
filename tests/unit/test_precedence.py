"""Who asks for a pod's network goes first: long work pauses meanwhile, in pieces, and not for ever."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgpnet import wire
from bgpnet.agent.events import Asked, CniAsked, Event
from bgpnet.agent.precedence import FRESH, PATIENCE, Precedence
from bgpnet.agent.server import Server
from bgpnet.lab.wait import until
from bgpnet.pieces import never, pieces

LONG = 3600.0


class Clock:
    """Stands still, or goes on by so much with each look; counts the looks."""

    def __init__(self, step: float = 0.0) -> None:
        self.now, self.step, self.looks = 1000.0, step, 0

    def __call__(self) -> float:
        self.looks += 1
        self.now += self.step
        return self.now


@given(st.lists(st.integers()), st.integers(1, 50))
def test_pieces_are_the_items_in_order_with_a_pause_after_each_piece(items: list[int], size: int) -> None:
    taken: list[int] = []
    pauses: list[int] = []
    for one in pieces(items, lambda: pauses.append(len(taken)), size):
        taken.append(one)
    assert taken == items
    assert pauses == [min(end, len(items)) for end in range(size, len(items) + size, size)]


def test_without_a_reason_there_is_no_pause() -> None:
    clock = Clock()
    pause = Precedence(clock).giving_way()
    pause()
    assert clock.looks == 0
    assert list(pieces([1, 2, 3], never, 2)) == [1, 2, 3]


@pytest.mark.timeout(60)
def test_a_pause_ends_with_the_last_answer() -> None:
    """The clock stands still, so that only the answer can end it for good: each wait of FRESH begins another."""
    precedence, ended = Precedence(Clock()), threading.Event()
    precedence.came()
    precedence.came()
    pause = precedence.giving_way(LONG)

    def work() -> None:
        while precedence.is_anybody_there:
            pause()
        ended.set()

    worker = threading.Thread(target=work)
    worker.start()
    precedence.went()
    assert precedence.is_anybody_there
    assert not ended.wait(4 * FRESH)
    precedence.went()
    assert ended.wait(30)
    worker.join(30)


@pytest.mark.timeout(60)
def test_one_work_pauses_no_longer_than_its_patience() -> None:
    """However many come: then it does not even look whether somebody is there."""
    clock = Clock(step=FRESH / 4)
    precedence = Precedence(clock)
    pause = precedence.giving_way(2 * FRESH)
    for _ in range(1000):
        precedence.came()
        pause()
    assert clock.looks < 1000 + 50
    assert precedence.is_anybody_there
    precedence.giving_way(2 * FRESH)()  # the next work has its own
    assert clock.looks > 1000


@pytest.mark.timeout(60)
def test_who_waits_for_something_else_holds_nobody_up() -> None:
    """An ADD for which a block has to be claimed, say: there is nothing to be had from a pause of an hour."""
    clock = Clock()
    precedence = Precedence(clock)
    precedence.came()
    clock.now += FRESH
    precedence.giving_way(LONG)()
    assert precedence.is_anybody_there
    assert PATIENCE < 1.0


def test_a_request_goes_first_until_its_answer_and_a_question_never(tmp_path: Path) -> None:
    asked: list[Event | Asked] = []
    seen: list[bool] = []
    precedence = Precedence()

    def emit(event: Event | Asked) -> None:
        seen.append(precedence.is_anybody_there)
        asked.append(event)

    server = Server(tmp_path / "agent.sock", emit, precedence)
    server.listen()
    call = wire.request(wire.Kind.CNI, wire.pack_cni(wire.CniCall({"CNI_COMMAND": "ADD"}, b"{}")))
    question = wire.request(wire.Kind.QUESTION, json.dumps({"ask": "status"}).encode())
    for request, first in ((call, True), (question, False)):
        with client(tmp_path / "agent.sock") as one:
            one.sendall(request)
            until(lambda: "" if asked else "nobody asks", 30)
            event = asked.pop()
            assert isinstance(event, CniAsked if first else Asked)
            assert seen.pop() is first
            assert precedence.is_anybody_there is first
            server.answer(event.number, 0, b"{}")
            assert not precedence.is_anybody_there


def test_who_hangs_up_or_talks_nonsense_goes_first_no_more(tmp_path: Path) -> None:
    precedence = Precedence()
    server = Server(tmp_path / "agent.sock", lambda event: None, precedence)
    server.listen()
    half = wire.request(wire.Kind.CNI, b"x" * 100)[:50]
    for said in (half, b"nonsense" * 10):
        with client(tmp_path / "agent.sock") as one:
            one.sendall(said)
            if said is half:
                until(lambda: "" if precedence.is_anybody_there else "it has not come", 30)
        until(lambda: "it still goes first" if precedence.is_anybody_there else "", 30)


def client(path: Path) -> socket.socket:
    """Connected; whoever asks has a deadline."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(30)
    made.connect(str(path))
    return made
