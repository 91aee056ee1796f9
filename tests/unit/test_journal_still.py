"""A disk that stands still: nobody waits for it for long, and when it moves again, nothing is lost or doubled."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

import pytest
from msgspec import structs
from test_hands import BLOCK, NETNS, POD

from bgpnet import ipam
from bgpnet.agent.effects import ForgetBlock, JournalBlocks, JournalIdle, JournalReserved, UnwirePod, WirePod
from bgpnet.agent.events import Event, IdleJournalled, PodRefused, PodUnwired
from bgpnet.agent.journal import BlockIs, BlockWent, Journal, Kept, Line, PodWent, came
from bgpnet.agent.pods import Hands, Workers
from bgpnet.cnispec import TRY_AGAIN
from bgpnet.errors import JournalFailed
from bgpnet.kernel.fake import FakeKernel
from bgpnet.store.memory import MemoryStore
from bgpnet.store.repo import Repo

PATIENCE = 0.1
WENT = PodWent("c1", "eth0", "2026-01-01T00:00:01Z")
STANDS = "cannot be written: the disk has not answered for 0.1 s; see to the disk of the state directory"


class Still(Journal):
    """A journal on a disk that can be stopped, before it takes bytes or before it says that they are safe."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "boot", PATIENCE)
        self.fills, self.syncs = threading.Event(), threading.Event()
        self.lines = list[Line]()  # in the order in which they were written
        self.told = list[str]()
        for one in (self.fills, self.syncs):
            one.set()
        self.listen(self.told.append)
        self.start([BLOCK], [])

    def _take(self, lines: Iterable[Line]) -> None:
        lines = list(lines)
        self.lines += lines
        super()._take(lines)

    def _fill(self, fd: int, data: bytes) -> None:
        assert self.fills.wait(30)
        super()._fill(fd, data)

    def _sync_data(self, fd: int) -> None:
        assert self.syncs.wait(30)
        super()._sync_data(fd)

    @contextmanager
    def stopped(self, at: str) -> Iterator[None]:
        """Meanwhile; it moves again afterwards, and has written what came."""
        event = {"fill": self.fills, "sync": self.syncs}[at]
        event.clear()
        try:
            yield
        finally:
            event.set()
        while True:
            with suppress(JournalFailed):
                return self.begin(list)()
            threading.Event().wait(0.01)

    def containers(self) -> list[str]:
        """Of the pods that the file has."""
        contents = self.load()
        assert contents is not None
        return [one.container for one in contents.pods.values()]


@pytest.fixture(params=["fill", "sync"])
def at(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Still]:
    one = Still(tmp_path / "journal")
    yield one
    one.close()


def give_up(journal: Journal) -> None:
    with pytest.raises(JournalFailed, match=STANDS):
        journal.append([came(POD)])


def test_who_waits_gives_up_and_from_then_on_nobody_waits_until_it_moves(journal: Still, at: str) -> None:
    with journal.stopped(at):
        give_up(journal)
        assert [one.endswith(STANDS) for one in journal.told] == [True]
        began = monotonic()
        for _ in range(50):
            with pytest.raises(JournalFailed, match=STANDS):
                journal.begin(lambda: [came(POD)])
            journal.owe([WENT])
            journal.note([Kept(())])
            journal.pay()
        assert monotonic() - began < PATIENCE
        assert len(journal.told) == 1
    assert journal.told[1:] == [""]
    journal.append([came(POD)])
    assert journal.containers() == ["c1"]
    assert len(journal.told) == 2


def test_what_takes_a_line_back_that_was_given_up_stands_behind_it(journal: Still, at: str) -> None:
    with journal.stopped(at):
        give_up(journal)
        journal.owe([WENT])
    journal.append([again := structs.replace(came(POD), container="c2")])
    assert journal.lines == [came(POD), WENT, again]
    assert journal.containers() == ["c2"]
    contents = journal.load()
    assert contents is not None
    assert contents.rests == {}  # the address is another's


