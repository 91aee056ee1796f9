"""One life of a simulated agent: main.py's assembly and loop.py's order, with every thread a task that takes turns.

The pure core, the hands, the journal, the records and the feeds are the agent's own; what is written here again is the
loop, which in loop.py waits for a queue and a clock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Protocol

from gates import GatedKernel, GatedStore, TornJournal
from tasks import Task, checkpoint

from bgpnet.agent import facts, feeds
from bgpnet.agent.apply import Applied, apply, follow, handled_by, news
from bgpnet.agent.effects import (
    Answer,
    CheckPod,
    ClaimBlock,
    DropBlock,
    Effect,
    ForgetBlock,
    JournalBlocks,
    JournalIdle,
    JournalReserved,
    LookAtPods,
    LookUp,
    PayJournal,
    Reap,
    ReapNow,
    RemoveRequest,
    Stop,
    TakeBack,
    UnwirePod,
    WirePod,
)
from bgpnet.agent.events import CniAsked, Event, JournalTold, KernelLooked, Tick
from bgpnet.agent.journal import end_overtaken, recalled
from bgpnet.agent.loop import AUDIT, TIDE
from bgpnet.agent.plan import Plan, plan
from bgpnet.agent.pods import Hands
from bgpnet.agent.records import RETRY, write_behind
from bgpnet.agent.status import NEEDED
from bgpnet.agent.step import step
from bgpnet.agent.watched import Netns
from bgpnet.agent.world import Me, Pod, World
from bgpnet.cnispec import Attachment
from bgpnet.kernel.state import KernelState
from bgpnet.model.kinds import Resource
from bgpnet.store.repo import Repo
from bgpnet.wire import CniCall


class Clock(Protocol):
    """The one clock of the simulation, which moves when the test says so."""

    now: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where an agent lives: what is there before it starts and after it ends.

    answer: takes what a request is told. netns: the descriptor that came with a request. given: hears of every new
    allocation, and of the World that it was made in.
    sight: whether a network namespace is there. shows: whether a path leads to the one of a descriptor.
    """

    me: Me
    boot: str
    journal: Path
    kernel: GatedKernel
    store: GatedStore
    clock: Clock
    random: Callable[[], Random]
    netns: Callable[[int], int | None]
    sight: Callable[[str], Netns]
    shows: Callable[[str, int], bool]
    disk_is_full: Callable[[], bool]
    disk_is_still: Callable[[], bool]
    answer: Callable[[Answer], None]
    buried: Callable[[], list[CniAsked]]
    given: Callable[[Pod, World], None]


