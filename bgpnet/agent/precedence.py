"""Who asks for a pod's network goes first: long work of other threads pauses meanwhile, for so long at most.

One thread at a time runs Python, and one that has work for 50 ms lets another in only every SWITCH (agent/assembly.py).
An ADD gives that place away a dozen times, at each system call, and would wait for it a dozen times.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from bgpnet.pieces import Pause

PATIENCE = 0.25
"""Seconds that one long work pauses in all: a route waits no longer for pods, however many come."""
FRESH = 0.02
"""Seconds after a request came for which others pause: one that is not answered by then waits for something else."""


class Precedence:
    """How many requests are being worked on. `came` and `went` from any thread; each pause is for one thread."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._there = 0
        self._came = 0.0
        self._nobody = threading.Event()
        self._nobody.set()

    def came(self) -> None:
        """Somebody asks."""
        with self._lock:
            self._there += 1
            self._came = self._clock()
            self._nobody.clear()

    def went(self) -> None:
        """One is answered, or not worth the hurry."""
        with self._lock:
            self._there -= 1
            if not self._there:
                self._nobody.set()

    @property
    def is_anybody_there(self) -> bool:
        """Whether a request is being worked on."""
        return self._there > 0

    def giving_way(self, patience: float = PATIENCE) -> Pause:
        """For one long work: a pause that lasts while somebody is there, until the patience of this work is used up."""
        left = patience

        def pause() -> None:
            nonlocal left
            if left <= 0 or not self.is_anybody_there:
                return
            began = self._clock()
            if (limit := min(left, self._came + FRESH - began)) > 0:
                self._nobody.wait(limit)
                left -= self._clock() - began

        return pause