def test_a_line_that_was_given_up_before_it_was_made_is_never_made(journal: Still, at: str) -> None:
    """It would be made of the request's descriptor, whose number may be another's by then."""
    made = list[str]()

    def line() -> list[Line]:
        made.append("made")
        return [came(POD)]

    with journal.stopped(at):
        journal.note([Kept(())])
        threading.Event().wait(PATIENCE / 2)  # the disk has that
        waits = journal.begin(line)
        with pytest.raises(JournalFailed):
            waits()
        began = monotonic()
        for _ in range(50):
            with pytest.raises(JournalFailed):
                waits()
        assert monotonic() - began < PATIENCE
        assert len(journal.told) == 1
    assert (made, journal.containers()) == ([], [])


def test_what_is_owed_is_written_when_it_moves(journal: Still, at: str) -> None:
    journal.append([came(POD)])
    with journal.stopped(at):
        began = monotonic()
        journal.owe([WENT])
        assert PATIENCE <= monotonic() - began < PATIENCE * 5
        assert len(journal.told) == 1
    assert journal.containers() == []


def test_a_disk_that_is_slow_is_waited_for_and_not_told_of(journal: Still, at: str) -> None:
    with journal.stopped(at):
        durable = journal.begin(lambda: [came(POD)])
        threading.Event().wait(PATIENCE * 3)
    durable()
    assert (journal.told, journal.containers()) == ([], ["c1"])


def test_a_start_waits_no_longer_either(tmp_path: Path, journal: Still) -> None:
    journal.close()
    with journal.stopped("fill"):
        journal.start([], [POD])
        assert [one.endswith(STANDS) for one in journal.told] == [True]
    assert journal.containers() == ["c1"]


def test_a_pod_that_comes_is_refused_and_one_that_goes_goes(journal: Still, at: str) -> None:
    told, kernel = list[Event](), FakeKernel()
    hands = Hands(kernel, journal, Repo(MemoryStore()), told.append, lambda _: NETNS, shows=lambda *_: True)
    with journal.stopped(at):
        for number in (1, 2):
            hands.wire(WirePod(number, POD, "1.0.0"))
        assert list(kernel.links) == ["lo"]
        hands.unwire(UnwirePod(3, POD, "1.0.0"))
    refusals = [(one.number, one.code) for one in told if isinstance(one, PodRefused)]
    assert refusals == [(1, TRY_AGAIN), (2, TRY_AGAIN)]
    assert [one.number for one in told if isinstance(one, PodUnwired)] == [3]
    assert journal.containers() == []


def test_a_block_is_idle_only_when_the_journal_has_it_in_time(journal: Still, at: str) -> None:
    told, idle = list[Event](), ipam.idle(BLOCK, 1_700_000_000.0)
    hands = Hands(FakeKernel(), journal, Repo(MemoryStore()), told.append, lambda _: NETNS)
    with journal.stopped(at):
        hands.keep_idle(JournalIdle(idle, 1))()
        hands.keep_idle(JournalIdle(idle, 2))()
    assert told == []
    hands.keep_idle(JournalIdle(idle, 3))()
    assert told == [IdleJournalled(idle, 3)]


def test_the_loops_turn_never_waits_for_it(journal: Still, at: str) -> None:
    workers = Workers(FakeKernel(), journal, Repo(MemoryStore()), lambda _: None, lambda _: NETNS, 2)
    with journal.stopped(at):
        began = monotonic()
        workers.submit(JournalBlocks((BLOCK,)), 0.0)
        workers.submit(JournalIdle(ipam.idle(BLOCK, 1_700_000_000.0), 1), 0.0)
        workers.submit(JournalReserved(("10.0.0.0/30",)), 0.0)
        workers.submit(ForgetBlock(BLOCK.spec.cidr), 0.0)
        assert monotonic() - began < PATIENCE
    assert [type(one) for one in journal.lines[-3:]] == [BlockIs, Kept, BlockWent]
    contents = journal.load()
    assert contents is not None
    assert (contents.blocks, contents.kept) == ({}, Kept(("10.0.0.0/30",)))
