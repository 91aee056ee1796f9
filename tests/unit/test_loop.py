"""The loop's turn: events are stepped in order, by whoever brings them, and none before it runs or after it ended."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from typing import cast

import pytest
from worlds import fresh, machine

from bgpnet.agent.events import Asked
from bgpnet.agent.firewall import Guard
from bgpnet.agent.loop import Loop, wait
from bgpnet.agent.pods import Workers
from bgpnet.agent.records import Records
from bgpnet.agent.server import Server
from bgpnet.agent.speech import Speech

ASKED: Mapping[str, object] = {"ask": "status"}


class Answers:
    """A server, workers, records, speech and guard, of which only answers are wanted."""

    def __init__(self) -> None:
        self.given: list[tuple[int, str]] = []
        self.some = threading.Semaphore(0)

    def answer(self, number: int, status: int, body: bytes) -> None:
        self.given.append((number, threading.current_thread().name))
        self.some.release()

    def set(self, *said: object) -> None:
        """Records, speech and guard: nobody looks."""


def started(loop: Loop, answers: Answers) -> threading.Thread:
    server, workers = cast("Server", answers), cast("Workers", answers)
    parts = (server, workers, cast("Records", answers), cast("Speech", answers), cast("Guard", answers))
    thread = threading.Thread(target=loop.run, args=parts, name="loop")
    thread.start()
    return thread


def test_whoever_brings_an_event_steps_it_and_nobody_before_or_after() -> None:
    loop, answers = Loop(fresh(), machine()), Answers()
    loop.emit(Asked(1, ASKED))
    assert answers.given == []
    thread = started(loop, answers)
    assert answers.some.acquire(timeout=10)
    loop.emit(Asked(2, ASKED))
    assert answers.some.acquire(timeout=10)
    loop.stop()
    thread.join(10)
    assert not thread.is_alive()
    loop.emit(Asked(3, ASKED))
    assert [number for number, _ in answers.given] == [1, 2]


def test_events_of_many_threads_are_all_stepped() -> None:
    loop, answers = Loop(fresh(), machine()), Answers()
    thread = started(loop, answers)

    def bring(first: int) -> None:
        for number in range(first, first + 50):
            loop.emit(Asked(number, ASKED))

    bringers = [threading.Thread(target=bring, args=(1000 * who,)) for who in range(8)]
    for one in bringers:
        one.start()
    for one in bringers:
        one.join(30)
    for _ in range(400):
        assert answers.some.acquire(timeout=10)
    loop.stop()
    thread.join(10)
    numbers = [number for number, _ in answers.given]
    assert len(set(numbers)) == 400
    for who in range(8):
        of_one = [number for number in numbers if number // 1000 == who]
        assert of_one == sorted(of_one)  # in the order in which it brought them


@pytest.mark.timeout(60)
def test_to_wait_for_a_moment_is_never_to_wait_for_ever() -> None:
    """A time that is over before it began: the standard library's own wait hung among the first thousand."""
    for _ in range(20_000):
        wait(queue.SimpleQueue(), 1e-9)
    nudged: queue.SimpleQueue[None] = queue.SimpleQueue()
    for _ in range(2):
        nudged.put(None)
        wait(nudged, None)
    assert nudged.empty()
    later = threading.Timer(0.01, nudged.put, (None,))
    later.start()
    wait(nudged, None)
    later.join()
