"""The controller at work: news or time, then a picture, a plan, and the plan carried out, one action after another."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import replace
from math import inf
from time import monotonic, time

from bgpnet.controller import departed, metrics
from bgpnet.controller.actions import Leak, Remove, Write
from bgpnet.controller.hands import Done, Hands, Outcome
from bgpnet.controller.janitor import Plan, plan
from bgpnet.controller.picture import Key, Memory, Picture, Rules
from bgpnet.controller.view import View
from bgpnet.errors import BgpnetError
from bgpnet.model.releaserequest import Outcome as Answer
from bgpnet.model.releaserequest import ReleaseRequest

log = logging.getLogger("bgpnet.controller")

QUIET = 1.0
"""Seconds that news gather before they are looked at."""
SHARE = 30.0
"""How many times as long as a plan took the next one waits: thinking takes a few per cent of a processor at most."""
FIRST_RETRY, LAST_RETRY = 1.0, 30.0
"""Seconds until what was not done is looked at again, a write that a heartbeat was faster than included; doubled."""
TURN = 20.0
"""Seconds after which the loop turns even where there is nothing to do: /livez looks at it."""
STUCK = 180.0
"""Seconds without a turn after which the loop counts as stuck; every call of an action has a deadline of seconds."""


class Controller:
    """The loop, and what is counted. `view` is filled by the feeds' threads. period: in seconds; 0: never."""

    def __init__(self, view: View, hands: Hands, rules: Rules, period: float) -> None:
        self.counts = metrics.Counts()
        self._view, self._hands, self._rules, self._period = view, hands, rules, period or inf
        self._memory = Memory()
        self._suspects: Mapping[Key, Leak] = {}
        self._turned = monotonic()
        self._failures = 0
        self._said = ("", "")
        self._stranger = ""

    def run(self, stop: threading.Event) -> None:
        """Until stopped."""
        due = 0.0
        while not stop.is_set():
            self._turned = monotonic()
            news = self._view.news.wait(max(min(due - monotonic(), TURN), 0.0))
            if stop.is_set() or not (news or monotonic() >= due):
                continue
            if news and stop.wait(QUIET):
                return
            self._view.news.clear()
            began = monotonic()
            wake = self.turn()
            pause = min((monotonic() - began) * SHARE, TURN)
            due = max(wake, monotonic() + pause)
            stop.wait(pause)

    def turn(self) -> float:
        """One look, one plan, carried out; returns when to look again although nothing has happened, by our clock.

        Infinite where only news are a reason.
        """
        self._say_what_is_missing()
        picture = self._view.picture(time())
        if picture is None:
            return monotonic() + self._period
        self._tell_of_a_stranger(departed.stranger(picture))
        self._memory, wished = plan(picture, self._memory, self._rules)
        self._suspects = wished.suspects or {}
        done = self.carry_out(wished, picture)
        self._failures = self._failures + 1 if any(one.outcome is not Outcome.DONE for one in done) else 0
        times = [monotonic() + self._period, *([wished.wake] if wished.wake is not None else [])]
        if self._failures:
            times.append(monotonic() + min(FIRST_RETRY * 2 ** (self._failures - 1), LAST_RETRY))
        return min(times)

    def carry_out(self, wished: Plan, picture: Picture) -> list[Done]:
        """The plan's actions in their order; where nobody answers, the rest waits for the next plan."""
        found: list[Done] = []
        for action in wished.actions:
            one = self._hands.carry_out(action)
            self._turned = monotonic()  # many actions may take their time; each of them has its deadline
            found.append(one)
            self._count(one, picture)
            _tell(one)
            if one.unheard:  # no heartbeat came for that reason, which a watch need not have noticed
                self._memory = replace(self._memory, pulses={})
            if one.outcome is Outcome.AWAY:
                break
        return found

    def text(self) -> str:
        """The metrics."""
        return metrics.text(self._view.picture(time()), self._suspects, self.counts, self._view.missing())

    def livez(self) -> str:
        """ok; raises BgpnetError when the loop is stuck."""
        if (quiet := monotonic() - self._turned) > STUCK:
            raise BgpnetError(f"the loop has not turned for {quiet:.0f} s")
        return "ok\n"

    def readyz(self) -> str:
        """ok; raises BgpnetError while the datastore or Kubernetes is not heard."""
        if why := "; ".join(one for one in self._view.missing() if one):
            raise BgpnetError(f"nothing is done for now: {why}")
        return "ok\n"

    def _say_what_is_missing(self) -> None:
        """Once for each change."""
        missing = self._view.missing()
        for before, now, source in zip(self._said, missing, ("the datastore", "Kubernetes"), strict=True):
            if now and now != before:
                log.warning("nothing is done for what %s would have to say: %s", source, now)
            elif before and not now:
                log.info("%s is heard", source)
        self._said = missing

    def _tell_of_a_stranger(self, why: str) -> None:
        """Once, as long as it is so."""
        if why and not self._stranger:
            log.warning("%s", why)
        self._stranger = why

    def _count(self, one: Done, picture: Picture) -> None:
        self.counts.actions[(one.action.what.split(" ")[0], one.outcome.value)] += 1
        if one.outcome is not Outcome.DONE:
            return
        pools = picture.pools.values()
        if isinstance(one.action, Write) and one.action.leak is not None:
            self.counts.reclaimed[metrics.place(one.action.leak.slot.block, pools)] += 1
        request = one.action.resource if isinstance(one.action, Remove) else None
        if isinstance(request, ReleaseRequest) and request.status and request.status.outcome is Answer.RELEASED:
            self.counts.reclaimed[metrics.pool_of(request.spec.address, pools), request.spec.node] += 1


def _tell(one: Done) -> None:
    where = f" on {one.action.node}" if one.action.node else ""
    if one.outcome is Outcome.DONE:
        log.info("%s %s%s: %s", one.action.what, one.action.object, where, one.action.why)
    elif one.outcome is Outcome.PASSED:
        log.debug("not done: %s %s%s: %s", one.action.what, one.action.object, where, one.why)
    else:
        log.warning("could not %s %s%s: %s", one.action.what, one.action.object, where, one.why)
