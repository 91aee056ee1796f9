"""The loop: drain the queue, step every event, carry out the effects, and then plan once.

Only this thread holds the World. It applies the kernel's part of the plan itself: a plan carried out later, by another
thread, would not know of a pod that is being wired meanwhile and would take it away.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from time import monotonic, time

from bgpnet.agent import facts, status
from bgpnet.agent.apply import Applied, apply, handled_by, remains
from bgpnet.agent.events import Alarm, Answer, Asked, Effect, KernelApplied, Stop, Tick
from bgpnet.agent.plan import Plan, plan
from bgpnet.agent.pods import Workers
from bgpnet.agent.records import Records
from bgpnet.agent.server import Server
from bgpnet.agent.speech import Speech
from bgpnet.agent.step import Happening, step
from bgpnet.agent.world import World, replace
from bgpnet.errors import KernelRefused
from bgpnet.kernel.api import Kernel
from bgpnet.kernel.state import KernelState

log = logging.getLogger("bgpnet.agent")

QUIET = 0.03
"""Seconds without an event after which a changed World is planned."""
LATEST = 0.25
"""Seconds after which it is planned though events keep coming."""
TIDE = 5.0
"""Seconds after which time alone is a reason to plan: deadlines, heartbeats, rests."""
AUDIT = 60.0
"""Seconds after which the kernel is read and compared though nobody reported a change."""


class KernelChanged:
    """Somebody else changed the kernel: read it again."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Loop:
    """The one thread that thinks. `emit` may be called from any thread; the rest is the loop's own."""

    def __init__(self, world: World, kernel: Kernel) -> None:
        self._world = world
        self._kernel = kernel
        self._queue: queue.SimpleQueue[Happening | Asked | KernelChanged] = queue.SimpleQueue()
        self._plan = Plan(KernelState())
        self._dirty_since: float | None = monotonic()
        self._planned = 0.0
        self._audited = 0.0
        self._audit = True
        self._handled: set[str] = set()
        self._stop = threading.Event()
        self.reason = ""

    def emit(self, event: Happening | Asked) -> None:
        """Something happened."""
        self._queue.put(event)

    def changed(self, reason: str) -> None:
        """The kernel's monitor saw a stranger's change."""
        self._queue.put(KernelChanged(reason))

    def stop(self) -> None:
        """End the loop with its next event. Nothing is cleaned up: everything stays as it is."""
        self._stop.set()
        self.emit(Tick(time(), monotonic()))

    def run(self, server: Server, workers: Workers, records: Records, speech: Speech) -> str:
        """Until stopped; returns the reason when the agent itself decided to stop, else nothing."""
        while not self._stop.is_set():
            events = self._drain()
            for event in events:
                if self._stop.is_set():
                    break  # what we decide from here on is not ours to decide
                if isinstance(event, KernelChanged):
                    log.info("kernel changed: %s", event.reason)
                    self._audit = True
                    self._touch()
                elif isinstance(event, Asked):
                    server.answer(event.number, *status.answer(self._world, self._plan, dict(event.question)))
                else:
                    self._step(event, server, workers)
            if self._due(quiet=not events) and not self._stop.is_set():
                self._replan(workers, records, speech)
        return self.reason

    def _drain(self) -> Sequence[Happening | Asked | KernelChanged]:
        try:
            events = [self._queue.get(timeout=None if self._dirty_since is None else QUIET)]
        except queue.Empty:
            return ()
        while not self._queue.empty():
            events.append(self._queue.get_nowait())
        return events

    def _due(self, *, quiet: bool) -> bool:
        if self._dirty_since is None:
            return False
        return quiet or monotonic() - self._dirty_since >= LATEST

    def _touch(self) -> None:
        if self._dirty_since is None:
            self._dirty_since = monotonic()

    def _step(self, event: Happening, server: Server, workers: Workers) -> None:
        before = self._world if isinstance(event, Tick) else replace(self._world, now=time(), clock=monotonic())
        self._handled |= handled_by(before, event)
        self._world, effects = step(before, event)
        _tell_of_datastore(before.store_away, self._world.store_away)
        for effect in effects:
            self._carry_out(effect, server, workers)
        if isinstance(event, Tick):
            if monotonic() - self._planned >= TIDE or effects:
                self._audit = self._audit or bool(self._world.refusals)
                self._touch()
        elif self._world is not before:
            self._touch()

    def _carry_out(self, effect: Effect, server: Server, workers: Workers) -> None:
        match effect:
            case Answer(number, code, body, reason):
                if reason:
                    log.warning("%s", reason)
                server.answer(number, code, body)
            case Alarm(sentence, over):
                log.log(logging.INFO if over else logging.ERROR, "%s%s", "over: " if over else "", sentence)
            case Stop(reason):
                self.reason = reason
                self._stop.set()
            case _:
                workers.submit(effect, self._world.now)

    def _replan(self, workers: Workers, records: Records, speech: Speech) -> None:
        self._planned = monotonic()
        since, self._dirty_since = self._dirty_since or self._planned, None
        if self._planned - self._audited >= AUDIT:
            self._audit = True
        wish = plan(self._world)
        handled, self._handled = self._handled | wish.hold_links, set()
        if self._audit or remains(self._plan.kernel, wish.kernel, handled):
            self._apply(wish, workers)
        self._plan = wish
        records.set(wish.records, since)
        speech.set(wish.speaker, wish.announcements)

    def _apply(self, wish: Plan, workers: Workers) -> None:
        try:
            done = apply(wish, self._kernel)
        except KernelRefused as problem:
            self._tell(Applied(0, (str(problem),), (), frozenset()))
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
        if done.refusals == self._world.refusals and not facts.believed(self._world, done.lost):
            return
        for refusal in done.refusals:
            if refusal not in self._world.refusals:
                log.warning("%s", refusal)
        self.emit(KernelApplied(done.refusals, done.lost))


def _tell_of_datastore(before: str, now: str) -> None:
    """In the log when it goes away, with the reason that the status has, and when it is back."""
    if now and not before:
        log.warning("the datastore is away: %s", now)
    elif before and not now:
        log.info("the datastore is back")
