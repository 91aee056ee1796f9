"""The loop's turn: events are stepped in order, by whoever brings them, and none before it runs or after it ended."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import cast

import pytest
from worlds import PEER, block, ended, found, fresh, machine, pool, run, state, synced, told, up

from bgpnet.agent.events import Asked, CniAsked, PodRefused
from bgpnet.agent.firewall import Guard
from bgpnet.agent.loop import Loop, wait
from bgpnet.agent.pods import Workers
from bgpnet.agent.precedence import FRESH, PATIENCE, Precedence
from bgpnet.agent.records import Records
from bgpnet.agent.server import Server
from bgpnet.agent.speech import Speech
from bgpnet.agent.world import World
from bgpnet.bgp.rib import Update
from bgpnet.cnispec import TRY_AGAIN, WIRING_REFUSED, Attachment
from bgpnet.errors import KernelRefused
from bgpnet.kernel.api import Change, DropRoute, PutRoute
from bgpnet.kernel.fake import FakeKernel
from bgpnet.kernel.state import KernelState, Owner
from bgpnet.lab.wait import until
from bgpnet.model import ip
from bgpnet.model.ippool import IPPool
from bgpnet.pieces import Pause
from bgpnet.wire import CniCall

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
    assert answers.some.acquire(timeout=60)
    loop.emit(Asked(2, ASKED))
    assert answers.some.acquire(timeout=60)
    loop.stop()
    thread.join(60)
    assert not thread.is_alive()
    loop.emit(Asked(3, ASKED))
    assert [number for number, _ in answers.given] == [1, 2]


def test_at_debug_the_log_has_each_request_and_its_answer(caplog: pytest.LogCaptureFixture) -> None:
    loop, answers = Loop(fresh(), machine()), Answers()
    env = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c\n1", "CNI_IFNAME": "eth0"}
    with caplog.at_level("DEBUG", logger="bgpnet.agent"):
        loop.emit(CniAsked(7, CniCall(env, b'{"cniVersion":"1.0.0","name":"n"}')))
        thread = started(loop, answers)
        assert answers.some.acquire(timeout=60)
        loop.stop()
        thread.join(60)
    asked, answer, *_ = [one.getMessage() for one in caplog.records if one.levelname == "DEBUG"]
    assert asked == f"request 7: {env}"  # as Python shows it: a line break in it is none in the log
    assert answer.startswith("answer to request 7: status 1, b'{")


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
        assert answers.some.acquire(timeout=60)
    loop.stop()
    thread.join(60)
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


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("code", "looked"), [(WIRING_REFUSED, True), (TRY_AGAIN, False)])
def test_the_kernel_is_looked_at_after_a_pod_that_it_refused(code: int, looked: bool) -> None:
    """The link that had to make place may be gone, and nobody else would tell."""
    kernel, answers = Slow(), Answers()
    loop = Loop(learning(pool()), kernel)
    thread = started(loop, answers)
    assert kernel.looks.acquire(timeout=30)
    loop.emit(PodRefused(7, Attachment("c1", "eth0"), "1.0.0", "no", code=code))
    assert answers.some.acquire(timeout=30)
    assert kernel.looks.acquire(timeout=30 if looked else 1.0) is looked
    loop.stop()
    thread.join(30)


class Slow(FakeKernel):
    """Puts and drops learned routes only when it may; says when it is asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.strangers.add_link("eth1", "192.0.2.1/24")
        self.at_it, self.may, self.looks = threading.Semaphore(0), threading.Semaphore(0), threading.Semaphore(0)

    def read(self, sysctls: Iterable[str] = ()) -> KernelState:
        self.looks.release()
        return super().read(sysctls)

    def change(self, changes: Sequence[Change]) -> list[KernelRefused]:
        if any(isinstance(one, PutRoute | DropRoute) and one.owner is Owner.LEARNED for one in changes):
            self.at_it.release()
            assert self.may.acquire(timeout=30)
        return super().change(changes)

    def learned(self) -> int:
        """How many of them it has."""
        return len(super().read().routes[Owner.LEARNED])


def learning(*pools: IPPool) -> World:
    """A World with a peer that has said all that it had to say: nothing."""
    return run(synced(*pools, blocks=[block()]), found(state()), up(), ended())


@pytest.mark.timeout(120)
def test_who_asks_is_answered_while_routes_are_put_and_dropped() -> None:
    kernel, answers = Slow(), Answers()
    loop = Loop(learning(pool()), kernel)
    thread = started(loop, answers)
    assert kernel.looks.acquire(timeout=30)
    prefixes = [f"10.244.{number}.0/26" for number in range(1, 251)]
    for number, update in enumerate((told(*prefixes), gone(*prefixes))):
        loop.emit(update)
        for piece in range(3):  # of 250 routes
            assert kernel.at_it.acquire(timeout=30)
            loop.emit(Asked(10 * number + piece, ASKED))
            assert answers.some.acquire(timeout=30)
            kernel.may.release()
    until(lambda: f"{kernel.learned()} are left" if kernel.learned() else "", 30)
    loop.stop()
    thread.join(30)
    assert [number for number, _ in answers.given] == [0, 1, 2, 10, 11, 12]
    assert not kernel.at_it.acquire(blocking=False)


class Crossed(Precedence):
    """Somebody else asks at the moment in which each plan begins, and goes away without having had a turn."""

    def __init__(self, ask: Callable[[], None]) -> None:
        super().__init__()
        self._ask = ask

    def giving_way(self, patience: float = PATIENCE) -> Pause:
        asker = threading.Thread(target=self._ask)
        asker.start()
        asker.join(30)
        return super().giving_way(patience)


@pytest.mark.timeout(120)
def test_who_asks_as_a_plan_begins_does_not_wait_for_its_end() -> None:
    kernel, answers, numbers = Slow(), Answers(), count()
    loop = Loop(learning(pool()), kernel, Crossed(lambda: loop.emit(Asked(next(numbers), ASKED))))
    thread = started(loop, answers)
    assert kernel.looks.acquire(timeout=30)
    loop.emit(told("10.244.1.0/26"))
    assert kernel.at_it.acquire(timeout=30)  # and the route is not put yet
    assert [number for number, _ in answers.given] == list(range(next(numbers)))
    kernel.may.release()
    loop.stop()
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.timeout(120)
def test_endless_requests_do_not_keep_routes_away() -> None:
    kernel, answers, precedence, over = machine(), Answers(), Precedence(), threading.Event()
    loop = Loop(learning(pool()), kernel, precedence)
    thread = started(loop, answers)
    precedence.came()

    def come() -> None:
        while not over.wait(FRESH / 4):
            precedence.came()
            precedence.went()

    comer = threading.Thread(target=come)
    comer.start()
    prefixes = [f"10.244.{number}.{low}/26" for number in range(1, 251) for low in (0, 64, 128, 192)]

    def there() -> int:
        return len(kernel.read().routes[Owner.LEARNED])

    loop.emit(told(*prefixes))
    until(lambda: "" if there() == 1000 else f"{there()} have come", 60)
    loop.emit(gone(*prefixes))
    until(lambda: "" if there() == 0 else f"{there()} are left", 60)
    over.set()
    comer.join(30)
    loop.stop()
    thread.join(30)
    assert precedence.is_anybody_there


def gone(*prefixes: str) -> Update:
    """The peer takes them back."""
    return Update(PEER, withdrawn=tuple((ip.network(prefix), 0) for prefix in prefixes))
