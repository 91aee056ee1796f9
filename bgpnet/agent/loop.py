"""The loop: step every event, carry out the effects, and when all is quiet, plan once.

Only one thread at a time changes the World. The loop applies the kernel's part of the plan itself, and in a turn where
pods' routes may be concerned: a plan carried out later would not know of a pod that is being wired meanwhile and would
take it away. Other routes, of which there may be thousands, are worked out and changed beside the turn.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from time import monotonic, time

from bgpnet.agent import orchestrated, status
from bgpnet.agent.apply import Applied, apply, follow, handled_by, is_outrun, news
from bgpnet.agent.effects import Alarm, Answer, Effect, Stop, Warn
from bgpnet.agent.events import Asked, CniAsked, PodRefused, PodUnwired, PodWired, Reaped, Tick
from bgpnet.agent.firewall import Guard
from bgpnet.agent.kubeevents import DescribePod, Grievance
from bgpnet.agent.orchestrated import Wanted
from bgpnet.agent.plan import Plan, plan
from bgpnet.agent.pods import Workers
from bgpnet.agent.precedence import Precedence
from bgpnet.agent.records import Records
from bgpnet.agent.server import Server
from bgpnet.agent.speech import Speech
from bgpnet.agent.step import Happening, step
from bgpnet.agent.world import World, replace
from bgpnet.bgp.rib import Update
from bgpnet.cnispec import WIRING_REFUSED
from bgpnet.errors import KernelRefused
from bgpnet.kernel.api import Kernel
from bgpnet.kernel.state import KernelState

log = logging.getLogger("bgpnet.agent")

QUIET = 0.03
"""Seconds without an event after which a changed World is planned."""
AT_ONCE = 0.0005
"""The same for what a peer announced or withdrew after a time without plans: the first packets wait for it."""
SOON = 0.01
"""The same for what a peer announces or withdraws beside that: a table comes in large pieces, one upon another."""
LATEST = 0.25
"""Seconds after which it is planned though events keep coming."""
TIDE = 5.0
"""Seconds after which time alone is a reason to plan: deadlines, heartbeats, rests."""
AUDIT = 60.0
"""Seconds after which the kernel is read and compared though nobody reported a change."""


ROUTINE = (CniAsked, PodWired, PodUnwired, Reaped)
"""Events that a plan may wait for until LATEST: the workers have put the pods, the datastore is told behind them."""


@dataclass(frozen=True, slots=True)
class Outside:
    """The ways to an orchestrator, none of which may block: what to follow, who to ask about, whom to tell."""

    want: Callable[[Wanted], None]
    ask: Callable[[DescribePod], None]
    tell: Callable[[Grievance], None]


class KernelChanged:
    """Somebody else changed the kernel: read it again."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Loop:
    """Who holds the World. `emit` may be called from any thread.

    There is one turn, and whoever has it steps all events that are there: the thread that brings an event, unless
    another is at it already, which then steps this one, too. So an ADD goes from the socket's thread to a worker's and
    from there to its answer, and waits for no third thread to wake up. Plans are made by `run`, of the World as it was
    when they were begun.
    """

    def __init__(self, world: World, kernel: Kernel, precedence: Precedence | None = None) -> None:
        self._world = world
        self._precedence = precedence or Precedence()
        self._outside: Outside | None = None
        self._kernel = kernel
        self._events: deque[Happening | Asked | KernelChanged] = deque()
        self._turn = threading.Lock()
        self._turn.acquire()  # nobody steps anything before `run`
        self._nudges: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._plan = Plan(KernelState())
        self._dirty_since: float | None = monotonic()
        self._due = 0.0
        self._planned = 0.0
        self._audited = 0.0
        self._audit = True
        self._handled: set[str] = set()
        self._stop = threading.Event()
        self.reason = ""

    def emit(self, event: Happening | Asked) -> None:
        """Something happened."""
        self._events.append(event)
        self._work()

    def changed(self, reason: str) -> None:
        """The kernel's monitor saw a stranger's change."""
        self._events.append(KernelChanged(reason))
        self._work()

    def stop(self) -> None:
        """End the loop before its next event. Nothing is cleaned up: everything stays as it is."""
        self._stop.set()
        self._nudges.put(None)  # the only way to wake somebody that a signal's handler may take

    def run(
        self,
        server: Server,
        workers: Workers,
        records: Records,
        speech: Speech,
        guard: Guard,
        outside: Outside | None = None,
    ) -> str:
        """Until stopped; returns the reason when the agent itself decided to stop, else nothing."""
        self._server, self._workers, self._outside = server, workers, outside
        self._turn.release()
        self._work()
        while not self._stop.is_set():
            if (left := self._until_due()) is None or left > 0:
                wait(self._nudges, left)
                continue
            self._replan(workers, records, speech, guard)
            self._work()
        self._turn.acquire()  # for good: whoever is stepping an event ends it, and nobody begins another
        return self.reason

    def _work(self) -> None:
        """Step what there is, unless somebody is at it: whoever ends a turn looks again, so that nothing is left."""
        while self._events and not self._stop.is_set() and self._turn.acquire(blocking=False):
            try:
                while self._events and not self._stop.is_set():  # once stopped, what we decide is not ours to decide
                    self._take(self._events.popleft())
            finally:
                self._turn.release()

    def _take(self, event: Happening | Asked | KernelChanged) -> None:
        if isinstance(event, KernelChanged):
            log.info("kernel changed: %s", event.reason)
            self._audit = True
            self._touch()
        elif isinstance(event, Asked):
            self._server.answer(event.number, *status.answer(self._world, self._plan, dict(event.question)))
        else:
            if isinstance(event, CniAsked):
                log.debug("request %d: %s", event.number, event.call.env)
            self._step(event, self._server, self._workers)

    def _until_due(self) -> float | None:
        """Seconds until the next plan; None: nothing has changed."""
        return None if self._dirty_since is None else self._due - monotonic()

    def _touch(self, *, patient: bool = False, eager: bool = False) -> None:
        """The World has changed. patient: in nothing that the kernel or a peer waits for; eager: a route may have."""
        now, before = monotonic(), self._due
        if self._dirty_since is None:
            self._dirty_since, before = now, inf
            self._due = now + LATEST
        if not patient:
            pause = QUIET if not eager else AT_ONCE if now - self._planned >= QUIET else SOON
            self._due = min(now + pause, self._dirty_since + LATEST)
        if self._due < before:
            self._nudges.put(None)

    def _step(self, event: Happening, server: Server, workers: Workers) -> None:
        before = self._world if isinstance(event, Tick) else replace(self._world, now=time(), clock=monotonic())
        self._handled |= handled_by(before, event)
        self._world, effects = step(before, event)
        _tell_of_datastore(before.store_away, self._world.store_away)
        for effect in effects:
            self._carry_out(effect, server, workers)
        if isinstance(event, Tick):
            news = self._world.watch.sessions_at != before.watch.sessions_at
            if monotonic() - self._planned >= TIDE or effects or news:
                self._audit = self._audit or bool(self._world.refusals)
                self._touch()
        elif isinstance(event, PodRefused) and event.code == WIRING_REFUSED:
            self._audit = True  # the link that was to make place, of this pod or of an older sandbox, may be gone
            self._touch()
        elif self._world is not before:
            self._touch(patient=isinstance(event, ROUTINE), eager=isinstance(event, Update))

    def _carry_out(self, effect: Effect, server: Server, workers: Workers) -> None:
        match effect:
            case Answer(number, code, body, reason, grievance):
                log.debug("answer to request %d: status %d, %r", number, code, body)
                if reason:
                    log.warning("%s", reason)
                server.answer(number, code, body)
                if grievance is not None and self._outside is not None:
                    self._outside.tell(grievance)
            case DescribePod():
                if self._outside is not None:
                    self._outside.ask(effect)
            case Alarm(sentence, over):
                log.log(logging.INFO if over else logging.ERROR, "%s%s", "over: " if over else "", sentence)
            case Warn(sentence):
                log.warning("%s", sentence)
            case Stop(reason):
                self.reason = reason
                self.stop()
            case _:
                workers.submit(effect, self._world.now)

    def _replan(self, workers: Workers, records: Records, speech: Speech, guard: Guard) -> None:
        """Work out the wish, and the routes that it changes, beside the turn: ADDs step meanwhile.

        What else differs from the last plan is changed in a turn, after a look at the kernel.
        """
        with self._turn:
            if self._stop.is_set():
                return
            self._planned = monotonic()
            since, self._dirty_since = self._dirty_since or self._planned, None
            if self._planned - self._audited >= AUDIT:
                self._audit = True
            world, audit = self._world, self._audit
            handled, self._handled = self._handled, set()
            pause = self._precedence.giving_way()
        self._work()  # who came in that moment found the turn taken; others may not look before the routes are put
        wish = plan(world, pause)
        links = handled | wish.hold_links
        changed = None if audit else follow(self._plan.kernel, wish, links, self._kernel, pause)
        with self._turn:
            if self._stop.is_set():
                return
            if changed is None:
                if self._world is not world:
                    wish, self._handled = plan(self._world), set()
                self._apply(wish, workers)
            elif changed:
                log.info("kernel: %d changes", changed)
                self._audit = self._audit or is_outrun(wish, world, self._world)
            self._plan, world = wish, self._world
        records.set(wish.records, since)
        speech.set(wish.speaker, wish.announcements, wish.unsettled, wish.held)
        guard.set(wish.packets)
        if self._outside is not None:
            self._outside.want(orchestrated.wanted(world))

    def _apply(self, wish: Plan, workers: Workers) -> None:
        try:
            done = apply(wish, self._kernel)
        except KernelRefused as problem:
            self._audit = True
            self._tell(Applied(0, (str(problem),), (), ()))
            return
        self._audit = False
        self._audited = monotonic()
        if done.stale:
            workers.reap_now()
        self._tell(done)
        if done.changes:
            log.info("kernel: %d changes", done.changes)

    def _tell(self, done: Applied) -> None:
        """The World hears of what is new only; what was refused is tried again with the tide, not at once."""
        if (found := news(self._world, done)) is None:
            return
        for refusal in found.refusals:
            if refusal not in self._world.refusals:
                log.warning("%s", refusal)
        self.emit(found)


def wait(nudges: queue.SimpleQueue[None], seconds: float | None) -> None:
    """Until there is a nudge, which is taken, or the time is over; for one thread alone.

    A SimpleQueue whose lock is free takes it, looks again, and works out the time that is left; where that is over by
    then, it waits for ever (CPython 3.11, _queuemodule.c: less than no time means no limit). Looking first takes the
    lock: whoever puts something frees it.
    """
    try:
        nudges.get_nowait()
    except queue.Empty:
        with suppress(queue.Empty):
            nudges.get(timeout=seconds)


def _tell_of_datastore(before: str, now: str) -> None:
    """In the log when it goes away, with the reason that the status has, and when it is back."""
    if now and not before:
        log.warning("the datastore is away: %s", now)
    elif before and not now:
        log.info("the datastore is back")
