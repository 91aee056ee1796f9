"""Make the packet rules match the plan: read, compare, replace; and see that others let pods' packets pass. An edge.

One thread, the latest wish, as with the speaker: a run of nft takes longer than the loop may.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

from bgpnet.agent.events import FirewallLooked
from bgpnet.errors import KernelRefused
from bgpnet.kernel.packets import NOTHING, Barrier, Firewall, PacketRules
from bgpnet.threads import start

log = logging.getLogger("bgpnet.agent")

AUDIT = 60.0
"""Seconds after which the rules are read and compared though nobody reported a change."""
PAUSE = 1.0
"""Seconds at least between two looks after reports of changes: docker and kube-proxy change much at a time."""

VAIN = 5
"""How often in a row our rules may be found changed, before reports of changes are left to the audit."""

Emit = Callable[[FirewallLooked], None]


class Guard:
    """One thread, the latest wish. `emit` hears of what is wrong whenever that changes."""

    def __init__(self, firewall: Firewall, emit: Emit, audit: float = AUDIT, pause: float = PAUSE) -> None:
        self._firewall = firewall
        self._emit = emit
        self._audit = audit
        self._pause = pause
        self._wish: PacketRules | None = None
        self._have: PacketRules | None = None
        self._kept: frozenset[str] = frozenset()
        self._barriers: tuple[Barrier, ...] = ()
        self._read = float("-inf")
        self._vain = 0
        self._new = threading.Event()
        self._suspect = threading.Event()
        self._told: tuple[str, ...] = ()

    def set(self, wish: PacketRules | None) -> None:
        """What should be; None leaves it as it is."""
        first = self._wish is None
        if self.want(wish):
            self._new.set()
            if first:
                start("firewall", self._run)

    def want(self, wish: PacketRules | None) -> bool:
        """Take it as the wish for the next `work`; whether it is another than before."""
        if wish is None or wish == self._wish:
            return False
        self._wish, self._vain = wish, 0
        return True

    def follow(self, stop: Callable[[], bool]) -> None:
        """Hear of changes until stop()."""
        self._firewall.follow(self._changed, stop)

    def _changed(self) -> None:
        self._suspect.set()
        self._new.set()

    def _run(self) -> None:
        while True:
            self.work()
            since = monotonic() - self._read
            due = (self._pause if self._is_suspect else self._audit) - since
            if self._new.wait(max(due, 0.0)):
                self._new.clear()

    @property
    def _is_suspect(self) -> bool:
        """Whether a report is to be believed: who takes away what we put, time and again, is left to the audit."""
        return self._suspect.is_set() and self._vain < VAIN

    def work(self) -> None:
        """One look, if it is time for one, and what is to be changed."""
        wish = self._wish
        if wish is None:
            return
        try:
            self._look()
            self._put(wish)
            problems = [*self._quarrel(), *self._open(wish)]
        except KernelRefused as problem:
            self._read = monotonic()
            self._have = None
            problems = [str(problem)] if wish != NOTHING else []
        for one in problems:
            if one not in self._told:
                log.warning("%s", one)
        if tuple(problems) != self._told:
            self._told = tuple(problems)
            self._emit(FirewallLooked(self._told))

    def _look(self) -> None:
        since = monotonic() - self._read
        if since < self._pause or not (self._is_suspect or since >= self._audit):
            return
        self._suspect.clear()
        state = self._firewall.read()
        self._read = monotonic()
        expected, self._have, self._barriers = self._have, state.rules, state.barriers
        self._kept |= state.tunnels
        self._vain = self._vain + 1 if expected not in (None, self._have) else 0

    def _put(self, wish: PacketRules) -> None:
        have = self._have
        if wish == NOTHING:
            self._kept = frozenset()
        else:
            # A tunnel that no pool uses any more stays up, for others to send by: nobody else may because of that.
            self._kept |= wish.tunnels
            # With the last of it, established connections would lose their translation. None: what a stranger left.
            nat = wish.nat or have is None or have.nat
            wish = replace(wish, nat=nat, tunnels=self._kept)
        if have != wish:
            self._firewall.put(wish, have)
            self._have = wish
            log.info("packet rules: written")

    def _quarrel(self) -> list[str]:
        if self._vain < VAIN:
            return []
        return [
            f"packet rules are not found as they were put, {self._vain} times in a row: find out who changes them (nft "
            "monitor), and have it leave the table inet bgpnet and the chains BGPNET-* alone"
        ]

    def _open(self, wish: PacketRules) -> list[str]:
        """Have other people's chains accept pods' packets; why some do not."""
        problems = []
        left = []
        for one in self._barriers if wish != NOTHING else ():
            try:
                if not one.ours:
                    problems += [one.complaint]
                elif not one.open:
                    self._firewall.accept(one)
                    log.info("%s: chain %s of table %s accepts pods' packets now", one.tool, one.chain, one.table)
                    one = replace(one, open=True)
            except KernelRefused as problem:
                problems.append(str(problem))
            left.append(one)
        self._barriers = tuple(left)
        return problems