class Until(threading.Event):
    """The stop of a feed: its pauses pass with the simulation's clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        """A pause; see threading.Event."""
        until = self._clock.now + (timeout or 0)
        checkpoint("a pause", lambda: self._clock.now >= until)
        return self.is_set()


class Life:
    """From its start to its kill. `serving`: whether a plugin finds it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.world = World(me=place.me, now=place.clock.now, clock=place.clock.now)
        self.serving = False
        self.stopped = ""
        self.inbox: deque[Event] = deque()
        self._plan = Plan(KernelState())
        self._dirty = self._audit = True
        self._handled: set[str] = set()
        self._planned = self._audited = place.clock.now
        self._claims: deque[tuple[ClaimBlock | TakeBack | DropBlock, float]] = deque()
        self._marked: deque[Attachment | None] = deque()
        self._wish: tuple[Resource, ...] = ()
        self._new_wish = False
        self.journal = TornJournal(
            place.journal,
            place.boot,
            lambda size: place.random().randrange(size + 1),
            place.disk_is_full,
            place.disk_is_still,
        )
        self._repo = Repo(place.store, now=lambda: place.clock.now)
        self._hands = Hands(
            place.kernel,
            self.journal,
            self._repo,
            self.emit,
            place.netns,
            clock=lambda: place.clock.now,
            sight=place.sight,
            shows=place.shows,
        )
        self.tasks = [Task(f"{place.me.node} loop", self._run)]

    def emit(self, event: Event) -> None:
        """Something happened; a worker may be slow to say so."""
        checkpoint(f"tell of {type(event).__name__}")
        self.inbox.append(event)

    def ask(self, number: int, call: CniCall) -> None:
        """A plugin's request."""
        self.inbox.append(CniAsked(number, call))

    def tick(self) -> None:
        """Time has passed."""
        if self.serving:
            self.inbox.append(Tick(self.place.clock.now, self.place.clock.now))

    def changed(self) -> None:
        """The kernel's monitor saw a stranger's change."""
        self._audit = self._dirty = True

    def ready(self) -> list[Task]:
        """Who would do something with a turn."""
        self.tasks = [one for one in self.tasks if not one.done]
        return [one for one in self.tasks if one.ready]

    def kill(self) -> None:
        """kill -9: every thread ends where it stands; files and kernel stay as they are."""
        for task in self.tasks:
            task.kill()
        self.tasks = []
        self.serving = False
        self.journal.close()

    def _run(self) -> None:
        """As assembly.py does it, and then the loop."""
        place, clock = self.place, self.place.clock
        links = facts.seen(place.kernel.read())
        contents = self.journal.load()
        now = clock.now
        if contents:
            end_overtaken(contents, links, now)
        self.world = world = recalled(contents, place.me, place.boot, now, now)
        checkpoint("begin the journal anew")
        self.journal.start(world.blocks.values(), world.pods.values(), contents.kept if contents else None)
        self.journal.listen(lambda refusal: self.inbox.append(JournalTold(refusal)))
        self.inbox.append(KernelLooked(links))
        place.kernel.reap(abandoned=True)
        self.inbox.extend(place.buried())
        self.serving = True
        stop = Until(clock)
        for kind in NEEDED:
            self._start(f"feed {kind.plural}", partial(feeds.datastore, self._repo, kind, self.emit, stop))
        self._start("records", self._write_behind)
        self._start("claims", self._claim)
        self._start("reaper", self._reap)
        while self.inbox and not self.stopped:  # what was told before the loop began comes before its first plan
            checkpoint("the loop's first events")
            self._step(self.inbox.popleft())
        while not self.stopped:
            checkpoint("the loop", lambda: bool(self.inbox) or self._dirty)
            if self.inbox and not (self._dirty and self.place.random().random() < 0.2):
                self._step(self.inbox.popleft())
            elif self._dirty:
                self._replan()

    def _start(self, name: str, work: Callable[[], None]) -> None:
        self.tasks.append(Task(f"{self.place.me.node} {name}", work))

    def _step(self, event: Event) -> None:
        now = self.place.clock.now
        before = self.world if isinstance(event, Tick) else replace(self.world, now=now, clock=now)
        self._handled |= handled_by(before, event)
        self.world, effects = step(before, event)
        for effect in effects:
            if isinstance(effect, WirePod) and effect.pod.attachment not in before.pods:
                self.place.given(effect.pod, before)
            self._carry_out(effect)
        if isinstance(event, Tick):
            if now - self._planned >= TIDE or effects:
                self._audit = self._audit or bool(self.world.refusals)
                self._dirty = True
        elif self.world is not before:
            self._dirty = True

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Answer():
                self.place.answer(effect)
            case Stop(reason):
                self.stopped = reason
            case ReapNow():
                pass  # its links are deleted when the schedule says so
            case Reap(attachment):
                self._marked.append(attachment)
            case LookUp():
                self._start(f"look up {effect.name}", lambda: self._hands.look_up(effect))
            case ClaimBlock() | TakeBack() | DropBlock():
                self._claims.append((effect, self.world.now))
            case LookAtPods():
                self._start("look at pods", lambda: self._hands.look(effect))
            case PayJournal():
                self._start("pay the journal", self._hands.pay)
            case RemoveRequest():
                self._start("remove a request", lambda: self._hands.remove(effect))
            case WirePod():
                self._start(f"wire {effect.pod.link}", lambda: self._hands.wire(effect))
            case UnwirePod():
                self._start(f"unwire {effect.pod.link}", lambda: self._hands.unwire(effect))
            case CheckPod():
                self._start(f"check {effect.pod.link}", lambda: self._hands.check(effect))
            case JournalReserved():
                self._hands.keep_reserved(effect)
            case JournalBlocks():
                self._hands.keep(effect)
            case ForgetBlock():
                self._hands.forget(effect)
            case JournalIdle():
                self._hands.keep_idle(effect)()

    def _replan(self) -> None:
        now = self.place.clock.now
        self._dirty, self._planned = False, now
        self._audit = self._audit or now - self._audited >= AUDIT
        wish = plan(self.world)
        handled, self._handled = self._handled | wish.hold_links, set()
        if self._audit or follow(self._plan.kernel, wish, handled, self.place.kernel) is None:
            done = apply(wish, self.place.kernel)
            self._audit, self._audited = False, now
            if done.stale:
                self._marked.append(None)
            self._tell(done)
        self._plan = wish
        if wish.records != self._wish:
            self._wish = wish.records
            self._new_wish = self._new_wish or bool(self._wish)

    def _tell(self, done: Applied) -> None:
        if (found := news(self.world, done)) is not None:
            self.inbox.append(found)

    def _write_behind(self) -> None:
        while True:
            checkpoint("records", lambda: self._new_wish)
            self._new_wish = False
            if not write_behind(self._repo, self.emit, self._wish):
                until = self.place.clock.now + RETRY
                checkpoint("records, away", partial(self._is_past, until))
                self._new_wish = True

    def _is_past(self, instant: float) -> bool:
        return self.place.clock.now >= instant

    def _claim(self) -> None:
        while True:
            checkpoint("claims", lambda: bool(self._claims))
            work, now = self._claims.popleft()
            if isinstance(work, DropBlock):
                self._hands.drop(work)
            else:
                self._hands.claim(work, now)

    def _reap(self) -> None:
        while True:
            checkpoint("reaper", lambda: bool(self._marked))
            batch = list(self._marked)
            self._marked.clear()
            if not self._hands.reap(batch):
                self._marked.extend([*batch, None])
